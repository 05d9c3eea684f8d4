"""Which wavelet phase harmonics a model holds, in the order in which `phase_harmonics_moments` returns them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sundog.statistics.harmonics.labels import HarmonicLabels

Entry = tuple[list[int], bool]  # numbers of a label, and whether it has an imaginary part
LOW_MOMENTS = ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1))  # p1, p2, conjugate; the last one for complex maps


@dataclass(frozen=True)
class HarmonicModel:
    """Octaves, orientations, kinds and lags; ``turn`` is 2 for complex maps, which have orientations l < 2 L.

    ``translations`` counts lags of 2^n pixels, ``directions`` their directions per half a turn, ``reach`` is the
    largest difference of octaves.
    """

    J: int
    L: int
    turn: int
    kinds: tuple[str, ...]
    translations: int
    directions: int
    reach: int

    @property
    def R(self) -> int:
        """Number of orientations."""
        return self.L * self.turn

    @property
    def octave_pairs(self) -> list[tuple[int, int]]:
        """(j1, j2) with j1 < j2, j2 slowest."""
        return [(j1, j2) for j2 in range(1, self.J) for j1 in range(max(0, j2 - self.reach), j2)]

    @property
    def low_octaves(self) -> tuple[int, ...]:
        """Octaves of the low-pass filters."""
        return tuple(range(-1, self.J // 4 + 1))

    @property
    def low_moments(self) -> tuple[tuple[int, int, int], ...]:
        """Exponents of the low-pass moments."""
        return LOW_MOMENTS[: 2 + self.turn]

    def steps(self, n_max: int, directions: int) -> list[tuple[int, int]]:
        """(n, a) of the lags."""
        return [(n, a) for n in range(1, n_max + 1) for a in range(directions)]

    def lags(self, orientations: list[float]) -> Tensor:
        """Lags (R, T, 2) in whole pixels (ty, tx), T = translations x 2 directions, relative to each orientation.

        ``orientations`` count from the first image axis; 2^n (cos, sin) of (pi/2 - theta) - pi a / A along (x, y).
        """
        rows = []
        for theta in orientations:
            turned = [(n, theta + math.pi * a / self.directions) for n, a in self._all]
            rows.append([[2.0**n * math.cos(t), 2.0**n * math.sin(t)] for n, t in turned])
        exact = torch.tensor(rows, dtype=torch.float64).reshape(len(orientations), len(self._all), 2)
        return exact.round().long()

    @property
    def _all(self) -> list[tuple[int, int]]:
        return self.steps(self.translations, 2 * self.directions)

    @property
    def forward_lags(self) -> list[int]:
        """Among all lags those of the first half turn; the others follow for an autocorrelation."""
        return [i for i, (_, a) in enumerate(self._all) if a < self.directions]

    @property
    def opposite_lags(self) -> list[int]:
        """All lags, each turned by half a turn."""
        A, place = self.directions, {step: i for i, step in enumerate(self._all)}
        return [place[n, (a + A) % (2 * A)] for n, a in self._all]

    def phase_steps(self, j2: int) -> list[tuple[int, int]]:
        """Lags of Cphase: n < J - j2."""
        return self.steps(min(self.J - 1 - j2, self.translations), 2 * self.directions)

    @cached_property
    def layout(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """For each kind the label numbers (k, 9) of its entries, and which of them have an imaginary part (k,)."""
        found = {}
        rows: dict[str, Callable[[], Iterator[Entry]]] = {
            "S11": self._s11, "S00": self._s00, "S01": self._s01, "C00": self._c00, "C01": self._c01,
            "Cphase": self._cphase, "L": self._low,
        }  # fmt: skip
        for kind in self.kinds:
            pairs = list(rows[kind]())
            numbers = np.array([numbers for numbers, _ in pairs], dtype=np.int64).reshape(-1, 9)
            found[kind] = numbers, np.array([im for _, im in pairs], dtype=bool)
        return found

    def labels(self) -> HarmonicLabels:
        """Meaning of the vector: kind by kind, real parts before imaginary parts."""
        kinds, parts, numbers = [], [], []
        for kind, (rows, im) in self.layout.items():
            kinds.append(np.full(len(rows) + im.sum(), kind))
            parts.append(np.repeat(["re", "im"], [len(rows), im.sum()]))
            numbers.append(np.concatenate([rows, rows[im]]))
        columns = np.concatenate(kinds), np.concatenate(parts), np.concatenate(numbers)
        return HarmonicLabels(*columns, self.L, self.turn, self.directions)

    def _s11(self) -> Iterator[Entry]:
        for j, ell in product(range(self.J), range(self.R)):
            for n, a in [(0, 0), *self.steps(self.translations, self.directions)]:
                yield [j, ell, 1, j, ell, 1, n, a, 0], n > 0
        for j, ell in product(range(self.J), range(self.L if self.turn == 2 else 0)):
            turned = [(n, (a + self.directions) % (2 * self.directions)) for n, a in self._all]
            for n, a in [(0, 0), *turned]:
                yield [j, ell, 1, j, ell + self.L, 1, n, a, 1], True

    def _s00(self) -> Iterator[Entry]:
        for j, ell in product(range(self.J), range(self.R)):
            for n, a in [(0, 0), *self.steps(self.translations, self.directions)]:
                yield [j, ell, 0, j, ell, 0, n, a, 0], False

    def _s01(self) -> Iterator[Entry]:
        return (([j, ell, 0, j, ell, 1, 0, 0, 0], True) for j, ell in product(range(self.J), range(self.R)))

    def _c00(self) -> Iterator[Entry]:
        for (j1, j2), l1, l2 in product(self.octave_pairs, range(self.R), range(self.R)):
            yield [j1, l1, 0, j2, l2, 0, 0, 0, 0], False

    def _c01(self) -> Iterator[Entry]:
        for (j1, j2), l1, l2 in product(self.octave_pairs, range(self.R), range(self.R)):
            yield [j1, l1, 0, j2, l2, 1, 0, 0, 0], True
        for (j1, j2), ell, (n, a) in product(self.octave_pairs, range(self.R), self._all):
            yield [j1, ell, 0, j2, ell, 1, n, a, 0], True

    def _cphase(self) -> Iterator[Entry]:
        for (j1, j2), ell in product(self.octave_pairs, range(self.R)):
            for n, a in [(0, 0), *self.phase_steps(j2)]:
                yield [j1, ell, 1, j2, ell, 2 ** (j2 - j1), n, a, 0], True

    def _low(self) -> Iterator[Entry]:
        for j, (p1, p2, conjugate) in product(self.low_octaves, self.low_moments):
            yield [j, -1, p1, j, -1, p2, 0, 0, conjugate], self.turn == 2 and (p1 != p2 or conjugate == 1)
