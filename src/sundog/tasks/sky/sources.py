"""Point sources: found in a map by aperture photometry, taken out of it, put back elsewhere without ringing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.sky.healpix import checked_map
from sundog.data.sky.sphere import nside_of, pixelisation
from sundog.data.sky.strips import Sources
from sundog.errors import OptionError, SampleSizeError

Array = NDArray[Any]
MOST = 2_000_000  # sources: beyond, a threshold finds noise


def find_point_sources(values: Array, *, threshold: float = 5.0, radius_pixels: float = 1.5,
                 annulus_pixels: tuple[float, float] = (2.5, 4.5)) -> tuple[Sources, Array]:
    """The sources of a HEALPix map, brightest first, and the map without them.

    Candidates are pixels brighter than their 8 neighbours by ``threshold`` robust standard deviations above the median
    of the map. The background is the median of a ring around each; the flux sums (pixel - background) over a disc, and
    the disc is then filled with the background. A source closer than ``radius_pixels`` to a brighter one belongs to it.

    Parameters
    ----------
    values : (12 NSIDE^2,) RING map
    radius_pixels, annulus_pixels : of the disc and the ring, in pixel sides; for maps with a beam, 1.5 times its FWHM

    Returns
    -------
    Sources (fluxes in map unit times steradian) and the residual map

    Raises
    ------
    SampleSizeError : more than two million candidates. OptionError : radii that do not nest.

    Example
    -------
    >>> sky = np.random.default_rng(0).normal(size=12 * 16**2); sky[1000] += 100
    >>> found, rest = find_point_sources(sky, threshold=20)
    >>> len(found), bool(abs(rest[1000]) < 5)
    (1, True)
    """
    values = checked_map(values, "the map of sources")
    inner, outer = annulus_pixels
    if not 0 < radius_pixels <= inner < outer:
        raise OptionError("apertures do not nest", got=f"{radius_pixels} and {annulus_pixels}",
                          expected="0 < radius <= inner < outer",
                          do="pass radius_pixels=1.5, annulus_pixels=(2.5, 4.5)")
    nside, residual = nside_of(values), np.array(values, float)
    grid, side = pixelisation(nside), math.sqrt(math.pi / 3) / nside
    taken = np.zeros(len(values), bool)
    kept, flux = [], []
    for pixel, disc, ring in _apertures(grid, _candidates(residual, grid, threshold), side,
                                        (radius_pixels, inner, outer)):
        if taken[pixel]:
            continue
        free = ring[~taken[ring]]
        background = float(np.median(residual[free])) if len(free) else float(np.median(residual[ring]))
        disc = disc[~taken[disc]]
        kept.append(pixel)
        flux.append(float((residual[disc] - background).sum()) * 4 * math.pi / len(values))
        residual[disc] = background
        taken[disc] = True
    angles = grid.pix2ang(np.array(kept, np.int64)).reshape(-1, 2)
    return Sources(angles[:, 0], angles[:, 1], np.array(flux)), residual.astype(values.dtype)


def _candidates(values: Array, grid: Any, threshold: float) -> Array:
    """Pixels above their neighbours and the threshold, brightest first."""
    median = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - median)) or values.std()
    bright = np.flatnonzero(values > median + threshold * spread)
    if len(bright) > MOST:
        raise SampleSizeError("too many candidates for sources", got=len(bright), expected=f"at most {MOST}",
                              do="raise the threshold")
    around = grid.neighbors(bright).reshape(-1, 8)
    highest = np.where(around >= 0, values[around], -np.inf).max(1)
    peaks = bright[values[bright] > highest]
    return peaks[np.argsort(-values[peaks], kind="stable")]


def _apertures(grid: Any, pixels: Array, side: float, radii: tuple[float, float, float]) -> Any:
    for pixel in pixels:
        centre = grid.pix2ang(np.array([pixel]))[0]
        disc, inner, outer = (_disc(grid, centre, r * side) for r in radii)
        yield int(pixel), disc, np.setdiff1d(outer, inner, assume_unique=True)


def _disc(grid: Any, centre: Array, radius: float) -> Array:
    return np.concatenate([np.arange(a, b) for a, b in grid.query_disc(centre, radius)])


def place_sources(values: Array, sources: Sources) -> Array:
    """The HEALPix map with each source added to the pixel that holds it; a copy.

    Example
    -------
    >>> one = Sources(np.array([1.0]), np.array([2.0]), np.array([1.0]))
    >>> float(place_sources(np.zeros(768), one).sum() * 4 * math.pi / 768)
    1.0
    """
    grid = pixelisation(nside_of(values))
    pixels = grid.ang2pix(np.stack([sources.theta, np.mod(sources.phi, 2 * math.pi)], 1))
    weight = sources.flux * (len(values) / (4 * math.pi))
    return values + np.bincount(pixels, weights=weight, minlength=len(values)).astype(values.dtype)
