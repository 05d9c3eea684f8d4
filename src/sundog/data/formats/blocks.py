"""Numbers that come in blocks of rows, kept in float32 where that loses nothing that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np

from sundog.errors import DataError

SAMPLED = 4096  # numbers of a column that say whether float32 is enough
_FEW = 1 << 16  # numbers looked at in one go: they stay in the cache


class Digits:
    """Whether columns need float64, told from blocks of their rows.

    A column does where one whole number would change in float32 (ids, counts, seconds); of others, where more than
    0.2 % of its different numbers would merge, or move by more than 1e-6 of their spread (times since 1970, a
    monopole under small ripples), judged by some thousand of them at equal steps.
    """

    def __init__(self, width: int) -> None:
        self.same = self._whole = np.ones(width, bool)
        self._sampled: list[np.ndarray] = []
        self._seen, self._step, self._held = 0, 1, 0

    def see(self, wide: np.ndarray, single: np.ndarray) -> None:
        """Take account of further rows (m, columns), as float64 and as float32."""
        if self.same.any():
            self.same = self.same & _all_equal(wide, single)
        if self._whole.any():
            self._whole = self._whole & _all_equal(wide, np.rint(wide))
        self._sampled.append(wide[-self._seen % self._step :: self._step].copy())
        self._seen += len(wide)
        self._held += len(self._sampled[-1])
        while self._held > 2 * SAMPLED:
            self._sampled = [np.concatenate(self._sampled)[::2]]
            self._held, self._step = len(self._sampled[0]), 2 * self._step

    def needed(self) -> bool:
        """Whether any column so far needs float64."""
        changed = np.flatnonzero(~self.same)
        if self._whole[changed].any():
            return True
        return any(_moved(np.concatenate([part[:, j] for part in self._sampled])) for j in changed)


def _all_equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether the columns of two arrays are equal; NaN, a missing cell, equals itself."""
    equal = a == b
    return (equal if equal.all() else equal | np.isnan(a)).all(0)


def gathered(blocks: Callable[[], Iterable[np.ndarray]], width: int, rows: int, exact: bool = False) -> np.ndarray:
    """(n, width) float32, or float64 where numbers need it or with ``exact``; in memory little beyond itself.

    Parameters
    ----------
    blocks : gives (m, width) float64 again and again, m rows at a time; called twice where float32 is too short
    rows : how many there will be, about; too many cost nothing
    """
    for kind in (np.float32, np.float64)[exact:]:
        values, n, digits = np.empty((rows, width), kind), 0, Digits(width)
        with suppress(FloatingPointError), np.errstate(over="raise"):
            for block in blocks():
                m = n + len(block)
                if m > len(values):
                    values.resize((3 * m // 2, width), refcheck=False)
                values[n:m] = block
                if kind is np.float32:
                    digits.see(block, values[n:m])
                    if n == 0 and digits.needed():
                        break
                n = m
            else:
                if kind is np.float64 or not digits.needed():
                    values.resize((n, width), refcheck=False)
                    return values
    raise AssertionError("float64 takes everything")


def lined_up(get: Callable[[str], np.ndarray], names: Sequence[str], rows: int, exact: bool = False) -> np.ndarray:
    """(rows, names) of columns (rows,) that are fetched one by one, perhaps twice; float32 or float64 as `gathered`."""
    for kind in (np.float32, np.float64)[exact:]:
        values = np.empty((rows, len(names)), kind)
        for i, name in enumerate(names):
            x = get(name)
            if kind is np.float32 and x.dtype != kind and needs_double(x):
                break
            values[:, i] = x
            del x  # before the next is there
        else:
            return values
    raise AssertionError("float64 takes everything")


def needs_double(array: np.ndarray, exact: bool = False) -> bool:
    """Whether columns or channels, in the second axis, need float64; ``exact``: whether any number would change."""
    array = np.atleast_1d(array)
    digits = Digits(array.shape[1] if array.ndim in (2, 4) else 1)
    few = max(1, _FEW // max(1, array[:1].size))
    for start in range(0, len(array), few):
        part = array[start : start + few].astype(np.float64)
        wide = np.moveaxis(part, 1, -1).reshape(-1, len(digits.same)) if array.ndim in (2, 4) else part.reshape(-1, 1)
        try:
            with np.errstate(over="raise"):
                digits.see(wide, wide.astype(np.float32))
        except FloatingPointError:
            return True
    return not digits.same.all() if exact else digits.needed()


def exactly(array: np.ndarray, what: str) -> np.ndarray:
    """The same array.

    Raises
    ------
    DataError : whole numbers that not even float64 tells apart.
    """
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        largest = max(abs(int(array.min(initial=0))), abs(int(array.max(initial=0))))
        if largest > 2**53 and (array.astype(np.float64).astype(array.dtype) != array).any():
            raise DataError(f"{what} have more digits than float64", got=f"whole numbers up to {largest:.3g}",
                            expected="at most 2^53 = 9.0e15", do="subtract an offset, or leave identifiers out")
    return array


def beside(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(rows, columns) of the smallest type of float32 and float64 that holds them."""
    if not columns:
        return np.empty((0, 0), np.float32)
    kind = np.result_type(np.float32, *(np.int8 if x.dtype.kind == "b" else x.dtype for x in columns))
    values = np.empty((len(columns[0]), len(columns)), np.float32 if kind == np.float32 else np.float64)
    for start in range(0, len(values), 4096):  # by rows that fit the cache: five times as fast as whole columns
        for i, column in enumerate(columns):
            values[start : start + 4096, i] = column[start : start + 4096]
    return values


def _moved(a: np.ndarray) -> bool:
    """Whether numbers (n,) merge or move too much in float32."""
    a = a[np.isfinite(a)]
    if not len(a):
        return False
    b = a.astype(np.float32).astype(np.float64)
    low, high = np.quantile(a, [0.16, 0.84])
    with np.errstate(invalid="ignore"):  # infinite numbers are refused, or left out, later
        moved = np.median(np.abs(a - b)) > 1e-6 * (high - low) > 0
    return bool(moved
                or len(np.unique(a)) - len(np.unique(b)) > 0.002 * len(a))
