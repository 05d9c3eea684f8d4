"""Noise levels of diffusion: those that suit the data, and the uncertainty that is learned of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from sundog.models.gaussian.law import Covariance
from sundog.nets.embed import HarmonicEmbedding
from sundog.nets.mlp import still

QUIET = 0.1  # share of the directions that may be quieter than what sets sigma_min


@dataclass(frozen=True)
class NoiseRange:
    """Noise levels that suit the data: their scale sigma_data, the ends, and ln sigma ~ N(p_mean, p_std^2)."""

    sigma_data: float
    sigma_min: float
    sigma_max: float
    p_mean: float
    p_std: float

    @staticmethod
    def of(covariance: Covariance, reach: float) -> NoiseRange:
        """Levels from the variances v of the data, d of them.

        sigma_data^2 = mean of v.  sigma_max = reach x the largest standard deviation, so that the start forgets
        the data: on top of N(0, sigma_max^2) a reach of 40 leaves 0.03 % of the largest mode unexplained.
        sigma_min = a tenth of the standard deviation that one direction in ten stays below (0.0001 to 0.004
        sigma_data): levels that only quieter modes could tell apart cost accuracy at all others.  EDM's levels for
        white data, ln(sigma / sigma_data) ~ N(-0.5, 1.2^2), are widened and raised where the energy sits in few
        modes: by E = mean of ln(v / sigma_data^2) / 2 over the energy, to N(E / 10 - 0.5, 1.2^2 + E^2 / 9).
        The rule for E is ours, set once on 80 x 80 radio galaxies (E = 3.1, N(-0.2, 1.6^2)).
        """
        variances, count = (part.double() for part in covariance.spectrum())
        seen = count > 0
        variances, count = variances[seen], count[seen]
        total = (variances * count).sum()
        sigma_data = float((total / count.sum()).sqrt())
        rising = variances.argsort()
        below = count[rising].cumsum(0) / count.sum()
        low, high = (float(variances[rising[i]].sqrt()) for i in (int((below < QUIET).sum()), -1))
        share = variances * count / total
        energy = float((share * (variances.clamp(min=1e-300) / sigma_data**2).log()).sum()) / 2
        return NoiseRange(
            sigma_data, min(4e-3 * sigma_data, max(1e-4 * sigma_data, 0.1 * low)), reach * high,
            math.log(sigma_data) - 0.5 + energy / 10, math.hypot(1.2, energy / 3),
        )


class LevelUncertainty(nn.Module):
    """u(sigma), (n,): a linear function of harmonics of ln sigma, zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = HarmonicEmbedding(1, frequencies=16)
        self.linear = still(nn.Linear(self.embed.width, 1))

    def forward(self, sigma: Tensor) -> Tensor:
        return self.linear(self.embed(sigma.log()[:, None] / 10))[:, 0]  # ln sigma / 10 stays within one period
