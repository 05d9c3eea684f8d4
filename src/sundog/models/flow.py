"""Normalizing flow: an invertible map between the data and a standard normal.

log p(x | c) = log N(f(x; c); 0, 1) + log |det df/dx|

Masked autoregressive (affine) and neural-spline flows, or both in one; the transforms are zuko's.

Source: Papamakarios et al. 2017 (masked autoregressive flow), Durkan et al. 2019 (neural spline flow).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from zuko.distributions import DiagNormal
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.lazy import Flow, UnconditionalDistribution
from zuko.transforms import MonotonicRQSTransform

from sundog.models.base import Batch, Density, Noise, Objective, RowNoise
from sundog.models.options import Options, option


@dataclass(frozen=True)
class FlowOptions(Options):
    """Options of `NormalizingFlow`."""

    transform: str = option("mixed", "affine (masked autoregressive), rational-quadratic spline, or mixed: affine "
                            "layers and a last one of splines", words=("mixed", "affine", "spline"))
    layers: int = option(3, "number of transforms, the order of the features reversed between them", least=1)
    hidden: tuple[int, ...] = option((64, 64), "widths of each conditioner network", least=1)
    bins: int = option(8, "knots of each spline", least=2, only=("transform", "mixed", "spline"))
    learning_rate: float = option(5e-3, "of all parameters", above=0)


class NormalizingFlow(Density):
    """Autoregressive flow on vectors (n, d), conditional on vectors (n, c).

    Example
    -------
    >>> flow = NormalizingFlow((2,), 0, layers=2, hidden=(16,))
    >>> flow.log_prob(torch.zeros(3, 2), None).shape
    torch.Size([3])
    """

    family: ClassVar[str] = "flow"
    takes: ClassVar[type[Options]] = FlowOptions
    draws: ClassVar[tuple[str, ...]] = ("vectors",)
    default_steps: ClassVar[int] = 600
    options: FlowOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.default_batch = 512
        # One feature without context leaves the conditioner no input: its free numbers then start far from the
        # identity and learn slowly. A constant context gives it one.
        self.constant = self.shape[0] == 1 and context_dim == 0
        splines = {"affine": 0, "mixed": 1, "spline": self.options.layers}[self.options.transform]
        layers = [self._layer(i, i >= self.options.layers - splines) for i in range(self.options.layers)]
        normal = {"loc": torch.zeros(self.shape), "scale": torch.ones(self.shape)}
        self.flow = Flow(layers, UnconditionalDistribution(DiagNormal, **normal, buffer=True))

    def _layer(self, i: int, spline: bool) -> MaskedAutoregressiveTransform:
        """The i-th transform from the data on."""
        bins, order = self.options.bins, torch.arange(self.shape[0])
        tau = {"univariate": MonotonicRQSTransform, "shapes": [(bins,), (bins,), (bins - 1,)]} if spline else {}
        return MaskedAutoregressiveTransform(
            self.shape[0], 1 if self.constant else self.context_dim, order=order.flip(0) if i % 2 else order,
            hidden_features=self.options.hidden, **tau)

    def objectives(self) -> list[Objective]:
        return [Objective("negative log-likelihood", list(self.parameters()), self.loss, self.options.learning_rate,
                          clip_norm=5.0)]

    def loss(self, batch: Batch, noise: Noise) -> Tensor:
        """Mean negative log-likelihood of the batch; uses no noise."""
        return batch.mean(-self.log_prob(batch.x, batch.context))

    def _given(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        return torch.ones_like(x) if self.constant else context

    def log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(x | context), (n,)."""
        return self.flow(self._given(context, x)).log_prob(x)

    def latent(self, x: Tensor, context: Tensor | None) -> Tensor:
        """z = f(x; context), standard normal where the flow is right: (n, d)."""
        return self.flow(self._given(context, x)).transform(x)

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """f^-1(z; context) of standard normal z: (n, d)."""
        z = noise.normal(*self.shape)
        return self.flow(self._given(context, z)).transform.inv(z)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean negative log-likelihood of held-out rows."""
        return -self.log_prob(x, context).mean()
