"""Descents that have ended, kept until all have, so that a stopped separation goes on with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sundog.data.parts import forget, kept
from sundog.solve.descend import Descent

_FACTS = ("x", "loss", "iterations", "evaluations", "reason")


@dataclass(frozen=True)
class Journal:
    """A folder of ended descents.

    Attributes
    ----------
    folder : None keeps nothing
    of : what all descents have in common: data, options of the statistics, losses
    """

    folder: Path | None = None
    of: tuple[Any, ...] = ()

    def descent(self, start: Tensor, noise: Tensor, steps: int, make: Callable[[], Descent]) -> Descent:
        """The descent from that start with those draws, as it was kept, or as ``make`` finds it now."""
        if self.folder is None:
            return make()

        def facts() -> dict[str, Any]:
            found = make()
            return {name: getattr(found, name) for name in _FACTS}

        held = kept(self.folder, (*self.of, start, noise, steps), facts)
        return Descent(torch.from_numpy(held["x"]), float(held["loss"]), int(held["iterations"]),
                       int(held["evaluations"]), 0.0, str(held["reason"]), [])

    def close(self) -> None:
        """Take the folder away; the separation is done."""
        if self.folder is not None:
            forget(self.folder)
