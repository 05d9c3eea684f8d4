"""A mock survey: sampled sources on a noise map with a beam, and the catalogue of what is really there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sundog.errors import OptionError, ShapeError
from sundog.tasks.radio.catalogue import Catalogue
from sundog.tasks.radio.cutouts import Beam, Mosaic, empty_sky, resized

FWHM = math.sqrt(8 * math.log(2))


@dataclass(frozen=True, eq=False)
class Survey:
    """A mosaic, its truth, the row of the sources that each object shows, and the sky without noise."""

    mosaic: Mosaic
    truth: Catalogue
    rows: np.ndarray
    clean: np.ndarray


def mock_survey(
    sources: np.ndarray,
    n: int,
    *,
    size: int = 1000,
    pixel_arcsec: float = 1.5,
    beam_arcsec: float = 6.0,
    rms_mjy: float = 0.1,
    flux_mjy: tuple[float, float] | np.ndarray = (2.0, 500.0),
    slope: float = -1.7,
    las_arcsec: tuple[float, float] | np.ndarray = (15.0, 90.0),
    side_per_las: float = 1.5,
    centre: tuple[float, float] = (180.0, 45.0),
    seed: int = 0,
) -> Survey:
    """``n`` objects at random places of a sky, each a source turned and mirrored, of given size and flux.

    A source image, negatives removed and its sum brought to 1, is the distribution of light of an object. It is
    resized to its side, multiplied by the flux, placed, and the whole sky is smoothed by the beam:
    I [mJy/beam] = (flux per pixel * Gaussian) A_beam, so that sum(I) / A_beam is the flux placed, whatever the
    resizing did. White noise smoothed by the same beam and brought to ``rms_mjy`` is added. Source images that were
    observed through a beam bring that along, scaled with their size: objects are a little softer than the beam.

    Parameters
    ----------
    sources : (m, ny, nx), any unit
    size, pixel_arcsec : of the mosaic
    flux_mjy : of each object (n,), or the range of dN/dS ~ S^slope
    las_arcsec : of each object (n,), or the range of a law that is even in the logarithm; a source image is
        ``side_per_las`` times as wide
    centre : right ascension and declination, degrees

    Raises
    ------
    OptionError, ShapeError : ranges or arrays that do not fit.

    Example
    -------
    >>> blob = np.exp(-((np.mgrid[:16, :16] - 7.5) ** 2).sum(0) / 8)
    >>> survey = mock_survey(blob[None], 3, size=200, flux_mjy=np.array([10.0, 20.0, 30.0]), las_arcsec=(12, 20))
    >>> survey.truth.flux_mjy.tolist(), survey.mosaic.values.shape
    ([10.0, 20.0, 30.0], (200, 200))
    """
    shapes = np.maximum(np.asarray(sources, dtype=np.float64), 0)
    if shapes.ndim != 3 or not (shapes.sum((1, 2)) > 0).all():
        raise ShapeError("sources are not usable images", got=np.shape(sources),
                         expected="(m, ny, nx) with light in each", do="drop empty images")
    finite = np.isfinite([size, pixel_arcsec, beam_arcsec, rms_mjy]).all()
    if n < 1 or min(size, pixel_arcsec, beam_arcsec) <= 0 or rms_mjy < 0 or not finite:
        raise OptionError("an impossible survey", got=f"n={n}, size={size}, pixel {pixel_arcsec}, beam {beam_arcsec}, "
                          f"rms {rms_mjy}", expected="positive numbers", do="correct them")
    draw = np.random.default_rng(seed)
    flux = _drawn(flux_mjy, n, "flux_mjy", lambda u, a, b: _power_law(u, a, b, slope), draw)
    las = _drawn(las_arcsec, n, "las_arcsec", lambda u, a, b: a * (b / a) ** u, draw)
    rows, turns = draw.integers(len(shapes), size=n), draw.integers(8, size=n)
    beam = beam_arcsec / FWHM / pixel_arcsec  # standard deviation in pixels
    area = 2 * math.pi * beam**2
    sky, placed = np.zeros((size, size)), []
    for row, turn, s, theta in zip(rows, turns, flux, las):
        side = max(1, round(side_per_las * theta / pixel_arcsec))
        placed.append(_place(sky, s * _object(shapes[row], int(turn), side), draw))
    clean = area * _smoothed(sky, beam)
    noise = _smoothed(draw.normal(size=(size, size)), beam, "wrap")
    mosaic = empty_sky(size, pixel_arcsec, ra=centre[0], dec=centre[1], beam=Beam(beam_arcsec, beam_arcsec))
    y, x = np.array(placed).T
    ra, dec = mosaic.position_of(x, y)
    near = [clean[max(0, round(b) - 3) : round(b) + 4, max(0, round(a) - 3) : round(a) + 4].max() for b, a in zip(y, x)]
    truth = Catalogue.of({"name": [f"mock {i}" for i in range(n)], "ra": ra, "dec": dec, "las_arcsec": las,
                          "flux_mjy": flux, "peak_mjy": np.array(near)})
    values = clean + (rms_mjy / noise.std() if rms_mjy > 0 else 0.0) * noise
    return Survey(Mosaic(values, mosaic.wcs, pixel_arcsec, mosaic.beam), truth, rows, clean)


def _object(shape: np.ndarray, turn: int, side: int) -> np.ndarray:
    """The light of an object, sum 1, turned and mirrored, (side, side)."""
    turned = np.rot90(shape.T if turn & 4 else shape, turn & 3)
    light = np.maximum(resized(turned, side), 0) if side > 1 else np.ones((1, 1))
    return np.asarray(light / light.sum() if light.sum() > 0 else np.full((side, side), 1 / side**2))


def _place(sky: np.ndarray, light: np.ndarray, draw: np.random.Generator) -> tuple[float, float]:
    """Add the light at a random whole-pixel place, all of it inside where it fits; returns its centre (y, x)."""
    side, size = len(light), len(sky)
    if side >= size:
        raise OptionError("an object is larger than the sky", got=f"{side} pixels", expected=f"below {size}",
                          do="pass a larger size or smaller las_arcsec")
    low, left = (int(v) for v in draw.integers(size - side + 1, size=2))
    sky[low : low + side, left : left + side] += light
    return low + (side - 1) / 2, left + (side - 1) / 2


def _smoothed(sky: np.ndarray, sigma: float, mode: str = "constant") -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(sky, sigma, mode=mode, truncate=6.0))


def _power_law(u: np.ndarray, low: float, high: float, slope: float) -> np.ndarray:
    """Quantiles of dN/dS ~ S^slope between low and high."""
    if abs(slope + 1) < 1e-9:
        return np.asarray(low * (high / low) ** u)
    a, b = low ** (slope + 1), high ** (slope + 1)
    return np.asarray((a + u * (b - a)) ** (1 / (slope + 1)))


def _drawn(given: tuple[float, float] | np.ndarray, n: int, what: str, law: object, draw: np.random.Generator
           ) -> np.ndarray:
    if isinstance(given, tuple):
        if len(given) != 2 or not 0 < given[0] < given[1]:
            raise OptionError(f"impossible range {what}", got=given, expected="0 < low < high", do="correct it")
        return np.asarray(law(draw.random(n), *given))  # type: ignore[operator]
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (n,) or not (values > 0).all():
        raise ShapeError(f"{what} does not fit", got=values.shape, expected=f"({n},) numbers above 0",
                         do="pass one per object, or a range (low, high)")
    return values
