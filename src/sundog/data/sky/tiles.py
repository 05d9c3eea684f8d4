"""Tiles: the whole sphere in overlapping tangent planes, none of which knows where the pole is.

Tiles stand in rows of constant colatitude. Each is a gnomonic (tangent-plane) image around its own centre: x runs east,
y runs south, a direction n has x = n.e_phi / n.n0, y = n.e_theta / n.n0. A row holds as many tiles as its edge towards
the equator needs, so that no gap opens near the poles; the two poles are the centres of one tile each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from sundog.data.sky.sphere import ARCMIN, lmax_of, ring_values
from sundog.data.sky.splines import ORDER, coefficients, sampling_matrix
from sundog.errors import OptionError

Array = NDArray[Any]
MARGIN = (ORDER - 1) // 2  # pixels at the edge of a tile that only help to interpolate
_OVERSAMPLING = 2.5  # of the band that tiles are read from, over its band limit
_BLOCK = 400_000  # points interpolated at once


@dataclass(frozen=True)
class TileLayout:
    """Tiles of ``size`` pixels of ``pixel_arcmin``, neighbours sharing ``overlap`` pixels.

    Example
    -------
    >>> layout = TileLayout(size=32, pixel_arcmin=30.0, overlap=10)
    >>> layout.rows, layout.count(0), layout.number
    (18, 1, 390)
    """

    size: int = 128
    pixel_arcmin: float = 2.0
    overlap: int = 20

    def __post_init__(self) -> None:
        if self.size < 16 or not 2 * MARGIN + 4 <= self.overlap <= self.size // 2:
            raise OptionError("impossible tiles", got=f"size {self.size}, overlap {self.overlap}",
                              expected=f"size >= 16 and {2 * MARGIN + 4} <= overlap <= size / 2",
                              do="pass e.g. size=128, overlap=20")
        if not self.pixel_arcmin > 0:
            raise OptionError("pixels without a size", got=f"{self.pixel_arcmin:g} arcmin", expected="more than 0",
                              do="leave it out for pixels as wide as those of the map")
        if not self.side <= math.radians(40):
            raise OptionError("tiles too large for a tangent plane", got=f"{math.degrees(self.side):.1f} degrees",
                              expected="at most 40 degrees", do="use smaller pixels or fewer of them")

    @property
    def pixel(self) -> float:
        """Radians (in the tangent plane)."""
        return self.pixel_arcmin * ARCMIN

    @property
    def side(self) -> float:
        """Radians."""
        return self.size * self.pixel

    @property
    def rows(self) -> int:
        """Rows of tiles, the two poles included."""
        return math.ceil(math.pi / ((self.size - self.overlap) * self.pixel)) + 1

    @property
    def step(self) -> float:
        """Distance of neighbouring rows, radians."""
        return math.pi / (self.rows - 1)

    @property
    def number(self) -> int:
        """Tiles on the sphere."""
        return sum(self.count(row) for row in range(self.rows))

    def theta(self, row: int) -> float:
        """Colatitude of a row."""
        return row * self.step

    def count(self, row: int) -> int:
        """Tiles in a row: its circumference half a step towards the equator, over the step."""
        if row in (0, self.rows - 1):
            return 1
        towards = min(math.pi / 2, min(row, self.rows - 1 - row) * self.step + self.step / 2)
        return math.ceil(2 * math.pi * math.sin(towards) / ((self.size - self.overlap) * self.pixel))

    def longitudes(self, row: int) -> Array:
        """(n,) of the tile centres of a row."""
        return 2 * math.pi * np.arange(self.count(row)) / self.count(row)

    def directions(self, row: int) -> tuple[Array, Array]:
        """Colatitudes and longitudes (from the centre) of the pixels of a tile of a row, (size, size) each."""
        offset = (np.arange(self.size) - 0.5 * (self.size - 1)) * self.pixel
        y, x = offset[:, None], offset[None, :]
        sin, cos = math.sin(self.theta(row)), math.cos(self.theta(row))
        meridian, height = sin + y * cos + 0 * x, cos - y * sin + 0 * x
        return np.arctan2(np.hypot(meridian, x), height), np.arctan2(x + 0 * y, meridian)

    def plane(self, row: int, theta: Array, longitude: Array) -> tuple[Array, Array]:
        """(row, column) in pixels, of directions whose longitude counts from the centre of the tile; NaN behind."""
        sin, cos = math.sin(self.theta(row)), math.cos(self.theta(row))
        across = np.sin(theta) * np.cos(longitude)
        depth = np.cos(theta) * cos + across * sin
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(depth > 0.1, 1 / (depth * self.pixel), np.nan)
        centre = 0.5 * (self.size - 1)
        return ((across * cos - np.cos(theta) * sin) * inverse + centre,
                np.sin(theta) * np.sin(longitude) * inverse + centre)

    def taper(self, row: Array, column: Array) -> Array:
        """Weight of a place in its tile: sin^2 flanks over the overlap in both directions, 0 outside."""
        flank = self.overlap - 1 - 2 * MARGIN
        depth = [np.minimum(x, self.size - 1 - x) - MARGIN for x in (row, column)]
        return np.prod([np.sin(math.pi / 2 * np.clip(d / flank, 0, 1)) ** 2 for d in depth], axis=0)

    def covering(self, row: int, theta: Array, phi: Array) -> Iterator[tuple[Array, Array, Array, Array, Array]]:
        """Which tiles of a row see which directions: (direction, tile, row in it, column in it, weight), all (m,)."""
        n = self.count(row)
        reach = np.abs(self.directions(row)[1]).max() if n > 1 else math.pi
        first = np.rint(phi * (n / (2 * math.pi))).astype(np.int64)
        sides = min(math.ceil(reach / (2 * math.pi / n)), n // 2)
        near = np.abs(theta - self.theta(row)) < 0.75 * self.side
        for shift in range(-sides, min(sides, n - 1 - sides) + 1):
            tile = (first + shift) % n
            longitude = phi - tile * (2 * math.pi / n)
            seen = near & (np.abs(np.mod(longitude + math.pi, 2 * math.pi) - math.pi) <= reach + 1e-9)
            chosen = np.flatnonzero(seen)
            y, x = self.plane(row, theta[chosen], longitude[chosen])
            weight = np.nan_to_num(self.taper(np.nan_to_num(y, nan=-1.0), np.nan_to_num(x, nan=-1.0)))
            inside = weight > 0
            yield chosen[inside], tile[chosen[inside]], y[inside], x[inside], weight[inside]


def read_row(alm: Array, layout: TileLayout, row: int, *, threads: int = 1) -> Array:
    """The tiles of a row cut from a sky given by its coefficients, (tiles, size, size) float32.

    A band of rings around the row is synthesised at 2.5 times the band limit and interpolated with quintic splines;
    rings beyond a pole are those on its other side, turned by 180 degrees.
    """
    theta, longitude = layout.directions(row)
    n_phi = next_fast_len(2 * math.ceil(_OVERSAMPLING * max(lmax_of(alm), 8)), real=True)
    n_phi += n_phi % 2
    step, margin = 2 * math.pi / n_phi, 16
    low, high = math.floor(theta.min() / step - 0.5) - margin, math.ceil(theta.max() / step - 0.5) + margin
    tables = coefficients(_band(alm, low, high, n_phi, threads), wrap=True)[None]
    rows = (theta / step - 0.5 - low).ravel()
    tiles = []
    for centre in layout.longitudes(row):
        columns = np.mod(longitude.ravel() + centre, 2 * math.pi) / step
        matrix = sampling_matrix(np.zeros(len(rows), np.int64), rows, columns, tables.shape, wrap=True)
        tiles.append((matrix @ tables.reshape(-1)).reshape(layout.size, layout.size))
    return np.stack(tiles).astype(np.float32)


def _band(alm: Array, low: int, high: int, n_phi: int, threads: int) -> Array:
    """Rings low ... high - 1 at colatitudes (k + 1/2) 2 pi / n_phi; those past a pole seen from the other side."""
    half = n_phi // 2
    number = np.arange(low, high)
    mirrored = (number < 0) | (number >= half)
    real = np.where(number < 0, -1 - number, np.where(number >= half, 2 * half - 1 - number, number))
    needed, place = np.unique(real, return_inverse=True)
    values = ring_values(alm, (needed + 0.5) * (2 * math.pi / n_phi), n_phi, threads=threads)[place]
    values[mirrored] = np.roll(values[mirrored], half, axis=1)
    return values


def _by_pixel(images: Array) -> Array:
    """(n, c, ny, nx) -> (n ny nx, c): the channels of a pixel side by side, also when there are none."""
    n, c, ny, nx = images.shape
    return np.ascontiguousarray(np.moveaxis(images, 1, -1)).reshape(n * ny * nx, c)


@dataclass(eq=False)
class Blend:
    """Overlapping tiles summed over the directions of a band, and what they give.

    ``weight`` sum w; ``square`` sum w^2; ``mean`` sum w t; ``half`` sum w d, for tiles given twice with independent
    noise: t = (a + b)/2, d = (a - b)/2; ``best`` the largest w so far, for channels that are taken from one tile.

        x = sum w t / sum w + sqrt((2 - S)/S) sum w d / sum w,   S = sum w^2 / (sum w)^2.

    What both draws share goes through with weights of sum one, unchanged. Independent noise has the variance
    S/2 + (2 - S)/S S/2 = 1 wherever tiles meet: plain averaging would leave S, weights sqrt(w) would spoil the mean.
    """

    channels: int
    weight: Array
    square: Array
    mean: Array
    half: Array
    best: Array

    @staticmethod
    def empty(channels: int, n: int) -> Blend:
        """For n directions."""
        weight, square, best = (np.zeros(n, np.float32) for _ in range(3))
        mean, half = (np.zeros((n, channels), np.float32) for _ in range(2))
        return Blend(channels, weight, square, mean, half, best)

    def add(self, layout: TileLayout, row: int, sky: tuple[Array, Array], tiles: Array,
            single: tuple[int, ...] = ()) -> None:
        """The tiles of a row, (draws, tiles, channels, size, size) with one or two draws.

        Parameters
        ----------
        sky : colatitudes and longitudes of the band
        single : channels taken from the tile of largest weight, nearest pixel: point sources stay whole
        """
        smooth = [c for c in range(self.channels) if c not in single]
        t, d = (tiles.mean(0), 0.5 * (tiles[0] - tiles[1])) if len(tiles) == 2 else (tiles[0], None)
        parts = t[:, smooth] if d is None else np.concatenate([t[:, smooth], d[:, smooth]], 1)
        table, points = _by_pixel(coefficients(parts) if smooth else parts), _by_pixel(tiles[0][:, list(single)])
        shape = (len(t), layout.size, layout.size)
        for place, tile, y, x, w in layout.covering(row, *sky):
            for i in range(0, len(place), _BLOCK):
                cut = slice(i, i + _BLOCK)
                p, weight = place[cut], w[cut].astype(np.float32)
                self.weight[p] += weight
                self.square[p] += weight**2
                if smooth:
                    values = sampling_matrix(tile[cut], y[cut], x[cut], shape) @ table
                    self.mean[p[:, None], smooth] += weight[:, None] * values[:, : len(smooth)]
                    if d is not None:
                        self.half[p[:, None], smooth] += weight[:, None] * values[:, len(smooth) :]
                if single:
                    better = weight > self.best[p]
                    chosen = sampling_matrix(tile[cut][better], y[cut][better], x[cut][better], shape, order=0)
                    self.mean[p[better][:, None], list(single)] = chosen @ points
                    self.best[p[better]] = weight[better]

    def result(self, single: tuple[int, ...] = ()) -> Array:
        """(channels, n) float32."""
        out = np.empty((self.channels, len(self.weight)), np.float32)
        share = self.square / self.weight**2
        gain = np.sqrt(np.maximum(2 - share, 0) / share) / self.weight
        for c in range(self.channels):
            out[c] = self.mean[:, c] if c in single else self.mean[:, c] / self.weight + gain * self.half[:, c]
        return out
