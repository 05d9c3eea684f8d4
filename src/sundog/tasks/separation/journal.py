"""Descents that have ended, kept until all have, so that a stopped separation goes on with the same bits."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.data.atomic import atomic_write
from sundog.solve.descend import Descent


@dataclass(frozen=True)
class Journal:
    """A folder of ended descents, each in a file that is named by all that it depends on.

    Attributes
    ----------
    folder : made where it is not there; None keeps nothing
    of : what all descents have in common: data, options of the statistics, losses
    """

    folder: Path | None = None
    of: tuple[Any, ...] = ()

    def descent(self, start: Tensor, noise: Tensor, steps: int, make: Callable[[], Descent]) -> Descent:
        """The descent from that start with those draws, as it was kept, or as ``make`` finds it now."""
        if self.folder is None:
            return make()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{_digest((*self.of, start, noise, steps))}.npz"
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(file) as held:
            return Descent(torch.from_numpy(held["x"]), float(held["loss"]), int(held["iterations"]),
                           int(held["evaluations"]), 0.0, str(held["reason"]), [])
        found = make()
        facts = {name: getattr(found, name) for name in ("loss", "iterations", "evaluations", "reason")}
        atomic_write(file, lambda path: _write(path, x=found.x.numpy(), **facts))
        return found

    def close(self) -> None:
        """Take the folder away with what it holds; the separation is done."""
        if self.folder is not None and self.folder.is_dir():
            for file in self.folder.glob("*.npz"):
                file.unlink()
            with suppress(OSError):  # something else lies there
                self.folder.rmdir()


def _digest(of: Any) -> str:
    digest = hashlib.sha256()

    def feed(part: Any) -> None:
        part = part.detach().numpy() if isinstance(part, Tensor) else part
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, list | tuple) or is_dataclass(part):
            digest.update(type(part).__name__.encode())
            for each in part if isinstance(part, list | tuple) else vars(part).values():
                feed(each)
        else:
            digest.update(repr(part).encode())

    feed(of)
    return digest.hexdigest()[:24]


def _write(path: Path, **parts: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **parts)
