"""A signal of any shape: p_S as a normalizing flow, started from a mixture of Gaussians and climbed directly.

    L(w, p_S) = sum_i log(w p_S(z_i) + (1 - w) p_B(z_i)),   z = (features, mass),   p_B frozen

The flow acts on u = R^-1 (z - mu), with mean mu and covariance R R^T of the mixture, so that the identity is the best
single Gaussian. It first maximises sum_i r_i log p_S(z_i), r_i the mixture's probability that event i is signal, then L
itself.

Source: Das, Kasieczka & Shih 2024 (R-ANODE), eq. 3, for L; the warm start is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sundog.errors import OptionError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise
from sundog.models.flow import NormalizingFlow
from sundog.models.mixture.signal import GaussianSignal, MixtureFit

RATE = 3e-3


@dataclass(frozen=True, eq=False)
class FlowSignal:
    """A flow on standardised features, and a Gaussian mass whose mean is linear in the features.

    Attributes
    ----------
    flow : of u, (d,)
    mean, root : (d + 1,) mu and (d + 1, d + 1) R, lower triangular, the mass last
    mass : (2,) mean and logarithm of the width of the mass's u; None where all columns are features
    """

    flow: NormalizingFlow
    mean: Tensor
    root: Tensor
    mass: Tensor | None

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_S(z), float64 (n,), of z (n, d + 1)."""
        with torch.no_grad():
            return torch.cat([self._log_prob(part) for part in z.split(50_000)])

    def marginal(self, columns: list[int]) -> FeatureLaw:
        """The law of the features without the mass."""
        if columns != list(range(len(self.mean) - 1)):
            raise OptionError("a flow knows its features together", got=f"columns {columns}", expected="all of them",
                              do="take a mixture of Gaussians for the law of some")
        return FeatureLaw(self)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws (n, d + 1), float64."""
        return self.draw(self.flow.row_noise(n, generator))

    def draw(self, noise: RowNoise) -> Tensor:
        """One draw (n, d + 1), float64, per row of the noise."""
        with torch.no_grad():
            u = self.flow.draw(noise, None).double()
            if self.mass is not None:
                u = torch.cat([u, self.mass[0] + self.mass[1].exp() * noise.normal(1).double()], 1)
        return self.mean + u @ self.root.T

    def _log_prob(self, z: Tensor) -> Tensor:
        u = torch.linalg.solve_triangular(self.root, (z - self.mean).T, upper=False).T
        volume = self.root.diagonal().log().sum()
        if self.mass is None:
            return self.flow.log_prob(u.float(), None).double() - volume
        v = (u[:, -1] - self.mass[0]) * (-self.mass[1]).exp()
        log_m = -0.5 * v**2 - self.mass[1] - 0.5 * math.log(2 * math.pi)
        return self.flow.log_prob(u[:, :-1].float(), None).double() + log_m - volume


@dataclass(frozen=True, eq=False)
class FeatureLaw:
    """p_S of the features alone."""

    signal: FlowSignal

    def log_prob(self, z: Tensor) -> Tensor:
        """log p_S(z), float64 (n,), of standardised features z (n, d)."""
        d = z.shape[1]
        root = self.signal.root[:d, :d]
        u = torch.linalg.solve_triangular(root, (z - self.signal.mean[:d]).T, upper=False).T.float()
        with torch.no_grad():
            log_p = torch.cat([self.signal.flow.log_prob(part, None) for part in u.split(50_000)])
        return log_p.double() - root.diagonal().log().sum()


class SignalFlow(Model):
    """What the engine climbs: a flow, the mass beside it, and the signal fraction.

    Rows are events z (n, d + 1), their context (log p_B, r) (n, 2): p_B is frozen, and r the mixture's probability of
    being signal.

    Parameters
    ----------
    start : the mixture of Gaussians to climb from
    share : of all events, how many the rows stand for: those left out cannot become signal
    learn_w, with_mass : whether w is learned, and whether the last column is a mass
    """

    family: ClassVar[str] = "signal flow"

    def __init__(self, start: MixtureFit, share: float, *, learn_w: bool = True, with_mass: bool = True) -> None:
        d = start.signal.means.shape[1]
        super().__init__()
        self.share, self.learn_w, self.warm = share, learn_w, True
        self.flow = NormalizingFlow((d - with_mass,), transform="spline", layers=2, hidden=(32, 32))
        self.mean, self.root = moments(start.signal)
        self.mass = nn.Parameter(torch.zeros(2)) if with_mass else None
        self.logit = nn.Parameter(torch.tensor(math.log(start.w / (1 - start.w))), requires_grad=learn_w)

    def config(self) -> dict[str, Any]:
        return {"shape": [len(self.mean)], "share": self.share, "learn_w": self.learn_w}

    @property
    def signal(self) -> FlowSignal:
        """p_S as it now is."""
        return FlowSignal(self.flow, self.mean, self.root, None if self.mass is None else self.mass.double())

    @property
    def w(self) -> float:
        """The signal fraction as it now is."""
        return float(torch.sigmoid(self.logit.detach().double()))

    def objectives(self) -> list[Objective]:
        """While ``warm`` the mixture's probabilities are followed, then the likelihood itself."""
        learned = [p for p in self.parameters() if p.requires_grad and not (self.warm and p is self.logit)]
        return [Objective("signal density", learned, self.loss, RATE, clip_norm=5.0)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-sum r log p_S, or -L, per signal event."""
        assert batch.context is not None  # made by whoever trains this model
        log_s = self.signal._log_prob(batch.x)
        if self.warm:
            return -self.share * batch.mean(batch.context[:, 1] * log_s) / self.w
        odds = softplus(self.logit.double() + log_s - batch.context[:, 0])
        return -(self.share * batch.mean(odds) - softplus(self.logit.double())) / self.w

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        assert context is not None
        return self.loss(Batch(x, context), Noise(torch.Generator(), len(x), slice(None))) * self.w

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Signal events (n, d + 1)."""
        return self.signal.draw(noise)


def moments(signal: GaussianSignal) -> tuple[Tensor, Tensor]:
    """Mean of a mixture, and the Cholesky root of its covariance."""
    mean = signal.weights @ signal.means
    apart = signal.means - mean
    covariance = (signal.weights[:, None, None] * (signal.covariances + apart[:, :, None] * apart[:, None, :])).sum(0)
    return mean, torch.linalg.cholesky(covariance)
