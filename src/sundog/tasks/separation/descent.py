"""Solve for one signal: eras of a bias scheme, averages over draws, or a diffusion of the contamination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from sundog.checks import at_least, one_of, positive
from sundog.solve.descend import Descent, Progress, descend
from sundog.tasks.separation.journal import Journal
from sundog.tasks.separation.losses import Loss, Match, Measure
from sundog.tasks.separation.phi import Statistics
from sundog.tasks.separation.sources import Draw


@dataclass(frozen=True)
class Schedule:
    """How a solution is sought.

    Attributes
    ----------
    method : "bias" (eras with a fixed bias, then one of averages), "average" (averages in every era) or "diffusive"
        (``eras`` steps that each take away a contamination of 1 / eras of the variance, then one era of averages)
    draws : contaminations for the bias and the variances of an era
    eras, iterations : renewals of the bias, L-BFGS steps in each
    target : loss at which an era stops. The truth is at 1; of what is wrong with the start, whose small scales are too
        Gaussian, sqrt(target) standard errors stay in every statistic. In one small map of S/N 0.3 or less the chance
        in its statistics is worse than that: pass 1 there
    polish : steps of the last, averaging era; 0 for none
    few : draws in a true average

    Source: Delouis et al. 2022, A&A 668, A122 (bias); Regaldo-Saint Blancard et al. 2021, A&A 649, L18 (average);
    Regaldo-Saint Blancard & Eickenberg 2023, arXiv 2306.15012, algorithm 2 (diffusive).
    """

    method: str = "bias"
    draws: int = 64
    eras: int = 5
    iterations: int = 30
    polish: int = 10
    few: int = 16
    target: float = 0.1

    def __post_init__(self) -> None:
        one_of(self.method, ("bias", "average", "diffusive"), "method")
        for name, least in (("draws", 10), ("eras", 1), ("iterations", 1), ("polish", 0)):
            at_least(getattr(self, name), least, name)
        positive(self.target, "target")


@dataclass(frozen=True)
class Solution:
    """One solution (C, ny, nx) in units of the solver, its losses by name, what ended each descent, and the cost."""

    u: Tensor
    losses: dict[str, float]
    endings: tuple[str, ...]
    evaluations: int


@dataclass
class Problem:
    """d, what is measured, how contaminations are drawn, what must hold, and which pixels (ny, nx) move (None: all)."""

    phi: Statistics
    d: Tensor
    draw: Draw
    losses: Sequence[Loss]
    schedule: Schedule
    free: Tensor | None = None
    progress: Progress | None = None
    journal: Journal = field(default_factory=Journal)

    def solve(self, start: Tensor, generator: torch.Generator) -> Solution:
        """One solution from a starting map (C, ny, nx)."""
        plan, u, descents = self.schedule, start, list[Descent]()
        if plan.method == "diffusive":
            descents = self._diffuse(start, generator)
            u = descents[-1].x
        eras = 0 if plan.method == "diffusive" else plan.eras
        for era in range(eras + (plan.polish > 0 or eras == 0)):
            noise = self.draw(plan.draws, generator)
            last = era == eras
            parts = partial(self._parts, u, noise, (last or plan.method == "average") and plan.polish > 0)
            steps = plan.polish if last and plan.polish else plan.iterations
            descents.append(self.journal.descent(u, noise, steps, partial(self._descend, parts, u, steps)))
            u = descents[-1].x
        with torch.no_grad():
            names = [type(loss).__name__ for loss in self.losses]
            losses = {name: float(part(u)) for name, part in zip(names, parts())}
        return Solution(u, losses, tuple(d.reason for d in descents), sum(d.evaluations for d in descents))

    @torch.no_grad()
    def _parts(self, u: Tensor, noise: Tensor, true: bool) -> list[Measure]:
        few = min(self.schedule.few, len(noise))
        return [loss.averaged(self.phi, self.d, u, noise, few) if true else loss.in_era(self.phi, self.d, u, noise)
                for loss in self.losses]

    def _diffuse(self, u: Tensor, generator: torch.Generator) -> list[Descent]:
        """d_0 = d; d_(t+1) such that <Phi(d_(t+1) + c_i / sqrt(T))> = Phi(d_t): d_T is the signal.

        The mean of the contamination is taken away in equal parts. A sum of T draws of variance 1 / T is a draw only if
        the contamination is Gaussian; for others the last era, with the full draws, decides.
        """
        steps, target, descents = self.schedule.eras, self.d, list[Descent]()
        for step in range(steps):
            noise = self.draw(self.schedule.draws, generator)
            mean = noise.mean((0, -2, -1))[:, None, None]
            thin = (noise - mean) / steps**0.5 + mean / steps
            # the start of the last step is the constrained Gaussian map, mixed in as the contamination leaves
            guess = target + (u - target) / (steps - step)
            parts, most = partial(self._match, target, guess, thin), self.schedule.iterations
            descents.append(self.journal.descent(guess, torch.cat([target[None], thin]), most,
                                                 partial(self._descend, parts, guess, most)))
            target = descents[-1].x
        return descents

    @torch.no_grad()
    def _match(self, d: Tensor, u: Tensor, noise: Tensor) -> list[Measure]:
        return [Match().in_era(self.phi, d, u, noise)]

    def _descend(self, parts: Callable[[], list[Measure]], u: Tensor, steps: int) -> Descent:
        measures = parts()

        def loss(x: Tensor) -> Tensor:
            x = x if self.free is None else torch.where(self.free, x, x.detach())  # no gradient: they stay as they are
            return torch.stack([part(x) for part in measures]).mean()

        return descend(loss, u, iterations=steps, target=self.schedule.target, progress=self.progress)
