"""Survey images in and out: mosaics, cut-outs around sources, FITS with world coordinates and beam; always mJy/beam."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from sundog.data.atomic import atomic_write
from sundog.errors import DataError, FileError, OptionError

if TYPE_CHECKING:
    from astropy.wcs import WCS

SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fz")


@dataclass(frozen=True)
class Beam:
    """The restoring beam: full widths at half maximum [arcsec] and position angle [degrees, from north to east]."""

    major_arcsec: float
    minor_arcsec: float
    angle_deg: float = 0.0

    def area_arcsec2(self) -> float:
        """Solid angle of the Gaussian, pi / (4 ln 2) major minor.

        Example
        -------
        >>> round(Beam(6.0, 6.0).area_arcsec2(), 2)
        40.79
        """
        return math.pi / (4 * math.log(2)) * self.major_arcsec * self.minor_arcsec


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A survey image: values (ny, nx) in mJy/beam, NaN where nothing was observed, its coordinates and beam."""

    values: np.ndarray
    wcs: WCS
    pixel_arcsec: float
    beam: Beam | None = None

    def pixel_of(self, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
        """Pixels x, y (from 0) of positions in ICRS [degrees], in any frame of the mosaic; NaN behind its plane."""
        from astropy.coordinates import SkyCoord

        if _is_equatorial(self.wcs):  # what most surveys have: no frame to turn
            x, y = self.wcs.world_to_pixel_values(ra, dec)
        else:
            x, y = self.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg", frame="icrs"))
        return np.asarray(x, float), np.asarray(y, float)

    def position_of(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination in ICRS [degrees] of pixels (from 0)."""
        if _is_equatorial(self.wcs):
            ra, dec = self.wcs.pixel_to_world_values(x, y)
        else:
            place = self.wcs.pixel_to_world(x, y).icrs
            ra, dec = place.ra.deg, place.dec.deg
        return np.asarray(ra, float), np.asarray(dec, float)


@dataclass(frozen=True, eq=False)
class Cutout:
    """A part of the sky around one source.

    Attributes
    ----------
    name : of the source
    values : (ny, nx) mJy/beam; NaN where there is nothing
    pixel_arcsec : side of a pixel
    complete : whether all of it lies inside the image that it was taken from
    beam : of the survey
    unit : of the values, where they are not calibrated
    """

    name: str
    values: np.ndarray
    pixel_arcsec: float
    complete: bool = True
    beam: Beam | None = None
    unit: str = "mJy/beam"


def read_mosaic(path: str | Path, *, unit: str | None = None) -> Mosaic:
    """The first image of a FITS file with celestial coordinates; frequency and Stokes axes of length 1 are dropped.

    Parameters
    ----------
    unit : ``Jy/beam`` or ``mJy/beam``, where the file has no BUNIT, or one that can be read in two ways (MJY/BEAM)

    Raises
    ------
    FileError : no image, no coordinates, or a unit that is not a brightness per beam.
    OptionError : a unit other than that of the file.
    """
    values, header = next(_images(Path(path)), (None, None))
    if values is None or header is None:
        raise FileError(f"{path} holds no image", got="nothing", expected="a FITS image", do="check the file")
    wcs, pixel = _coordinates(header)
    if wcs is None or pixel is None:
        raise FileError(f"{path} has no celestial coordinates", got="no usable WCS", expected="RA---SIN or the like",
                        do="use the mosaic as the survey published it")
    return Mosaic(values * _factor(header, unit, path), wcs, pixel, _beam(header))


def read_cutouts(path: str | Path, *, unit: str | None = None, pixel_arcsec: float | None = None) -> list[Cutout]:
    """The cut-outs of a folder of FITS files, or of one file with an image per extension.

    A cut-out is centred on its source. Its name is OBJECT, else the name of the extension, else that of the file -
    of these the first that differs among all cut-outs, so that none replaces another; its pixel that of the
    coordinates, else ``pixel_arcsec``.

    Raises
    ------
    FileError : nothing there, or no pixel size.
    """
    path = Path(path)
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES)) if path.is_dir() else [path]
    found, named = [], []
    for file in files:
        for i, (values, header) in enumerate(_images(file)):
            pixel = _coordinates(header)[1] or pixel_arcsec
            if pixel is None:
                raise FileError(f"{file} does not say how large a pixel is", got="no usable WCS",
                                expected="CDELT or CD in degrees", do="pass pixel_arcsec=1.5, or --pixel-arcsec 1.5")
            stem = file.name.split(".fit")[0].split(".FIT")[0].split(".fts")[0]
            stem = stem if path.is_dir() else f"{stem}-{i}"
            named.append([str(header.get(key) or "").strip() for key in ("OBJECT", "EXTNAME")] + [stem])
            found.append(Cutout("", values * _factor(header, unit, file), pixel, True, _beam(header)))
    if not found:
        raise FileError(f"{path} holds no cut-outs", got="no FITS images", expected="one or more", do="check the path")
    return [replace(cutout, name=name) for cutout, name in zip(found, _names(named))]


def _names(named: Sequence[Sequence[str]]) -> list[str]:
    """A name for each of the candidates: the first there is, if all differ; else by the first kind that differs."""
    names = [next(filter(None, words)) for words in named]
    for kind in zip(*named):
        if len(set(names)) == len(names):
            break
        names = list(kind) if all(kind) else names
    return names if len(set(names)) == len(names) else [f"{name}-{i}" for i, name in enumerate(names)]


def write_cutouts(images: np.ndarray, path: str | Path, *, pixel_arcsec: float | Sequence[float] | np.ndarray,
                  beam: Beam | None = None, names: Sequence[str] | None = None,
                  ra: Sequence[float] | None = None, dec: Sequence[float] | None = None) -> Path:
    """The path of one FITS file with an extension per image: BUNIT Jy/beam, tangent-plane coordinates, beam, name.

    Parameters
    ----------
    images : (n, ny, nx) mJy/beam
    pixel_arcsec : of all, or of each
    ra, dec : of the centres, degrees; (0, 0), which is nowhere in particular, for images without a place
    """
    from astropy.io import fits

    n = len(images)
    pixels = np.broadcast_to(np.asarray(pixel_arcsec, dtype=np.float64), (n,))
    places = zip(np.zeros(n) if ra is None else ra, np.zeros(n) if dec is None else dec)
    units: list[Any] = [fits.PrimaryHDU()]
    for i, ((x, y), pixel) in enumerate(zip(places, pixels)):
        unit = fits.ImageHDU((np.asarray(images[i], dtype=np.float64) / 1e3).astype(np.float32))
        unit.header.update(_header(unit.data.shape, float(x), float(y), float(pixel), beam))
        unit.header["OBJECT"] = str(names[i]) if names is not None else f"fake {i}"
        units.append(unit)
    return atomic_write(path, lambda temporary: fits.HDUList(units).writeto(temporary, overwrite=True))


def write_mosaic(mosaic: Mosaic, path: str | Path) -> Path:
    """The path of the mosaic as one FITS image in Jy/beam, with its coordinates and beam."""
    from astropy.io import fits

    header = mosaic.wcs.to_header()
    header["BUNIT"] = "JY/BEAM"
    header.update(_beam_cards(mosaic.beam))
    unit = fits.PrimaryHDU((mosaic.values / 1e3).astype(np.float32), header)
    return atomic_write(path, lambda temporary: unit.writeto(temporary, overwrite=True))


def empty_sky(size: int, pixel_arcsec: float, *, ra: float = 180.0, dec: float = 45.0, beam: Beam | None = None
              ) -> Mosaic:
    """A mosaic of zeros, (size, size), centred there."""
    from astropy.wcs import WCS

    wcs = WCS(_header((size, size), ra, dec, pixel_arcsec, None))
    return Mosaic(np.zeros((size, size)), wcs, pixel_arcsec, beam)


def cut(mosaic: Mosaic, ra: float, dec: float, side_arcsec: float, name: str = "") -> Cutout | None:
    """The square around a position, whole pixels, its centre within half a pixel; None where it misses the mosaic.

    What lies beyond the edge is NaN, and the cut-out is then not complete.
    """
    x, y = (float(v) for v in mosaic.pixel_of(ra, dec))
    n = max(3, round(side_arcsec / mosaic.pixel_arcsec))
    if not (math.isfinite(x) and math.isfinite(y)):
        return None  # behind the tangent plane
    left, low = (math.floor(v - (n - 1) / 2 + 0.5) for v in (x, y))
    ny, nx = mosaic.values.shape
    rows, columns = slice(max(low, 0), min(low + n, ny)), slice(max(left, 0), min(left + n, nx))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    values = np.full((n, n), np.nan)
    inside = slice(rows.start - low, rows.stop - low), slice(columns.start - left, columns.stop - left)
    values[inside] = mosaic.values[rows, columns]
    whole = (rows.stop - rows.start, columns.stop - columns.start) == (n, n)
    return Cutout(name, values, mosaic.pixel_arcsec, whole, mosaic.beam)


def crop(cutout: Cutout, side_arcsec: float) -> Cutout:
    """The central square of a cut-out; not complete, and padded with NaN, where the cut-out is smaller than that."""
    n = max(3, round(side_arcsec / cutout.pixel_arcsec))
    ny, nx = cutout.values.shape
    values = np.full((n, n), np.nan)
    low, left = (ny - n) // 2, (nx - n) // 2  # negative: padding
    rows, columns = slice(max(low, 0), min(low + n, ny)), slice(max(left, 0), min(left + n, nx))
    inside = slice(rows.start - low, rows.stop - low), slice(columns.start - left, columns.stop - left)
    values[inside] = cutout.values[rows, columns]
    return replace(cutout, values=values, complete=cutout.complete and min(ny, nx) >= n)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """The image on size x size pixels: linear interpolation, after a Gaussian of (factor - 1) / 2 when it shrinks.

    Brightness per beam stays what it is. The rule is that of scikit-image's ``resize``, which the published
    preparation calls.

    Example
    -------
    >>> resized(np.arange(4.0)[None].repeat(4, 0), 2)[0].round(3).tolist()
    [0.607, 2.393]
    """
    factor = [n / size for n in image.shape]
    if image.shape == (size, size):
        return image.astype(np.float64)
    smooth = ndimage.gaussian_filter(image.astype(np.float64), [max(0.0, (f - 1) / 2) for f in factor], mode="mirror")
    small = ndimage.zoom(smooth, [1 / f for f in factor], order=1, mode="mirror", grid_mode=True)
    return np.clip(small, image.min(), image.max())


def _images(path: Path) -> Iterator[tuple[np.ndarray, Any]]:
    """Every image of a FITS file as (ny, nx) float64, with its header."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=r".*truncated|(.|\n)*file is corrupted")
            with fits.open(path, memmap=False) as units:
                for unit in units:
                    if unit.data is None or hasattr(unit, "columns"):
                        continue
                    values = np.squeeze(np.asarray(unit.data, dtype=np.float64))
                    if values.ndim != 2:
                        raise DataError(f"{path} holds no flat image", got=unit.data.shape, expected="(ny, nx)",
                                        do="choose one frequency and one Stokes parameter first")
                    yield values, unit.header
    except (OSError, ValueError, TypeError, Warning) as error:
        raise FileError(f"cannot read {path}", got=error, expected="a complete FITS file",
                        do="fetch it again") from error


def _coordinates(header: Any) -> tuple[WCS | None, float | None]:
    """Celestial coordinates and the side of a pixel [arcsec], as far as the header has them."""
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header).celestial
    if wcs.naxis != 2:
        return None, None
    return wcs, float(math.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600


def _is_equatorial(wcs: WCS) -> bool:
    """Whether world coordinates are right ascension and declination of J2000 or ICRS (which agree to 0.03 arcsec)."""
    frame = str(wcs.wcs.radesys).upper()
    equinox = 2000.0 if math.isnan(wcs.wcs.equinox) else wcs.wcs.equinox
    j2000 = frame == "ICRS" or (frame in ("", "FK5") and equinox == 2000)
    return j2000 and str(wcs.wcs.lngtyp).strip().upper() == "RA"


def _factor(header: Any, unit: str | None, path: str | Path) -> float:
    """What brings an image to mJy/beam: from BUNIT, else from the unit given, which must not contradict it."""
    stated = str(header.get("BUNIT") or "").strip()
    given, said = per_beam(unit or ""), per_beam(stated)
    ambiguous = stated.upper() == stated and bool(re.match(r"MJY\b", stated))  # capitals hide milli and mega
    if unit and given is None:
        raise OptionError(f"unit of {path} is not a brightness per beam", got=repr(unit),
                          expected="Jy/beam or mJy/beam", do="pass unit='Jy/beam' if that is what it is")
    if given is not None and said is not None and given != said and not ambiguous:
        raise OptionError(f"{path} says another unit", got=f"unit={unit!r} for BUNIT = {stated}", expected=stated,
                          do="leave the unit out, or correct BUNIT in the file")
    found = given if given is not None else None if ambiguous else said
    if found is None:
        raise FileError(f"unit of {path} is not a brightness per beam" if not ambiguous else
                        f"unit of {path} may be milli or mega", got=repr(stated), expected="Jy/beam or mJy/beam",
                        do="pass unit='mJy/beam' if that is what it is, or --unit")
    return found


def per_beam(text: str) -> float | None:
    """The factor that takes a brightness in this unit to mJy/beam; None for what is no flux density per beam.

    Example
    -------
    >>> per_beam("Jy beam-1"), per_beam("uJy/bm"), per_beam("JY/BEAM"), per_beam("K")
    (1000.0, 0.001, 1000.0, None)
    """
    from astropy import units

    plain = re.sub(r"(?i)\b(beam|bm)", "beam", text.strip())
    plain = re.sub(r"(?i)\b([a-zµ]?)jy\b", lambda match: match[1].replace("U", "u") + "Jy", plain)
    try:
        return float(f"{units.Unit(plain).to(units.mJy / units.beam):.9g}")
    except (ValueError, TypeError):  # UnitConversionError is both
        return None


def _beam(header: Any) -> Beam | None:
    if not all(isinstance(header.get(key), int | float) for key in ("BMAJ", "BMIN")):
        return None
    return Beam(3600 * header["BMAJ"], 3600 * header["BMIN"], float(header.get("BPA", 0.0)))


def _beam_cards(beam: Beam | None) -> dict[str, float]:
    return {} if beam is None else {"BMAJ": beam.major_arcsec / 3600, "BMIN": beam.minor_arcsec / 3600,
                                    "BPA": beam.angle_deg}


def _header(shape: tuple[int, ...], ra: float, dec: float, pixel_arcsec: float, beam: Beam | None) -> Any:
    """Tangent plane at the centre of the image, east to the left."""
    from astropy.io.fits import Header

    ny, nx = shape
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": ra, "CRVAL2": dec,
             "CRPIX1": (nx + 1) / 2, "CRPIX2": (ny + 1) / 2, "CDELT1": -pixel_arcsec / 3600,
             "CDELT2": pixel_arcsec / 3600, "RADESYS": "ICRS", "BUNIT": "JY/BEAM", **_beam_cards(beam)}
    return Header(list(cards.items()))
