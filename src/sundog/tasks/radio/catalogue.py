"""Catalogues of radio sources: where they are, how large, how bright; read from the files of surveys."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import write_text
from sundog.data.formats.tables import name_and_unit
from sundog.errors import FileError, ShapeError

# Ours -> what files call it, first found wins, upper and lower case alike. The first names are those of LoTSS-DR2.
COLUMNS: dict[str, tuple[str, ...]] = {
    "name": ("Source_Name", "name", "source", "id"),
    "ra": ("RA", "ra_deg", "RAJ2000"),
    "dec": ("DEC", "dec_deg", "DEJ2000"),
    "optical_ra": ("ID_RA", "optRA", "optical_ra"),
    "optical_dec": ("ID_DEC", "optDec", "optical_dec"),
    "las_arcsec": ("LAS", "las_arcsec", "size_arcsec"),
    "flux_mjy": ("Total_flux", "flux_mjy"),
    "peak_mjy": ("Peak_flux", "peak_mjy"),
}
_UNITS = {"ra": "deg", "dec": "deg", "optical_ra": "deg", "optical_dec": "deg", "las_arcsec": "arcsec",
          "flux_mjy": "mJy", "peak_mjy": "mJy/beam"}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """One row per source, float64, NaN where a catalogue is silent.

    Attributes
    ----------
    name : (n,) text
    ra, dec : mean position of the radio emission, degrees
    optical_ra, optical_dec : position of the optical identification, degrees
    las_arcsec : largest angular size; 0 for unresolved
    flux_mjy, peak_mjy : total flux [mJy] and peak brightness [mJy/beam]
    """

    name: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    optical_ra: np.ndarray
    optical_dec: np.ndarray
    las_arcsec: np.ndarray
    flux_mjy: np.ndarray
    peak_mjy: np.ndarray

    @staticmethod
    def of(columns: Mapping[str, Any]) -> Catalogue:
        """A catalogue from columns by our names; missing ones are NaN, missing names are numbers.

        Example
        -------
        >>> Catalogue.of({"ra": [10.0, 11.0], "dec": [0.0, 1.0]}).name.tolist()
        ['0', '1']
        """
        n = len(next(iter(columns.values()), ()))
        made = {field.name: np.asarray(columns[field.name], dtype=np.float64) if field.name in columns
                else np.full(n, np.nan) for field in fields(Catalogue) if field.name != "name"}
        names = np.array([str(name) for name in columns.get("name", range(n))], dtype=object)
        wrong = [name for name, column in made.items() if column.shape != (n,)]
        if wrong or len(names) != n:
            raise ShapeError("columns of a catalogue differ in length", got=", ".join(wrong or ["name"]),
                             expected=f"{n} rows", do="pass columns of one table")
        return Catalogue(name=names, **made)

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, rows: Any) -> Catalogue:
        """The chosen rows (slice, index array, boolean mask)."""
        return Catalogue(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def position(self) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination to centre on: the optical identification, else the radio mean; degrees.

        Numbers outside the sphere, such as -99, count as missing.

        Example
        -------
        >>> rows = Catalogue.of({"ra": [10.0, 20.0], "dec": [1.0, 2.0], "optical_ra": [10.1, -99.0],
        ...                      "optical_dec": [1.1, -99.0]})
        >>> [column.tolist() for column in rows.position()]
        [[10.1, 20.0], [1.1, 2.0]]
        """
        known = _on_sphere(self.optical_ra, self.optical_dec)
        ra, dec = np.where(known, self.optical_ra, self.ra), np.where(known, self.optical_dec, self.dec)
        good = _on_sphere(ra, dec)
        return np.where(good, ra % 360, np.nan), np.where(good, dec, np.nan)


def read_catalogue(path: str | Path) -> Catalogue:
    """The catalogue of a text or FITS table whose columns have the names of LoTSS-DR2, or one of COLUMNS.

    Columns that state a unit - in FITS, or as ``name [unit]`` in a header - are converted; else fluxes are in mJy and
    mJy/beam, LAS in arcsec, positions in degrees. Positions may be text, sexagesimal (hours, degrees), and right
    ascension may run from -180 to 180. Other columns are ignored.

    Raises
    ------
    FileError : unreadable, without a position, a unit of another kind, or text that is no position.
    """
    path = Path(path)
    table = _fits_table(path) if path.name.lower().endswith((".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fz")) \
        else _text_table(path)
    folded = {name.lower(): name for name in reversed(list(table))}
    found = {ours: folded[name.lower()] for ours, names in COLUMNS.items() for name in reversed(names)
             if name.lower() in folded}
    if not {"ra", "dec"} <= set(found) and not {"optical_ra", "optical_dec"} <= set(found):
        raise FileError(f"{path} has no positions", got=", ".join(list(table)[:12]), expected="columns RA and DEC",
                        do="rename the columns as in LoTSS-DR2: Source_Name, RA, DEC, ID_RA, ID_DEC, LAS, Total_flux")
    return Catalogue.of({ours: _words(table[name][0]) if ours == "name" else
                         _converted(ours, *table[name], f"column {name} of {path}") for ours, name in found.items()})


def _words(values: Any) -> list[str]:
    return [str(value).strip() for value in values]


def _converted(ours: str, values: Any, unit: str, where: str) -> np.ndarray:
    """A column in the unit that a Catalogue has it in, float64."""
    from astropy import units
    from astropy.coordinates import Angle

    x = np.asarray(values)
    if x.dtype.kind not in "fiub":
        text = [str(value).strip() for value in values]
        try:
            x = np.array([float(word) if word else np.nan for word in text])
        except ValueError:
            kind = units.hourangle if ours.endswith("ra") else units.deg
            if not ours.endswith(("ra", "dec")):
                raise FileError(f"{where} is no number", got=repr(text[0]), expected=_UNITS[ours],
                                do="check the column") from None
            try:
                return np.array([Angle(word, kind).deg if word else np.nan for word in text])
            except ValueError as error:
                raise FileError(f"{where} is no position", got=str(error)[:60], expected="degrees or sexagesimal text",
                                do="write e.g. 12:34:56.7 or 188.736") from error
    if not unit:
        return x.astype(np.float64)
    try:
        spelled = units.Unit(unit.replace("bm", "beam"))
        return np.asarray(x, np.float64) * float(f"{spelled.to(units.Unit(_UNITS[ours])):.12g}")
    except ValueError as error:
        raise FileError(f"{where} has another kind of unit", got=repr(unit), expected=_UNITS[ours],
                        do="convert the column, or correct its unit") from error


def write_catalogue(catalogue: Catalogue, path: str | Path) -> Path:
    """The path of a CSV with the column names of LoTSS-DR2, written atomically; empty where nothing is known."""
    lines = [",".join(names[0] for names in COLUMNS.values())]
    columns = [getattr(catalogue, ours) for ours in COLUMNS]
    lines += [",".join(_cell(column[i]) for column in columns) for i in range(len(catalogue))]
    return write_text(path, "\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.10g}"


def _on_sphere(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (ra >= -180) & (ra <= 360) & (np.abs(dec) <= 90)


def _text_table(path: Path) -> dict[str, tuple[Any, str]]:
    """Columns of a text table with their units, whatever separates them."""
    import pandas

    names = [*COLUMNS["name"], *(name.lower() for name in COLUMNS["name"])]
    try:
        frame = pandas.read_csv(path, dtype=dict.fromkeys(names, str), skipinitialspace=True, comment="#",
                                sep=None if path.suffix.lower() != ".csv" else ",",
                                engine="python" if path.suffix.lower() != ".csv" else None, encoding="utf-8-sig")
    except (OSError, ValueError, UnicodeError, csv.Error) as error:
        raise FileError(f"cannot read {path}", got=error, expected="a CSV or FITS table",
                        do="check the path and the format") from error
    found = {}
    for label in frame.columns:
        name, unit = name_and_unit(str(label))
        text = frame[label].dtype.kind not in "fiub"
        found[name] = (frame[label].fillna("").tolist() if text else frame[label].to_numpy(), unit)
    return found


def _fits_table(path: Path) -> dict[str, tuple[Any, str]]:
    """Columns of the first table with their units, empty cells as NaN."""
    from astropy.io import fits
    from astropy.table import Table

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that FITS does not know; they are looked at below
            with fits.open(path, memmap=False) as units:
                table = Table.read(next(unit for unit in units if hasattr(unit, "columns")))
                stated = {name: str(table[name].unit or "") for name in table.colnames}
    except (OSError, StopIteration, ValueError, TypeError) as error:
        raise FileError(f"cannot read {path}", got=error or "no table", expected="a FITS file with a table",
                        do="check the path and the format") from error
    found: dict[str, tuple[Any, str]] = {}
    for name in table.colnames:
        column = table[name]
        if column.ndim == 1 and column.dtype.kind in "fiub":
            found[name] = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan), stated[name]
        elif column.ndim == 1 and column.dtype.kind in "US":
            found[name] = [value.decode() if isinstance(value, bytes) else str(value)
                           for value in np.ma.filled(np.ma.asarray(column), "")], stated[name]
    return found
