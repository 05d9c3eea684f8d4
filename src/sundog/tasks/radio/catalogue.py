"""Catalogues of radio sources: where they are, how large, how bright; read from the files of surveys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import write_text
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
        return np.where(good, ra, np.nan), np.where(good, dec, np.nan)


def read_catalogue(path: str | Path) -> Catalogue:
    """The catalogue of a CSV or FITS table whose columns have the names of LoTSS-DR2, or one of COLUMNS.

    Fluxes are in mJy and mJy/beam there, LAS in arcsec, positions in degrees. Other columns are ignored.

    Raises
    ------
    FileError : unreadable, or without a position.
    """
    path = Path(path)
    table = _fits_table(path) if path.suffix.lower() in (".fits", ".fit") else _csv_table(path)
    folded = {name.lower(): name for name in reversed(list(table))}
    found = {ours: folded[name.lower()] for ours, names in COLUMNS.items() for name in reversed(names)
             if name.lower() in folded}
    if not {"ra", "dec"} <= set(found) and not {"optical_ra", "optical_dec"} <= set(found):
        raise FileError(f"{path} has no positions", got=", ".join(list(table)[:12]), expected="columns RA and DEC",
                        do="rename the columns as in LoTSS-DR2: Source_Name, RA, DEC, ID_RA, ID_DEC, LAS, Total_flux")
    return Catalogue.of({ours: table[name] for ours, name in found.items()})


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
        return (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)


def _csv_table(path: Path) -> dict[str, Sequence[Any]]:
    import pandas

    try:
        table = pandas.read_csv(path, dtype={"Source_Name": str, "name": str})
        numbers = [name for names in list(COLUMNS.values())[1:] for name in names]
        wanted = {name.lower() for name in numbers}
        return {str(name): pandas.to_numeric(table[name], errors="coerce").to_numpy() if str(name).lower() in wanted
                else table[name].to_numpy() for name in table.columns}
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {path}", got=error, expected="a CSV or FITS table",
                        do="check the path and the format") from error


def _fits_table(path: Path) -> dict[str, Sequence[Any]]:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as units:
            table = next(unit for unit in units if hasattr(unit, "columns"))
            columns: dict[str, Sequence[Any]] = {}
            for column in table.columns:
                kind = column.format.strip("0123456789").upper()[:1]
                if kind == "A":
                    columns[column.name] = [text.strip() for text in table.data[column.name]]
                elif kind and kind in "EDIJKB":
                    columns[column.name] = np.asarray(table.data[column.name], dtype=np.float64).tolist()
            return columns
    except (OSError, StopIteration, ValueError, TypeError) as error:
        raise FileError(f"cannot read {path}", got=error or "no table", expected="a FITS file with a table",
                        do="check the path and the format") from error
