"""Normalizing flow: an invertible map between the data and a standard normal.

log p(x | c) = log N(f(x; c); 0, 1) + log |det df/dx|

Masked autoregressive (affine) and neural-spline flows; the transforms are zuko's.

Source: Papamakarios et al. 2017 (masked autoregressive flow), Durkan et al. 2019 (neural spline flow).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import zuko
from torch import Tensor

from sundog.models.base import Batch, Density, Noise, Objective, RowNoise
from sundog.models.options import Options, option


@dataclass(frozen=True)
class FlowOptions(Options):
    """Options of `NormalizingFlow`."""

    transform: str = option("spline", "rational-quadratic spline, or affine (masked autoregressive)",
                            words=("spline", "affine"))
    layers: int = option(4, "number of transforms, the order of the features reversed between them", least=1)
    hidden: tuple[int, ...] = option((64, 64), "widths of each conditioner network", least=1)
    bins: int = option(8, "knots of each spline", least=2, only=("transform", "spline"))
    learning_rate: float = option(2e-3, "of all parameters", above=0)


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
    default_steps: ClassVar[int] = 1500
    options: FlowOptions

    def __init__(self, shape: Sequence[int], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        # One feature without context leaves the conditioner no input: its free numbers then start far from the
        # identity and learn slowly. A constant context gives it one.
        self.constant = self.shape[0] == 1 and context_dim == 0
        sizes = self.shape[0], 1 if self.constant else context_dim
        settings: dict[str, Any] = {"transforms": self.options.layers, "hidden_features": self.options.hidden}
        if self.options.transform == "spline":
            self.flow = zuko.flows.NSF(*sizes, bins=self.options.bins, **settings)
        else:
            self.flow = zuko.flows.MAF(*sizes, **settings)

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
