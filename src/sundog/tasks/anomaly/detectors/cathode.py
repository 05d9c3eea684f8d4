"""CATHODE: draw a background template inside the window, and let a classifier tell the data from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sundog.data.scaling import Scaling
from sundog.errors import OptionError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.background.template import Template, fit_template
from sundog.tasks.anomaly.detectors.base import TemplateDetector, classified
from sundog.tasks.anomaly.detectors.references import scored
from sundog.tasks.anomaly.regions import SignalRegion, gather
from sundog.train.plan import Plan


@dataclass(eq=False)
class Cathode(TemplateDetector):
    """Classifier between the data inside the window and a background sampled there.

    A generator learns p(x | m) in the sidebands, is asked for events at masses inside the window, and an ensemble
    of boosted trees estimates log p_data(x) / p_template(x).

    Parameters
    ----------
    region : the signal region
    seed : of generator, samples and classifier
    template : ``flow-matching`` (default), ``flow``, or any family of ``sundog.fit`` that takes a context
    plan, scaling, options : of the generator; sensible for the family where None
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events (``template_report_``)

    Source: Hallin et al. 2022 (CATHODE); trees as in Finke et al. 2024; flow matching as in Das & Shih 2024.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Cathode(SignalRegion(3.3, 3.7), template="flow", plan=Plan(steps=20), members=1,
    ...                  options={"layers": 1, "hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    region: SignalRegion
    seed: int = 0
    template: str = "flow-matching"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    with_mass: bool = False
    check: bool = True
    out: Any = None
    template_: Template | None = None
    classifier_: Classifier | None = None

    def fit(self, x: Any, m: Any = None) -> Cathode:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        if self.oversampling <= 0:
            raise OptionError("oversampling is unusable", got=self.oversampling, expected="a number > 0", do="pass 3")
        events = gather(x, m, unit=self.region.unit)
        self.template_ = fit_template(events, self.region, family=self.template, seed=self.seed, plan=self.plan,
                                      scaling=self.scaling, law=self.masses, check=self.check, out=self.out,
                                      **self.options)
        self.classifier_ = classified(self, self.template_, events)
        return self

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(x) / p_B(x) inside the window, float64 (n,)."""
        return scored(self.classifier_, x, m, self.with_mass)
