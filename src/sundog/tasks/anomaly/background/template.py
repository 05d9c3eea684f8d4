"""The background template: a generator of the features given the mass, learned beside the window.

    p_B(x | m) from the sidebands, evaluated at m inside the window;   p_B(m) from a smooth fit to the sidebands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.errors import OptionError
from sundog.models.base import Model
from sundog.statistics.samples.distance import wasserstein_1
from sundog.tasks.anomaly.background.polish import Polish, draw, fit_polish
from sundog.tasks.anomaly.background.spectrum import MassLaw, mass_law
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import DensityRun, Run
from sundog.verdicts.twosample import classifier_two_sample

CHECKED = 0.1  # share of the sidebands kept away from the generator, to test it on
CHECK_ROWS = 50_000  # of the test: its error is then 0.0018
GOOD_AUC = 0.505  # above it, plus two errors, a template spoils the search (docs/anomaly_methods.md)
LOWEST = -700.0  # of a log-density: exp(-700) is barely above zero
EDGE = 1e-3  # of the range of a feature: so far inside it lies the nearest place that has a density
# A spline flow sees features between edges, or with long tails, as it sees Gaussians: docs/anomaly_methods.md.
SCALINGS = {"flow-matching": "logit", "flow": "normal-scores"}
PLANS = {"flow-matching": Plan(steps=2000, batch=4096), "flow": Plan(steps=1500, batch=1024)}
PASSES = {"flow-matching": 25, "flow": 6}  # over the events, after which a template gains nothing (docs/performance.md)
FEWEST_IN_BATCH, FEWEST_STEPS = 512, 400
# What docs/anomaly_methods.md was measured with; the family's own default is cheaper, and not yet measured in a search.
OPTIONS: dict[str, dict[str, Any]] = {"flow": {"transform": "spline", "layers": 4, "learning_rate": 2e-3}}


@dataclass(frozen=True)
class TemplateReport:
    """How far the template can be told from sideband events that it never saw, at the same masses.

    Attributes
    ----------
    auc, auc_error : out-of-fold area of a classifier, and its standard error for equal laws
    distances : feature -> Wasserstein-1 distance in standard deviations of the feature
    n : events on each side

    Interpolation into the window is not tested here: no pure background is at hand there.
    """

    auc: float
    auc_error: float
    distances: dict[str, float]
    n: int

    @property
    def passed(self) -> bool:
        """Whether the area is between 0.495 and 0.505, within two standard errors."""
        return abs(self.auc - 0.5) <= GOOD_AUC - 0.5 + 2 * self.auc_error

    @property
    def copied(self) -> bool:
        """Whether events were copied: twins in different folds give an area below one half."""
        return not self.passed and self.auc < 0.5

    @property
    def quality(self) -> str:
        """``good``, ``poor``, or ``copies of the events``."""
        return "good" if self.passed else "copies of the events" if self.copied else "poor"

    def __str__(self) -> str:
        found = self.quality if self.passed else self.quality.upper()
        worst = max(self.distances, key=lambda name: self.distances[name])
        return (f"template AUC {self.auc:.4f} +- {self.auc_error:.4f} on {self.n:,} sideband events "
                f"({found}); worst feature {worst}: {self.distances[worst]:.4f} std")


@dataclass(frozen=True, eq=False)
class Template:
    """A fitted background: features given the mass, and the mass inside the window.

    Attributes
    ----------
    run : the conditional generator, ``DensityRun`` where it knows its density
    masses : law of the mass inside the window
    region : the window
    report : its test on sideband events, None if not asked for
    unseen : the sideband events of that test, kept away from training
    polish : a correction of the generator learned beside the window, see ``fit_polish``
    bounds : (2, d) smallest and largest features that the generator was shown
    """

    run: Run
    masses: MassLaw
    region: SignalRegion
    report: TemplateReport | None
    unseen: Dataset | None = None
    polish: Polish | None = None
    bounds: Tensor | None = None

    def sample(self, n: int, seed: int, m: Any = None) -> Dataset:
        """n background events inside the window, or at the masses m (n,) if these are given."""
        if m is None:
            m = self.masses.sample(n, seed)
        context = torch.as_tensor(m).float()
        if self.polish is None:
            return self.run.sample(n, context=context, seed=seed)
        return draw(self.run, self.polish, context.reshape(-1, 1).expand(n, 1), seed)

    def log_prob(self, events: Dataset) -> Tensor:
        """log p_B(x | m), float64 (n,), per product of the units of x: a function of the event alone.

        Events beyond the range of the sidebands have no density under a bounded scaling; they get that of the
        nearest place inside it, so that one stray event cannot pass for a signal of infinite ratio.
        """
        if not isinstance(self.run, DensityRun):
            raise OptionError(f"family '{self.run.family}' has no density", got="log_prob", expected="flow | "
                              "flow-matching", do="choose another template")
        log_p = self._log_prob(events)
        lost = ~torch.isfinite(log_p)
        if self.bounds is not None and lost.any():
            low, high = self.bounds
            edge = EDGE * (high - low)
            nearest = replace(events[lost], values=events.values[lost].clamp(low + edge, high - edge))
            log_p[lost] = self._log_prob(nearest)
        return log_p.nan_to_num(nan=LOWEST).clamp(min=LOWEST)

    def _log_prob(self, events: Dataset) -> Tensor:
        assert isinstance(self.run, DensityRun)  # checked by log_prob
        log_p = self.run.log_prob(_labelled(events, self.run))
        return log_p if self.polish is None else log_p + self.polish.log_ratio(events.values)


def fit_template(events: Dataset, region: SignalRegion, *, family: str | type[Model] = "flow-matching", seed: int = 0,
                 plan: Plan | None = None, scaling: Scaling | str | None = None, law: str = "smooth",
                 reach: float | None = None, check: bool = True, polish: bool = False, out: Any = None,
                 **options: Any) -> Template:
    """A template fitted to the sidebands of the events (from ``gather``).

    Parameters
    ----------
    family : of the generator, see ``sundog.fit``
    plan, scaling, options : of the generator; sensible for the family where None
    law : of the mass: ``smooth``, or the published ``histogram`` and ``kde``
    reach : how far beyond the window events are used, None for all
    check : whether to test the template on a tenth of the sideband events, kept away from training
    polish : whether trees correct what the generator gets wrong beside the window, see ``fit_polish``
    out : folder of the run; an interrupted fit goes on there
    """
    region.check(events)
    beside = replace(events[region.sidebands(events, reach)], held_out_fraction=CHECKED if check else 0.0)
    run = fit_generator(beside, family=family, seed=seed, plan=plan, scaling=scaling, out=out, **options)
    template = Template(run, mass_law(law, events.context, region), region, None,
                        beside.held_out if check else None,
                        fit_polish(run, beside.train, seed=seed) if polish else None, bounds(beside.train))
    return replace(template, report=_tested(template, seed)) if check else template


def bounds(events: Dataset) -> Tensor:
    """Smallest and largest value of each feature, (2, d)."""
    return torch.stack([events.values.min(0).values, events.values.max(0).values])


def fit_generator(events: Dataset, *, family: str | type[Model] = "flow-matching", seed: int = 0,
                  plan: Plan | None = None, scaling: Scaling | str | None = None, out: Any = None,
                  **options: Any) -> Run:
    """A generator of the features given the mass, with sensible plan and scaling for the family where None."""
    plan = (plan or PLANS.get(family, Plan())).with_(seed=seed)  # type: ignore[arg-type]
    scaling = scaling if scaling is not None else SCALINGS.get(family, "standard")  # type: ignore[arg-type]
    return fit(family, events, plan=plan, scaling=scaling, out=out,
               **{**OPTIONS.get(family, {}), **options})  # type: ignore[arg-type]


def shortened(plan: Plan, passes: int, n: int) -> Plan:
    """The plan, with fewer rows a step, and then fewer steps, where it would pass n events more than ``passes`` times.

    Example
    -------
    >>> plan = Plan(steps=2000, batch=4096)
    >>> [(p.steps, p.batch) for p in (shortened(plan, 25, n) for n in (10**6, 100_000, 20_000))]
    [(2000, 4096), (2000, 1250), (976, 512)]
    """
    assert plan.steps is not None and plan.batch is not None  # plans of this module
    batch = min(plan.batch, max(FEWEST_IN_BATCH, passes * n // plan.steps))
    return plan.with_(batch=batch, steps=min(plan.steps, max(FEWEST_STEPS, passes * n // batch)))


def _tested(template: Template, seed: int) -> TemplateReport:
    assert template.unseen is not None  # called where a check is asked for
    real = template.unseen[:CHECK_ROWS]
    return compared(real, template.sample(len(real), seed + 1, real.context), seed)


def compared(real: Dataset, fake: Dataset, seed: int) -> TemplateReport:
    """How far real and drawn events of the same masses can be told apart."""
    # The mass stands among the columns: a wrong dependence on it must show.
    mass = mass_column(real).float()[:, None]
    found = classifier_two_sample(torch.cat([real.values, mass], 1), torch.cat([fake.values, mass], 1), seed, folds=2)
    spread = real.values.std(0)
    apart = wasserstein_1(real.values / spread, fake.values / spread)
    return TemplateReport(found.auc, found.null_error, dict(zip(real.names, apart.tolist())), len(real))


def _labelled(events: Dataset, run: Run) -> Dataset:
    """The events under the names that the run was trained with; their columns are matched by position."""
    return Dataset.from_arrays(events.values, events.context, run.labels["names"], run.labels["units"],
                               context_names=run.labels["context_names"], context_units=run.labels["context_units"],
                               held_out_fraction=0.0)
