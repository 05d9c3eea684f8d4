"""ROOT trees (TTree and RNTuple) of events, read with uproot (extra ``hep``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.checks import near
from sundog.data.formats.raw import Raw, choose, not_numbers, unreadable
from sundog.errors import MissingExtraError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The branches of the tree of that key as columns, in the order of the file; the title of a branch is no unit.

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
            tree = file[choose(trees, key, path, "tree")]
            return _branches(tree, path, columns)
    except (OSError, ValueError, KeyError, IndexError, AttributeError, uproot.deserialization.DeserializationError) \
            as error:
        raise unreadable(path, f"a truncated or damaged file ({str(error).strip().splitlines()[0][:80]})") from error


def _branches(tree: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    names = list(tree.keys())
    missing = [name for name in columns or [] if name not in names]
    if missing:
        raise ShapeError(f"no branch {missing[0]!r}", got=", ".join(names), expected="one of these names",
                         do=near(missing[0], names) or "check the spelling")
    wanted = list(columns) if columns is not None else names
    arrays = {name: tree[name].array(library="np") for name in wanted}
    bad = [name for name, array in arrays.items() if array.ndim != 1 or array.dtype.kind not in "fiub"]
    if bad:
        raise not_numbers(path, bad, wanted)
    return Raw(np.stack([np.asarray(arrays[name], np.float64) for name in wanted], 1), facts={"names": tuple(wanted)})
