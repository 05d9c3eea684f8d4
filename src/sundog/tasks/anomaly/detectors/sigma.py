"""SIGMA: one generator of all events, background templates for any window by interpolation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.errors import OptionError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.background.sigma_field import (
    INTERPOLATIONS,
    UNSEEN,
    control_template,
    fit_everything,
    window_template,
)
from sundog.tasks.anomaly.background.template import Template
from sundog.tasks.anomaly.detectors.base import TemplateDetector, classified
from sundog.tasks.anomaly.detectors.references import scored
from sundog.tasks.anomaly.regions import SignalRegion, gather
from sundog.train.plan import Plan
from sundog.train.run import Run


@dataclass(eq=False)
class Sigma(TemplateDetector):
    """Classifier between the data inside a window and a background interpolated from one model of everything.

    One conditional flow-matching model learns p(x | m) of all events, signal included, with a mass embedding
    fine enough to resolve the signal. The background of a window comes from interpolating that model between
    two masses beside it; further windows need no further training (``for_window``).

    Parameters
    ----------
    region : the signal region
    seed : of generator, samples and classifier
    interpolation : ``context`` (activations of the context layers), ``linear`` (velocity field), ``none`` (the
        model as it is: it has learned the signal), or ``sidebands``, the control: a model trained for this
        window alone on its sidebands. ``choose_interpolation`` tells which one suits a window
    plan, options : of the generator; those of ``sigma_field`` where None
    scaling : ``flat`` (None): every feature made standard normal at every mass (``flatten.Flattening``), so that the
        generator learns only how features hang together; or a scaling of ``sundog.fit``
    gap : from the edge of the window to the masses interpolated from; a quarter of its width when None
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to keep a tenth of the events away from the generator, to test the template on them
    out : folder of the generator's run; an interrupted fit goes on there

    Source: Das & Shih 2024 (SIGMA).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = Sigma(SignalRegion(3.3, 3.7), plan=Plan(steps=20), members=1, options={"hidden": (16,)}).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.for_window(SignalRegion(3.4, 3.8)).sample_background(10))
    (torch.Size([5]), 10)
    """

    region: SignalRegion
    seed: int = 0
    interpolation: str = "context"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    gap: float | None = None
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    with_mass: bool = False
    check: bool = True
    out: Any = None
    run_: Run | None = None
    events_: Dataset | None = None
    template_: Template | None = None
    classifier_: Classifier | None = None

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise OptionError("unknown interpolation", got=self.interpolation, expected=" | ".join(INTERPOLATIONS),
                              do="choose one")
        if self.oversampling <= 0:
            raise OptionError("oversampling is unusable", got=self.oversampling, expected="a number > 0", do="pass 3")

    def fit(self, x: Any, m: Any = None) -> Sigma:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        events = gather(x, m, unit=self.region.unit)
        self.region.check(events)
        self.events_ = events
        if self.interpolation != "sidebands":
            self.run_ = fit_everything(events, seed=self.seed, plan=self.plan, scaling=self.scaling, check=self.check,
                                       out=self.out, **self.options)
        return self._look()

    def for_window(self, region: SignalRegion, interpolation: str | None = None) -> Sigma:
        """The same search in another window, or with another interpolation, on the same model and events.

        Only a classifier is trained; with ``sidebands`` also the control model of that window.
        """
        other = replace(self, region=region, interpolation=interpolation or self.interpolation)
        return other._look()

    def template_for(self, region: SignalRegion, interpolation: str | None = None) -> Template:
        """The background template of any window; untested, and nothing is trained unless for ``sidebands``."""
        return self._template(region, interpolation or self.interpolation, check=False)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(x) / p_B(x) inside the window, float64 (n,)."""
        return scored(self.classifier_, x, m, self.with_mass)

    def sample_background(  # type: ignore[override]
        self, n: int, m: Any = None, *, seed: int = 0, region: SignalRegion | None = None
    ) -> Dataset:
        """n template events inside the window (or another one), or at the masses m (n,)."""
        template = self.fitted_template if region is None else self.template_for(region)
        return template.sample(n, seed, m)

    def _look(self) -> Sigma:
        events = self._events
        self.template_ = self._template(self.region, self.interpolation, check=self.check)
        self.classifier_ = classified(self, self.template_, events)
        return self

    def _template(self, region: SignalRegion, how: str, *, check: bool) -> Template:
        events = self._events
        if how == "sidebands":
            out = None if self.out is None else f"{self.out}-{region.lo:g}-{region.hi:g}"
            return control_template(events, region, seed=self.seed, plan=self.plan, scaling=self.scaling,
                                    law=self.masses, check=check, out=out, **self.options)
        if self.run_ is None:
            raise OptionError("there is no model of all events", got="a control fitted to sidebands",
                              expected="fit with context, linear or none", do="call Sigma(region).fit(x, m)")
        unseen = self._unseen() if check else None
        return window_template(self.run_, events, region, how=how, gap=self.gap, law=self.masses, unseen=unseen,
                               seed=self.seed)

    def _unseen(self) -> Dataset:
        """The events that ``fit_everything`` kept away: the same rows for the same events."""
        return replace(self._events, held_out_fraction=UNSEEN).held_out

    @property
    def _events(self) -> Dataset:
        if self.events_ is None:
            raise OptionError("the detector has not been fitted", got="no events", expected="fit first",
                              do="call fit(x, m)")
        return self.events_
