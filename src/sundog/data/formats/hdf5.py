"""HDF5 files: ours, plain datasets with attributes, and pandas' frames, fixed and table (without PyTables)."""

from __future__ import annotations

import math
import pickletools
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.raw import (
    Raw,
    choose,
    facts_from_json,
    facts_to_json,
    guard,
    no_pickles,
    read_one,
    table_of,
    text_of,
    unreadable,
)
from sundog.errors import FileError

_USERS = 512  # bytes of the user block, the fewest that HDF5 knows
_SUMMED = b"sundog crc32 "
_FILTERS = {307: "bzip2", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32013: "ZFP", 32015: "Zstd",
            32017: "SZ", 32026: "Blosc2"}


def read(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The dataset, group of columns or pandas frame of that key; names and units from attributes called so.

    Raises
    ------
    FileError : damaged, a compression that is not installed, several datasets and no ``key``.
    """
    import h5py

    try:
        _check_sum(path)
        with h5py.File(path, "r") as file:
            if key in (None, "values") and "sundog" in file.attrs and "values" in file:
                return _ours(file, path)
            shapes, texts, frames = _contents(file, path)
            key = key.strip("/") if key else None
            if frames and (key in frames or not any(len(shape) > 1 for shape in shapes.values())):
                return _frame(file[choose({**frames, **shapes}, key, path, "dataset")], path, columns)
            raw = read_one({**shapes, **frames}, texts, key, path, "dataset", columns,
                           lambda name: _numbers(file[name], path))
            return _with_attributes(raw, file, shapes, key)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise unreadable(path, f"a truncated or damaged file ({error})") from error


def write(raw: Raw, path: Path) -> Path:
    """Datasets values, context, weights; names and units as attributes; all facts as JSON; a checksum of all bytes.

    It stands in the user block before them, so that it is known before the library looks at a single one: some
    damaged headers keep it busy for ever.
    """
    import h5py

    facts = facts_to_json(raw.facts)

    def fill(temporary: Path) -> None:
        with h5py.File(temporary, "w", userblock_size=_USERS) as file:
            file.attrs["sundog"] = facts
            for name in ("values", "context", "weights"):
                part = getattr(raw, name)
                if part is not None:
                    file.create_dataset(name, data=part)
            for name in ("names", "units"):
                file["values"].attrs[name] = list(raw.facts[name])
        with temporary.open("r+b") as bytes_:
            bytes_.write(b"%s%08x\n" % (_SUMMED, _sum(temporary)))

    return atomic_write(path, fill)


def _ours(file: Any, path: Path) -> Raw:
    facts = facts_from_json(text_of(file.attrs["sundog"]), path)
    held = file["values"].attrs.get("names")
    if held is not None and tuple(text_of(name) for name in held) != facts["names"]:
        raise unreadable(path, "names of columns that contradict each other", "write the file again")
    context, weights = (file[name][()] if name in file else None for name in ("context", "weights"))
    return Raw(file["values"][()], context, weights, facts=facts, ours=True)


def _check_sum(path: Path) -> None:
    """FileError, where a file of ours has other bytes than were written."""
    with path.open("rb") as file:
        said = file.read(len(_SUMMED) + 8)
    if said.startswith(_SUMMED) and said[len(_SUMMED):] != b"%08x" % _sum(path):
        raise unreadable(path, "bytes that its checksum does not fit",
                         "write the file again; if you changed it on purpose, overwrite its first byte")


def _sum(path: Path) -> int:
    """CRC-32 of what follows the user block."""
    found = 0
    with path.open("rb") as file:
        file.seek(_USERS)
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _contents(file: Any, path: Path) -> tuple[dict[str, tuple[int, ...]], list[str], dict[str, tuple[int, int]]]:
    """Shapes of the datasets of numbers, names of those of text, and (rows, columns) of pandas' frames."""
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}
    texts: list[str] = []
    frames: dict[str, tuple[int, int]] = {}

    def visit(name: str, item: Any) -> None:
        if any(name.startswith(f"{frame}/") for frame in frames):
            return
        if isinstance(item, h5py.Group):
            kind = text_of(item.attrs.get("pandas_type", ""))
            if kind == "frame":
                frames[name] = (_rows(item), item["axis0"].shape[0])
            elif kind in ("frame_table", "appendable_frame") and "table" in item:
                frames[name] = (item["table"].shape[0], len(_fields(item["table"])))
        elif item.dtype.kind in "fiubV" and item.shape:
            shapes[name] = item.shape
        elif item.dtype.kind in "SO" and item.ndim == 1 and h5py.check_string_dtype(item.dtype):
            texts.append(name)

    file.visititems(visit)
    return shapes, texts, frames


def _numbers(item: Any, path: Path) -> np.ndarray:
    """The array of a dataset, once its compression is known to be there."""
    import h5py

    plist = item.id.get_create_plist()
    used = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if any(not h5py.h5z.filter_avail(code) for code, *_ in used):
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401 registers its filters
    for code, _, _, label in used:
        if not h5py.h5z.filter_avail(code):
            raise FileError(f"{path} is compressed with {_FILTERS.get(code, text_of(label) or f'filter {code}')}",
                            got=f"HDF5 filter {code} in dataset {item.name!r}", expected="a filter that is installed",
                            do="pip install 'sundog[hdf5]', or write it again with gzip compression")
    if any(code == 32001 for code, *_ in used):
        _check_blosc(item, path)
    guard(path, math.prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size() or None)
    return item[()] if item.shape else np.asarray(item[()])


def _check_blosc(item: Any, path: Path) -> None:
    """Blosc's decoder can bring the process down on chunks that are none: their headers must state their sizes.

    Header: four bytes, then the sizes unpacked, of a block, and packed (16 bytes in it), as 32-bit numbers.
    """
    unpacked = math.prod(item.chunks) * item.dtype.itemsize
    for i in range(item.id.get_num_chunks()):
        mask, chunk = item.id.read_direct_chunk(item.id.get_chunk_info(i).chunk_offset)
        if not mask and (len(chunk) < 16 or tuple(np.frombuffer(chunk[4:16], "<u4")[[0, 2]]) != (unpacked, len(chunk))):
            raise unreadable(path, f"a chunk of dataset {item.name!r} that is not what its filter (Blosc compression) "
                             "wrote")


def _with_attributes(raw: Raw, file: Any, shapes: dict[str, Any], key: str | None) -> Raw:
    """Names and units that stand as attributes beside the array that was chosen."""
    large = [name for name, shape in shapes.items() if len(shape) > 1] or list(shapes)
    item = file[key] if key in shapes else file[large[0]] if len(large) == 1 else None
    facts = dict(raw.facts)
    for fact, spellings in (("names", ("names", "columns")), ("units", ("units", "unit"))):
        found = [item.attrs[s] for s in spellings if s in item.attrs] if item is not None else []
        if found:
            facts[fact] = text_of(found[0]) if np.ndim(found[0]) == 0 else tuple(text_of(v) for v in found[0])
    return Raw(raw.values, raw.context, raw.weights, facts, notes=raw.notes)


def _rows(group: Any) -> int:
    """Rows of a fixed frame; pandas marks an empty axis, stored with one entry, by an attribute ``shape``."""
    return 0 if "shape" in group["axis1"].attrs else int(group["axis1"].shape[0])


def _frame(group: Any, path: Path, columns: Sequence[str] | None) -> Raw:
    """pandas' frame: blocks of equal type in a fixed one, fields of a compound type in a table."""
    if "table" in group:
        table = _numbers(group["table"], path)
        found: dict[str, np.ndarray | None] = {}
        for field, names in _fields(group["table"]).items():
            part = table[field].reshape(len(table), -1)
            found |= {name: part[:, i] if part.dtype.kind in "fiub" else None for i, name in enumerate(names)}
        order = [name for name in _words(group.attrs.get("non_index_axes", b"")) if name in found]
        return table_of({name: found[name] for name in dict.fromkeys([*order, *found])}, path, columns)
    order = [text_of(name) for name in group["axis0"][()]]
    held: dict[str, np.ndarray | None] = dict.fromkeys(order)
    for k in range(int(group.attrs["nblocks"])):
        names = [text_of(name) for name in group[f"block{k}_items"][()]]
        block = group[f"block{k}_values"]
        if not _rows(group):
            held |= dict.fromkeys(names, np.empty(0))
        elif block.dtype.kind in "fiub":
            held |= dict(zip(names, _numbers(block, path).T))
    if all(x is None for x in held.values()):  # pandas pickles blocks of objects: text, mixed types
        raise no_pickles(path, "columns " + ", ".join(order))
    return table_of(held, path, columns)


def _fields(table: Any) -> dict[str, list[str]]:
    """Columns of each field of pandas' table; its attribute FIELD_kind lists them as a pickled list of text."""
    found = {}
    for field in table.dtype.names:
        kind = table.attrs.get(f"{field}_kind")
        if field != "index":
            found[field] = _words(kind) if kind is not None else [field]
    return found


def _words(pickled: Any) -> list[str]:
    """The texts of a pickled list, read from its opcodes alone: nothing is executed."""
    content = pickled if isinstance(pickled, bytes) else bytes(np.asarray(pickled).tobytes())
    return [str(value) for code, value, _ in pickletools.genops(content) if "UNICODE" in code.name
            or "STRING" in code.name]
