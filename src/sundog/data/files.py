"""load and save: Datasets from files and back, with units, names and clear errors."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import sundog.data.describe  # noqa: F401  what was loaded can describe itself
from sundog.checks import near, one_of
from sundog.data.atomic import check_place
from sundog.data.formats import arrays, fits, hdf5, pictures, root, tables
from sundog.data.formats.raw import FACTS, Raw, as_feature, unreadable, with_notes
from sundog.data.layout import joined, observed_only, shaped
from sundog.data.objects import is_path, raw_of
from sundog.data.sample import Dataset
from sundog.data.series import layout
from sundog.data.series.sampling import series_of
from sundog.errors import FileError, OptionError, ShapeError, SundogError

_Reader = Callable[[Path, str | None, Sequence[str] | None], Raw]
_TEXT = dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), tables.read_csv)
_PICTURES = dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"), pictures.read)
_READERS: dict[str, _Reader] = {
    ".npy": arrays.read_npy, ".npz": arrays.read_npz,
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".he5"), hdf5.read),
    **dict.fromkeys((".fits", ".fit", ".fts"), fits.read), **_TEXT,
    **dict.fromkeys((".parquet", ".pq"), tables.read_parquet), ".root": root.read, **_PICTURES,
}
_NARROWING = (tables.read_csv, tables.read_parquet)  # which choose between float32 and float64 while they read
_PACKED = {**dict.fromkeys((".gz", ".bz2"), (*_TEXT, ".fits", ".fit", ".fts")), ".zst": tuple(_TEXT),
           ".fz": (".fits", ".fit", ".fts")}
_WRITERS: dict[str, Callable[[Raw, Path], Path]] = {
    ".npz": arrays.write_npz, ".h5": hdf5.write, ".hdf5": hdf5.write, ".fits": fits.write,
    ".csv": tables.write_csv, ".parquet": tables.write_parquet,
}


def load(
    held: Any,
    *,
    kind: str = "auto",
    unit: str | None = None,
    units: Sequence[str] | Mapping[str, str] | str | None = None,
    names: Sequence[str] | None = None,
    context: Sequence[str] | str | None = None,
    columns: Sequence[str] | str | None = None,
    weights: str | None = None,
    pixel_arcmin: float | None = None,
    periodic: bool | None = None,
    held_out_fraction: float | None = None,
    key: str | None = None,
    mask: Any = None,
    time: str | None = None,
    time_step: float | None = None,
    time_unit: str | None = None,
    resample: float | None = None,
    windows: int | None = None,
    drop_failed: bool = False,
) -> Dataset:
    """Dataset from a file, a folder, a pattern or a list of files - or from an object in memory.

    Objects: numpy arrays (plain, structured; masked ones only without masked entries), torch tensors, frames of pandas
    and polars, pyarrow tables, mappings of columns ("m [TeV]" names a unit), astropy tables and quantities, xarray,
    flat awkward arrays. Index columns never become features, units are kept.

    Files: .npy, .npz, .h5, .fits, .csv (.tsv, .txt, .dat), .parquet, .root, pictures; docs/files.md lists what is
    understood in each. A 2-D array is one map when ``kind="images"``, when a pixel size is known, when it is the image
    of a FITS file or a picture, or when it has more than 64 columns that nobody named; else a table of events. A 1-D
    array is one column of events, with ``kind="images"`` and more than 64 numbers a
    signal: one map of one row. A 3-D array is n maps of one channel; with as many ``names`` as its first axis is long,
    one map of several channels. A 4-D array whose last axis has at most four entries has its channels last. Files
    written by ``save`` need no rule. Whatever is passed here wins over what the file says. What was left out, changed
    or understood on the way stands in ``provenance["notes"]`` and in ``describe``. A constant column is no error here
    (``describe`` flags it), only when a scaling is fitted.

    With ``kind="series"`` an array is (t,), (n, t) or (n, t, channels). Of a table with names the column of times (one
    called time, t, date, mjd ...) gives the step, and the others are the channels of one series; several files are
    several series; ``columns`` chooses, that of the times among them. Empty cells and NaN are gaps.

    Parameters
    ----------
    kind : "auto", "events", "images" or "series"
    unit, units : of all columns or channels; or one for each column of the file; or {name: unit} of some
    names : one for each column of the file, before ``columns`` chooses
    context : names of the columns to condition on
    columns : names of the columns or channels wanted, in that order, context and weights included
    weights : name of the column of event weights
    pixel_arcmin, periodic : of maps
    held_out_fraction : share kept away from training; 0.2 unless the file says otherwise
    key : name of the array, dataset, group, tree or FITS extension in files that hold several
    mask : of maps: an array or file that is 0 where pixels hold no number (NaN, infinite, UNSEEN), or ``"missing"``
        for wherever they hold none; such pixels become 0
    time : name of the column of times, in numbers
    time_step, time_unit : between two points of series; from the column of times when not given
    resample : time step at which irregular series are interpolated, linearly; gaps become NaN
    windows : points of the series that long records are cut into, one after the other, those with gaps left out
    drop_failed : leave out rows that hold NaN or Inf, such as failed runs of a simulator; a note says which

    Raises
    ------
    FileError : missing, unknown suffix, truncated, unreadable, empty, several arrays and no ``key``, pickles.
    DataError : NaN or Inf, text columns, maps of different sizes, series at unequal steps.
    ShapeError : unknown column names, names or units that do not fit.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.csv"
    >>> _ = path.write_text("m_jj [TeV],tau21\\n3.4,0.5\\n3.5,0.25\\n")
    >>> load(path, context="m_jj")
    Dataset(events, 2 x 1: tau21 | m_jj [TeV])
    """
    one_of(kind, ("auto", "events", "images", "series"), "kind of data")
    clock = {"time": time, "time_step": time_step, "time_unit": time_unit, "resample": resample,
             "windows": windows}
    if kind != "series" and any(value is not None for value in clock.values()):
        said = ", ".join(name for name, value in clock.items() if value is not None)
        raise OptionError("only series have times", got=f"kind={kind!r}, {said}", expected="kind='series'",
                          do="pass kind='series', or leave them out")
    given: dict[str, Any] = {
        "names": (names,) if isinstance(names, str) else names, "units": unit if units is None else units,
        "pixel_arcmin": pixel_arcmin, "periodic": periodic, "held_out_fraction": held_out_fraction,
        "time_step": time_step, "time_unit": time_unit}
    if isinstance(held, Dataset):
        raise OptionError("this is a Dataset already", got=repr(held), expected="a file or another object",
                          do="use it as it is")
    files, left = _files(held) if is_path(held) else ([], "")
    try:
        columns = (columns,) if isinstance(columns, str) else columns
        wanted = None if columns is None or names is not None else [*columns, *([weights] if weights else [])]
        found = [raw_of(held, wanted)] if not files else [_read(file, key, wanted, kind == "series") for file in files]
        told = [_with_facts(raw, given) for raw in found]
        parts = [series_of(raw, time, resample, columns) if kind == "series" else shaped(raw, kind) for raw in told]
        raw = joined(parts, files).noted(left)
        series = raw.facts.get("time_step") is not None
        if (raw.values.ndim > 2 and not series) or not (mask is None or (isinstance(mask, str) and mask == "missing")):
            raw = observed_only(raw, load(mask, kind="images", mask="missing").values[0].numpy()
                                if isinstance(mask, str | Path) and mask != "missing" else mask)
        data = _dataset(raw, None if kind == "series" else columns, context, weights, files, drop_failed)
        return data if windows is None else layout.windows(data, windows)
    except SundogError as error:
        raise _naming(error, files) from error


def as_dataset(held: Any, **options: Any) -> Dataset:
    """A Dataset as it is; whatever else `load` takes, loaded. The door of `fit`, `judge`, `scan` and `separate`."""
    return held if isinstance(held, Dataset) else load(held, **options)


def _with_facts(raw: Raw, given: Mapping[str, Any]) -> Raw:
    """The facts of a file, with those that the caller gave in their place."""
    given = {name: value for name, value in given.items() if value is not None}
    units = given.get("units")
    if isinstance(units, Mapping):
        del given["units"]
        given |= _named_units(units, {**raw.facts, **given})
    facts = {**raw.facts, **given}
    other = [f"{name}={facts[name]:g} was given in place of the file's {raw.facts[name]:g}"
             for name in ("pixel_arcmin", "time_step")
             if raw.facts.get(name) is not None and facts[name] != raw.facts[name]]
    return replace(raw, facts=facts).noted(*_replaced_units(raw.facts, facts), *other)


def _replaced_units(stated: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What to say where other units were given than the file states."""
    said: dict[tuple[str, str], list[str]] = {}
    for names, kind in (("names", "units"), ("context_names", "context_units")):
        labels = facts.get(names) or ("",)
        before, after = ([value] * len(labels) if isinstance(value, str) else value or []
                         for value in (stated.get(kind), facts.get(kind)))
        for name, old, new in zip(labels, before, after):
            if old and old != new:
                said.setdefault((new, old), []).append(name)
    return [f"the unit {new} was given in place of the file's {old}" + f" ({', '.join(names)})" * any(names)
            for (new, old), names in said.items()]


def save(data: Dataset, path: str | Path) -> Path:
    """The path, after the Dataset was written there atomically; ``load`` gives it back bit by bit.

    Raises
    ------
    FileError : a suffix that cannot hold names and units (.npy), an unwritable place.
    ShapeError : images or series for .csv or .parquet.
    """
    path = Path(path)
    writer = _writer(path)
    context, weights = (None if part is None else part.numpy() for part in (data.context, data.weights))
    facts = {**{name: getattr(data, name) for name in FACTS}, "provenance": dict(data.provenance)}
    return writer(Raw(data.values.numpy(), context, weights, facts), path)


def check_target(path: str | Path) -> Path:
    """The path, if a Dataset can be saved there: a known suffix, a place that can be written to.

    Raises
    ------
    FileError : it cannot.
    """
    _writer(Path(path))
    return check_place(path)


def _writer(path: Path) -> Callable[[Raw, Path], Path]:
    if path.suffix.lower() not in _WRITERS:
        raise FileError(f"cannot write {path}", got=f"suffix {path.suffix!r}", expected=", ".join(_WRITERS),
                        do=f"save to {path.stem}.npz, which keeps names, units and context")
    return _WRITERS[path.suffix.lower()]


def _files(path: str | Path | Sequence[str | Path]) -> tuple[list[Path], str]:
    """The files meant by a path, a folder, a pattern or a list, all existing; and which of a folder were left out."""
    left = ""
    if not isinstance(path, str | Path):
        found = [Path(p).expanduser() for p in path]
    elif (Path(path).expanduser() / "run.json").exists():
        raise FileError(f"{path} holds a run, no data", got="run.json", expected="data files",
                        do=f"read it with: sundog.load_run({str(path)!r})")
    elif Path(path).expanduser().is_dir():
        found, left = _of_folder(Path(path).expanduser())
    elif not Path(path).exists() and glob.has_magic(str(path)):
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
    return found, left


def _of_folder(folder: Path) -> tuple[list[Path], str]:
    """The data files of a folder, else of those below it; text and pictures count only where nothing else lies."""
    for every in (folder.iterdir(), folder.rglob("*")):
        files = sorted(p for p in every if p.is_file() and not p.name.startswith((".", "_")))
        known = [p for p in files if _suffix(p) in _READERS]
        main = [p for p in known if _suffix(p) not in (".txt", ".dat", *_PICTURES)] or known
        if main:
            rest = [p.name for p in files if p not in main]
            return main, f"left out of the folder: {', '.join(rest[:8])}" if rest else ""
    return [], ""


def _suffix(path: Path) -> str:
    """".csv" for .csv.gz too, where the reader unpacks."""
    last, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    return inner if inner in _PACKED.get(last, ()) else last


def _read(path: Path, key: str | None, columns: Sequence[str] | None, exact: bool) -> Raw:
    """What its reader finds in a file; ``exact``: with all digits, as times need them."""
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise FileError(f"unknown kind of file {path}", got=f"suffix {path.suffix!r}", expected=", ".join(_READERS),
                        do="convert it, or rename it if only the suffix is wrong")
    if path.stat().st_size == 0:
        raise FileError(f"{path} is empty", got="0 bytes", expected="data", do="fetch or write the file again")
    try:
        raw = partial(reader, exact=True)(path, key, columns) if exact and reader in _NARROWING \
            else reader(path, key, columns)
        alone = key is not None and _suffix(path) in (".npy", *_TEXT, ".parquet", ".pq", *_PICTURES)
        return raw.noted(f"key={key!r} chooses nothing here: there is one array" if alone else "")
    except (SundogError, MemoryError, ImportError):
        raise
    except Exception as error:  # of damaged files, libraries raise whatever they stumble over
        first = (str(error).splitlines() or [""])[0][:100]
        raise unreadable(path, f"a damaged file ({type(error).__name__}: {first})") from error


def _dataset(raw: Raw, columns: Sequence[str] | None, context: Sequence[str] | str | None, weights: str | None,
             files: Sequence[Path], drop_failed: bool) -> Dataset:
    facts: Mapping[str, Any] = raw.facts
    values, names, units = raw.values, facts.get("names"), facts.get("units")
    event_weights = raw.weights
    series = facts.get("time_step") is not None
    if values.ndim == 2 and not series and (columns is not None or weights is not None):
        names = list(names) if names is not None else [f"x{i}" for i in range(values.shape[1])]
        _fitting(names, units, values.shape[1])
        wanted = list(columns) if columns is not None else names
        there = facts.get("context_names") or ()  # of files of ours, which keep their context
        indices = [_index(name, names) for name in wanted if name != weights and name not in there]
        if weights is not None:
            event_weights = values[:, _index(weights, names)]
            raw = replace(raw, notes=tuple(note for note in raw.notes if not note.startswith(as_feature(weights))))
        values, names = values[:, indices], [names[i] for i in indices]
        units = [units[i] for i in indices] if units is not None and not isinstance(units, str) else units
    elif weights is not None or (columns is not None and list(columns) != list(names or ())):
        raise OptionError("series and maps have no columns", got=f"columns={columns}, weights={weights}",
                          expected="neither", do="leave them out, or choose channels after loading")
    stated = facts.get("provenance") or {}
    if not raw.ours and files:
        stated = {"file": files[0].name if len(files) == 1 else f"{len(files)} files", **stated}
    data = Dataset.from_arrays(
        values, raw.context, names, units, weights=event_weights, context_names=facts.get("context_names"),
        context_units=facts.get("context_units"), pixel_arcmin=facts.get("pixel_arcmin"),
        periodic=bool(facts.get("periodic", False)), held_out_fraction=facts.get("held_out_fraction", 0.2),
        provenance=with_notes(stated, raw.notes), exact=raw.ours, owned=bool(files), time_step=facts.get("time_step"),
        time_unit=facts.get("time_unit") or "", places=facts.get("places", 0),
        drop_failed=drop_failed)
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
    if not files or any(str(path) in str(error) for path in files):
        return error
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    return type(error)(f"{name}: {error.what}", got=error.got, expected=error.expected, do=error.do)


Dataset.save = save
Dataset.load = staticmethod(load)
