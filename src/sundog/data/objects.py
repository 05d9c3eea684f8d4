"""What users hold in memory - arrays, frames, tables, columns by name - as `Raw`, names, units and masks understood.

The kind of an object is known by the library that made it; none of them is imported for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.formats.raw import Raw, table_of
from sundog.data.formats.tables import name_and_unit, number_column
from sundog.errors import DataError, ShapeError


def is_path(held: Any) -> bool:
    """Whether an object names files: a path, or a list of paths."""
    return isinstance(held, str | Path) or (isinstance(held, Sequence) and len(held) > 0
                                            and all(isinstance(item, str | Path) for item in held))


def raw_of(held: Any, wanted: Sequence[str] | None = None) -> Raw:
    """`Raw` of an object: numpy (plain, structured, masked), torch, pandas, polars, pyarrow, a mapping of columns,
    astropy Table and Quantity, xarray DataArray and Dataset, flat awkward arrays.

    Index columns never become features; units are kept; masked entries are an error, as NaN would be.

    Raises
    ------
    DataError : columns without numbers, masked or missing entries, nothing that is an array.
    ShapeError : columns of different lengths, jagged lists.

    Example
    -------
    >>> raw_of({"m [TeV]": [3.4, 3.5], "tau": [0.1, 0.2]}).facts
    {'names': ('m', 'tau'), 'units': ('TeV', '')}
    """
    for kind in type(held).__mro__:
        reader = _READERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if reader is not None:
            return reader(held, wanted)
    if isinstance(held, Mapping):
        return _columns(held, wanted)
    return _array(held, wanted)


def _array(held: Any, wanted: Sequence[str] | None) -> Raw:
    try:
        array = np.asarray(held)
    except (TypeError, ValueError) as error:
        raise DataError("the data do not form an array", got=str(error).split(". ")[0],
                        expected="numbers, rows of one length",
                        do="pass an array, a frame, a mapping of columns, or the name of a file") from error
    if array.dtype.names:
        return _columns({name: array[name] for name in array.dtype.names}, wanted)
    return Raw(array)


def _masked(held: Any, wanted: Sequence[str] | None) -> Raw:
    hidden = int(np.ma.getmaskarray(held).astype(bool).sum()) if not held.dtype.names else \
        sum(int(np.ma.getmaskarray(held[name]).sum()) for name in held.dtype.names)
    if hidden:
        raise DataError("the array is masked", got=f"{hidden} masked entries", expected="a number in every place",
                        do="fill them (array.filled(value)) or drop their rows; of maps, pass mask= beside the values")
    return _array(held.data, wanted)


def _tensor(held: Any, wanted: Sequence[str] | None) -> Raw:
    held = held.detach().cpu()
    return Raw((held if held.dtype.itemsize > 2 or not held.is_floating_point() else held.float()).numpy())


def _columns(held: Mapping[str, Any], wanted: Sequence[str] | None) -> Raw:
    """A mapping from names, perhaps with units in brackets, to columns."""
    parts = {name: raw_of(column) for name, column in held.items()}
    sizes = {str(name): part.values.shape for name, part in parts.items()}
    if any(len(size) != 1 for size in sizes.values()) or len(set(sizes.values())) > 1:
        raise ShapeError("the columns do not stand side by side", got=", ".join(f"{n} {s}" for n, s in sizes.items()),
                         expected="one number per row in each", do="flatten them, or leave out what is no column")
    labels = {name: name_and_unit(str(name)) for name in held}
    units = {labels[name][0]: labels[name][1] or _unit(part) for name, part in parts.items()}
    found = {labels[name][0]: part.values if part.values.dtype.kind in "fiub" else None for name, part in parts.items()}
    return table_of(found, Path("this mapping"), wanted, units)


def _frame(held: Any, wanted: Sequence[str] | None) -> Raw:
    """pandas: the index is left out; a frame with labels of several levels is flattened by the caller."""
    if held.columns.nlevels > 1:
        raise DataError("the columns have several levels", got=f"{held.columns.nlevels} levels",
                        expected="one name each",
                        do="flatten them: frame.columns = ['_'.join(map(str, c)) for c in frame.columns]")
    return _columns({name: _series(held[name]) for name in held.columns}, wanted)


def _series(held: Any) -> np.ndarray:
    """A column of pandas; what is missing among numbers is NaN, text stays text."""
    if str(held.dtype) == "category" and held.cat.categories.dtype.kind in "fiu":
        held = held.astype(float)
    if held.dtype.kind not in "fiub":
        return np.asarray(held, object)
    kind = float if held.isna().any() else getattr(held.dtype, "numpy_dtype", held.dtype)
    return held.to_numpy(dtype=kind, **({"na_value": np.nan} if kind is float else {}))


def _arrow(held: Any, wanted: Sequence[str] | None) -> Raw:
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in held.schema}
    return table_of({name: number_column(held[name]) for name in held.column_names}, Path("this table"), wanted, units)


def _astropy_table(held: Any, wanted: Sequence[str] | None) -> Raw:
    masked = [name for name in held.colnames if np.ma.getmaskarray(np.ma.asarray(held[name])).any()]
    if masked:
        raise DataError("the table is masked", got=f"masked entries in {', '.join(masked)}",
                        expected="a number in every place", do="drop those rows, or fill them: table.filled(value)")
    units = {name: str(held[name].unit or "") for name in held.colnames}
    found = {name: np.asarray(held[name]) for name in held.colnames}
    return table_of({name: x if x.dtype.kind in "fiub" and x.ndim == 1 else None for name, x in found.items()},
                    Path("this table"), wanted, units)


def _quantity(held: Any, wanted: Sequence[str] | None) -> Raw:
    return Raw(np.asarray(held.value), facts={"units": str(held.unit)})


def _data_array(held: Any, wanted: Sequence[str] | None) -> Raw:
    facts: dict[str, Any] = {"units": str(held.attrs["units"])} if "units" in held.attrs else {}
    if held.ndim == 2 and held.coords.get(held.dims[1]) is not None and held.coords[held.dims[1]].dtype.kind in "UO":
        facts["names"] = tuple(map(str, held.coords[held.dims[1]].values))
    return Raw(np.asarray(held.values), facts=facts)


def _awkward(held: Any, wanted: Sequence[str] | None) -> Raw:
    import awkward

    def flat(column: Any, name: str) -> np.ndarray:
        try:
            found = awkward.to_numpy(column, allow_missing=False)
        except ValueError as error:
            raise ShapeError("an awkward array is jagged or has gaps", got=name, expected="one number per row",
                             do="pad, pick (array[:, 0]) or drop what has no fixed length") from error
        return found

    if held.fields:
        return _columns({name: flat(held[name], name) for name in held.fields}, wanted)
    return _array(flat(held, "the array"), wanted)


def _unit(part: Raw) -> str:
    unit = part.facts.get("units", "")
    return unit if isinstance(unit, str) else ""


_READERS: dict[tuple[str, str], Callable[[Any, Sequence[str] | None], Raw]] = {
    ("numpy", "MaskedArray"): _masked, ("torch", "Tensor"): _tensor,
    ("pandas", "DataFrame"): _frame, ("pandas", "Series"): lambda x, w: _columns({x.name or "x": _series(x)}, w),
    ("polars", "DataFrame"): lambda x, w: _arrow(x.to_arrow(), w),
    ("polars", "Series"): lambda x, w: _arrow(x.to_frame().to_arrow(), w),
    ("pyarrow", "Table"): _arrow, ("pyarrow", "RecordBatch"): _arrow,
    ("astropy", "Table"): _astropy_table, ("astropy", "Quantity"): _quantity,
    ("xarray", "DataArray"): _data_array,
    ("xarray", "Dataset"): lambda x, w: _columns({name: x[name] for name in x.data_vars}, w),
    ("awkward", "Array"): _awkward,
}
