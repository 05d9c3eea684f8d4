"""The divergence of a learned field, exact or by probes, where a density follows a flow: d log p / dt = -div v."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least
from sundog.solve.ode import divergence_along, divergence_exact, signs

EXACT_TRACE_UP_TO = {"vectors": 64, "images": 16}  # numbers per row; a U-Net costs 60 times a perceptron
PROBES = 8  # of random signs, above
NUMBERS = 2**21  # pushed through a network at once, a probe counted as a row: bounds memory


@dataclass(frozen=True)
class Divergence:
    """How the divergence of a field is found: exactly, or by how many probes."""

    exact: bool
    probes: int

    def __post_init__(self) -> None:
        at_least(self.probes, 2, "probes")

    @property
    def count(self) -> int:
        """Estimates per row."""
        return 1 if self.exact else self.probes

    def of(self, v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """v(x) (n, ...) and its divergence (n, 1), or an unbiased estimate of it by each probe (n, probes)."""
        if self.exact:
            value, found = divergence_exact(v, x)
            return value, found[:, None]
        return divergence_along(v, x, signs(self.probes, x))

    def split(self, x: Tensor) -> Iterator[Tensor]:
        """The places of the rows x (n, ...) in parts small enough to follow at once."""
        size = x[0].numel()
        at_once = max(1, NUMBERS // (size * (1 + (size if self.exact else self.probes))))
        yield from torch.arange(len(x), device=x.device).split(at_once)


def affordable(shape: Sequence[int]) -> bool:
    """Whether the exact divergence is worth its price for samples of this shape."""
    return math.prod(shape) <= EXACT_TRACE_UP_TO["vectors" if len(shape) == 1 else "images"]


def mean_and_error(found: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the estimates (n, m) of each row and its standard error: 0 for an exact one (m = 1)."""
    count = found.shape[1]
    error = found.std(1) / count**0.5 if count > 1 else torch.zeros_like(found[:, 0])
    return found.mean(1), error
