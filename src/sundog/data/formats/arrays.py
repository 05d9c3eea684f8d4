"""NumPy's own files: .npy and .npz."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sundog.data.atomic import atomic_write
from sundog.data.formats.raw import FACTS, Raw, choose, columns_of, facts_of, facts_to_json, no_pickles, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sundog.data.dataset import Dataset

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
    return _plain(values, path, columns)


def read_npz(path: Path, key: str | None = None, columns: Sequence[str] | None = None) -> Raw:
    """Ours: every entry. Others': the array of that key; a text array named ``columns`` names its columns."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            shapes = _shapes(archive, path)
            if key in (None, "values") and "values" in shapes and set(FACTS) <= set(archive.files):
                return _ours(archive, path)
            raw = _plain(archive[choose(shapes, key, path)], path, columns)
            labels = [archive[name] for name in ("columns", "names") if name in archive.files]
    except _BAD as error:
        raise unreadable(path, f"a truncated or damaged archive ({error})") from error
    labels = [x for x in labels if x.dtype.kind in "US" and raw.values.ndim == 2 and len(x) == raw.values.shape[1]]
    return Raw(raw.values, facts={"names": tuple(str(v) for v in labels[0])}) if labels else raw


def write_npz(data: Dataset, path: Path) -> Path:
    """One entry per attribute of the Dataset: values, context, weights, names, units, ..., provenance (JSON)."""
    facts_to_json(data)  # names what cannot be saved before anything is written
    entries: dict[str, Any] = {name: np.array(value) for name, value in facts_of(data).items()}
    entries["provenance"] = np.array(json.dumps(dict(data.provenance)))
    entries["pixel_arcmin"] = np.array(np.nan if data.pixel_arcmin is None else data.pixel_arcmin)
    for name in ("names", "units", "context_names", "context_units"):
        entries[name] = np.array(getattr(data, name), dtype=np.str_)
    for name in ("values", "context", "weights"):
        part = getattr(data, name)
        if part is not None:
            entries[name] = part.numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **entries)

    return atomic_write(path, write)


def _ours(archive: Any, path: Path) -> Raw:
    facts: dict[str, Any] = {}
    for name in ("names", "units", "context_names", "context_units"):
        facts[name] = tuple(str(v) for v in archive[name])
    pixel = float(archive["pixel_arcmin"])
    facts |= {"pixel_arcmin": None if np.isnan(pixel) else pixel, "periodic": bool(archive["periodic"]),
              "held_out_fraction": float(archive["held_out_fraction"]),
              "provenance": json.loads(str(archive["provenance"]))}
    context, weights = (archive[name] if name in archive.files else None for name in ("context", "weights"))
    return Raw(archive["values"], context, weights, facts=facts, ours=True)


def _plain(values: np.ndarray, path: Path, columns: Sequence[str] | None) -> Raw:
    if values.dtype.names:
        values, names = columns_of(values, path, columns)
        return Raw(values, facts={"names": tuple(names)})
    return Raw(values)


def _shapes(archive: Any, path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the number arrays, from their headers alone."""
    shapes = {}
    for name in archive.files:
        with archive.zip.open(name if name in archive.zip.namelist() else f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        if dtype.hasobject:
            raise no_pickles(path, f"an object array {name!r}")
        if (dtype.kind in "fiub" or dtype.names) and len(shape) > 0:
            shapes[name] = shape
    return shapes
