"""CATHODE: draw a background template inside the window, and let a classifier tell the data from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.tasks.anomaly.background.template import PASSES, PLANS, Template, fit_template, shortened
from sundog.tasks.anomaly.detectors.base import ClassifierSearch, FeatureSearch
from sundog.train.plan import Plan


@dataclass(eq=False)
class GeneratedSearch(ClassifierSearch):
    """A search whose template is a trained generator. Abstract."""

    template: str = "flow"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    out: Any = None

    def make_template(self, events: Dataset) -> Template:
        plan, passes = self.plan, PASSES.get(self.template)
        if plan is None and passes is not None:
            plan = shortened(PLANS[self.template], passes, int(self.region.sidebands(events).sum()))
        return fit_template(events, self.region, family=self.template, seed=self.seed, plan=plan,
                            scaling=self.scaling, law=self.masses, check=self.check, out=self.out, **self.options)


@dataclass(eq=False)
class Cathode(GeneratedSearch, FeatureSearch):
    """Classifier between the data inside the window and a background sampled there.

    A generator learns p(x | m) in the sidebands, is asked for events at masses inside the window, and an ensemble
    of boosted trees estimates log p_data(x) / p_template(x).

    Parameters
    ----------
    region : the signal region
    seed : of generator, samples and classifier
    template : ``flow`` (default), ``flow-matching``, or any family of ``sundog.fit`` that takes a context
    plan, scaling, options : of the generator; sensible for the family and the number of events where None
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Hallin et al. 2022 (CATHODE); trees as in Finke et al. 2024; flow matching as in Das & Shih 2024.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Cathode(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1,
    ...                  options={"layers": 1, "hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """
