"""FITS files: images with their unit and pixel size, tables of columns, maps of the whole sphere."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.raw import Raw, choose, facts_from_json, facts_to_json, guard, table_of, unreadable
from sundog.data.sky.healpix import frame_of, healpix_columns, is_healpix
from sundog.errors import OptionError

_STOKES = {1: "I", 2: "Q", 3: "U", 4: "V", -1: "RR", -2: "LL", -5: "XX", -6: "YY"}
_DAMAGED = r"(.|\n)*(truncated|file is corrupted|Datasum verification failed)"


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The image or table of that extension (name or number); numbers come back in native byte order.

    Axes beyond two that the header calls STOKES, FREQ or the like are channels, named by their values; unnamed ones
    count maps. ``columns`` chooses among channels. Pixel sizes are those of the world coordinates.

    Raises
    ------
    FileError : truncated, a sum that does not fit the data, several images and no ``key``.
    """
    from astropy.io import fits

    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            warnings.filterwarnings("error", message=_DAMAGED)
            with fits.open(path, memmap=False, checksum=True, ignore_missing_simple=False) as units:
                raw = _open(units, path, key, columns)
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, Warning, fits.VerifyError) as error:
        raise unreadable(path, f"a truncated or damaged file ({error})") from error
    changed = any("Checksum verification failed" in str(warning.message) for warning in heard)
    return raw.noted("the header was changed after the file was written: its checksum differs" if changed else "")


def write(raw: Raw, path: Path) -> Path:
    """Images in the primary extension with BUNIT and CDELT, events as a table; facts as JSON in SUNDOG; checksums."""
    from astropy.io import fits

    facts = np.frombuffer(facts_to_json(raw.facts).encode(), np.uint8)
    primary, table = fits.PrimaryHDU(), []
    if raw.values.ndim > 2 or raw.facts["time_step"] is not None:
        primary = fits.PrimaryHDU(raw.values)
        primary.header.update(_cards(raw.facts))
    else:
        kind = "D" if raw.values.dtype == np.float64 else "E"
        columns = [fits.Column(name=name, unit=unit, format=kind, array=raw.values[:, i])
                   for i, (name, unit) in enumerate(_columns(raw.facts))]
        table = [fits.BinTableHDU.from_columns(columns, name="VALUES")]
    parts = [(name.upper(), getattr(raw, name)) for name in ("context", "weights")]
    extra = [fits.ImageHDU(part, name=name) for name, part in parts if part is not None]
    primary.header["CREATOR"], primary.header["NEXTEND"] = "sundog", len(table) + len(extra) + 1
    whole = fits.HDUList([primary, *table, *extra, fits.ImageHDU(facts, name="SUNDOG")])
    return atomic_write(path, lambda temporary: whole.writeto(temporary, overwrite=True, checksum=True))


def _open(units: Any, path: Path, key: str | None, columns: Sequence[str] | None) -> Raw:
    held = {_label(units, i): i for i, unit in enumerate(units) if unit.header.get("NAXIS", 0) > 0}
    first = units[0].header
    if first.get("CREATOR") == "sundog" and len(units) - 1 < first.get("NEXTEND", 0):
        raise unreadable(path, f"{len(units) - 1} extensions of {first['NEXTEND']}")
    if key is None and "SUNDOG" in held:
        return _ours(units, path)
    key = str(key) if key is not None else None
    held |= {str(i): i for i in held.values()} if key in {str(i) for i in held.values()} else {}
    chosen = choose({name: _shape(units[i]) for name, i in held.items()}, key, path, "extension")
    rest = [name for name, i in held.items() if i != held[chosen]]
    guard(path, math.prod(_shape(units[held[chosen]])) * 4)
    raw = _unit(units[held[chosen]], path, columns)
    return raw.noted("left out the extensions " + ", ".join(rest) if rest else "")


def _ours(units: Any, path: Path) -> Raw:
    facts = facts_from_json(units["SUNDOG"].data.tobytes().decode(), path)
    values = units[0].data
    if "VALUES" in units:
        stored, wanted = units["VALUES"].data, [name for name, _ in _columns(facts)]
        if sorted(stored.names) != sorted(wanted):
            raise unreadable(path, f"columns {', '.join(stored.names)}; sundog wrote {', '.join(wanted)}",
                             "name them as they were, or read the table alone with key='VALUES'")
        values = np.stack([stored.field(name) for name in wanted], 1)
    context, weights = (units[name].data if name in units else None for name in ("CONTEXT", "WEIGHTS"))
    return Raw(values, context, weights, facts=facts, ours=True)


def _unit(unit: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    if hasattr(unit, "columns") and not hasattr(unit, "compressed_data") and unit.header["XTENSION"] != "IMAGE":
        return _sphere(unit, path, columns) if is_healpix(unit.header) else _table(unit, path, columns)
    header, values = unit.header, np.asarray(unit.data)
    pixel, wcs, note = _coordinates(header)
    facts: dict[str, Any] = {"units": str(header.get("BUNIT", "")).strip(), "provenance": {"wcs": wcs} if wcs else {}}
    if pixel:
        facts["pixel_arcmin"] = pixel
    if values.ndim > 2 and not any(str(header.get(f"CTYPE{axis}", "")).strip() for axis in range(3, values.ndim + 1)):
        return Raw(values, facts=facts, image=True).noted(note)
    if values.ndim > 2:
        names = _channels(header, values.shape[:-2])
        values, names = _chosen(values.reshape(-1, *values.shape[-2:]), names, columns)
        facts["names"] = tuple(names)
        return Raw(values[None], facts=facts, image=True).noted(
            note, f"the axes beyond two were read as channels: {', '.join(names)}")
    return Raw(values, facts=facts, image=True).noted(note)


def _table(unit: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    """Scaled and unsigned columns as the numbers they stand for, TNULL as NaN."""
    found: dict[str, np.ndarray | None] = {}
    notes = []
    for column in unit.columns:
        x = np.asarray(unit.data.field(column.name))
        good = x.ndim == 1 and x.dtype.kind in "fiub"
        if good and x.dtype.kind in "iu" and column.null is not None:
            empty = x == column.null * (column.bscale or 1) + (column.bzero or 0)
            x = np.where(empty, np.nan, x.astype(np.float64))
            notes.append(f"column {column.name!r}: {int(empty.sum())} empty cells (TNULL)" if empty.any() else "")
        found[column.name] = x if good else None
    units = {column.name: column.unit or "" for column in unit.columns}
    why = {column.name: f"format {column.format}" for column in unit.columns}
    return table_of(found, path, columns, units, why).noted(*notes)


def _sphere(unit: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    """Maps (1, [fields,] 1, 12 NSIDE^2) in RING order, UNSEEN as NaN: a row, as ``domain="sphere"`` takes it."""
    found, units, notes = healpix_columns(unit.header, unit.data, path)
    values, names = _chosen(np.stack(list(found.values())), list(found), columns)
    nside = math.isqrt(values.shape[-1] // 12)
    facts = {"names": tuple(names), "units": tuple(units[name] for name in names),
             "provenance": {"sphere": {"nside": nside, "frame": frame_of(unit.header), "order": "RING"}}}
    return Raw(values[None] if len(names) == 1 else values[None, :, None], facts=facts, image=True).noted(
        f"a HEALPix map of the whole sphere, NSIDE {nside}, as one row of pixels in RING order", *notes)


def _chosen(planes: np.ndarray, names: list[str], columns: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """The channels (c, ny, nx) of those names, in that order."""
    if columns is None:
        return planes, names
    missing = [name for name in columns if name not in names]
    if missing:
        raise OptionError(f"no channel {missing[0]!r}", got=", ".join(names), expected="one of these names",
                          do="choose among them")
    return planes[[names.index(name) for name in columns]], list(columns)


def _coordinates(header: Any) -> tuple[float | None, str, str]:
    """Side of a square pixel [arcmin] or None, the celestial coordinates as FITS cards, and what is wrong with them."""
    from astropy import units as u
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    stated = any(key in header for key in ("CDELT1", "CDELT2", "CD1_1", "PC1_1"))
    celestial = bool(re.match(r"(RA|DEC|[GES]LON|[GES]LAT)\b|(RA|DEC|[GES]LON|[GES]LAT)-",
                              str(header.get("CTYPE1", "")).strip().upper()))
    if not stated:
        return None, "", ""
    if celestial and not str(header.get("CTYPE2", "")).strip():  # half a pair tells no place, but its steps count
        header = header.copy(strip=False)
        del header["CTYPE1"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(header, naxis=2)
            stated_units = [u.Unit(text) for text in wcs.wcs.cunit]
            common = next((unit for unit in stated_units if unit.to_string()), u.deg)
            kinds = [unit if unit.to_string() else common for unit in stated_units]
            sides = [float((scale * kind).to_value(u.arcmin))
                     for scale, kind in zip(proj_plane_pixel_scales(wcs), kinds)]
            cards = wcs.to_header_string() if wcs.has_celestial else ""
    except Exception as error:  # astropy's own errors of damaged coordinates have no common base
        return None, "", f"the world coordinates are unusable: {str(error).strip().splitlines()[-1][:80]}"
    silent = not celestial and not str(header.get("CUNIT1", "")).strip() and "CD1_1" not in header
    if silent and header.get("CDELT1", 1.0) == 1.0:  # pixels count pixels
        return None, cards, ""
    if min(sides) <= 0 or abs(sides[0] / sides[1] - 1) > 1e-3:
        return None, cards, f"pixels are not square: {sides[0]:.4g} x {sides[1]:.4g} arcmin"
    return round(math.sqrt(sides[0] * sides[1]), 12), cards, ""


def _channels(header: Any, shape: tuple[int, ...]) -> list[str]:
    """A name for each plane: Stokes parameters by letter, others by the value and unit of their axis."""
    names = [""]
    for axis, n in enumerate(reversed(shape), start=3):
        kind, unit = str(header.get(f"CTYPE{axis}", "")).strip().upper(), str(header.get(f"CUNIT{axis}", "")).strip()
        start, step = float(header.get(f"CRVAL{axis}", 1)), float(header.get(f"CDELT{axis}", 1))
        values = [start + (i + 1 - float(header.get(f"CRPIX{axis}", 1))) * step for i in range(n)]
        if kind == "STOKES":
            labels = [_STOKES.get(round(value), f"STOKES {value:g}") for value in values]
        else:
            digits = next(d for d in (6, 9, 12, 17) if len({f"{v:.{d}g}" for v in values}) == len(values) or d == 17)
            labels = [f"{kind or f'axis{axis}'} {value:.{digits}g} {unit}".strip() for value in values]
        names = [f"{label} {name}".strip() for label in labels for name in names] if n > 1 or len(shape) == 1 else names
    return names if all(names) else [str(header.get("BTYPE", "map")).strip() or "map"] * len(names)


def _cards(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the primary header says of a map: unit, pixel size, and the coordinates that came with it."""
    from astropy.io.fits import Header

    cards: dict[str, Any] = {}
    pixel, wcs = facts["pixel_arcmin"], facts["provenance"].get("wcs")
    if pixel is not None:
        cards = {"CDELT1": pixel / 60, "CUNIT1": "deg", "CDELT2": pixel / 60, "CUNIT2": "deg"}
    if isinstance(wcs, str):
        with suppress(ValueError, KeyError, TypeError):
            cards = dict(Header.fromstring(wcs))
    if len(set(facts["units"])) == 1 and _plain(facts["units"][0]):
        cards["BUNIT"] = facts["units"][0]
    return cards


def _label(units: Any, i: int) -> str:
    name = units[i].name
    return name if name and [u.name for u in units].count(name) == 1 else str(i)


def _shape(unit: Any) -> tuple[int, ...]:
    if "TFIELDS" in unit.header:
        return (int(unit.header["NAXIS2"]), int(unit.header["TFIELDS"]))
    return tuple(int(unit.header[f"NAXIS{axis}"]) for axis in range(unit.header["NAXIS"], 0, -1))


def _columns(facts: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Column names and units that a FITS header can hold; the true ones are in SUNDOG."""
    names = [name if re.fullmatch(r"\w{1,40}", name, re.ASCII) else f"c{i}" for i, name in enumerate(facts["names"])]
    if len({name.lower() for name in names}) < len(names):  # FITS ignores case
        names = [f"c{i}" for i in range(len(names))]
    return [(name, unit if _plain(unit) else None) for name, unit in zip(names, facts["units"])]


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text.strip()) < 60
