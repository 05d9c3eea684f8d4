"""TRANSIT: a residual network carries events to another mass, and a critic looks for what is left to correct.

x' = T(x; m, m') = x + (m' - m) g(x, m, m')

trained as a Wasserstein GAN on pairs: the critic tells (x', m') from real (x, m), m' being the mass of another
event. At m' = m the map is the identity by construction, and features that do not depend on the mass pass unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.models.classifier import Classifier
from sundog.models.transport import ResidualTransport
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.transport import Carry, TransportDetector, TransportTemplate, trained_carry
from sundog.train.plan import Plan

PLAN = Plan(steps=1000, batch=1024)


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
