"""Transports: networks that carry rows from one value of their context to another.

x' = T(x; m -> m'),   p(x' | m') = p(x | m) |det dT/dx|^-1

A generator learns a density; a transport learns how it changes with the context. Two kinds:

* ``FlowForFlow``: an invertible flow, trained to make log p_B(T(x) | m') + log |det dT/dx| greatest, p_B a flow too;
* ``ResidualTransport``: x + (m' - m) g(x, m, m'), trained as a Wasserstein GAN on the pairs (x', m') and (x, m).

As models they draw at a context m': a row that ``prepare`` was shown, carried from its own context. ``sundog.fit``
takes the classes; they are no words of it, for what they draw depends on the rows that they hold, which no run folder
keeps.

Source: Sengupta, Klein, Raine & Golling 2024 (flows for flows); Oleksiyuk, Voloshynovskiy & Golling 2025 (residual
network and critic; the factor m' - m and the Wasserstein critic are ours).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import zuko
from torch import Tensor, nn

from sundog.errors import OptionError
from sundog.models.base import Batch, Model, Noise, Objective, RowNoise
from sundog.models.flow import NormalizingFlow
from sundog.models.gan import slopes
from sundog.nets.mlp import mlp
from sundog.statistics.samples.distance import energy_distance

SCORED_ROWS = 4096  # of the held-out rows: the energy distance costs their square


class Mover(Model):
    """A network x' = T(x; m -> m') on standardised tensors, which carries the rows that ``prepare`` was shown.

    Abstract. As a model it draws at a context m': a stored row, carried from its own mass to m'.
    """

    sources: tuple[Tensor, Tensor]

    @abstractmethod
    def move(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """T(x; start -> end): x (n, d), start and end (n, 1)."""

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        self.sources = (x, one_context(context))

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Stored rows drawn with replacement, carried to the context (n, 1)."""
        x, start = self.sources
        rows = noise.choice(len(x)).to(x.device)
        assert context is not None  # prepare refused to go without
        return self.move(x[rows], start[rows], context)


def one_context(context: Tensor | None) -> Tensor:
    """The context (n, 1), if there is one and no second."""
    if context is None or context.shape[1] != 1:
        raise OptionError("a transport needs one context", got="none" if context is None else context.shape[1],
                          expected="the mass", do="pass events with their mass")
    return context


class FlowForFlow(Mover):
    """Two flows on vectors (n, d): the density beside the window, and the map between two masses.

    Both are trained in each step, the map against the density as it then is: one schedule, and no second pass.

    Parameters
    ----------
    shape : (d,)
    context_dim : 1, the mass
    base : layers, hidden, bins of the density (``NormalizingFlow``)
    top : layers, hidden, bins of the map; it starts as the identity

    Example
    -------
    >>> model = FlowForFlow((2,), 1, base={"layers": 1}, top={"layers": 1})
    >>> x, m = torch.randn(3, 2), torch.zeros(3, 1)
    >>> bool(torch.allclose(model.move(x, m, m + 1), x, atol=1e-5))
    True
    """

    family: ClassVar[str] = "flow for flow"

    def __init__(self, shape: Sequence[int], context_dim: int = 1, *, base: dict[str, Any] | None = None,
                 top: dict[str, Any] | None = None, learning_rate: float = 2e-3) -> None:
        super().__init__()
        base = {"transform": "spline", "layers": 2, "hidden": (64, 64), **(base or {})}
        top = {"layers": 2, "hidden": (64, 64), "bins": 8, **(top or {})}
        self._config = {"shape": list(shape), "context_dim": context_dim, "base": base, "top": top,
                        "learning_rate": learning_rate}
        self.learning_rate = learning_rate
        self.base = NormalizingFlow(shape, 1, **base)
        self.top = zuko.flows.NSF(shape[0], 2, transforms=top["layers"], hidden_features=top["hidden"],
                                  bins=top["bins"])
        for transform in self.top.transform.transforms:
            if isinstance(transform, zuko.flows.MaskedAutoregressiveTransform):
                last = [layer for layer in transform.hyper if isinstance(layer, nn.Linear)][-1]
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        return [
            Objective("density beside", list(self.base.parameters()), self.base.loss, self.learning_rate,
                      clip_norm=5.0),
            Objective("map between masses", list(self.top.parameters()), self.map_loss, self.learning_rate,
                      clip_norm=5.0),
        ]

    def move(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return self.top(torch.cat([start, end], 1)).transform(x)

    def log_likelihood(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """log p_B(T(x) | end) + log |det dT/dx|, (n,)."""
        moved, log_det = self.top(torch.cat([start, end], 1)).transform.call_and_ladj(x)
        return self.base.log_prob(moved, end) + log_det

    def map_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E log-likelihood of rows carried to the masses of other rows of the batch."""
        assert batch.context is not None  # prepare refused to go without
        end = batch.context[noise.uniform().argsort()]
        return batch.mean(-self.log_likelihood(batch.x, batch.context, end))

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean of both negative log-likelihoods on held-out rows, each carried to the mass of its neighbour."""
        assert context is not None
        return -(self.log_likelihood(x, context, context.roll(1, 0)) + self.base.log_prob(x, context)).mean()


class ResidualTransport(Mover):
    """Residual map of vectors (n, d) between two masses, and its critic.

    Parameters
    ----------
    shape : (d,)
    context_dim : 1, the mass
    hidden : widths of both networks
    critic_steps : steps of the critic per step of the map
    penalty_weight : lambda of the two-sided gradient penalty
    inertia : weight of E |x' - x|^2, which prefers the shortest way

    Example
    -------
    >>> model = ResidualTransport((2,), 1, hidden=(8,))
    >>> x, m = torch.randn(3, 2), torch.zeros(3, 1)
    >>> bool((model.move(x, m, m) == x).all())
    True
    """

    family: ClassVar[str] = "residual transport"

    def __init__(self, shape: Sequence[int], context_dim: int = 1, *, hidden: Sequence[int] = (64, 64, 64),
                 critic_steps: int = 3, penalty_weight: float = 1.0, inertia: float = 0.0,
                 learning_rate: float = 2e-3) -> None:
        super().__init__()
        if critic_steps < 1 or not penalty_weight > 0 or inertia < 0:
            raise OptionError("settings of the transport", got=f"critic_steps={critic_steps}, penalty_weight="
                              f"{penalty_weight}, inertia={inertia}", expected=">= 1, > 0, >= 0",
                              do="leave them at 3, 1 and 0")
        self._config = {"shape": list(shape), "context_dim": context_dim, "hidden": list(hidden),
                        "critic_steps": critic_steps, "penalty_weight": penalty_weight, "inertia": inertia,
                        "learning_rate": learning_rate}
        self.critic_steps, self.penalty_weight, self.inertia = critic_steps, penalty_weight, inertia
        self.learning_rate = learning_rate
        self.change = mlp(shape[0] + 2, shape[0], hidden)
        last = self.change[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.critic = mlp(shape[0] + 1, 1, hidden)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        settings: dict[str, Any] = {"learning_rate": self.learning_rate, "betas": (0.0, 0.9)}
        return [
            Objective("critic", list(self.critic.parameters()), self.critic_loss, repeats=self.critic_steps,
                      **settings),
            Objective("transport", list(self.change.parameters()), self.transport_loss, **settings),
        ]

    def move(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return x + (end - start) * self.change(torch.cat([x, start, end], 1))

    def _carried(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Rows carried to the masses of other rows of the batch, and these masses."""
        assert batch.context is not None  # prepare refused to go without
        end = batch.context[noise.uniform().argsort()]
        return self.move(batch.x, batch.context, end), end

    def critic_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """E D(x', m') - E D(x, m) + lambda E (|grad D| - 1)^2, the slope taken along x and m."""
        with torch.no_grad():
            fake = torch.cat(self._carried(batch, noise), 1)
        real = torch.cat([batch.x, batch.context], 1)  # type: ignore[list-item]
        steep = slopes(self.critic, real, fake, noise.uniform(1))
        return self.critic(fake).mean() - self.critic(real).mean() + self.penalty_weight * (steep - 1).square().mean()

    def transport_loss(self, batch: Batch, noise: Noise) -> Tensor:
        """-E D(x', m') + inertia E |x' - x|^2."""
        moved, end = self._carried(batch, noise)
        way = (moved - batch.x).square().sum(1).mean() if self.inertia else 0.0
        return -self.critic(torch.cat([moved, end], 1)).mean() + self.inertia * way

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Energy distance of held-out (x, m) and rows carried to the mass of their neighbour."""
        assert context is not None
        x, context = x[:SCORED_ROWS], context[:SCORED_ROWS]
        end = context.roll(1, 0)
        pairs = [torch.cat(part, 1).cpu() for part in ((x, context), (self.move(x, context, end), end))]
        return energy_distance(*pairs)
