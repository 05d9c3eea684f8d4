"""Search with mismatches: how many symbols differ between a pattern and every place of a text, on lines and maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from torch import Tensor

from sundog.checks import whole
from sundog.errors import DataError, ShapeError

_PAIRS = 2**21  # pairs of positions counted at once: bounds their memory at some 20 MB
_TRANSFORM = 1.0  # cost of a symbol by FFT, over that of length x log2(length) pairs; measured


@dataclass(frozen=True)
class Motifs:
    """Where a pattern stands: ``positions`` (h, d) of its first corner, in order, and ``mismatches`` (h,) at each."""

    positions: Tensor
    mismatches: Tensor


def find_motif(text: Any, pattern: Any, *, mismatches: int = 0) -> Motifs:
    """Return every place where the pattern stands in the text with at most so many differing symbols.

    Errors: as `hamming_distances`; OptionError for a negative number of mismatches.

    Example
    -------
    >>> found = find_motif([0, 1, 2, 0, 1, 3, 0], [0, 1, 2], mismatches=1)
    >>> found.positions.tolist(), found.mismatches.tolist()
    ([[0], [3]], [0, 1])
    """
    most = whole(mismatches, "mismatches", least=0)
    distances = hamming_distances(text, pattern)
    positions = (distances <= most).nonzero()
    return Motifs(positions, distances[tuple(positions.T)])


def hamming_distances(text: Any, pattern: Any) -> Tensor:
    """Return the number of differing symbols of the pattern at every place of the text where it fits, whole numbers.

    distance(i) = m - sum_c sum_j [text_{i+j} = c] [pattern_j = c]. Each symbol c is counted in the cheaper of two ways:
    light ones by all pairs of their positions in text and pattern, heavy ones by a Fourier transform. The classical
    algorithm, O(n sqrt(m log m)) at worst; exact: the rounding of the transforms stays far below 1/2.

    Parameters
    ----------
    text: (n,) or (ny, nx) whole numbers (symbols), or letters in a str; quantise continuous values first.
    pattern: (m,) or (my, mx), of as many axes, nowhere longer than the text. Symbols that the text lacks never match.

    Returns (n - m + 1,) or (ny - my + 1, nx - mx + 1), int64.

    Errors: DataError for values that are not whole numbers, or nothing; ShapeError for a pattern that does not fit.
    Source: Fischer & Paterson 1974 (one transform per symbol); Abrahamson 1987, SIAM J. Comput. 16, 1039 (heavy and
    light). The faster O(n sqrt m) of Jin & Xu 2023, arXiv 2310.13174, needs packed words and is not what this is.

    Example
    -------
    >>> hamming_distances([0, 1, 2, 0, 1, 3, 0], [0, 1, 2])
    tensor([0, 3, 3, 1, 3])
    >>> hamming_distances(torch.eye(3, dtype=torch.long), torch.eye(2, dtype=torch.long))
    tensor([[0, 3],
            [3, 0]])
    """
    t, p = _as_signed(_symbols(text, "text"), _symbols(pattern, "pattern"))
    if t.ndim != p.ndim or any(b > a for a, b in zip(t.shape, p.shape)):
        raise ShapeError("the pattern does not fit into the text", got=f"{p.shape} in {t.shape}",
                         expected="as many axes, and no side longer", do="swap text and pattern, or cut the pattern")
    # A map is a line with the stride of its rows: places where the pattern would run over an edge are cut at the end.
    offsets = np.tensordot(_strides(t.shape), np.indices(p.shape), 1).ravel()
    same = _matches(t.ravel(), p.ravel(), offsets)
    full = np.zeros(t.size, dtype=np.int64)
    full[: len(same)] = same
    places = tuple(slice(0, a - b + 1) for a, b in zip(t.shape, p.shape))
    return torch.from_numpy(p.size - full.reshape(t.shape)[places])


def _matches(text: np.ndarray, pattern: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Number of j with text[i + offsets[j]] = pattern[j], for i from 0 to len(text) - 1 - offsets[-1]."""
    known, of_pattern = np.unique(pattern, return_inverse=True)
    of_text = _labels(text, known)
    in_text, in_pattern = _places(of_text, len(known)), _places(of_pattern.ravel(), len(known))
    length = next_fast_len(len(text), real=True)  # no room beyond: starts up to the last that fits do not wrap around
    worth = _TRANSFORM * length * math.log2(length + 1)
    heavy = [c for c in range(len(known)) if len(in_text[c]) * len(in_pattern[c]) > worth]
    light = [c for c in range(len(known)) if c not in set(heavy)] if heavy else list(range(len(known)))
    places = len(text) - int(offsets[-1])
    found = _by_pairs([(in_text[c], offsets[in_pattern[c]]) for c in light], len(text), int(offsets[-1]))
    if heavy:
        found += _by_transform([(in_text[c], offsets[in_pattern[c]]) for c in heavy], length)[:places]
    return found


def _by_pairs(positions: list[tuple[np.ndarray, np.ndarray]], n: int, last: int) -> np.ndarray:
    """Matches at each start by counting the differences of all pairs of positions, symbol by symbol."""
    counts, held = np.zeros(n + last, dtype=np.int64), 0
    waiting = np.empty(max(_PAIRS, n), dtype=np.int64)
    for in_text, in_pattern in positions:
        shifts = (last - in_pattern)[:, None]  # no difference becomes negative
        rows = max(1, _PAIRS // max(1, len(in_text)))
        for first in range(0, len(shifts), rows):
            part = shifts[first : first + rows]
            size = len(part) * len(in_text)
            if held + size > len(waiting):
                counts += np.bincount(waiting[:held], minlength=n + last)
                held = 0
            np.add(part, in_text, out=waiting[held : held + size].reshape(len(part), len(in_text)))
            held += size
    return (counts + np.bincount(waiting[:held], minlength=n + last))[last:n]


def _by_transform(positions: list[tuple[np.ndarray, np.ndarray]], length: int) -> np.ndarray:
    """Matches at each start as a circular correlation; two transforms per symbol, one back for all."""
    total = np.zeros(length // 2 + 1, dtype=np.complex128)
    for in_text, in_pattern in positions:
        both = np.zeros((2, length))
        both[0, in_text] = both[1, in_pattern] = 1
        text, pattern = rfft(both)
        total += text * pattern.conj()
    return np.rint(irfft(total, n=length)).astype(np.int64)


def _labels(text: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Index of each symbol of the text among the known ones; len(known) for a stranger."""
    low, high = int(known[0]), int(known[-1])
    if high - low > 4 * len(text):
        nearest = np.searchsorted(known, text).clip(max=len(known) - 1)
        return np.where(known[nearest] == text, nearest, len(known))
    table = np.full(high - low + 2, len(known))  # the last entry: for strangers beyond both ends
    table[known - low] = np.arange(len(known))
    inside = (text >= low) & (text <= high)
    return table[np.where(inside, text - low, high - low + 1)]


def _places(labels: np.ndarray, kinds: int) -> list[np.ndarray]:
    """Positions of each of the labels 0 ... kinds - 1."""
    order = np.argsort(labels.astype(np.int16) if kinds < 2**15 else labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=kinds + 1))[:-1])[:kinds]


def _as_signed(text: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64; where symbols are too large for that, such as hashes, both less 2^63."""
    if max(int(text.max()), int(pattern.max())) < 2**63:
        return text.astype(np.int64), pattern.astype(np.int64)
    least = min(int(text.min()), int(pattern.min()))
    if least < 0:
        raise DataError("symbols below 0 beside some of 2^63 or more", got=least, expected="a range of 64 bits",
                        do="relabel them: numpy.unique(x, return_inverse=True)")  # fmt: skip
    text, pattern = ((x.astype(np.uint64) ^ np.uint64(2**63)).view(np.int64) for x in (text, pattern))
    return text, pattern


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _symbols(values: Any, what: str) -> np.ndarray:
    """Whole numbers as an array of one or two axes; letters as their code points."""
    if isinstance(values, str):
        values = np.frombuffer(values.encode("utf-32-le"), dtype=np.uint32)
    x = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if x.size == 0 or x.dtype.kind not in "iub":
        raise DataError(f"{what} is no row of symbols", got=f"{x.size} values of type {x.dtype}",
                        expected="whole numbers", do="quantise first: torch.bucketize(x, edges)")  # fmt: skip
    if x.ndim not in (1, 2):
        raise ShapeError(f"{what}: wrong number of axes", got=f"shape {x.shape}", expected="(n,) or (ny, nx)",
                         do="search line by line, or map by map")  # fmt: skip
    return x
