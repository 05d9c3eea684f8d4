"""Tables of events: .csv (units in the header as "name [unit]") and .parquet (units as column metadata)."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.data.atomic import atomic_write, write_text
from sundog.data.formats.raw import Raw, facts_from_json, facts_of, facts_to_json, number_columns, unreadable
from sundog.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sundog.data.dataset import Dataset

_MARK = "# sundog "
_WITH_UNIT = re.compile(r"(.*\S)\s*\[([^\[\]]*)\]\s*", re.DOTALL)


def read_csv(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """Columns of numbers; a first line of numbers means that there is no header."""
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
        ours = first.startswith(_MARK)
        header = None if not ours and _all_numbers(first) else 0
        frame = pd.read_csv(path, skiprows=int(ours), header=header, encoding="utf-8-sig", skipinitialspace=not ours,
                            comment=None if ours else "#", float_precision="round_trip")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:  # EmptyDataError is a ValueError
        raise unreadable(path, str(error).strip(), "check the separators (commas) and the encoding") from error
    if ours:
        facts = facts_from_json(first[len(_MARK):], path)
        return _parts(frame.to_numpy(np.float32), facts)
    if header is None:
        return _chosen(frame, [(f"x{i}", "") for i in range(frame.shape[1])], path, columns)
    named = [_name_and_unit(str(column)) for column in frame.columns]
    return _chosen(frame, named, path, columns)


def read_parquet(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """Columns of numbers, with the ``unit`` of each column's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, str(error).splitlines()[0]) from error
    stored = (table.schema.metadata or {}).get(b"sundog")
    if stored is not None:
        values = np.stack([column.to_numpy() for column in table.columns], 1)
        return _parts(values, facts_from_json(stored.decode(), path))
    named = [(f.name, (f.metadata or {}).get(b"unit", b"").decode()) for f in table.schema]
    return _chosen(table.to_pandas(), named, path, columns)


def write_csv(data: Dataset, path: Path) -> Path:
    """Nine significant digits, which is all of float32; a comment line only for facts the header cannot hold."""
    values, names, units = _flat(data, path)
    header = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units)]
    text = io.StringIO()
    if _says_more_than(data, header):
        text.write(_MARK + facts_to_json(data) + "\n")
    csv.writer(text, lineterminator="\n").writerow(header)
    np.savetxt(text, values, fmt="%.9g", delimiter=",")
    return write_text(path, text.getvalue())


def write_parquet(data: Dataset, path: Path) -> Path:
    """One float32 column per feature, context column and weight, units in the column metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values, names, units = _flat(data, path)
    columns = [pa.field(name, pa.float32(), metadata={"unit": unit}) for name, unit in zip(names, units)]
    schema = pa.schema(columns, metadata={"sundog": facts_to_json(data)})
    table = pa.table([np.ascontiguousarray(column) for column in values.T], schema=schema)
    return atomic_write(path, lambda temporary: pq.write_table(table, temporary))


def _flat(data: Dataset, path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Values, context and weights side by side: (n, columns), names, units."""
    if data.kind != "events":
        raise ShapeError("images do not fit a table", got=path.suffix, expected=".npz, .h5 or .fits",
                         do=f"save to {path.stem}.npz")
    parts = [part.numpy() for part in (data.values, data.context) if part is not None]
    names, units = [*data.names, *data.context_names], [*data.units, *data.context_units]
    if data.weights is not None:
        parts, names, units = [*parts, data.weights.numpy()[:, None]], [*names, "weight"], [*units, ""]
        while names[-1] in names[:-1]:
            names[-1] += "_"
    return np.concatenate(parts, 1), names, units


def _parts(values: np.ndarray, facts: dict[str, Any]) -> Raw:
    """Undo ``_flat``."""
    d, c = len(facts["names"]), len(facts["context_names"])
    return Raw(values[:, :d], context=values[:, d : d + c] if c else None,
               weights=values[:, d + c] if values.shape[1] > d + c else None, facts=facts, ours=True)


def _says_more_than(data: Dataset, header: list[str]) -> bool:
    """Whether a reader of the plain header would get another Dataset."""
    named = [_name_and_unit(column) for column in header]
    plain: dict[str, Any] = {
        "names": tuple(name for name, _ in named), "units": tuple(unit for _, unit in named), "context_names": (),
        "context_units": (), "pixel_arcmin": None, "periodic": False, "held_out_fraction": 0.2, "provenance": {},
    }
    odd = _all_numbers(",".join(header)) or any(not re.fullmatch(r"[\w\-+*/^ \[\]]+", name) for name in header)
    return data.weights is not None or odd or plain != facts_of(data)


def _name_and_unit(column: str) -> tuple[str, str]:
    match = _WITH_UNIT.fullmatch(column)
    return (match[1].strip(), match[2].strip()) if match else (column.strip(), "")


def _all_numbers(line: str) -> bool:
    try:
        return len([float(cell) for cell in line.split(",")]) > 0
    except ValueError:
        return False


def _chosen(frame: Any, named: list[tuple[str, str]], path: Path, columns: Sequence[str] | None) -> Raw:
    frame.columns = [name for name, _ in named]
    if not frame.columns.is_unique:
        raise ShapeError("two columns share a name", got=", ".join(frame.columns), expected="names all different",
                         do="rename one of them in the header")
    good = {name: getattr(dtype, "kind", "O") in "fiub" for name, dtype in frame.dtypes.items()}
    names, units = number_columns(good, columns, path), dict(named)
    facts = {"names": tuple(names), "units": tuple(units[name] for name in names)}
    return Raw(frame[names].to_numpy(np.float64), facts=facts)
