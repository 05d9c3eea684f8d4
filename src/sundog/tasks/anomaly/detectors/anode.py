"""ANODE: one density inside the window, one interpolated from beside it, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.tasks.anomaly.background.template import Template, fit_generator, fit_template
from sundog.tasks.anomaly.detectors.base import TemplateSearch, fitted
from sundog.train.plan import Plan


@dataclass(eq=False)
class Anode(TemplateSearch):
    """Ratio of two conditional densities, log p_data(x | m) - log p_B(x | m).

    A flow must resolve a small signal on a large background by itself, which costs sensitivity: ``RAnode`` keeps
    the background fixed and does better. Offered for comparison.

    Parameters
    ----------
    region : the signal region
    seed : of both fits
    family : of both densities, ``flow`` or ``flow-matching``
    plan, scaling, options : of both fits; sensible for the family where None
    check : whether to test the template on sideband events (``template_report_``)

    Source: Nachman & Shih 2020 (ANODE).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.1, seed=0)
    >>> small = {"layers": 1, "hidden": (16,)}
    >>> Anode(SignalRegion(3.3, 3.7), plan=Plan(steps=20), options=small).fit(events).score_samples(events[:5]).shape
    torch.Size([5])
    """

    family: str = "flow"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    check: bool = True
    inside_: Template | None = field(default=None, init=False, repr=False)

    def learn(self, events: Dataset) -> None:
        settings = {"family": self.family, "plan": self.plan, "scaling": self.scaling, **self.options}
        self.template_ = fit_template(events, self.region, seed=self.seed, check=self.check, **settings)
        run = fit_generator(events[self.region.contains(events)], seed=self.seed + 1, **settings)
        self.inside_ = replace(self.template_, run=run, report=None, unseen=None)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """log p_data(x | m) / p_B(x | m), float64 (n,)."""
        events = self.seen(x, m)
        return fitted(self.inside_).log_prob(events) - self.fitted_template.log_prob(events)
