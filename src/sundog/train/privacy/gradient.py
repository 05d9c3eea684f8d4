"""Gradients of single rows, clipped, summed and drowned in noise (DP-SGD).

Source: Abadi et al. 2016, arXiv 1607.00133, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sundog.errors import OptionError, TrainingError
from sundog.models.base import Batch, Noise, Objective
from sundog.train.privacy.budget import Mechanism, secret_numbers

ROWS_AT_ONCE, NUMBERS_AT_ONCE = 256, 2**27  # rows, and entries of their gradients
SAME_LOSS = 1e-3  # to which the loss of a batch is the mean over its rows


@dataclass
class Recorded:
    """The numbers of a batch, kept as they are handed out."""

    source: Noise
    drawn: list[Tensor] = field(default_factory=list)

    def normal(self, *shape: int) -> Tensor:
        self.drawn.append(self.source.normal(*shape))
        return self.drawn[-1]

    def uniform(self, *shape: int) -> Tensor:
        self.drawn.append(self.source.uniform(*shape))
        return self.drawn[-1]


class Repeated:
    """The numbers that one row had in its batch, once more."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        self.left = list(drawn)

    def normal(self, *shape: int) -> Tensor:
        return self.left.pop(0)[None]

    uniform = normal


class _OfOneRow(nn.Module):
    """An objective as a function of the parameters and one row, for torch.func."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, drawn: tuple[Tensor, ...]) -> Tensor:
        return self.objective.loss(Batch(x[None]), Repeated(drawn))  # type: ignore[arg-type]


def clipped_sum(model: nn.Module, objective: Objective, batch: Batch, noise: Noise, clip: float) -> list[Tensor]:
    """Return the sum over the rows of their gradients, each cut to norm ``clip``: one tensor per parameter.

    g_i min(1, clip / |g_i|), g_i the gradient of the loss of row i alone, |g_i| over all parameters. Adding or removing
    a row moves the sum by at most ``clip``.

    Raises
    ------
    OptionError : the loss of the batch is not the mean over its rows, or has no gradient row by row.
    """
    kept = Recorded(noise)
    alone = _OfOneRow(model, objective)
    names = {id(p): name for name, p in alone.named_parameters()}
    parameters = {names[id(p)]: p.detach() for p in objective.parameters}
    total = [torch.zeros_like(p) for p in parameters.values()]
    if len(batch.x) == 0:
        return total
    of_row = torch.func.vmap(torch.func.grad_and_value(
        lambda p, x, drawn: torch.func.functional_call(alone, p, (x, drawn))), in_dims=(None, 0, 0))
    losses, at_once = [], NUMBERS_AT_ONCE // sum(p.numel() for p in parameters.values())
    try:
        with torch.no_grad():
            together = float(objective.loss(batch, kept))  # type: ignore[arg-type]
        for rows in torch.arange(len(batch.x), device=batch.x.device).split(max(1, min(ROWS_AT_ONCE, at_once))):
            g, value = of_row(parameters, batch.x[rows], tuple(part[rows] for part in kept.drawn))
            losses.append(value.detach())
            norm = torch.stack([part.reshape(len(value), -1).norm(dim=1) for part in g.values()]).norm(dim=0)
            factor = torch.where(norm.isfinite(), (clip / norm.clamp_min(1e-30)).clamp(max=1.0), 0.0)
            for whole, part in zip(total, g.values()):
                whole += torch.einsum("n,n...->...", factor, part.nan_to_num(0.0, 0.0, 0.0))
    except RuntimeError as error:
        raise _not_by_row(str(error).splitlines()[0]) from error
    mean = float(torch.cat(losses).mean())
    if math.isfinite(mean) and abs(mean - together) > SAME_LOSS * (1 + abs(together)):
        raise _not_by_row(f"{together:.4g} for a batch, {mean:.4g} for its rows one by one")
    return total


def _not_by_row(got: str) -> OptionError:
    return OptionError("this family cannot be trained privately", got=got, expected="a loss that is a mean over rows",
                       do="use flow, flow-matching, diffusion or vae, or leave privacy out")


@dataclass
class PrivateGradient:
    """Noisy mean gradients on Poisson samples of the rows; never the same numbers twice."""

    mechanism: Mechanism
    rng: np.random.Generator = field(default_factory=secret_numbers)

    def rows(self, n: int) -> Tensor:
        """Each row by itself with probability ``rate``."""
        return torch.from_numpy(np.flatnonzero(self.rng.random(n) < self.mechanism.rate))

    def __call__(self, model: nn.Module, objective: Objective, batch: Batch, noise: Noise, n: int) -> list[Tensor]:
        """(sum of clipped gradients + clip noise N(0, 1)) / (rate n)."""
        m = self.mechanism
        total = clipped_sum(model, objective, batch, noise, m.privacy.clip)
        scale = m.noise * m.privacy.clip
        out = [(g + scale * self._normal(g)) / (m.rate * n) for g in total]
        if not all(bool(g.isfinite().all()) for g in out):
            raise TrainingError("a private gradient is not finite", got=f"clip {m.privacy.clip:g}",
                                expected="finite numbers", do="lower learning_rate or clip")
        return out

    def _normal(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal(tuple(like.shape))).to(like)
