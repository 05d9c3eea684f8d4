"""Raw: what a reader found in a file before anybody decided what it means; and the facts that travel along."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.checks import near
from sundog.errors import DataError, FileError

if TYPE_CHECKING:
    from sundog.data.dataset import Dataset

FACTS = ("names", "units", "context_names", "context_units", "pixel_arcmin", "periodic", "held_out_fraction",
         "provenance")


@dataclass(frozen=True)
class Raw:
    """Arrays and facts of one file.

    Attributes
    ----------
    values : array as stored, any number of dimensions, any numeric type
    context, weights : only in files that sundog wrote
    facts : those of FACTS that the file states
    ours : whether sundog wrote it, so that shapes need no guessing
    image : whether the format says that a 2-D array is a map
    """

    values: np.ndarray
    context: np.ndarray | None = None
    weights: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = False
    image: bool = False


def facts_of(data: Dataset) -> dict[str, Any]:
    """Everything about a Dataset except its arrays, JSON-able."""
    return {**{name: getattr(data, name) for name in FACTS}, "provenance": dict(data.provenance)}


def facts_to_json(data: Dataset) -> str:
    """The facts as one line of ASCII JSON, which every format can hold."""
    try:
        return json.dumps(facts_of(data))
    except TypeError as error:
        raise DataError("the provenance cannot be saved", got=str(error), expected="text, numbers, lists, mappings",
                        do="convert it to plain values first") from error


def facts_from_json(text: str, path: Path) -> dict[str, Any]:
    """The facts back from ``facts_to_json``."""
    try:
        facts = json.loads(text)
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





def unreadable(path: Path, got: object, do: str = "fetch or write the file again") -> FileError:
    """The error for truncated, empty or garbled files."""
    return FileError(f"cannot read {path}", got=got, expected=f"a complete {path.suffix} file", do=do)


def no_pickles(path: Path, what: str) -> FileError:
    """The error for Python objects in files: reading them could run any code."""
    return FileError(f"{path} holds Python objects", got=what, expected="plain numbers",
                     do="pickles can run any code when read and are never opened; save the numbers as float32")


def columns_of(table: np.ndarray, path: Path, wanted: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """A structured array as (rows, columns) and column names; see ``number_columns``."""
    every = table.dtype.names or ()
    good = {name: table.dtype[name].kind in "fiub" and not table.dtype[name].shape for name in every}
    names = number_columns(good, wanted, path)
    return np.stack([np.asarray(table[name]) for name in names], 1) if names else np.empty((len(table), 0)), names


def number_columns(good: Mapping[str, bool], wanted: Sequence[str] | None, path: Path) -> list[str]:
    """Names of the columns that hold one number per row.

    Text columns are an error that names them, except those that nobody asked for: where ``wanted`` is given,
    they are left out.
    """
    bad = [name for name, is_good in good.items() if not is_good and (wanted is None or name in wanted)]
    if bad:
        raise not_numbers(path, bad, list(good))
    return [name for name, is_good in good.items() if is_good]


def not_numbers(path: Path, bad: Sequence[str], names: Sequence[str]) -> DataError:
    """The error for text, dates and vectors in a table."""
    good = [name for name in names if name not in bad]
    return DataError(f"columns of {path} are not numbers", got=", ".join(bad), expected="one number per row",
                     do=f"leave them out with columns={good}")
