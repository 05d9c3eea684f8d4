"""Private SpiderBoost: gradients of single rows, or their changes from step to step, under exact Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import at_least, optional, positive
from sundog.train.privacy.budget import Privacy, accountant, secret_numbers


@dataclass(frozen=True)
class SpiderBoost:
    """Return a point where the mean gradient of a smooth loss is small, without telling of any single row.

    Every ``phase`` steps v = mean of g_i + s_1 N(0, 1); between, v += mean of (g_i(w_t) - g_i(w_{t-1}))
    + min(s_2 |w_t - w_{t-1}|, s_cap) N(0, 1), w -= v / (2 L_1), with s_1 = mu L_0 / b_1, s_2 = mu L_1 / b_2 and
    s_cap = 2 mu L_0 / b_2: noise over sensitivity is mu in every step. The means are over Poisson samples with rates
    b_1 / n and b_2 / n.

    Attributes
    ----------
    slope, curvature : L_0 and L_1: true bounds of |g_i| and of |g_i(w) - g_i(w')| / |w - w'| for *every* possible row;
        nothing is clipped, and a bound that does not hold protects nothing
    steps, phase : how many, and how often the gradient is taken anew; phase 1 is noisy gradient descent
    batch, small_batch : b_1 and b_2, expected rows
    multiplier : mu

    Source: Arora et al. 2023, ICML, arXiv 2206.00846, algorithm 1. Its better rate is asymptotic; docs/private.md has
    what it gains on real sizes (nothing).
    """

    slope: float
    curvature: float
    steps: int
    phase: int
    batch: float
    small_batch: float
    multiplier: float

    @classmethod
    def affordable(cls, privacy: Privacy, n: int, *, slope: float, curvature: float, steps: int, phase: int,
                   batch: float, small_batch: float) -> SpiderBoost:
        """The least noise for which n rows keep to (epsilon, delta); the ``clip`` of the budget is not used."""
        dp = optional("dp_accounting", "private")
        for value, name in ((slope, "slope"), (curvature, "curvature"), (batch, "batch"), (small_batch, "small_batch")):
            positive(value, name)
        at_least(steps, 1, "steps")
        at_least(phase, 1, "phase")

        def made(multiplier: float) -> SpiderBoost:
            return cls(slope, curvature, steps, phase, min(batch, n), min(small_batch, n), multiplier)

        found = dp.calibrate_dp_mechanism(accountant, lambda mu: made(mu).event(n), privacy.epsilon,
                                          privacy.delta, dp.LowerEndpointAndGuess(1e-3, 2.0), tol=1e-3)
        return made(float(found))

    def event(self, n: int) -> Any:
        """What is done to n rows, in the words of dp-accounting."""
        dp = optional("dp_accounting", "private")
        anew = math.ceil(self.steps / self.phase)

        def some(batch: float, count: int) -> Any:
            step = dp.GaussianDpEvent(self.multiplier)
            return dp.SelfComposedDpEvent(step if batch >= n else dp.PoissonSampledDpEvent(batch / n, step), count)

        parts = [some(self.batch, anew)] + ([some(self.small_batch, self.steps - anew)] if self.steps > anew else [])
        return dp.ComposedDpEvent(parts)

    def noise(self, moved: float | None) -> float:
        """Standard deviation of the noise of each entry: of a gradient, or of a change over a step of length moved."""
        if moved is None:
            return self.multiplier * self.slope / self.batch
        return min(self.multiplier * self.curvature / self.small_batch * moved,
                   2 * self.multiplier * self.slope / self.small_batch)

    def __call__(self, gradients: Callable[[Tensor, Tensor], Tensor], start: Tensor, n: int,
                 rng: np.random.Generator | None = None) -> Tensor:
        """The w of a random step.

        Parameters
        ----------
        gradients : (w, rows) -> (len(rows), d), the gradients g_i of those rows at w
        start : (d,), chosen without looking at the rows
        n : rows
        """
        rng = rng or secret_numbers()
        w, before, v = start.clone(), start, torch.zeros_like(start)
        kept, chosen = start, int(rng.integers(self.steps))
        for step in range(self.steps):
            anew = step % self.phase == 0
            batch = self.batch if anew else self.small_batch
            rows = torch.from_numpy(np.flatnonzero(rng.random(n) < batch / n))
            found = gradients(w, rows) if anew else gradients(w, rows) - gradients(before, rows)
            noise = self.noise(None if anew else float((w - before).norm()))
            found = found.sum(0) / batch + noise * torch.from_numpy(rng.standard_normal(len(w))).to(w)
            v = found if anew else v + found
            before, w = w, w - v / (2 * self.curvature)
            kept = w if step == chosen else kept
        return kept
