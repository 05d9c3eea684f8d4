"""FITS files: images with their unit and pixel size, and tables of columns."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.raw import Raw, choose, columns_of, facts_from_json, facts_to_json, unreadable
from sundog.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sundog.data.dataset import Dataset

_ARCMIN = {"": 60.0, "deg": 60.0, "arcmin": 1.0, "arcsec": 1 / 60, "rad": 60 * 180 / math.pi}
_CELESTIAL = re.compile(r"(RA|DEC|GLON|GLAT|ELON|ELAT)\b|(RA|DEC|GLON|GLAT|ELON|ELAT)-")


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The image or table of that extension (name or number); numbers come back in native byte order."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=r".*truncated|(.|\n)*file is corrupted")
            with fits.open(path, memmap=False) as units:
                return _open(units, path, key, columns)
    except (OSError, ValueError, TypeError, KeyError, IndexError, Warning, fits.VerifyError) as error:
        raise unreadable(path, f"a truncated or damaged file ({error})") from error


def write(data: Dataset, path: Path) -> Path:
    """Images in the primary extension with BUNIT and CDELT, events as a table; facts as JSON in SUNDOG."""
    from astropy.io import fits

    facts = np.frombuffer(facts_to_json(data).encode(), np.uint8)
    primary, table = fits.PrimaryHDU(), []
    if data.kind == "images":
        primary = fits.PrimaryHDU(data.values.numpy())
        if len(set(data.units)) == 1 and _plain(data.units[0]):
            primary.header["BUNIT"] = data.units[0]
        if data.pixel_arcmin is not None:
            for axis in (1, 2):
                primary.header[f"CDELT{axis}"], primary.header[f"CUNIT{axis}"] = data.pixel_arcmin / 60, "deg"
    else:
        columns = [fits.Column(name=name, unit=unit, format="E", array=data.values[:, i].numpy())
                   for i, (name, unit) in enumerate(_columns(data))]
        table = [fits.BinTableHDU.from_columns(columns, name="VALUES")]
    parts = [(name.upper(), getattr(data, name)) for name in ("context", "weights")]
    extra = [fits.ImageHDU(part.numpy(), name=name) for name, part in parts if part is not None]
    whole = fits.HDUList([primary, *table, *extra, fits.ImageHDU(facts, name="SUNDOG")])
    return atomic_write(path, lambda temporary: whole.writeto(temporary, overwrite=True))


def _open(units: Any, path: Path, key: str | None, columns: Sequence[str] | None) -> Raw:
    held = {_label(units, i): i for i, unit in enumerate(units) if unit.header.get("NAXIS", 0) > 0}
    if key is None and "SUNDOG" in held:
        return _ours(units, path)
    key = str(key) if key is not None else None
    held |= {str(i): i for i in held.values()} if key in {str(i) for i in held.values()} else {}
    chosen = choose({name: _shape(units[i]) for name, i in held.items()}, key, path, "extension")
    return _unit(units[held[chosen]], path, columns)


def _ours(units: Any, path: Path) -> Raw:
    facts = facts_from_json(units["SUNDOG"].data.tobytes().decode(), path)
    stored = units["VALUES"].data if "VALUES" in units else units[0].data
    values = np.stack([stored.field(i) for i in range(len(facts["names"]))], 1) if "VALUES" in units else stored
    context, weights = (units[name].data if name in units else None for name in ("CONTEXT", "WEIGHTS"))
    return Raw(values, context, weights, facts=facts, ours=True)


def _unit(unit: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    header = unit.header
    if str(header.get("PIXTYPE", "")).strip().upper() == "HEALPIX":
        raise FileError(f"{path} is a map of the whole sphere", got=f"HEALPix, nside {header.get('NSIDE', '?')}",
                        expected="flat images or a table", do="cut it into square patches first and load those")
    if hasattr(unit, "columns"):
        table = np.asarray(unit.data)
        values, names = columns_of(table, path, columns)
        stated = {column.name: column.unit or "" for column in unit.columns}
        return Raw(values, facts={"names": tuple(names), "units": tuple(stated[name] for name in names)})
    facts: dict[str, Any] = {"units": str(header.get("BUNIT", "")).strip()}
    pixel = _pixel_arcmin(header)
    return Raw(np.asarray(unit.data), facts=facts | ({"pixel_arcmin": pixel} if pixel else {}), image=True)


def _pixel_arcmin(header: Any) -> float | None:
    """Side of a square pixel from CDELT or the CD matrix; None where neither speaks of the sky."""
    unit = str(header.get("CUNIT1", "")).strip().lower()
    celestial = bool(_CELESTIAL.match(str(header.get("CTYPE1", "")).upper()))
    if unit not in _ARCMIN or not (unit or celestial or "CD1_1" in header or header.get("CDELT1", 1.0) != 1.0):
        return None
    if "CD1_1" in header:
        a, b, c, d = (float(header.get(f"CD{i}_{j}", 0.0)) for i in (1, 2) for j in (1, 2))
        return round(math.sqrt(abs(a * d - b * c)) * _ARCMIN[unit], 12) or None
    x, y = abs(float(header.get("CDELT1", 0.0))), abs(float(header.get("CDELT2", 0.0)))
    return round(y * _ARCMIN[unit], 12) if x > 0 and abs(x / y - 1) < 1e-3 else None


def _label(units: Any, i: int) -> str:
    name = units[i].name
    return name if name and [u.name for u in units].count(name) == 1 else str(i)


def _shape(unit: Any) -> tuple[int, ...]:
    if hasattr(unit, "columns"):
        return (int(unit.header["NAXIS2"]), int(unit.header["TFIELDS"]))
    return tuple(int(unit.header[f"NAXIS{axis}"]) for axis in range(unit.header["NAXIS"], 0, -1))


def _columns(data: Dataset) -> list[tuple[str, str | None]]:
    """Column names and units that a FITS header can hold; the true ones are in SUNDOG."""
    names = [name if re.fullmatch(r"\w{1,40}", name, re.ASCII) else f"c{i}" for i, name in enumerate(data.names)]
    if len({name.lower() for name in names}) < len(names):  # FITS ignores case
        names = [f"c{i}" for i in range(len(names))]
    return [(name, unit if _plain(unit) else None) for name, unit in zip(names, data.units)]


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text.strip()) < 60
