"""Other frequencies, units, beams and frames of a sky."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import one_of
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
from sundog.simulate.frequency import T_CMB, convert
from sundog.simulate.sky import SkyMaps
from sundog.simulate.sky.components import component
from sundog.simulate.sky.indices import REFERENCE, Band

Array = NDArray[Any]
FRAMES = ("icrs", "galactic", "ecliptic")


def rescale(maps: SkyMaps, to_ghz: float, *, t_cmb: float = T_CMB, seed: int = 0, scatter: bool = True) -> SkyMaps:
    """The same sky at another frequency, uK_CMB; a new SkyMaps in memory.

    Every component scales as `simulate.sky.components` says: kappa and kSZ do not change; tSZ follows g(to)/g(from);
    CIB and radio go to Jy/sr, are multiplied by (nu/148)^alpha with an index drawn for each pixel, and come back.

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
    >>> from sundog.simulate.sky import NAMES
    >>> sky = rescale(SkyMaps(dict.fromkeys(NAMES, ones)), 350.0, scatter=False)
    >>> [round(float(values[0]), 3) for _, values in sky]
    [1.0, -2.237, 1.0, 13.823, 0.64]
    """
    if not math.isclose(maps.frequency_ghz, REFERENCE):
        raise OptionError("cannot rescale these maps", got=f"{maps.frequency_ghz:g} GHz", expected="148 GHz",
                          do="start from the simulated sky: indices are known from 148 GHz only")
    if not 20 <= to_ghz <= 500:
        raise OptionError("frequency out of range", got=f"{to_ghz:g} GHz", expected="20 to 500 GHz",
                          do="indices are measured between 30 and 350 GHz")
    band = Band(float(to_ghz), t_cmb)
    made = {name: component(name).rescaled(np.asarray(values), band, seed, scatter=scatter) for name, values in maps}
    facts = {**maps.provenance, "rescaled_from_ghz": REFERENCE, "index_seed": seed, "t_cmb": t_cmb}
    return replace(maps, maps=made, frequency_ghz=float(to_ghz), provenance=facts)


def in_unit(maps: SkyMaps, unit: str, t_cmb: float = T_CMB) -> dict[str, Array]:
    """The maps in K_CMB, mK_CMB, Jy/sr, MJy/sr, or (tSZ alone) Compton y; kappa as it is.

    Example
    -------
    >>> ones = np.ones(768, np.float32)
    >>> round(float(in_unit(SkyMaps({"cib": ones}), "MJy/sr")["cib"][0]) * 1e6, 2)
    393.35
    """
    found = {}
    for name, values in maps:
        if not component(name).unit:
            found[name] = values
        elif component(name).compton or unit != "y":
            found[name] = convert(values, component(name).unit, unit, maps.frequency_ghz, t_cmb)
    return found


def with_beam(maps: SkyMaps, fwhm_arcmin: float, *, threads: int = 1) -> SkyMaps:
    """The sky through a Gaussian beam; all maps, in memory.

    Example
    -------
    >>> peak = np.zeros(3072, np.float32); peak[1500] = 1.0
    >>> sky = with_beam(SkyMaps({"cib": peak}), 600.0)
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
    """The sky in other coordinates: extended maps turned in harmonic space, CIB and radio pixel by pixel.

    Turning a source in harmonic space would ring; pixel by pixel it moves by at most half a pixel, and a few per cent
    of the pixels are seen twice or never.

    Raises
    ------
    OptionError : an unknown frame.
    """
    turn = rotation(*(one_of(name, FRAMES, "frame") for name in (maps.frame, frame)))

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
    made = {name: (sources if component(name).point_like else extended)(np.asarray(values)) for name, values in maps}
    return replace(maps, maps=made, provenance={**maps.provenance, **facts})
