"""The files of the LHC Olympics 2020 R&D data set: jet features, and particles.

Both are pandas tables in HDF5. A row of the particle file holds 700 times (pT [GeV], eta, phi), zero padded, and 1 for
signal or 0 for QCD; 1.1 million rows are 18 GB, so it is read piece by piece. ``sundog.simulate.jets.jet_table`` makes
features of particles. Source: Kasieczka, Nachman & Shih, doi:10.5281/zenodo.4536377 and later versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.dataset import Dataset
from sundog.data.formats import hdf5
from sundog.data.formats.raw import unreadable
from sundog.data.public.sets import LHCO_NAMES, LHCO_UNITS, dijet_features
from sundog.errors import DataError, OptionError

PIECE = 5000  # rows: 84 MB


def read_features(path: str | Path) -> tuple[Dataset, np.ndarray]:
    """Events of a feature file with m_jj as context, and their labels (n,): 1 signal, 0 QCD; 0 where there is none.

    Raises
    ------
    FileError : missing, damaged. DataError : not the columns of this data set (pxj1, pyj1, ... tau2j2).
    """
    raw = hdf5.read(Path(path))
    columns = dict(zip(raw.facts.get("names", ()), raw.values.T))
    needed = [f"{stem}j{j}" for j in (1, 2) for stem in ("px", "py", "pz", "m", "tau1", "tau2")]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(f"{path} is no LHC Olympics feature file", got=", ".join(columns) or "no names",
                        expected=", ".join(needed), do="load it with sundog.load, or read_particles for particles")
    table = dijet_features(columns)
    events = Dataset.from_arrays(table[:, 1:], table[:, 0], LHCO_NAMES[1:], LHCO_UNITS[1:],
                                 context_names=LHCO_NAMES[:1], context_units=LHCO_UNITS[:1],
                                 provenance={"file": Path(path).name, "set": "LHC Olympics R&D"})
    return events, np.asarray(columns.get("label", np.zeros(len(table)))).astype(int)


def read_particles(path: str | Path, piece: int = PIECE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Particles (k, 700, 3) and labels (k,) of a particle file, ``piece`` rows at a time.

    Raises
    ------
    FileError : missing, damaged. DataError : no table of 3 particles' numbers and a label per row.
    """
    import h5py

    if piece < 1:
        raise OptionError("piece is unusable", got=piece, expected="at least 1 row", do=f"pass {PIECE}")
    try:
        with h5py.File(path, "r") as file:
            table = _table(file, Path(path))
            for start in range(0, len(table), piece):
                rows = np.asarray(table[start : start + piece], dtype=np.float64)
                yield rows[:, :-1].reshape(len(rows), -1, 3), rows[:, -1].astype(int)
    except OSError as error:
        raise unreadable(Path(path), f"a missing, truncated or damaged file ({error})") from error


def _table(file: Any, path: Path) -> Any:
    """The one wide table of numbers in the file."""
    import h5py

    found: list[Any] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) and item.ndim == 2 and
                    item.dtype.kind in "fiu" else None)
    wide = [item for item in found if item.shape[1] > 3 and item.shape[1] % 3 == 1]
    if len(wide) != 1:
        raise DataError(f"{path} is no LHC Olympics particle file", got=f"{len(wide)} such tables",
                        expected="one of 3 k + 1 columns: pT, eta, phi of k particles and a label",
                        do="read_features reads the feature files")
    return wide[0]
