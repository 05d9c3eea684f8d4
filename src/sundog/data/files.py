"""load and save: Datasets from files and back, with units, names and clear errors."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sundog.data.describe  # noqa: F401  what was loaded can describe itself
from sundog.checks import near
from sundog.data.formats import arrays, fits, hdf5, root, tables
from sundog.data.formats.raw import Raw
from sundog.data.sample import Dataset
from sundog.errors import DataError, FileError, OptionError, ShapeError, SundogError

_Reader = Callable[[Path, str | None, Sequence[str] | None], Raw]
_READERS: dict[str, _Reader] = {
    ".npy": arrays.read_npy, ".npz": arrays.read_npz, ".h5": hdf5.read, ".hdf5": hdf5.read,
    ".fits": fits.read, ".fit": fits.read, ".csv": tables.read_csv, ".parquet": tables.read_parquet,
    ".root": root.read,
}
_WRITERS: dict[str, Callable[[Dataset, Path], Path]] = {
    ".npz": arrays.write_npz, ".h5": hdf5.write, ".hdf5": hdf5.write, ".fits": fits.write,
    ".csv": tables.write_csv, ".parquet": tables.write_parquet,
}
MOST_COLUMNS = 64  # a wider 2-D array is taken for a map: no event of this project has so many features


def load(
    path: str | Path | Sequence[str | Path],
    *,
    kind: str = "auto",
    unit: str | None = None,
    units: Sequence[str] | Mapping[str, str] | str | None = None,
    names: Sequence[str] | None = None,
    context: Sequence[str] | str | None = None,
    columns: Sequence[str] | None = None,
    weights: str | None = None,
    pixel_arcmin: float | None = None,
    periodic: bool | None = None,
    held_out_fraction: float | None = None,
    key: str | None = None,
) -> Dataset:
    """Dataset from a file (.npy, .npz, .h5, .fits, .csv, .parquet, .root), or from a folder, pattern or list of maps.

    A 2-D array is one map when ``kind="images"``, when a pixel size is known, when it is the image of a FITS
    file, or when it has more than 64 columns that nobody named; else a table of events. A 1-D array is one
    column of events, with ``kind="images"`` and more than 64 numbers a
    signal: one map of one row. A 3-D array is n maps of one channel; with as many ``names`` as its first axis is long,
    one map of several channels. Files written by ``save`` need no rule. Whatever is passed here wins over
    what the file says. A constant column is no error here (``describe`` flags it), only when a scaling is fitted.

    Parameters
    ----------
    kind : "auto", "events" or "images"
    unit, units : of all columns or channels; or one for each column of the file; or {name: unit} of some
    names : one for each column of the file, before ``columns`` chooses
    context : names of the columns to condition on
    columns : names of the columns wanted, in that order, context and weights included
    weights : name of the column of event weights
    pixel_arcmin, periodic : of maps
    held_out_fraction : share kept away from training; 0.2 unless the file says otherwise
    key : name of the array, dataset, tree or FITS extension in files that hold several

    Raises
    ------
    FileError : missing, unknown suffix, truncated, unreadable, empty, several arrays and no ``key``, pickles.
    DataError : NaN or Inf, text columns, maps of different sizes.
    ShapeError : unknown column names, names or units that do not fit.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.csv"
    >>> _ = path.write_text("m_jj [TeV],tau21\\n3.4,0.5\\n3.5,0.25\\n")
    >>> load(path, context="m_jj")
    Dataset(events, 2 x 1: tau21 | m_jj [TeV])
    """
    if kind not in ("auto", "events", "images"):
        raise OptionError("unknown kind of data", got=kind, expected="auto, events or images", do="leave kind out")
    given: dict[str, Any] = {
        "names": (names,) if isinstance(names, str) else names, "units": unit if units is None else units,
        "pixel_arcmin": pixel_arcmin, "periodic": periodic, "held_out_fraction": held_out_fraction}
    files = _files(path)
    try:
        wanted = None if columns is None or names is not None else [*columns, *([weights] if weights else [])]
        raw = _stacked(files, key, kind) if _plural(path) else _read(files[0], key, wanted)
        if isinstance(units, Mapping):
            given |= _named_units(units, {**raw.facts, **({"names": given["names"]} if given["names"] else {})})
        raw = replace(raw, facts={**raw.facts, **{n: v for n, v in given.items() if v is not None}})
        return _dataset(_shaped(raw, kind), columns, context, weights, files)
    except SundogError as error:
        raise _naming(error, files) from error


def save(data: Dataset, path: str | Path) -> Path:
    """The path, after the Dataset was written there atomically; ``load`` gives it back bit by bit.

    Raises
    ------
    FileError : a suffix that cannot hold names and units (.npy), an unwritable place.
    ShapeError : images for .csv or .parquet.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise FileError(f"cannot write {path}", got=f"suffix {path.suffix!r}", expected=", ".join(_WRITERS),
                        do=f"save to {path.stem}.npz, which keeps names, units and context")
    return writer(data, path)


def _plural(path: Any) -> bool:
    if not isinstance(path, str | Path) or Path(path).is_dir():
        return True
    return not Path(path).exists() and glob.has_magic(str(path))


def _files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files meant by a path, a folder, a pattern or a list; at least one, all existing."""
    if not isinstance(path, str | Path):
        found = [Path(p) for p in path]
    elif Path(path).is_dir():
        found = sorted(p for p in Path(path).iterdir() if _suffix(p) in _READERS and not p.name.startswith("."))
    elif _plural(path):
        found = [Path(p) for p in sorted(glob.glob(str(Path(path).expanduser()), recursive=True))]  # noqa: PTH207
    else:
        found = [Path(path).expanduser()]
    if not found:
        raise FileError(f"no data files in {path}", got="nothing", expected=", ".join(_READERS), do="check the path")
    for file in found:
        if not file.is_file():
            siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
            raise FileError(f"no file {file}", got="nothing there", expected="an existing file",
                            do=near(file.name, siblings) or f"check the path; the folder is {file.parent.resolve()}")
    return found


def _suffix(path: Path) -> str:
    """".fits" for .fits.gz too: astropy reads both."""
    return path.suffix.lower() if not path.name.lower().endswith(".fits.gz") else ".fits"


def _read(path: Path, key: str | None, columns: Sequence[str] | None) -> Raw:
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise FileError(f"unknown kind of file {path}", got=f"suffix {path.suffix!r}", expected=", ".join(_READERS),
                        do="convert it, or rename it if only the suffix is wrong")
    if path.stat().st_size == 0:
        raise FileError(f"{path} is empty", got="0 bytes", expected="data", do="fetch or write the file again")
    return reader(path, key, columns)


def _stacked(files: Sequence[Path], key: str | None, kind: str) -> Raw:
    """All maps of several files as one array (n, ...); they must agree in size, unit and pixel."""
    if kind == "events":
        raise OptionError("several files can only be maps", got="kind='events'", expected="kind='images'",
                          do="load the tables one by one")
    found = [_read(file, key, None) for file in files]
    stacks = [raw.values[None] if raw.values.ndim == 2 else raw.values for raw in found]
    sizes = Counter(stack.shape[1:] for stack in stacks)
    if len(sizes) > 1 or any(stack.ndim not in (3, 4) for stack in stacks):
        listing = ", ".join(f"{' x '.join(map(str, size))} ({count} files)" for size, count in sizes.most_common(8))
        raise DataError("the maps differ in size", got=listing, expected="one size",
                        do="crop or pad them, or load one size at a time")
    for fact in ("units", "pixel_arcmin"):
        stated = {raw.facts.get(fact) for raw in found}
        if len(stated) > 1:
            raise ShapeError(f"the maps differ in {fact}", got=", ".join(sorted(map(str, stated))),
                             expected="one value", do="load them separately, or convert them")
    return Raw(np.concatenate(stacks), facts=found[0].facts, image=True)


def _shaped(raw: Raw, kind: str) -> Raw:
    """Decide what the axes mean."""
    x, facts = raw.values, raw.facts
    if x.size == 0:
        raise DataError("there are no numbers", got=f"shape {x.shape}", expected="at least one row and one column",
                        do="check the selection that produced the file")
    if raw.ours:
        return raw
    names = facts.get("names")
    wide = x.ndim == 2 and x.shape[1] > MOST_COLUMNS and names is None
    as_map = kind == "images" or (kind == "auto" and (raw.image or wide or bool(facts.get("pixel_arcmin"))))
    if x.ndim == 1 and not as_map:
        x = x[:, None]
    elif x.ndim == 1 and len(x) > MOST_COLUMNS:
        x = x[None, None]
    elif (x.ndim == 2 and as_map) or (x.ndim == 3 and names is not None and len(names) == len(x) > 1):
        x = x[None]
    expected = (3, 4) if as_map or (kind == "auto" and x.ndim > 2) else (2,)
    if x.ndim not in expected:
        raise ShapeError("the array has an unusable shape", got=raw.values.shape,
                         expected="(ny, nx), (n, ny, nx) or (n, channels, ny, nx)" if as_map or x.ndim > 4
                         else "(n, columns)", do="reshape it, or choose another kind")
    return replace(raw, values=x)


def _dataset(raw: Raw, columns: Sequence[str] | None, context: Sequence[str] | str | None, weights: str | None,
             files: Sequence[Path]) -> Dataset:
    facts: Mapping[str, Any] = raw.facts
    values, names, units = raw.values, facts.get("names"), facts.get("units")
    event_weights = raw.weights
    if values.ndim == 2 and (columns is not None or weights is not None):
        names = list(names) if names is not None else [f"x{i}" for i in range(values.shape[1])]
        _fitting(names, units, values.shape[1])
        wanted = list(columns) if columns is not None else names
        indices = [_index(name, names) for name in wanted if name != weights]
        if weights is not None:
            event_weights = values[:, _index(weights, names)]
        values, names = values[:, indices], [names[i] for i in indices]
        units = [units[i] for i in indices] if units is not None and not isinstance(units, str) else units
    elif columns is not None or weights is not None:
        raise OptionError("maps have no columns", got=f"columns={columns}, weights={weights}", expected="neither",
                          do="leave them out, or choose channels after loading")
    data = Dataset.from_arrays(
        values, raw.context, names, units, weights=event_weights, context_names=facts.get("context_names"),
        context_units=facts.get("context_units"), pixel_arcmin=facts.get("pixel_arcmin"),
        periodic=bool(facts.get("periodic", False)), held_out_fraction=facts.get("held_out_fraction", 0.2),
        provenance=facts.get("provenance", {"file": files[0].name if len(files) == 1 else f"{len(files)} files"}))
    return data if context is None else _with_context(data, context)


def _named_units(units: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """``units`` and ``context_units``, one per column, from {name: unit}; columns not named keep those of the file."""
    known = [*(facts.get("names") or ()), *facts.get("context_names", ())]
    for name in units:
        _index(name, known)
    found = {}
    for names, kind in (("names", "units"), ("context_names", "context_units")):
        labels, stated = facts.get(names) or (), facts.get(kind) or ()
        stated = (stated,) * len(labels) if isinstance(stated, str) else stated or ("",) * len(labels)
        found[kind] = tuple(units.get(name, unit) for name, unit in zip(labels, stated))
    return found


def _with_context(data: Dataset, context: Sequence[str] | str) -> Dataset:
    wanted = [context] if isinstance(context, str) else list(context)
    if data.kind == "events":
        for name in wanted:
            _index(name, data.names)
    return data.with_context(wanted)


def _index(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ShapeError(f"no column {name!r}", got=", ".join(names), expected="one of these names",
                         do=near(name, names) or "check the spelling")
    return names.index(name)


def _fitting(names: Sequence[str], units: Any, width: int) -> None:
    for what, labels in (("names", names), ("units", units)):
        if labels is not None and not isinstance(labels, str) and len(labels) != width:
            raise ShapeError(f"{what} do not fit the file", got=len(labels), expected=width,
                             do=f"pass one entry of {what} per column of the file")


def _naming(error: SundogError, files: Sequence[Path]) -> SundogError:
    """The same error with the name of the file in front, where it does not name one already."""
    if any(str(path) in str(error) for path in files):
        return error
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    return type(error)(f"{name}: {error.what}", got=error.got, expected=error.expected, do=error.do)


Dataset.save = save
Dataset.load = staticmethod(load)
