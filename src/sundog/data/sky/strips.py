"""Strips: the sky turned, its equatorial belt laid flat (CAR), and square patches cropped from it at random.

Near its equator a CAR map is nearly undistorted (1.5 % at 10 degrees); turning the sky 25 times brings all of it there.
A strip is written or held once; patches are views of it, cropped when asked for and never stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sundog.data.atomic import write_text
from sundog.data.dataset import Dataset
from sundog.data.sky.sphere import ring_values, rotated
from sundog.errors import OptionError, ShapeError

Array = NDArray[Any]
# Turns about the z axis and then the y axis, degrees: the 25 of Han et al. 2021 (arXiv 2105.11444, public code).
ROTATIONS = ((0.0, 0.0), *((float(z), float(y)) for z in range(0, 90, 15) for y in range(20, 100, 20)))


@dataclass(frozen=True, eq=False)
class Sources:
    """Point sources: directions and the flux of each (map unit times steradian).

    theta, phi : (n,) radians; flux : (n,)
    """

    theta: Array
    phi: Array
    flux: Array

    def __post_init__(self) -> None:
        if not len(self.theta) == len(self.phi) == len(self.flux):
            raise ShapeError("a catalogue of unequal columns", got=[len(self.theta), len(self.phi), len(self.flux)],
                             expected="one theta, phi and flux per source", do="check the catalogue")

    def __len__(self) -> int:
        return len(self.flux)

    def turned(self, about_z: float, about_y: float) -> Sources:
        """The sources after the sky was turned by two angles (radians), as ``rotated(alm, about_z, about_y, 0)``."""
        phi, sin = self.phi + about_z, np.sin(self.theta)
        x, y, z = sin * np.cos(phi), sin * np.sin(phi), np.cos(self.theta)
        x, z = math.cos(about_y) * x + math.sin(about_y) * z, math.cos(about_y) * z - math.sin(about_y) * x
        return Sources(np.arctan2(np.hypot(x, y), z), np.mod(np.arctan2(y, x), 2 * math.pi), self.flux)


@dataclass(frozen=True, eq=False)
class Strip:
    """The belt around the equator of a turned sky.

    values : (channels, ny, nx) float32; row 0 is the northernmost, columns run east and wrap around
    pixel_arcmin : of a pixel, in latitude and along the equator
    """

    values: Array
    names: tuple[str, ...]
    pixel_arcmin: float
    rotation: tuple[float, float]

    @property
    def theta(self) -> Array:
        """(ny,) colatitudes of the rows."""
        ny = self.values.shape[-2]
        return math.pi / 2 + (np.arange(ny) - 0.5 * (ny - 1)) * 2 * math.pi / self.values.shape[-1]

    def crop(self, row: int, column: int, size: int) -> Array:
        """(channels, size, size), a copy; columns wrap around."""
        nx = self.values.shape[-1]
        column %= nx
        if column + size <= nx:
            return np.array(self.values[:, row : row + size, column : column + size])
        parts = self.values[:, row : row + size, column:], self.values[:, row : row + size, : column + size - nx]
        return np.concatenate(parts, -1)


def equatorial_strip(fields: Mapping[str, Array | Sources], *, pixel_arcmin: float = 2.0,
                     half_height_deg: float = 10.0, rotation: tuple[float, float] = (0.0, 0.0),
                     out: str | Path | None = None, threads: int = 1) -> Strip:
    """The strip of a sky turned by ``rotation`` (degrees about z, then about y).

    Parameters
    ----------
    fields : name -> harmonic coefficients (extended fields: read exactly at the pixel centres), or Sources (each put
        whole into the pixel that holds it: nothing rings), or a pair of both, which are added
    out : file (.npy) for a memory map; in memory when None

    Raises
    ------
    OptionError : a pixel that does not divide the circle into at least 16, a strip higher than 60 degrees.

    Example
    -------
    >>> spot = Sources(np.array([1.5]), np.array([0.2]), np.array([1.0]))
    >>> strip = equatorial_strip({"radio": spot}, pixel_arcmin=60.0)
    >>> strip.values.shape, int((strip.values > 0).sum())
    ((1, 20, 360), 1)
    """
    nx = round(360 * 60 / pixel_arcmin) if pixel_arcmin > 0 else 0
    ny = 2 * round(half_height_deg * 60 / pixel_arcmin) if pixel_arcmin > 0 else 0
    if nx < 16 or not ny >= 1 or not 0 < half_height_deg <= 60 or not fields:
        raise OptionError("impossible strip", got=f"{pixel_arcmin} arcmin, {half_height_deg} deg, {len(fields)} maps",
                          expected="pixels of some arcmin, at most 60 degrees",
                          do="pass pixel_arcmin=2, half_height_deg=10")
    shape = (len(fields), ny, nx)
    values = np.zeros(shape, np.float32) if out is None else np.lib.format.open_memmap(out, "w+", np.float32, shape)
    strip = Strip(values, tuple(fields), 360 * 60 / nx, rotation)
    psi, theta = (math.radians(angle) for angle in rotation)
    for channel, parts in zip(values, fields.values()):
        for part in parts if isinstance(parts, tuple) else (parts,):
            if isinstance(part, Sources):
                _place(channel, strip.theta, part.turned(psi, theta))
            else:
                turned = part if rotation == (0.0, 0.0) else rotated(part, psi, theta, 0.0, threads=threads)
                channel += ring_values(turned, strip.theta, nx, threads=threads)
    if out is not None:
        values.flush()  # type: ignore[union-attr]
        write_text(Path(out).with_suffix(".txt"), f"{', '.join(fields)}; {strip.pixel_arcmin} arcmin; {rotation}\n")
    return strip


def _place(channel: Array, theta: Array, sources: Sources) -> None:
    """Add the sources to the pixels that hold them, as brightness: flux / solid angle of the pixel."""
    ny, nx = channel.shape
    step = 2 * math.pi / nx
    row = np.rint((sources.theta - theta[0]) / step).astype(np.int64)
    column = np.rint(sources.phi / step).astype(np.int64) % nx
    inside = (row >= 0) & (row < ny)
    area = step * 2 * math.sin(step / 2) * np.sin(theta)
    flat = np.bincount(row[inside] * nx + column[inside], weights=sources.flux[inside], minlength=ny * nx)
    channel += (flat.reshape(ny, nx) / area[:, None]).astype(np.float32)


class SkyPatches(torch.utils.data.Dataset):
    """Random square crops of strips, with flips and quarter turns; a torch Dataset whose items are made when asked for.

    Item i depends on the seed and i alone. Nothing but the strips is held in memory.

    Parameters
    ----------
    strips : of equal names and pixels
    size : side of a patch in pixels; number : how many patches the set claims to have
    augment : flips and quarter turns (skies have no handedness and no up; 8 versions of each patch)

    Example
    -------
    >>> spot = Sources(np.array([1.5]), np.array([0.2]), np.array([1.0]))
    >>> patches = SkyPatches([equatorial_strip({"radio": spot}, pixel_arcmin=60.0)], size=16, number=100)
    >>> len(patches), patches[3].shape, bool((patches[3] == patches[3]).all())
    (100, torch.Size([1, 16, 16]), True)
    """

    def __init__(self, strips: Sequence[Strip], size: int = 128, *, number: int = 200_000, seed: int = 0,
                 augment: bool = True) -> None:
        if not strips or len({(s.names, round(s.pixel_arcmin, 9)) for s in strips}) > 1:
            raise ShapeError("strips do not belong together", got=f"{len(strips)} strips of different names or pixels",
                             expected="one kind", do="make them with the same call")
        if size < 1 or number < 1 or min(s.values.shape[-2] for s in strips) < size:
            raise OptionError("patch does not fit into the strip", got=f"size {size}, number {number}",
                              expected=f"at most {min(s.values.shape[-2] for s in strips)} pixels",
                              do="use a higher strip")
        self.strips, self.size, self.number, self.seed, self.augment = tuple(strips), size, number, seed, augment

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: int) -> Tensor:
        """(channels, size, size) float32."""
        if not -self.number <= i < self.number:
            raise IndexError(i)
        a, b, c = _hashed(self.seed, i % self.number)
        strip = self.strips[a % len(self.strips)]
        ny, nx = strip.values.shape[-2:]
        patch = strip.crop((b >> 8) % (ny - self.size + 1), c % nx, self.size)
        return torch.from_numpy(_turned(patch, b & 7) if self.augment else patch)

    def dataset(self, number: int | None = None, units: Sequence[str] | None = None) -> Dataset:
        """The first ``number`` patches (all when None) as a Dataset of images, for ``sundog.fit`` and ``judge``."""
        count = self.number if number is None else number
        strip = self.strips[0]
        out = torch.empty(count, len(strip.names), self.size, self.size)
        for i in range(count):
            out[i] = self[i]
        facts = {"source": "sundog.data.sky.strips.SkyPatches", "seed": self.seed, "strips": len(self.strips)}
        return Dataset.from_arrays(out, names=strip.names, units=units, pixel_arcmin=strip.pixel_arcmin,
                                   provenance=facts)


def _hashed(seed: int, i: int) -> tuple[int, int, int]:
    """Three 31-bit numbers of (seed, i) by splitmix64: a new generator would cost 100 times more."""
    state, out = ((seed & 0xFFFFFFFF) << 32) ^ i, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = state
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = ((mixed ^ (mixed >> shift)) * factor) & 0xFFFFFFFFFFFFFFFF
        out.append((mixed ^ (mixed >> 31)) >> 33)
    return out[0], out[1], out[2]


def _turned(patch: Array, which: int) -> Array:
    """One of the eight symmetries of a square."""
    patch = patch.swapaxes(-1, -2) if which & 4 else patch
    patch = patch[..., ::-1] if which & 1 else patch
    return np.ascontiguousarray(patch[..., ::-1, :] if which & 2 else patch)
