"""HEALPix maps at the door: read, written, and checked for the ways in which they are usually wrong."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import UNSEEN
from sundog.data.atomic import atomic_write
from sundog.data.sky.sphere import nside_of, pixelisation
from sundog.errors import DataError, FileError, OptionError, ShapeError

Array = NDArray[Any]
_FRAMES = {"EQU": "icrs", "CEL": "icrs", "ICRS": "icrs", "FK5": "icrs", "J2000": "icrs", "RADEC": "icrs", "C": "icrs",
           "Q": "icrs", "GAL": "galactic", "G": "galactic", "ECL": "ecliptic", "E": "ecliptic"}  # by the first letters
_PIXELS = ("PIXEL", "PIX", "PIXELS", "HPXPIXEL", "IPIX", "HPX", "INDEX", "PIXNUM", "PIXEL_INDEX")
_PROBES = 30_000  # pixels whose neighbours are compared
_SMOOTHER = 0.85


@dataclass(frozen=True, eq=False)
class HealpixMap:
    """One map of the whole sphere.

    values : (12 NSIDE^2,) in RING order; unit : as text; frame : "icrs", "galactic", "ecliptic" or ""
    """

    values: Array
    unit: str = ""
    frame: str = ""

    @property
    def nside(self) -> int:
        """NSIDE."""
        return nside_of(self.values)

    @property
    def observed(self) -> Array:
        """(n,) True where the pixel is a number: neither UNSEEN nor NaN."""
        return observed(self.values)


def observed(values: Array) -> Array:
    """(n,) True where a pixel is neither UNSEEN (to the precision of float32) nor NaN nor infinite.

    Example
    -------
    >>> observed(np.array([1.0, UNSEEN, np.nan], np.float32))
    array([ True, False, False])
    """
    values = np.asarray(values)
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:  # UNSEEN is beyond float16
        return np.isfinite(values)
    return np.isfinite(values) & ~np.isclose(values, UNSEEN, rtol=1e-5, atol=0)


def reordered(values: Array, to: str) -> Array:
    """The map in the other order: ``to`` is "RING" (from NESTED) or "NESTED" (from RING).

    Example
    -------
    >>> ring = np.arange(48.0)
    >>> bool((reordered(reordered(ring, "NESTED"), "RING") == ring).all())
    True
    """
    if to not in ("RING", "NESTED"):
        raise OptionError("unknown pixel order", got=repr(to), expected="'RING' or 'NESTED'", do="choose one")
    nside = nside_of(values)
    pixels = np.arange(len(values))
    other = pixelisation(nside, "RING").ring2nest(pixels) if to == "RING" else pixelisation(
        nside, "NEST").nest2ring(pixels)
    return np.asarray(values)[other]


def looks_misordered(values: Array) -> bool:
    """Whether the map, taken as RING, would be smoother as NESTED: neighbours differ by less than 0.85 as much.

    White noise and very small maps never look misordered: neighbours tell nothing there. On 30 000 pixels the ratio
    of white noise scatters by about 0.01.

    Example
    -------
    >>> grid = pixelisation(16)
    >>> slope = grid.pix2vec(np.arange(3072))[:, 0]
    >>> looks_misordered(slope), looks_misordered(reordered(slope, "NESTED"))
    (False, True)
    """
    values, nside = np.asarray(values, float), nside_of(values)
    if nside < 8:
        return False
    probes = np.linspace(0, len(values) - 1, min(_PROBES, len(values))).astype(int)
    seen = observed(values)
    as_ring, as_nested = (_roughness(values, seen, probes, nside, scheme) for scheme in ("RING", "NEST"))
    return as_nested < _SMOOTHER * as_ring


def _roughness(values: Array, seen: Array, probes: Array, nside: int, scheme: str) -> float:
    neighbours = pixelisation(nside, scheme).neighbors(probes)[:, ::2]
    pairs = [(p, q) for p, q in ((probes, neighbours[:, i]) for i in range(neighbours.shape[1]))]
    first, second = np.concatenate([p for p, _ in pairs]), np.concatenate([q for _, q in pairs])
    good = (second >= 0) & seen[first] & seen[np.maximum(second, 0)]
    return float(np.mean(np.abs(values[first[good]] - values[second[good]]))) if good.any() else math.inf


def checked_map(values: Any, name: str = "map", *, nside: int | None = None) -> Array:
    """The map, if it is a complete RING map of numbers.

    Parameters
    ----------
    nside : what it must be, when another map is already there

    Raises
    ------
    ShapeError : not 12 NSIDE^2 pixels, NSIDE no power of two, or another NSIDE than wanted.
    DataError : UNSEEN, NaN or infinite pixels; NESTED order.

    Example
    -------
    >>> checked_map(np.zeros(48)).shape
    (48,)
    """
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise ShapeError(f"{name} is not one HEALPix map", got=f"{values.dtype} of shape {values.shape}",
                         expected="(12 NSIDE^2,) numbers", do="pass one map at a time")
    found = nside_of(values)
    if nside is not None and found != nside:
        raise ShapeError("maps of unequal NSIDE", got=f"{name} has NSIDE {found}", expected=f"NSIDE {nside}",
                         do="bring all maps to one NSIDE first")
    missing = int((~observed(values)).sum())
    if missing:
        raise DataError(f"{name} has pixels without a number", got=f"{missing} of {len(values)} UNSEEN, NaN or Inf",
                        expected="a full sky",
                        do="sundog.data.sky.healpix.filled(map), and keep map.observed as the mask")
    if looks_misordered(values):
        raise DataError(f"{name} seems to be in NESTED order", got="neighbours of the RING order that do not match",
                        expected="RING order", do="pass sundog.data.sky.healpix.reordered(map, 'RING')")
    return values


def checked_mask(mask: Any, nside: int) -> Array:
    """The mask as (n,) bool: True where the sky is used. Zeros and ones only.

    Raises
    ------
    ShapeError : of another NSIDE. DataError : neither 0 nor 1, or nothing left.

    Example
    -------
    >>> int(checked_mask(np.ones(48), 2).sum())
    48
    """
    mask = np.asarray(mask)
    if nside_of(mask) != nside:
        raise ShapeError("mask and map differ in NSIDE", got=f"mask NSIDE {nside_of(mask)}", expected=nside,
                         do="degrade or resample the mask to the NSIDE of the map")
    if not np.isin(mask, (0, 1)).all():
        raise DataError("not a mask", got=f"values from {mask.min():g} to {mask.max():g}", expected="0 and 1",
                        do="cut it at a threshold: mask > 0.9")
    if not mask.any():
        raise DataError("the mask hides everything", got="no pixel equal to 1", expected="1 where the sky is used",
                        do="invert it if it marks what is cut")
    return mask.astype(bool)


def filled(values: Array, mask: Array | None = None) -> Array:
    """The map with pixels that are masked or not observed set to the mean of the others, same precision.

    Example
    -------
    >>> float(filled(np.array([1.0, 3.0, UNSEEN] + [2.0] * 45))[2])
    2.0
    """
    values = np.array(values)
    good = observed(values) if mask is None else observed(values) & checked_mask(mask, nside_of(values))
    if not good.any():
        raise DataError("no observed pixel", got="all UNSEEN or masked", expected="some sky", do="check the mask")
    values[~good] = values[good].mean(dtype=float)
    return values


def read_healpix(path: str | Path, field: int | str = 0, *, unit: str | None = None, ordering: str | None = None,
                 extension: int = 1) -> HealpixMap:
    """A map from a FITS file or a .npy vector, in RING order; UNSEEN where a partial map has no pixel.

    Parameters
    ----------
    field : number or name of the map; the column of pixel numbers of a partial file does not count
    unit, ordering : for files that do not say; where the file says something else, that is an error

    Raises
    ------
    FileError : missing, truncated, not HEALPix, no such column, no ORDERING or unit and none given, or another one.

    Example
    -------
    >>> import tempfile
    >>> path = write_healpix(Path(tempfile.mkdtemp()) / "m.fits", HealpixMap(np.arange(48.0), "uK_CMB", "galactic"))
    >>> read_healpix(path).frame, float(read_healpix(path).values[-1])
    ('galactic', 47.0)
    """
    from astropy.io import fits

    path = Path(path)
    if path.suffix == ".npy":
        values = checked_vector(np.load(path, allow_pickle=False), path)
        order = _said(path, "ORDERING", "", ordering or "RING")
        return HealpixMap(values if order == "RING" else reordered(values, "RING"), unit or "")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=r".*truncated|(.|\n)*file is corrupted")
            with fits.open(path, memmap=False) as units:
                header, table = units[extension].header, units[extension].data
                if not is_healpix(header) or not hasattr(table, "names"):
                    raise FileError(f"{path} is not a HEALPix map", got=f"PIXTYPE {header.get('PIXTYPE')}, NSIDE "
                                    f"{header.get('NSIDE')}", expected="PIXTYPE = HEALPIX and NSIDE",
                                    do="load flat images with sundog.load")
                found, stated, _ = healpix_columns(header, table, path, ordering=ordering, only=field)
    except (OSError, ValueError, TypeError, IndexError, Warning, fits.VerifyError) as error:
        raise FileError(f"cannot read {path}", got=f"{error}", expected="a whole FITS file with a binary table",
                        do="fetch it again; a HEALPix map is in extension 1") from error
    (name, values), = found.items()
    names = list(table.names)
    values = np.where(np.isnan(values), values.dtype.type(UNSEEN), values) if values.dtype.kind == "f" else values
    return HealpixMap(values, _said(path, f"TUNIT{names.index(name) + 1}", stated[name], unit), frame_of(header))


def is_healpix(header: Any) -> bool:
    """Whether a FITS table says that it holds pixels of the sphere."""
    said = str(header.get("PIXTYPE", "")).strip().upper()
    return "NSIDE" in header and (said == "HEALPIX" or (not said and ("ORDERING" in header or "ORDER" in header)))


def frame_of(header: Any) -> str:
    """Frame of a HEALPix file: "icrs", "galactic" or "ecliptic"; "" where it does not say.

    Example
    -------
    >>> frame_of({"COORDSYS": "EQUATORIAL"}), frame_of({"COORDSYS": "GAL"}), frame_of({})
    ('icrs', 'galactic', '')
    """
    word = str(header.get("COORDSYS", "")).strip().upper()
    return next((frame for start, frame in _FRAMES.items()
                 if word == start or (len(start) > 1 and word.startswith(start))), "")


def healpix_columns(header: Any, table: Any, path: Path, *, ordering: str | None = None,
                    only: int | str | None = None) -> tuple[dict[str, Array], dict[str, str], list[str]]:
    """The maps of a table by name, each whole, in RING order, NaN where nothing is; their units; and what was done.

    Stokes U of a file that follows IAU (POLCCONV) changes its sign, so that U follows COSMO, HEALPix's own.

    Raises
    ------
    FileError : no such map, pixels that do not fit NSIDE, no ORDERING.
    """
    every = list(table.names)
    explicit = str(header.get("INDXSCHM", "")).strip().upper() == "EXPLICIT"
    index = next((name for name in every if name.upper() in _PIXELS), None) if explicit or not header.get(
        "INDXSCHM") else None
    if explicit and index is None:
        raise FileError(f"{path} has no column of pixel numbers", got=", ".join(every),
                        expected="one of " + ", ".join(_PIXELS), do="name that column PIXEL")
    names = [name for name in every if name != index]
    if only is not None:
        names = [_column(path, names, only)]
    order = _said(path, "ORDERING", _order(header), ordering)
    notes = []
    if index is not None:
        pixels = np.asarray(table[index], np.int64).reshape(-1)
        notes.append(f"{len(pixels)} of {12 * int(header['NSIDE'])**2} pixels are in the file")
    found = {name: _whole(path, header, np.asarray(table[name]), pixels if index is not None else None)
             for name in names}
    if order == "NESTED":
        found = {name: reordered(values, "RING") for name, values in found.items()}
        notes.append("pixels were brought from NESTED to RING order")
    for name, values in found.items():
        missing = ~observed(values)
        if values.dtype.kind == "f" and missing.any():
            found[name] = np.where(missing, values.dtype.type(np.nan), values)
    if str(header.get("POLCCONV", "")).strip().upper() == "IAU":
        for name in found:
            if name.upper().startswith("U") and name.upper() not in ("UNSEEN", "UNIT"):
                found[name] = -found[name]
                notes.append(f"{name} changed its sign: the file follows IAU, sundog COSMO")
    return found, {name: _unit(header, every.index(name)) for name in found}, notes


def checked_vector(values: Array, path: Path) -> Array:
    """A vector of 12 NSIDE^2 numbers, one map."""
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise FileError(f"{path} is not one HEALPix map", got=f"{values.dtype} of shape {values.shape}",
                        expected="(12 NSIDE^2,) numbers", do="save one map per file")
    nside_of(values)
    return values


def _order(header: Any) -> str:
    said = str(header.get("ORDERING", header.get("ORDER", ""))).strip().upper()
    return {"NEST": "NESTED"}.get(said, said)


def _unit(header: Any, place: int) -> str:
    said = str(header.get(f"TUNIT{place + 1}", "")).strip()
    return "" if said.lower() in ("", "unknown", "counts") else said


def _column(path: Path, names: list[str], field: int | str) -> str:
    if isinstance(field, int) and 0 <= field < len(names):
        return names[field]
    if field in names:
        return str(field)
    raise FileError(f"no such map in {path}", got=repr(field), expected=", ".join(names) or "a binary table",
                    do="pass field= a number from 0 or one of these names")


def _whole(path: Path, header: Any, values: Array, pixels: Array | None) -> Array:
    """The full sky: explicit pixel numbers are spread out, and the length is what NSIDE says."""
    values = values.astype(values.dtype.newbyteorder("=")).reshape(-1)
    n = 12 * int(header["NSIDE"])**2
    if pixels is not None:
        if len(pixels) != len(values) or (len(pixels) and not 0 <= pixels.min() <= pixels.max() < n):
            raise FileError(f"{path} contradicts itself", got=f"pixels {pixels.min()} to {pixels.max()}",
                            expected=f"0 to {n - 1}", do="the file is damaged or its NSIDE is wrong")
        if len(np.unique(pixels)) < len(pixels):
            raise FileError(f"{path} names a pixel twice", got=f"{len(pixels) - len(np.unique(pixels))} repeats",
                            expected="each pixel once", do="write the map again")
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        whole = np.full(n, UNSEEN, values.dtype)
        whole[pixels] = values
        values = whole
    if len(values) != n:
        raise FileError(f"{path} contradicts itself", got=f"{len(values)} pixels",
                        expected=f"{n} for NSIDE {header['NSIDE']}",
                        do="the file is truncated or its header is wrong: fetch it again")
    nside_of(values)
    return values


def _said(path: Path, key: str, said: str, given: str | None) -> str:
    if said and given and said.lower() != given.lower():
        raise FileError(f"{path} says another {key}", got=f"{key} = {said}", expected=given,
                        do="leave the argument out, or convert after reading")
    if not said and not given:
        raise FileError(f"{path} does not say its {key}", got="no such header card", expected="a unit and an order",
                        do="pass unit= (e.g. 'mK_CMB' for WMAP) and ordering= ('RING' or 'NESTED')")
    return said or str(given)


def write_healpix(path: str | Path, given: HealpixMap) -> Path:
    """The path, after the map was written there (RING, atomically), with NSIDE, unit and frame in the header."""
    from astropy.io import fits

    column = fits.Column(name="SIGNAL", format="E" if given.values.dtype == np.float32 else "D", unit=given.unit,
                         array=given.values)
    table = fits.BinTableHDU.from_columns([column], name="SKY")
    letters = {"icrs": "C", "galactic": "G", "ecliptic": "E"}
    cards = {"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": given.nside, "FIRSTPIX": 0,
             "LASTPIX": len(given.values) - 1, "INDXSCHM": "IMPLICIT", "COORDSYS": letters.get(given.frame, "")}
    table.header.update(cards)
    return atomic_write(path, lambda temporary: fits.HDUList([fits.PrimaryHDU(), table]).writeto(
        temporary, overwrite=True, checksum=True))
