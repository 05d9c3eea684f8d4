"""CURTAINs, flows for flows: an invertible map from one mass to another, trained by maximum likelihood.

log p(x, m -> m') = log p_B(T(x; m, m') | m') + log |det dT/dx|

with p_B a flow fitted to the sidebands and T a second flow, conditional on both masses. Where T carries p(x | m)
to p(x | m') the mean of this over x ~ p(x | m) is greatest.
"""

from __future__ import annotations

from dataclasses import dataclass

from sundog.models.transport import FlowForFlow
from sundog.tasks.anomaly.background.transport import TrainedTransport
from sundog.train.plan import Plan

PLAN = Plan(steps=1500, batch=1024)


@dataclass(eq=False)
class Curtains(TrainedTransport):
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
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> small = {"base": {"layers": 1, "hidden": (16,)}, "top": {"layers": 1, "hidden": (16,)}}
    >>> search = Curtains(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1, options=small).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    network = FlowForFlow
    default_plan = PLAN
