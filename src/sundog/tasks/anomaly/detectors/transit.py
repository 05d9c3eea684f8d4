"""TRANSIT: a residual network carries events to another mass, and a critic looks for what is left to correct.

x' = T(x; m, m') = x + (m' - m) g(x, m, m')

trained as a Wasserstein GAN on pairs: the critic tells (x', m') from real (x, m), m' being the mass of another
event. At m' = m the map is the identity by construction, and features that do not depend on the mass pass unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from sundog.models.transport import ResidualTransport
from sundog.tasks.anomaly.background.transport import TrainedTransport
from sundog.train.plan import Plan

PLAN = Plan(steps=1000, batch=1024)


@dataclass(eq=False)
class Transit(TrainedTransport):
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
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Transit(SignalRegion(3.3, 3.7), plan=Plan(steps=10), members=1, options={"hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    network = ResidualTransport
    default_plan = PLAN
