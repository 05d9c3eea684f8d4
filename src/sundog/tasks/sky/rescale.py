"""Other frequencies, units, beams and frames of a sky."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.sky.sphere import (
    analysis,
    gaussian_beam,
    lmax_of,
    nside_of,
    pixelisation,
    rotated,
    scaled,
    synthesis,
)
from sundog.errors import OptionError
from sundog.simulate.frequency import T_CMB, convert, sz_spectrum, thermodynamic_to_intensity
from sundog.simulate.sky import SkyMaps

Array = NDArray[Any]
FRAMES = ("icrs", "galactic", "ecliptic")
_BLOCK = 1_000_000


@dataclass(frozen=True, eq=False)
class SpectralIndices:
    """Law of the index alpha(nu) of S(nu) = S(148) (nu / 148)^alpha: Gaussian, correlated between bands.

    mean : (5,); covariance : (5, 5), at ``BANDS``; between bands alpha is linear in ln nu, beyond them constant.
    Numbers: the Sehgal et al. 2010 sources as measured for Han, Sehgal & Villaescusa-Navarro 2021, arXiv 2105.11444
    (their public data files ``spectra_index``).
    """

    mean: Array
    covariance: Array

    def draw(self, nu_ghz: float, count: int, rng: np.random.Generator) -> Array:
        """(count,) indices at a frequency; the same generator gives the same sources at every frequency."""
        weight = self.weights(nu_ghz)
        root = np.linalg.cholesky(self.covariance).astype(np.float32)
        return rng.standard_normal((count, len(BANDS)), np.float32) @ (root.T @ weight) + np.float32(self.mean @ weight)

    def weights(self, nu_ghz: float) -> Array:
        """(5,) by which the indices of the bands make that of a frequency."""
        return np.array([np.interp(math.log(nu_ghz), np.log(BANDS), unit) for unit in np.eye(len(BANDS))], np.float32)


BANDS = np.array([30.0, 90.0, 219.0, 277.0, 350.0])
REFERENCE = 148.0
INDICES = {
    "cib": SpectralIndices(
        np.array([3.30441823, 3.2027506, 2.9728809, 2.87043785, 2.74548628]),
        np.array([[0.01924419, 0.03109481, -0.03601933, -0.02111375, -0.01388685],
                  [0.03109481, 0.19529985, -0.11804429, -0.07088062, -0.04851643],
                  [-0.03601933, -0.11804429, 0.32170049, 0.11036153, 0.08731344],
                  [-0.02111375, -0.07088062, 0.11036153, 0.13814279, 0.06504608],
                  [-0.01388685, -0.04851643, 0.08731344, 0.06504608, 0.09069101]])),
    "radio": SpectralIndices(
        np.array([-0.79922867, -0.81122324, -0.81998951, -0.82183148, -0.82343421]),
        np.array([[0.02491235, 0.01987074, 0.01137748, 0.00875956, 0.00609938],
                  [0.01987074, 0.02084420, 0.01689073, 0.01514662, 0.01319729],
                  [0.01137748, 0.01689073, 0.01828846, 0.01789095, 0.01716469],
                  [0.00875956, 0.01514662, 0.01789095, 0.01789296, 0.01755533],
                  [0.00609938, 0.01319729, 0.01716469, 0.01755533, 0.01760844]])),
}


def rescale(maps: SkyMaps, to_ghz: float, *, t_cmb: float = T_CMB, seed: int = 0, scatter: bool = True) -> SkyMaps:
    """The same sky at another frequency, uK_CMB; a new SkyMaps in memory.

    kappa and kSZ do not change; tSZ follows g(to)/g(from); CIB and radio go to Jy/sr, are multiplied by
    (nu/148)^alpha with an index drawn for each pixel, and come back.

    Parameters
    ----------
    maps : at 148 GHz
    t_cmb : kelvin; enters at 1e-4
    seed : of the indices; skies at several frequencies with one seed belong together
    scatter : False gives every pixel the mean index. Where a pixel holds many sources, their indices average out: the
        scatter of single sources then overstates how much the bands decorrelate

    Raises
    ------
    OptionError : maps of another frequency, or a frequency outside 20 to 500 GHz.

    Example
    -------
    >>> ones = np.ones(768, np.float32)
    >>> sky = rescale(SkyMaps(ones, ones, ones, ones, ones), 350.0, scatter=False)
    >>> [round(float(values[0]), 3) for _, values in sky]
    [1.0, -2.237, 1.0, 13.823, 0.64]
    """
    if not math.isclose(maps.frequency_ghz, REFERENCE):
        raise OptionError("cannot rescale these maps", got=f"{maps.frequency_ghz:g} GHz", expected="148 GHz",
                          do="start from the simulated sky: indices are known from 148 GHz only")
    if not 20 <= to_ghz <= 500:
        raise OptionError("frequency out of range", got=f"{to_ghz:g} GHz", expected="20 to 500 GHz",
                          do="indices are measured between 30 and 350 GHz")
    brightness = thermodynamic_to_intensity(REFERENCE, t_cmb) / thermodynamic_to_intensity(to_ghz, t_cmb)
    colour = np.float32(sz_spectrum(to_ghz, t_cmb) / sz_spectrum(REFERENCE, t_cmb))
    sources = {name: _scaled_sources(np.asarray(getattr(maps, name)), name, to_ghz, seed, scatter, float(brightness))
               for name in INDICES}
    facts = {**maps.provenance, "rescaled_from_ghz": REFERENCE, "index_seed": seed, "t_cmb": t_cmb}
    return replace(maps, tsz=maps.tsz * colour, cib=sources["cib"], radio=sources["radio"],
                   frequency_ghz=float(to_ghz), provenance=facts)


def _scaled_sources(values: Array, name: str, to_ghz: float, seed: int, scatter: bool, brightness: float) -> Array:
    law, ratio = INDICES[name], math.log(to_ghz / REFERENCE)
    if not scatter:
        return values * np.float32(brightness * math.exp(ratio * float(law.mean @ law.weights(to_ghz))))
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    out = np.empty_like(values)
    for i in range(0, len(values), _BLOCK):
        part = values[i : i + _BLOCK]
        out[i : i + _BLOCK] = part * np.exp(np.float32(ratio) * law.draw(to_ghz, len(part), rng))
    out *= np.float32(brightness)
    return out


def in_unit(maps: SkyMaps, unit: str, t_cmb: float = T_CMB) -> dict[str, Array]:
    """tsz, ksz, cib and radio in K_CMB, mK_CMB, Jy/sr, MJy/sr, or (tsz alone) Compton y; kappa as it is.

    Example
    -------
    >>> ones = np.ones(768, np.float32)
    >>> round(float(in_unit(SkyMaps(ones, ones, ones, ones, ones), "MJy/sr")["cib"][0]) * 1e6, 2)
    393.35
    """
    names = ("tsz",) if unit == "y" else ("tsz", "ksz", "cib", "radio")
    found = {name: convert(getattr(maps, name), "uK_CMB", unit, maps.frequency_ghz, t_cmb) for name in names}
    return {"kappa": maps.kappa, **found}


def with_beam(maps: SkyMaps, fwhm_arcmin: float, *, threads: int = 1) -> SkyMaps:
    """The sky through a Gaussian beam; all five maps, in memory.

    Example
    -------
    >>> peak = np.zeros(3072, np.float32); peak[1500] = 1.0
    >>> sky = with_beam(SkyMaps(peak, peak, peak, peak, peak), 600.0)
    >>> bool(abs(sky.cib.sum() - 1) < 0.05), bool(sky.cib[1500] < 0.5)
    (True, True)
    """
    if not 0 < fwhm_arcmin < 5400:
        raise OptionError("beam out of range", got=f"{fwhm_arcmin} arcmin", expected="a FWHM above 0 arcmin",
                          do="pass e.g. fwhm_arcmin=1.4")

    def through(values: Array) -> Array:
        nside = nside_of(values)
        alm = analysis(np.asarray(values, np.float32), 3 * nside - 1, iterations=1, threads=threads)
        return synthesis(scaled(alm, gaussian_beam(lmax_of(alm), fwhm_arcmin)), nside, threads=threads)

    return _each(maps, through, through, {"beam_fwhm_arcmin": fwhm_arcmin})


def in_frame(maps: SkyMaps, frame: str, *, threads: int = 1) -> SkyMaps:
    """The sky in other coordinates: kappa, tSZ, kSZ turned in harmonic space, CIB and radio pixel by pixel.

    Turning a source in harmonic space would ring; pixel by pixel it moves by at most half a pixel, and a few per cent
    of the pixels are seen twice or never.

    Raises
    ------
    OptionError : an unknown frame.
    """
    if frame not in FRAMES or maps.frame not in FRAMES:
        raise OptionError("unknown frame", got=f"{maps.frame} to {frame}", expected=" | ".join(FRAMES),
                          do="name one of these frames")
    turn = rotation(maps.frame, frame)

    def harmonic(values: Array) -> Array:
        nside = nside_of(values)
        alm = analysis(np.asarray(values, float), threads=threads)
        return synthesis(rotated(alm, *euler_angles(turn), threads=threads), nside, threads=threads).astype(np.float32)

    def by_pixel(values: Array) -> Array:
        grid = pixelisation(nside_of(values))
        there = grid.pix2vec(np.arange(len(values)))
        return np.asarray(values)[grid.vec2pix(there @ turn)]

    return replace(_each(maps, harmonic, by_pixel, {}), frame=frame)


def rotation(frame: str, to: str) -> Array:
    """(3, 3) matrix that turns directions of one frame into those of another."""
    from astropy.coordinates import SkyCoord

    names = {"icrs": "icrs", "galactic": "galactic", "ecliptic": "barycentricmeanecliptic"}
    axes = SkyCoord([0.0, 90.0, 0.0], [0.0, 0.0, 90.0], unit="deg", frame=names[frame])
    there = axes.transform_to(names[to]).cartesian.xyz.value
    return np.asarray(there / np.linalg.norm(there, axis=0))


def euler_angles(turn: Array) -> tuple[float, float, float]:
    """(psi, theta, phi) with turn = R_z(phi) R_y(theta) R_z(psi), radians."""
    theta = math.acos(min(1.0, max(-1.0, turn[2, 2])))
    if math.sin(theta) < 1e-12:
        return math.atan2(turn[1, 0], turn[0, 0]), theta, 0.0
    return math.atan2(turn[2, 1], -turn[2, 0]), theta, math.atan2(turn[1, 2], turn[0, 2])


def _each(maps: SkyMaps, extended: Callable[[Array], Array], sources: Callable[[Array], Array],
          facts: dict[str, Any]) -> SkyMaps:
    kappa, tsz, ksz = (extended(np.asarray(values)) for values in (maps.kappa, maps.tsz, maps.ksz))
    return replace(maps, kappa=kappa, tsz=tsz, ksz=ksz, cib=sources(np.asarray(maps.cib)),
                   radio=sources(np.asarray(maps.radio)), provenance={**maps.provenance, **facts})
