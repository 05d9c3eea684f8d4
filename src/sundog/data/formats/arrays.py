"""NumPy's own files: .npy and .npz."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.points import row_per_point
from sundog.data.formats.raw import FACTS, LATER, Raw, facts_to_json, guard, no_pickles, read_one, unreadable

_PARTS = ("values", "context", "weights")
_RUNS = {*_PARTS, "points", "names", "units", "context_names", "context_units"}
_BAD = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zipfile.zlib.error)  # type: ignore[attr-defined]


def read_npy(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """The array of a .npy file, mapped rather than read, so that chosen columns alone reach the memory."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise unreadable(path, "no NumPy header")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BAD as error:
        if "bject" in str(error):  # "Array can't be memory-mapped: Python objects in dtype."
            raise no_pickles(path, "an object array") from error
        raise unreadable(path, f"a truncated or damaged array ({error})") from error
    return read_one({"array": values.shape}, (), None, path, "array", columns, lambda _: values)


def read_npz(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """Ours: every entry. Others': see ``raw.read_one``."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            shapes, texts = _shapes(archive, path)
            if key in (None, "values") and "values" in shapes and set(FACTS) - set(LATER) <= set(archive.files):
                return _ours(archive, path)
            if key is None and {"values", "context"} <= set(shapes) and set(archive.files) <= _RUNS:
                return _runs(archive, path)
            return read_one(shapes, texts, key, path, "array", columns, lambda name: _entry(archive, name, path))
    except _BAD as error:
        raise unreadable(path, f"a truncated or damaged archive ({error})") from error


def write_npz(raw: Raw, path: Path) -> Path:
    """One entry per attribute of a Dataset: values, context, weights, names, units, ..., provenance (JSON)."""
    facts_to_json(raw.facts)  # names what cannot be saved before anything is written
    entries: dict[str, Any] = {name: np.array(value) for name, value in raw.facts.items()}
    entries["provenance"] = np.array(json.dumps(dict(raw.facts["provenance"])))
    pixel = raw.facts["pixel_arcmin"]
    entries["pixel_arcmin"] = np.array(np.nan if pixel is None else pixel)
    step = entries.pop("time_step"), entries.pop("time_unit")
    if not raw.facts["places"]:
        del entries["places"]
    if raw.facts["time_step"] is not None:
        entries["time_step"], entries["time_unit"] = step
    for name in ("names", "units", "context_names", "context_units"):
        entries[name] = np.array(raw.facts[name], dtype=np.str_)
    for name in ("values", "context", "weights"):
        part = getattr(raw, name)
        if part is not None:
            entries[name] = part

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **entries)

    return atomic_write(path, write)


def _runs(archive: Any, path: Path) -> Raw:
    """Inputs and outputs of runs, from a script that knows these names alone."""
    facts = {name: tuple(str(v) for v in archive[name]) for name in _RUNS - {*_PARTS, "points"}
             if name in archive.files}
    values, context, weights = (_entry(archive, name, path) if name in archive.files else None for name in _PARTS)
    assert values is not None and context is not None
    if "points" in archive.files:
        return row_per_point(_entry(archive, "points", path), values, context, facts.get("context_names"), weights)
    return Raw(values, context, weights, facts=facts, notes=("values are taken given context, row by row",))


def _ours(archive: Any, path: Path) -> Raw:
    facts: dict[str, Any] = {}
    for name in ("names", "units", "context_names", "context_units"):
        facts[name] = tuple(str(v) for v in archive[name])
    pixel = float(archive["pixel_arcmin"])
    facts |= {"pixel_arcmin": None if np.isnan(pixel) else pixel, "periodic": bool(archive["periodic"]),
              "held_out_fraction": float(archive["held_out_fraction"]),
              "provenance": json.loads(str(archive["provenance"])), **LATER}
    if "places" in archive.files:
        facts["places"] = int(archive["places"])
    if "time_step" in archive.files:
        facts |= {"time_step": float(archive["time_step"]), "time_unit": str(archive["time_unit"])}
    values, context, weights = (_entry(archive, name, path) if name in archive.files else None for name in _PARTS)
    assert values is not None
    return Raw(values, context, weights, facts=facts, ours=True)


def _entry(archive: Any, name: str, path: Path) -> np.ndarray:
    """The array of that name, once it is known that there is room for it."""
    member = _member(archive, name)
    guard(path, member.file_size, member.compress_size)
    return archive[name]


def _member(archive: Any, name: str) -> zipfile.ZipInfo:
    return archive.zip.getinfo(name if name in archive.zip.namelist() else f"{name}.npy")


def _shapes(archive: Any, path: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Shapes of the number arrays, from their headers alone, and the names of the arrays of text."""
    shapes, texts = {}, []
    for name in archive.files:
        with archive.zip.open(_member(archive, name)) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        if dtype.hasobject:
            raise no_pickles(path, f"an object array {name!r}")
        if dtype.kind in "US":
            texts.append(name)
        if (dtype.kind in "fiub" or dtype.names) and len(shape) > 0:
            shapes[name] = shape
    return shapes, texts
