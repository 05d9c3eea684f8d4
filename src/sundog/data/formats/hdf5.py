"""HDF5 files: ours, plain datasets with attributes, and pandas' fixed tables (read without PyTables)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.raw import (
    Raw,
    choose,
    columns_of,
    facts_from_json,
    facts_to_json,
    no_pickles,
    number_columns,
    unreadable,
)
from sundog.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sundog.data.dataset import Dataset


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The dataset or pandas table of that key; names and units from attributes called so."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if key in (None, "values") and "sundog" in file.attrs and "values" in file:
                return _ours(file, path)
            shapes, tables = _contents(file, path)
            chosen = choose({**shapes, **tables}, key.strip("/") if key else None, path, "dataset")
            open_one = _fixed_table if chosen in tables else _dataset
            return open_one(file[chosen], path, columns)
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        if "filter" in str(error):
            raise unreadable(path, f"a compression that this HDF5 library lacks ({error})",
                             "write it again with gzip compression, or none") from error
        raise unreadable(path, f"a truncated or damaged file ({error})") from error


def write(data: Dataset, path: Path) -> Path:
    """Datasets values, context, weights; names and units as attributes of values; all facts as JSON."""
    import h5py

    facts = facts_to_json(data)

    def fill(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["sundog"] = facts
            for name in ("values", "context", "weights"):
                part = getattr(data, name)
                if part is not None:
                    file.create_dataset(name, data=part.numpy())
            file["values"].attrs["names"], file["values"].attrs["units"] = list(data.names), list(data.units)

    return atomic_write(path, fill)


def _ours(file: Any, path: Path) -> Raw:
    context, weights = (file[name][()] if name in file else None for name in ("context", "weights"))
    facts = facts_from_json(_text(file.attrs["sundog"]), path)
    return Raw(file["values"][()], context, weights, facts=facts, ours=True)


def _contents(file: Any, path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, int]]]:
    """Shapes of plain datasets, and (rows, columns) of pandas' fixed tables."""
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}
    tables: dict[str, tuple[int, int]] = {}

    def visit(name: str, item: Any) -> None:
        parent = name.rsplit("/", 1)[0]
        if isinstance(item, h5py.Group):
            kind = _text(item.attrs.get("pandas_type", ""))
            if kind == "frame":
                tables[name] = (item["axis1"].shape[0], item["axis0"].shape[0])
            elif kind.endswith("_table"):
                raise FileError(f"{path} holds a pandas table of the appendable kind", got=f"group {name!r}",
                                expected="a plain dataset or a fixed-format table",
                                do="write it again with frame.to_hdf(..., format='fixed') or to_parquet")
        elif parent not in tables and item.dtype.kind in "fiubV" and item.shape:
            shapes[name] = item.shape

    file.visititems(visit)
    return shapes, tables


def _dataset(item: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    if item.dtype.names:
        values, names = columns_of(item[()], path, columns)
        return Raw(values, facts={"names": tuple(names)})
    facts: dict[str, Any] = {}
    for fact, spellings in (("names", ("names", "columns")), ("units", ("units", "unit"))):
        found = [item.attrs[s] for s in spellings if s in item.attrs]
        if found:
            facts[fact] = _text(found[0]) if np.ndim(found[0]) == 0 else tuple(_text(v) for v in found[0])
    return Raw(item[()], facts=facts)


def _fixed_table(group: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    """pandas stores a frame as blocks of equal type: blockK_items (names) and blockK_values (rows, names)."""
    order = [_text(name) for name in group["axis0"][()]]
    found: dict[str, np.ndarray] = {}
    for k in range(int(group.attrs["nblocks"])):
        names = [_text(name) for name in group[f"block{k}_items"][()]]
        block = group[f"block{k}_values"]
        if block.dtype.kind in "fiub":
            found |= dict(zip(names, block[()].T))
    if not found:  # pandas pickles blocks of objects: text, mixed types
        raise no_pickles(path, "columns " + ", ".join(order))
    names = number_columns({name: name in found for name in order}, columns, path)
    return Raw(np.stack([found[name] for name in names], 1), facts={"names": tuple(names)})


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes | np.bytes_) else str(value)
