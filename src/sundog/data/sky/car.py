"""CAR maps (plate carree): the whole sky as a rectangle of longitude and latitude, for tools that want no HEALPix.

Row 0 is the northernmost, its centres half a pixel from the pole (Fejer's first rule: exact harmonics); columns run
east from longitude 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.atomic import atomic_write
from sundog.data.sky.healpix import checked_map
from sundog.data.sky.sphere import analysis, ducc, nside_of, pixelisation, ring_values
from sundog.errors import OptionError

Array = NDArray[Any]
_CTYPES = {"icrs": ("RA---CAR", "DEC--CAR"), "galactic": ("GLON-CAR", "GLAT-CAR"), "ecliptic": ("ELON-CAR", "ELAT-CAR")}


def car_rows(pixel_arcmin: float) -> int:
    """How many rows of pixels fill the sphere.

    Raises
    ------
    OptionError : no whole number of them.
    """
    ny = round(180 * 60 / pixel_arcmin) if pixel_arcmin > 0 else 0
    if ny < 4 or abs(ny * pixel_arcmin / (180 * 60) - 1) > 1e-6:
        raise OptionError("pixels do not fill the sphere", got=f"{pixel_arcmin} arcmin",
                          expected="a whole number of pixels in 180 degrees", do="pass 0.5, 1, 2, 5 or 10 arcmin")
    return ny


def car_map(values: Array, pixel_arcmin: float, *, point_like: bool = False, threads: int = 1) -> Array:
    """CAR map (ny, nx) of a HEALPix map or of coefficients: exact harmonics, or the nearest pixel for point sources.

    Example
    -------
    >>> alm = np.zeros(15, complex); alm[0] = math.sqrt(4 * math.pi)
    >>> car_map(alm, 600.0).shape, bool(np.allclose(car_map(alm, 600.0), 1))
    ((18, 36), True)
    """
    ny = car_rows(pixel_arcmin)
    theta = (np.arange(ny) + 0.5) * math.pi / ny
    if np.iscomplexobj(values):
        return ring_values(values, theta, 2 * ny, threads=threads)
    values = checked_map(values)
    if not point_like:
        return ring_values(analysis(values.astype(np.float32), threads=threads), theta, 2 * ny, threads=threads)
    phi = np.arange(2 * ny) * math.pi / ny
    grid, rows = pixelisation(nside_of(values)), []
    for t in theta:
        rows.append(values[grid.ang2pix(np.stack([np.full(2 * ny, t), phi], 1))])
    return np.stack(rows)


def car_analysis(values: Array, lmax: int, *, threads: int = 1) -> Array:
    """Coefficients of a CAR map, exact for lmax below its number of rows.

    Example
    -------
    >>> alm = np.zeros(6, complex); alm[1] = 1
    >>> bool(np.allclose(car_analysis(car_map(alm, 900.0), 2), alm))
    True
    """
    values = np.ascontiguousarray(values)
    return ducc().sht.analysis_2d(map=values[None], spin=0, lmax=lmax, geometry="F1", nthreads=threads)[0]


def write_car(path: str | Path, values: Array, unit: str = "", frame: str = "icrs") -> Path:
    """The path, after the CAR map was written there as a FITS image with its coordinates, atomically."""
    from astropy.io import fits

    if frame not in _CTYPES:
        raise OptionError("unknown frame", got=repr(frame), expected=" | ".join(_CTYPES), do="name one of these frames")
    step = 180 / values.shape[0]
    image = fits.PrimaryHDU(np.asarray(values, np.float32))
    cards: dict[str, Any] = {
        "CTYPE1": _CTYPES[frame][0], "CTYPE2": _CTYPES[frame][1], "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": 180.0,
        "CRVAL2": 0.0, "CRPIX1": 0.5 * values.shape[1] + 1, "CRPIX2": 0.5 * (values.shape[0] + 1),
        "CDELT1": step, "CDELT2": -step}
    image.header.update(cards)  # the reference lies in the middle: astropy knows no more than 180 degrees from it
    if unit:
        image.header["BUNIT"] = unit
    return atomic_write(path, lambda temporary: image.writeto(temporary, overwrite=True))
