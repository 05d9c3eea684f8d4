"""Columns of labels and values on disk: .npz or .json, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sundog.errors import FileError


def save_columns(path: str | Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Write named arrays to ``.npz`` or ``.json`` and return the path; a file of that name is replaced at the end.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_columns(save_columns(Path(folder) / "a.json", {"j1": np.arange(3)}))["j1"].tolist()
    [0, 1, 2]
    """
    path = Path(path)
    if path.suffix not in (".npz", ".json"):
        raise FileError("unknown format", got=path.name, expected=".npz or .json", do="rename the file")
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix == ".npz":
            np.savez_compressed(part, **columns)  # type: ignore[arg-type]
        else:
            part.write_text(json.dumps({name: column.tolist() for name, column in columns.items()}))
        part.replace(path)
    except OSError as error:
        raise FileError("cannot write", got=f"{path}: {error}", expected="a folder", do="check the path") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def load_columns(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `save_columns` wrote; JSON numbers come back as float64 or int64."""
    path = Path(path)
    if not path.exists():
        raise FileError("no such file", got=path, expected="saved coefficients", do="check the path")
    try:
        if path.suffix == ".json":
            return {name: np.array(column) for name, column in json.loads(path.read_text()).items()}
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found}
    except (ValueError, OSError, AttributeError) as error:
        raise FileError(
            "not a file of coefficients", got=path, expected="what save() wrote", do="measure again"
        ) from error
