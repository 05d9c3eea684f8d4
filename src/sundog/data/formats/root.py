"""ROOT trees (TTree and RNTuple) of events, read with uproot (extra ``hep``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sundog.checks import near
from sundog.data.formats.raw import Raw, choose, table_of, unreadable
from sundog.errors import MissingExtraError, ShapeError

_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The branches of the tree of that key as columns, in the order of the file; the title of a branch is no unit.

    Of several cycles of one tree the latest is read.

    Raises
    ------
    MissingExtraError : without uproot.
    FileError : damaged, no tree, or several and no ``key``.
    DataError : branches with other than one number per event, unless ``columns`` leaves them out.
    """
    try:
        import uproot
    except ImportError as error:
        raise MissingExtraError("uproot", "hep") from error
    try:
        with uproot.open(path) as file:
            trees = {name: (int(file[name].num_entries), len(file[name].keys()))
                     for name, kind in file.classnames(cycle=False).items() if kind in _TREES}
            chosen = choose(trees, key, path, "tree")
            cycles = [name for name in file.keys(recursive=True) if name.rpartition(";")[0] == chosen]
            raw = _branches(file[chosen], path, columns)
            return raw.noted(f"the latest of {len(cycles)} cycles of {chosen} was read" if len(cycles) > 1 else "")
    except (OSError, ValueError, KeyError, IndexError, AttributeError, uproot.deserialization.DeserializationError) \
            as error:
        raise unreadable(path, f"a truncated or damaged file ({str(error).strip().splitlines()[0][:80]})") from error


def _branches(tree: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    names = list(tree.keys())
    missing = [name for name in columns or [] if name not in names]
    if missing:
        raise ShapeError(f"no branch {missing[0]!r}", got=", ".join(names), expected="one of these names",
                         do=near(missing[0], names) or "check the spelling")
    wanted = [name for name in names if columns is None or name in columns]
    arrays = {name: tree[name].array(library="np") for name in wanted}
    good = {name: array.ndim == 1 and array.dtype.kind in "fiub" for name, array in arrays.items()}
    why = {name: "several numbers per event" if array.ndim > 1 or array.dtype.kind == "O" else str(array.dtype)
           for name, array in arrays.items()}
    return table_of({name: np.asarray(x, np.float64) if good[name] else None for name, x in arrays.items()}, path,
                    columns, why=why)
