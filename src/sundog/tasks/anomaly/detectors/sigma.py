"""SIGMA: one generator of all events, background templates for any window by interpolation."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from sundog.checks import one_of
from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.errors import OptionError
from sundog.tasks.anomaly.background.sigma_field import (
    INTERPOLATIONS,
    UNSEEN,
    control_template,
    fit_everything,
    window_template,
)
from sundog.tasks.anomaly.background.template import Template
from sundog.tasks.anomaly.detectors.base import FeatureSearch, fitted
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.train.plan import Plan
from sundog.train.run import Run


@dataclass(eq=False)
class Sigma(FeatureSearch):
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

    interpolation: str = "context"
    plan: Plan | None = None
    scaling: Scaling | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    gap: float | None = None
    out: Any = None
    run_: Run | None = field(default=None, init=False, repr=False)
    events_: Dataset | None = field(default=None, init=False, repr=False)

    def for_window(self, region: SignalRegion, interpolation: str | None = None) -> Sigma:
        """The same search in another window, or with another interpolation, on the same model and events.

        Only a classifier is trained; with ``sidebands`` also the control model of that window.
        """
        other = copy(self).set_params(region=region, interpolation=interpolation or self.interpolation)
        other.learn(fitted(self.events_))
        return other

    def template_for(self, region: SignalRegion, interpolation: str | None = None) -> Template:
        """The background template of any window; untested, and nothing is trained unless for ``sidebands``."""
        return self._template(region, interpolation or self.interpolation, check=False)

    def make_template(self, events: Dataset) -> Template:
        if self.interpolation != "sidebands" and (self.run_ is None or events is not self.events_):
            self.run_ = fit_everything(events, seed=self.seed, plan=self.plan, scaling=self.scaling, check=self.check,
                                       out=self.out, **self.options)
        self.events_ = events
        return self._template(self.region, self.interpolation, check=self.check)

    def _template(self, region: SignalRegion, how: str, *, check: bool) -> Template:
        events = fitted(self.events_)
        if how == "sidebands":
            out = None if self.out is None else f"{self.out}-{region.lo:g}-{region.hi:g}"
            return control_template(events, region, seed=self.seed, plan=self.plan, scaling=self.scaling,
                                    law=self.masses, check=check, out=out, **self.options)
        if self.run_ is None:
            raise OptionError("there is no model of all events", got="a control fitted to sidebands",
                              expected="fit with context, linear or none", do="call Sigma(region).fit(x, m)")
        # The events that ``fit_everything`` kept away: the same rows for the same events.
        unseen = replace(events, held_out_fraction=UNSEEN).held_out if check else None
        return window_template(self.run_, events, region, how=how, gap=self.gap, law=self.masses, unseen=unseen,
                               seed=self.seed)

    def _check(self) -> None:
        super()._check()
        one_of(self.interpolation, INTERPOLATIONS, "interpolation")
