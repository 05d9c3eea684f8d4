"""Points on the sphere: a Poisson process of given intensity, one point set for one seed at every resolution.

The sphere is cut into blocks; each holds a Poisson number of points, drawn by its quantile function from a number of
its own, and each point has random numbers of its own, counted inside its block. So a slightly different intensity, as
that of another NSIDE, moves points by little, adds few and takes few away.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from sundog.data.sky.sphere import pixelisation

Array = NDArray[Any]
FINEST = 512  # NSIDE at which points are placed; below, they are spread inside its pixels
_BLOCKS = 16  # NSIDE of the blocks
_LARGE = 2**25  # bytes, NSIDE 1024: of less it is not worth the time
_AT_ONCE, _PIXELS = 50_000, 2**18  # points, pixels: few enough for the cache


@dataclass(frozen=True)
class Region:
    """The part of a map that is drawn: all of it, or what is nearer to the north pole than ``radius`` (radians).

    In RING order it is the first pixels of the map. In NESTED order it is all pixels of the blocks, of NSIDE 16, that
    it touches, numbered on through them: what is said here to be NESTED.

    Example
    -------
    >>> Region(64).pixels, Region(64, 0.2).pixels, len(Region(64, 0.2).blocks), len(Region(64, 0.2).ring)
    (49152, 480, 60, 960)
    """

    nside: int
    radius: float = math.pi

    @property
    def rings(self) -> int | None:
        """Number of its rings; None for all."""
        return None if self.radius >= math.pi else _rings_within(self.nside, self.radius)

    @property
    def pixels(self) -> int:
        """Number of its RING pixels."""
        return 12 * self.nside**2 if self.rings is None else _pixels_of(self.nside, self.rings)

    @property
    def blocks(self) -> Array:
        """NESTED numbers of its blocks on the sphere."""
        return _blocks(self.radius)

    @property
    def ring(self) -> Array:
        """RING number of each of its NESTED pixels."""
        return _ring_of_nested(self.nside, self.radius)

    def nested(self, values: Array, beyond: float = 0) -> Array:
        """A RING map in NESTED order, ``beyond`` where it has no rings."""
        if self.rings is None:
            return values[self.ring]
        found = values[np.minimum(self.ring, len(values) - 1)]
        found[self.ring >= len(values)] = beyond
        return found

    def in_rings(self, nested: Array) -> Array:
        """A NESTED map in RING order."""
        out = np.empty(self.pixels, nested.dtype)
        for ring, values in self._parts(nested):
            out[ring] = values
        return out

    def add(self, target: Array, nested: Array) -> None:
        """Add a NESTED map to a RING map."""
        for ring, values in self._parts(nested):
            target[ring] += values

    def _parts(self, nested: Array) -> Iterator[tuple[Array, Array]]:
        """RING numbers and values of a NESTED map, a piece at a time."""
        for some in pieces(len(nested)):
            ring, values = self.ring[some], nested[some]
            if self.rings is None:
                yield ring, values
            else:
                inside = ring < self.pixels
                yield ring[inside], values[inside]


def pieces(n: int) -> Iterator[slice]:
    """Slices of n pixels, few enough for the cache."""
    return (slice(start, start + _PIXELS) for start in range(0, n, _PIXELS))


def add(target: Array, *factors: Any) -> None:
    """target += the product of maps and numbers, without a map between; then `release`."""
    for some in pieces(len(target)):
        target[some] += reduce(np.multiply, (x[some] if np.ndim(x) else x for x in factors))
    release(target)


def release(target: Array) -> None:
    """Let the memory go that holds a large map of the disk; what was written stays."""
    if isinstance(target, np.memmap) and target.nbytes >= _LARGE and hasattr(mmap, "MADV_DONTNEED"):
        held: Any = target.base
        held.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class Points:
    """Points drawn by `scatter`, block by block.

    Attributes
    ----------
    nside : where they were placed; pixel : (n,) NESTED there, see `Region`
    bits : (n,) uint64 random numbers, of which the highest 40 bits made the place
    height, ends : (n,) and (pixels + 1,) the cumulated mean at each point and at the edges of the pixels
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


def scatter(expected: Array, region: Region, rng: np.random.Generator) -> Iterator[Points]:
    """Points of a Poisson process, its mean in each NESTED pixel of a region being ``expected``; some at a time.

    Placed in pixels of NSIDE 512 at most.

    Example
    -------
    >>> mean = np.where(np.arange(3072) < 1536, 2.0, 0.0)
    >>> drawn = np.concatenate([some.pixels(16) for some in scatter(mean, Region(16), np.random.default_rng(0))])
    >>> bool(abs(len(drawn) - 3072) < 4 * 3072**0.5), bool(drawn.max() < 1536)
    (True, True)
    """
    nside = min(region.nside, FINEST)
    if nside < region.nside:
        expected = expected.reshape(-1, (region.nside // nside) ** 2).sum(1, dtype=np.float64)
    blocks, size = region.blocks, (nside // _BLOCKS) ** 2
    key, quantile = np.uint64(rng.integers(2**63)), rng.random(12 * _BLOCKS**2)[blocks]
    ends = np.concatenate([[0.0], np.cumsum(expected, dtype=np.float64)])
    edges = ends[::size]
    counts = poisson.ppf(quantile, np.maximum(np.diff(edges), 1e-300)).astype(np.int64)
    last = np.cumsum(counts)
    parts = np.unique(np.searchsorted(last, np.arange(0, last[-1] + _AT_ONCE, _AT_ONCE)).clip(0, len(blocks) - 1) + 1)
    for start, stop in zip([0, *parts[:-1]], parts):
        block, number = blocks[start:stop].astype(np.uint64), counts[start:stop]
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


def _rings_within(nside: int, radius: float) -> int:
    return max(4, int(np.searchsorted(pixelisation(nside).sht_info()["theta"], radius)))


def _pixels_of(nside: int, rings: int) -> int:
    told = pixelisation(nside).sht_info()
    return int(told["ringstart"][rings - 1] + told["nphi"][rings - 1])


@lru_cache(maxsize=4)
def _blocks(radius: float) -> Array:
    theta = pixelisation(_BLOCKS, "NEST").pix2ang(np.arange(12 * _BLOCKS**2))[:, 0]
    return np.flatnonzero(theta < radius + 1.5 / _BLOCKS)  # its corners are nearer to the middle of a block


@lru_cache(maxsize=4)
def _ring_of_nested(nside: int, radius: float) -> Array:
    size = (nside // _BLOCKS) ** 2
    order, inside = pixelisation(nside, "NEST"), np.arange(size)
    return np.concatenate([order.nest2ring(block * size + inside).astype(np.int32) for block in _blocks(radius)])
