"""TRANSIT: a residual network carries events to another mass, and a critic looks for what is left to correct.

x' = T(x; m, m') = x + (m' - m) g(x, m, m')

trained as a Wasserstein GAN on pairs: the critic tells (x', m') from real (x, m), m' being the mass of another
event. At m' = m the map is the identity by construction, and features that do not depend on the mass pass unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.errors import OptionError
from sundog.models.base import Batch, Noise, Objective
from sundog.models.classifier import Classifier
from sundog.models.gan import slopes
from sundog.nets.mlp import mlp
from sundog.statistics.distance import energy_distance
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.transport import Carry, Mover, TransportDetector, TransportTemplate, trained_carry
from sundog.train.plan import Plan

PLAN = Plan(steps=1000, batch=1024)
SCORED_ROWS = 4096  # of the held-out rows: the energy distance costs their square


@dataclass(eq=False)
class Transit(TransportDetector):
    """Classifier between the data and sideband events carried into the window by a residual network.

    Parameters
    ----------
    region : the signal region
    seed : of training, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    plan, scaling : of the training
    options : of ``ResidualTransport``: hidden, critic_steps, penalty_weight, inertia, learning_rate
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Oleksiyuk, Voloshynovskiy & Golling 2025 (TRANSIT), abstract and introduction; the factor (m' - m) and
    the Wasserstein critic are ours.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Transit(SignalRegion(3.3, 3.7), plan=Plan(steps=10), members=1, options={"hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    region: SignalRegion
    seed: int = 0
    reach: float | None = None
    plan: Plan | None = None
    scaling: Scaling | str = "standard"
    options: dict[str, Any] = field(default_factory=dict)
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    with_mass: bool = False
    check: bool = True
    template_: TransportTemplate | None = None
    classifier_: Classifier | None = None

    def learn(self, beside: Dataset) -> Carry:
        """The network, trained on the sideband events."""
        plan = (self.plan or PLAN).with_(seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = ResidualTransport(beside.values.shape[1:], 1, **self.options)
        return trained_carry(model, beside, self.scaling, plan)


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
