"""Points on the sphere: a Poisson process of given intensity, one point set for one seed at every resolution.

The sphere is cut into blocks; each holds a Poisson number of points, drawn by its quantile function from a number of
its own, and each point has random numbers of its own, counted inside its block. So a slightly different intensity, as
that of another NSIDE, moves points by little, adds few and takes few away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from sundog.data.sky.sphere import nside_of, pixelisation

Array = NDArray[Any]
FINEST = 512  # NSIDE at which points are placed; below, they are spread inside its pixels
_BLOCKS = 16  # NSIDE of the blocks, at most
_AT_ONCE, _PIXELS = 50_000, 2**18  # points, pixels: few enough for the cache


@dataclass(frozen=True, eq=False)
class Points:
    """Points drawn by `scatter`, block by block.

    Attributes
    ----------
    nside : where they were placed; pixel : (n,) NESTED there
    bits : (n,) uint64 random numbers, of which the highest 40 bits made the place
    height, ends : (n,) and (12 nside^2 + 1,) the cumulated mean at each point and at the edges of the pixels
    """

    nside: int
    pixel: Array
    bits: Array
    height: Array
    ends: Array

    def __len__(self) -> int:
        return len(self.pixel)

    def pixels(self, nside: int) -> Array:
        """(n,) int32 NESTED pixels of a map as fine as the places or finer."""
        if nside == self.nside:
            return self.pixel
        factor, low = (nside // self.nside) ** 2, self.ends[self.pixel]
        inside = (self.height - low) / np.maximum(self.ends[self.pixel + 1] - low, 1e-300)
        return self.pixel * np.int32(factor) + (np.clip(inside, 0, 1 - 2**-30) * factor).astype(np.int32)

    def uniform(self, which: int = 0) -> Array:
        """(n,) float32 in (0, 1]: random numbers of each point; another set for every ``which``."""
        bits = self.bits if which == 0 else hashed(self.bits + np.uint64(which))
        return ((bits & np.uint64(2**24 - 1)).astype(np.float32) + np.float32(1)) * np.float32(2**-24)


def scatter(expected: Array, rng: np.random.Generator) -> Iterator[Points]:
    """Points of a Poisson process, its mean in each NESTED pixel being ``expected`` (12 NSIDE^2,); some at a time.

    Placed in pixels of NSIDE 512 at most.

    Example
    -------
    >>> mean = np.where(np.arange(3072) < 1536, 2.0, 0.0)
    >>> drawn = np.concatenate([some.pixels(16) for some in scatter(mean, np.random.default_rng(0))])
    >>> bool(abs(len(drawn) - 3072) < 4 * 3072**0.5), bool(drawn.max() < 1536)
    (True, True)
    """
    nside = min(nside_of(expected), FINEST)
    if nside < nside_of(expected):
        expected = expected.reshape(12 * nside**2, -1).sum(1, dtype=np.float64)
    blocks = 12 * min(nside, _BLOCKS) ** 2
    key, quantile = np.uint64(rng.integers(2**63)), rng.random(blocks)
    ends = np.concatenate([[0.0], np.cumsum(expected, dtype=np.float64)])
    size = len(expected) // blocks
    edges = ends[::size]
    counts = poisson.ppf(quantile, np.maximum(np.diff(edges), 1e-300)).astype(np.int64)
    last = np.cumsum(counts)
    parts = np.unique(np.searchsorted(last, np.arange(0, last[-1] + _AT_ONCE, _AT_ONCE)).clip(0, blocks - 1) + 1)
    for start, stop in zip([0, *parts[:-1]], parts):
        block, number = np.arange(start, stop, dtype=np.uint64), counts[start:stop]
        # Counted inside its block: what other blocks hold does not matter.
        counter = np.repeat((block << np.uint64(32)) - (np.cumsum(number) - number).astype(np.uint64), number)
        counter += np.arange(len(counter), dtype=np.uint64)
        bits = hashed(counter + key)
        stops = np.cumsum(number)
        for begin, end in zip(stops - number, stops):
            bits[begin:end].sort()  # in the order of their pixels: three times faster found
        height = (bits >> np.uint64(24)).astype(np.float64)
        height *= np.repeat(np.diff(edges[start : stop + 1]) * 2**-40, number)
        height += np.repeat(edges[start:stop], number)
        pixel = _found(ends, height, start, number, size)
        yield Points(nside, pixel, bits, height, ends)


def deposit(target: Array, pixels: Array, values: Array) -> None:
    """Add values to pixels of a NESTED map, in which the points of `scatter` lie close together."""
    low = int(pixels.min(initial=len(target)))
    found = np.bincount(pixels - low, weights=values)
    target[low : low + len(found)] += found


def add_nested(target: Array, nested: Array) -> None:
    """Add a NESTED map to a RING map."""
    ring = ring_of_nested(nside_of(target))
    for start in range(0, len(ring), _PIXELS):
        some = slice(start, start + _PIXELS)
        target[ring[some]] += nested[some]


def _found(ends: Array, height: Array, start: int, number: Array, size: int) -> Array:
    """Number of the pixel in which each height of the cumulated mean lies."""
    if size == 1 or len(height) < 20 * len(number):
        first, last = start * size, (start + len(number)) * size
        inner = ends[first + 1 : last]
        return (np.searchsorted(inner, height, side="right") + first).astype(np.int32)
    pixel, stop = np.empty(len(height), np.int32), 0
    for block in np.flatnonzero(number):
        first, begin, stop = int(start + block) * size, stop, stop + int(number[block])
        inner = ends[first + 1 : first + size]
        np.add(inner.searchsorted(height[begin:stop], side="right"), first, out=pixel[begin:stop], casting="unsafe")
    return pixel


def hashed(counter: Array) -> Array:
    """64 random bits for each number of a uint64 array: SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 15)."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


@lru_cache(maxsize=4)
def ring_of_nested(nside: int) -> Array:
    """RING number of each NESTED pixel."""
    return pixelisation(nside, "NEST").nest2ring(np.arange(12 * nside**2)).astype(np.int32)
