"""Points on the sphere: a Poisson process of given intensity, one point set for one seed at every resolution.

The sphere is cut into blocks; each holds a Poisson number of points, drawn by its quantile function from a number of
its own, and each point has random numbers of its own, counted inside its block. So a slightly different intensity, as
that of another NSIDE, moves points by little, adds few and takes few away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from sundog.data.sky.sphere import nside_of, pixelisation

Array = NDArray[Any]
_BLOCKS = 16  # NSIDE of the blocks, at most
_MANY = 100_000  # points from which a search block by block is faster


@dataclass(frozen=True, eq=False)
class Points:
    """Points drawn by `scatter`, block by block.

    Attributes
    ----------
    nside : of the intensity; pixel : (n,) NESTED there; inside : (n,) where in the pixel, in [0, 1) along its Z curve
    counter : (n,) uint64, different for every point; key : of its random numbers
    """

    nside: int
    pixel: Array
    inside: Array
    counter: Array
    key: int

    def __len__(self) -> int:
        return len(self.pixel)

    def pixels(self, nside: int) -> Array:
        """(n,) RING pixels of a map as fine as the intensity or finer."""
        factor = (nside // self.nside) ** 2
        nested = self.pixel.astype(np.int64) * factor + (self.inside * factor).astype(np.int64)
        return pixelisation(nside, "NEST").nest2ring(nested)

    def uniform(self, which: int) -> Array:
        """(n,) float32 in (0, 1]: the random numbers number ``which`` = 1, 2 ... of each point."""
        bits = hashed(self.counter, self.key + which)
        return ((bits >> np.uint64(40)).astype(np.float32) + np.float32(1)) * np.float32(2**-24)


def scatter(expected: Array, rng: np.random.Generator) -> Points:
    """Points of a Poisson process, its mean in each RING pixel being ``expected`` (12 NSIDE^2,).

    Example
    -------
    >>> mean = np.where(np.arange(3072) < 1536, 2.0, 0.0)
    >>> drawn = scatter(mean, np.random.default_rng(0)).pixels(16)
    >>> bool(abs(len(drawn) - 3072) < 4 * 3072**0.5), bool(drawn.max() < 1536)
    (True, True)
    """
    nside = nside_of(expected)
    blocks = 12 * min(nside, _BLOCKS) ** 2
    key, quantile = int(rng.integers(2**62)), rng.random(blocks)
    ends = np.concatenate([[0.0], np.cumsum(expected[_nested(nside)], dtype=np.float64)])
    size = len(expected) // blocks
    edges = ends[::size]
    counts = poisson.ppf(quantile, np.maximum(np.diff(edges), 1e-300)).astype(np.int64)
    block = np.repeat(np.arange(blocks, dtype=np.uint64), counts)
    first = np.cumsum(counts) - counts
    counter = (block << np.uint64(32)) + (np.arange(len(block)) - np.repeat(first, counts)).astype(np.uint64)
    uniform = (hashed(counter, key) >> np.uint64(11)).astype(np.float64) * 2**-53
    height = uniform * np.repeat(np.diff(edges), counts)
    height += np.repeat(edges[:-1], counts)
    pixel = _found(ends, height, counts, size)
    low = ends[pixel]
    inside = np.clip((height - low) / np.maximum(ends[pixel + 1] - low, 1e-300), 0, 1 - 2**-30)
    return Points(nside, pixel, inside, counter, key)


def _found(ends: Array, height: Array, counts: Array, size: int) -> Array:
    """Number of the pixel in which each height of the cumulated mean lies."""
    if len(height) < _MANY or size == 1:
        return np.clip(np.searchsorted(ends, height, side="right") - 1, 0, len(ends) - 2).astype(np.int32)
    pixel, stop = np.empty(len(height), np.int32), 0
    for block in np.flatnonzero(counts):
        start, stop = stop, stop + counts[block]
        inner = ends[block * size + 1 : (block + 1) * size]
        pixel[start:stop] = inner.searchsorted(height[start:stop], side="right")
        pixel[start:stop] += block * size
    return pixel


def hashed(counter: Array, key: int) -> Array:
    """64 random bits for each number of a uint64 array: SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 15)."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(hash_of(key))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


def hash_of(key: int) -> int:
    """A key spread over 64 bits."""
    return key * 0xD1342543DE82EF95 % 2**64


@lru_cache(maxsize=4)
def _nested(nside: int) -> Array:
    """RING number of each NESTED pixel."""
    return pixelisation(nside, "NEST").nest2ring(np.arange(12 * nside**2)).astype(np.int32)
