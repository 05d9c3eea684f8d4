"""Raw: what a reader found in a file before anybody decided what it means; and the facts that travel along."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sundog.checks import enough_memory, near
from sundog.data.formats.blocks import beside, exactly
from sundog.errors import DataError, FileError

FACTS = ("names", "units", "context_names", "context_units", "pixel_arcmin", "periodic", "held_out_fraction",
         "provenance", "time_step", "time_unit", "places")
LATER = {"time_step": None, "time_unit": "", "places": 0}  # facts that older files lack
WEIGHTS = ("w", "weight", "weights", "sample_weight", "event_weight", "evt_weight")
LABELS = ("columns", "names", "features", "feature_names", "column_names")  # arrays of text that name columns
INDEX = ("", "index", "level_0", "unnamed: 0", "__index_level_0__")  # what pandas calls its row numbers
_LARGEST, _RATIO = 2 << 30, 500  # bytes; real numbers never shrink five hundredfold


@dataclass(frozen=True)
class Raw:
    """Arrays and facts of one file.

    Attributes
    ----------
    values : array as stored, any number of dimensions, any numeric type
    context, weights : of the rows, where the file has them
    facts : those of FACTS that the file states; all of them for ``write``
    ours : whether sundog wrote it, so that shapes need no guessing
    image : whether the format says that a 2-D array is a map
    notes : what was left out, changed or understood on the way in, one sentence each
    """

    values: np.ndarray
    context: np.ndarray | None = None
    weights: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = False
    image: bool = False
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str) -> Raw:
        """The same with further notes; empty ones do not count."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note)))


def weight_name(taken: Collection[str]) -> str:
    """What the column of weights is called beside the others: ``weight``, or ``weight_`` where that is taken."""
    name = "weight"
    while name in taken:
        name += "_"
    return name


def with_notes(provenance: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """The provenance with further notes of what was left out, changed or understood, each of them once."""
    found = list(dict.fromkeys([*provenance.get("notes", ()), *notes]))
    return {**provenance, **({"notes": found} if found else {})}


def facts_to_json(facts: Mapping[str, Any]) -> str:
    """The facts as one line of ASCII JSON, which every format can hold."""
    try:
        return json.dumps(dict(facts))
    except TypeError as error:
        raise DataError("the provenance cannot be saved", got=str(error), expected="text, numbers, lists, mappings",
                        do="convert it to plain values first") from error


def facts_from_json(text: str, path: Path) -> dict[str, Any]:
    """The facts back from ``facts_to_json``."""
    try:
        facts = {**LATER, **json.loads(text)}
        return {name: tuple(facts[name]) if isinstance(facts[name], list) else facts[name] for name in FACTS}
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable(path, f"facts that do not parse ({error})") from error


def choose(shapes: Mapping[str, tuple[int, ...]], key: str | None, path: Path, what: str = "array") -> str:
    """The key asked for; else the only array of two or more dimensions; else the only array."""
    listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if not shapes:
        raise FileError(f"{path} holds no {what} of numbers", got="nothing", expected=f"at least one {what}",
                        do="check how the file was written")
    if key is not None:
        if key not in shapes:
            raise FileError(f"{path} has no {what} {key!r}", got=listing, expected="one of these keys",
                            do=near(key, shapes) or "choose a key from the list")
        return key
    large = [name for name, shape in shapes.items() if len(shape) >= 2] or list(shapes)
    if len(large) > 1:
        raise FileError(f"{path} holds several {what}s", got=listing, expected="one",
                        do=f"choose with key={large[0]!r}")
    return large[0]


def read_one(shapes: Mapping[str, tuple[int, ...]], texts: Sequence[str], key: str | None, path: Path,
             what: str, columns: Sequence[str] | None, get: Callable[[str], np.ndarray]) -> Raw:
    """One array of a file of several; or, where a group holds only arrays (n,) of one length, the table they form.

    Beside an array (n, ...), an array (n,) called ``w`` or ``weights`` holds the weights of its rows, and one of
    text called ``columns`` or ``names`` its names. What else lies there is left out, with a note.
    """
    tables = {} if key in shapes or (key is None and any(_wide(shape) for shape in shapes.values())) \
        else _tables(shapes, key)
    joined = {name for names in tables.values() for name in names}
    candidates = {name: shape for name, shape in shapes.items() if name not in joined}
    candidates |= {group: (shapes[names[0]][0], len(names)) for group, names in tables.items()}
    chosen = choose(candidates, key, path, what)
    if chosen in tables:
        table = {name.rpartition("/")[2]: name for name in tables[chosen]}
        wanted = [name for name in table if columns is None or name in columns] or list(table)
        raw = table_of({name: get(table[name]).reshape(-1) for name in wanted}, path, columns)
        return raw.noted(f"the arrays {', '.join(table)} were read as columns of one table",
                         _left_out(shapes, set(table.values())))
    raw = _array(get(chosen), path, columns)
    n, d = len(raw.values), raw.values.shape[-1] if raw.values.ndim == 2 else -1
    weights = next((name for name, shape in shapes.items() if name != chosen and shape in ((n,), (n, 1))
                    and name.rpartition("/")[2].lower() in WEIGHTS), None)
    labels = [get(name) for name in texts if name.rpartition("/")[2].lower() in LABELS]
    named = next((tuple(text_of(v) for v in x) for x in labels if x.ndim == 1 and len(x) == d), None)
    facts = {**({"names": named} if named else {}), **raw.facts}
    said = f"the array {weights} holds the weights" if weights else ""
    return replace(raw, facts=facts, weights=get(weights).reshape(-1) if weights else None).noted(
        said, _left_out(shapes, {chosen, weights}))


def _tables(shapes: Mapping[str, tuple[int, ...]], key: str | None) -> dict[str, list[str]]:
    """Groups of two or more arrays (n,) or (n, 1) of one length n, and of nothing else."""
    groups: dict[str, list[str]] = {}
    for name in shapes:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    return {group: names for group, names in groups.items() if len(names) > 1
            and (key is None or key.strip("/") == group) and len({shapes[name][0] for name in names}) == 1
            and not any(_wide(shapes[name]) for name in names)}


def _wide(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[1:] != (1,)


def _left_out(shapes: Mapping[str, tuple[int, ...]], taken: set[Any]) -> str:
    rest = [f"{name} {shape}" for name, shape in shapes.items() if name not in taken]
    return "left out: " + ", ".join(rest) if rest else ""


def _array(values: np.ndarray, path: Path, columns: Sequence[str] | None) -> Raw:
    """A plain array as it is, a structured one as a table."""
    if not values.dtype.names:
        return Raw(values)
    held = {name: values[name] if values.dtype[name].kind in "fiub" and not values.dtype[name].shape else None
            for name in values.dtype.names}
    return table_of(held, path, columns)


def table_of(columns: Mapping[str, np.ndarray | None], path: Path, wanted: Sequence[str] | None = None,
             units: Mapping[str, str] | None = None, why: Mapping[str, str] | None = None,
             whole: np.ndarray | None = None) -> Raw:
    """A table (rows, columns) from its columns by name; None stands for a column that holds no numbers.

    Where the columns stand side by side in ``whole`` already and none is left out, nothing is copied.

    Row numbers that pandas stored are left out, unless asked for, with a note. Text is an error that names the
    columns (``why`` says what was found there), except where ``wanted`` leaves them out.

    Raises
    ------
    DataError : columns that hold no numbers, or no column at all.
    """
    index = [name for name, x in columns.items()
             if len(columns) > 1 and (wanted is None or name not in wanted) and _is_index(name, x)]
    rest = {name: x for name, x in columns.items() if name not in index}
    bad = [name for name, x in rest.items() if x is None and (wanted is None or name in wanted)]
    if bad:
        raise not_numbers(path, bad, list(rest), why)
    found = {name: x if wanted is not None and name not in wanted else exactly(x, f"numbers of {name!r} in {path}")
             for name, x in rest.items() if x is not None}
    notes = [f"left out the row numbers in column {name!r}" for name in index]
    notes += [f"{as_feature(name)}; weights={name!r} takes it for the weights" for name in found
              if wanted is None and name.lower() in WEIGHTS]
    facts: dict[str, Any] = {"names": tuple(found)}
    if units is not None:
        facts["units"] = tuple(units.get(name, "") for name in found)
    values = whole if whole is not None and len(found) == whole.shape[1] else beside(list(found.values()))
    return Raw(values, facts=facts).noted(*notes)


def as_feature(name: str) -> str:
    """What is said of a column that could be the weights."""
    return f"column {name!r} is read as a feature"


def _is_index(name: str, x: np.ndarray | None) -> bool:
    """Whether a column is one of pandas' row numbers: such a name, and whole numbers that only rise."""
    stem = name.lower().split(".")[0] if name.lower().startswith("unnamed: 0") else name.lower()
    if stem not in INDEX or x is None or x.dtype.kind not in "iuf" or not len(x):
        return False
    return bool((x == np.floor(x)).all() and (np.diff(x) > 0).all())


def unreadable(path: Path, got: object, do: str = "fetch or write the file again") -> FileError:
    """The error for truncated, empty or garbled files."""
    return FileError(f"cannot read {path}", got=got, expected=f"a complete {path.suffix} file", do=do)


def no_pickles(path: Path, what: str) -> FileError:
    """The error for Python objects in files: reading them could run any code."""
    return FileError(f"{path} holds Python objects", got=what, expected="plain numbers",
                     do="pickles can run any code when read and are never opened; save the numbers as float32")


def not_numbers(path: Path, bad: Sequence[str], names: Sequence[str], why: Mapping[str, str] | None = None
                ) -> DataError:
    """The error for text, dates and vectors in a table."""
    good = [name for name in names if name not in bad]
    found = [name + (f" ({why[name]})" if why and why.get(name) else "") for name in bad]
    return DataError(f"columns of {path} are not numbers", got=", ".join(found), expected="one number per row",
                     do=f"leave them out with columns={good}" if good else "convert them to numbers first")


def guard(path: Path, unpacked: int, packed: int | None = None) -> None:
    """Refuse what unpacks to gigabytes from next to nothing, or to more than there is memory for it and one copy.

    Raises
    ------
    FileError : more than 2 GiB from less than a five-hundredth of it. OptionError : too little memory.
    """
    packed = path.stat().st_size if packed is None else packed
    if unpacked > _LARGEST and unpacked > _RATIO * packed:
        raise FileError(f"{path} unpacks to {unpacked / 2**30:.0f} GiB", got=f"{packed} bytes on disk",
                        expected="real data, which never shrink five hundredfold",
                        do="check where the file comes from; unpack it yourself if it is what you want")
    enough_memory(2.0 * unpacked, f"the numbers of {path}", "choose some columns, or take the file in parts")


def text_of(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes | np.bytes_) else str(value)
