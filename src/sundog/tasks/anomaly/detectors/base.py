"""What every detector that judges events by a background template can do, once it has one."""

from __future__ import annotations

from abc import ABC
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.background.template import Template, TemplateReport
from sundog.tasks.anomaly.detectors.references import features, fit_ratio
from sundog.tasks.anomaly.regions import SignalRegion, gather_any


class Drawing(Protocol):
    """What a template of any kind can do."""

    @property
    def report(self) -> TemplateReport | None:
        """Its test on events that it never saw."""

    def sample(self, n: int, seed: int, m: Any = None) -> Dataset:
        """n background events inside the window, or at the masses m (n,)."""


Kind = TypeVar("Kind", bound=Drawing)


class TemplateSearch(ABC, Generic[Kind]):
    """A search with a background template in ``template_``, None before ``fit``. Abstract: subclasses are final."""

    template_: Kind | None

    def sample_background(self, n: int, m: Any = None, *, seed: int = 0) -> Dataset:
        """n template events inside the window, or at the masses m (n,), in the units of the data."""
        return self.fitted_template.sample(n, seed, m)

    @property
    def template_report_(self) -> TemplateReport | None:
        """How well the template reproduces events that it never saw; None with ``check=False``."""
        return self.fitted_template.report

    @property
    def fitted_template(self) -> Kind:
        """The template, once fitted."""
        if self.template_ is None:
            raise OptionError("the detector has not been fitted", got="no template", expected="fit first",
                              do="call fit(x, m)")
        return self.template_


class TemplateDetector(TemplateSearch[Template]):
    """A search whose template is a generator, which may know its density. Abstract."""

    def log_background(self, x: Any, m: Any = None) -> Tensor:
        """log p_B(x | m) of the template, float64 (n,), per product of the units of x."""
        return self.fitted_template.log_prob(gather_any(x, m))


class Classifying(Protocol):
    """The settings of a search that trains a classifier against its template."""

    region: SignalRegion
    seed: int
    oversampling: float
    members: int
    with_mass: bool


def classified(search: Classifying, template: Drawing, events: Dataset) -> Classifier:
    """The classifier between the events inside the window and ``oversampling`` times as many of the template."""
    inside = events[search.region.contains(events)]
    drawn = template.sample(round(search.oversampling * len(inside)), search.seed)
    return fit_ratio(features(inside, search.with_mass), features(drawn, search.with_mass), seed=search.seed,
                     members=search.members)
