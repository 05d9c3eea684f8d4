"""Normalizing flow: an invertible map between the data and a standard normal.

log p(x | c) = log N(f(x; c); 0, 1) + log |det df/dx|

Masked autoregressive (affine) and neural-spline flows; the transforms are zuko's.

Source: Papamakarios et al. 2017 (masked autoregressive flow), Durkan et al. 2019 (neural spline flow).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import zuko
from torch import Tensor

from sundog.errors import OptionError
from sundog.models.base import Batch, Density, Noise, Objective

TRANSFORMS = ("spline", "affine")


class NormalizingFlow(Density):
    """Autoregressive flow on vectors (n, d), conditional on vectors (n, c).

    Parameters
    ----------
    shape : (d,)
    context_dim : c, 0 for none
    transform : ``spline`` (rational-quadratic, default) or ``affine`` (masked autoregressive)
    layers : number of transforms, the order of the features reversed between them
    hidden : widths of each conditioner network
    bins : knots of each spline

    Example
    -------
    >>> flow = NormalizingFlow((2,), 0, layers=2, hidden=(16,))
    >>> flow.log_prob(torch.zeros(3, 2), None).shape
    torch.Size([3])
    """

    family: ClassVar[str] = "flow"
    default_steps: ClassVar[int] = 1500

    def __init__(
        self,
        shape: Sequence[int],
        context_dim: int = 0,
        *,
        transform: str = "spline",
        layers: int = 4,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__()
        if transform not in TRANSFORMS:
            raise OptionError("unknown transform", got=transform, expected=" | ".join(TRANSFORMS), do="choose one")
        if layers < 1 or bins < 2 or min(hidden, default=1) < 1:
            raise OptionError("impossible flow", got=f"layers {layers}, hidden {tuple(hidden)}, bins {bins}",
                              expected="layers >= 1, widths >= 1, bins >= 2", do="pass e.g. layers=4, hidden=(64, 64)")
        if len(shape) != 1:
            raise OptionError("a normalizing flow draws vectors", got=f"samples of shape {tuple(shape)}",
                              expected="events (n, d)", do="use family 'diffusion', 'gan', 'vae' or 'scattering'")
        self.shape, self.context_dim = tuple(shape), context_dim
        self.transform, self.layers, self.hidden, self.bins = transform, layers, tuple(hidden), bins
        self.learning_rate = learning_rate
        # One feature without context leaves the conditioner no input: its free numbers then start far from the
        # identity and learn slowly. A constant context gives it one.
        self.constant = shape[0] == 1 and context_dim == 0
        context_dim = 1 if self.constant else context_dim
        settings: dict[str, Any] = {"transforms": layers, "hidden_features": self.hidden}
        if transform == "spline":
            self.flow = zuko.flows.NSF(shape[0], context_dim, bins=bins, **settings)
        else:
            self.flow = zuko.flows.MAF(shape[0], context_dim, **settings)

    def config(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "context_dim": self.context_dim,
            "transform": self.transform,
            "layers": self.layers,
            "hidden": list(self.hidden),
            "bins": self.bins,
            "learning_rate": self.learning_rate,
        }

    def objectives(self) -> list[Objective]:
        return [Objective("negative log-likelihood", list(self.parameters()), self.loss, self.learning_rate,
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

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        """f^-1(z; context) of standard normal z: (n, d)."""
        p = next(self.parameters())
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device, dtype=p.dtype)
        return self.flow(self._given(context, z)).transform.inv(z)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean negative log-likelihood of held-out rows."""
        return -self.log_prob(x, context).mean()
