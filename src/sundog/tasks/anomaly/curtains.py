"""CURTAINs, flows for flows: an invertible map from one mass to another, trained by maximum likelihood.

log p(x, m -> m') = log p_B(T(x; m, m') | m') + log |det dT/dx|

with p_B a flow fitted to the sidebands and T a second flow, conditional on both masses. Where T carries p(x | m)
to p(x | m') the mean of this over x ~ p(x | m) is greatest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import zuko
from torch import Tensor, nn

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.models.base import Batch, Noise, Objective
from sundog.models.classifier import Classifier
from sundog.models.flow import NormalizingFlow
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.transport import Carry, Mover, TransportDetector, TransportTemplate, trained_carry
from sundog.train.plan import Plan

PLAN = Plan(steps=1500, batch=1024)


@dataclass(eq=False)
class Curtains(TransportDetector):
    """Classifier between the data and sideband events carried into the window by an invertible flow.

    Parameters
    ----------
    region : the signal region
    seed : of training, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    plan, scaling : of the training of both flows
    options : ``base`` and ``top``, each with layers, hidden and bins of a flow, and ``learning_rate``
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Raine, Klein, Sengupta & Golling 2023 (CURTAINs); Sengupta, Klein, Raine & Golling 2024 (flows for
    flows: the likelihood above in place of an optimal-transport loss).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> small = {"base": {"layers": 1, "hidden": (16,)}, "top": {"layers": 1, "hidden": (16,)}}
    >>> search = Curtains(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1, options=small).fit(events)
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
        """Both flows, trained on the sideband events."""
        plan = (self.plan or PLAN).with_(seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = FlowForFlow(beside.values.shape[1:], 1, **self.options)
        return trained_carry(model, beside, self.scaling, plan)


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
        base = {"layers": 2, "hidden": (64, 64), **(base or {})}
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
