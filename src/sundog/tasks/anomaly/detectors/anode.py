"""ANODE: one density inside the window, one interpolated from beside it, and their ratio."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.data.scaling.chain import named_scaling
from sundog.errors import OptionError
from sundog.tasks.anomaly.background.template import PLANS, SCALINGS, Template, TemplateReport, fit_template
from sundog.tasks.anomaly.regions import SignalRegion, gather, gather_any
from sundog.train.fit import fit
from sundog.train.plan import Plan


@dataclass(eq=False)
class Anode:
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
    >>> events = ResonantToy().events(6000, 0.1, seed=0)
    >>> small = {"layers": 1, "hidden": (16,)}
    >>> Anode(SignalRegion(3.3, 3.7), plan=Plan(steps=20), options=small).fit(events).score_samples(events[:5]).shape
    torch.Size([5])
    """

    region: SignalRegion
    seed: int = 0
    family: str = "flow"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    check: bool = True
    template_: Template | None = None
    inside_: Template | None = None

    def fit(self, x: Any, m: Any = None) -> Anode:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        events = gather(x, m, unit=self.region.unit)
        self.template_ = fit_template(events, self.region, family=self.family, seed=self.seed, plan=self.plan,
                                      scaling=self.scaling, check=self.check, **self.options)
        scaling = self.scaling if self.scaling is not None else SCALINGS.get(self.family, "standard")
        run = fit(self.family, events[self.region.contains(events)],
                  plan=(self.plan or PLANS.get(self.family, Plan())).with_(seed=self.seed + 1),
                  scaling=named_scaling(scaling) if isinstance(scaling, str) else scaling, **self.options)
        self.inside_ = Template(run, self.template_.masses, self.region, None)
        return self

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """log p_data(x | m) / p_B(x | m), float64 (n,)."""
        events = gather_any(x, m)
        return self._part(self.inside_).log_prob(events) - self._part(self.template_).log_prob(events)

    def sample_background(self, n: int, m: Any = None, *, seed: int = 0) -> Dataset:
        """n background events inside the window, or at the masses m (n,)."""
        return self._part(self.template_).sample(n, seed, m)

    def log_background(self, x: Any, m: Any = None) -> Tensor:
        """log p_B(x | m), float64 (n,), per product of the units of x."""
        return self._part(self.template_).log_prob(gather_any(x, m))

    @property
    def template_report_(self) -> TemplateReport | None:
        """How well the background reproduces unseen sideband events; None with ``check=False``."""
        return self._part(self.template_).report

    def _part(self, part: Template | None) -> Template:
        if part is None:
            raise OptionError("the detector has not been fitted", got="nothing learned", expected="fit first",
                              do="call fit(x, m)")
        return part
