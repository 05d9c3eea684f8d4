"""The scaffold of the detectors: settings, events by the names of their columns, a template, a classifier against it.

A detector is a dataclass: its fields are its settings (scikit-learn's ``get_params``, ``set_params`` and ``clone``
read them), what it learns ends in an underscore and is no setting. ``fit(x, m)`` takes the masses where scikit-learn
hands over labels, so that detectors stand at the end of a ``Pipeline`` and in ``cross_val_predict``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor

from sundog.checks import one_of, positive
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.models.classifier import Classifier, TreeEnsemble
from sundog.random import stream
from sundog.tasks.anomaly.background.template import Template, TemplateReport
from sundog.tasks.anomaly.regions import SignalRegion, gather, gather_any, ordered


@dataclass(eq=False)
class Estimator(ABC):
    """Settings, and the columns that were fitted. Abstract: subclasses are final."""

    region: SignalRegion
    seed: int = 0
    columns_: tuple[str, ...] | None = field(default=None, init=False, repr=False)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name; with ``deep`` also those of a detector among them, as ``background__seed``."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        inner = {name: value.get_params() for name, value in own.items() if deep and isinstance(value, Estimator)}
        return own | {f"{name}__{key}": value for name, part in inner.items() for key, value in part.items()}

    def set_params(self, **settings: Any) -> Self:
        """The detector itself, with some settings changed and checked again."""
        for name, value in settings.items():
            own, _, inner = name.partition("__")
            one_of(own, self.get_params(deep=False), f"setting of {type(self).__name__}")
            getattr(self, own).set_params(**{inner: value}) if inner else setattr(self, own, value)
        self.__post_init__()
        return self

    def __post_init__(self) -> None:
        self._check()

    def _check(self) -> None:  # noqa: B027  (most detectors take any setting)
        """Nothing, if the settings can be used."""

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))

    @abstractmethod
    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """One number per event, float64 (n,), larger for more signal-like."""

    def predict(self, x: Any, m: Any = None) -> Tensor:
        """``score_samples``, by the word without which scikit-learn takes nothing for an estimator."""
        return self.score_samples(x, m)

    def seen(self, x: Any, m: Any = None) -> Dataset:
        """Events to be judged, their columns found by name, or by position where they have none.

        Raises
        ------
        OptionError : before ``fit``. ShapeError : a column is missing.
        """
        return ordered(gather_any(x, m), fitted(self.columns_))


@dataclass(eq=False)
class Search(Estimator):
    """A detector that learns from events of the whole spectrum with their masses. Abstract."""

    def fit(self, x: Any, m: Any = None) -> Self:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        self.learn(self.accepted(x, m))
        return self

    def accepted(self, x: Any, m: Any = None) -> Dataset:
        """The events, checked; their columns are those that ``score_samples`` will look for."""
        events = gather(x, m, unit=self.region.unit)
        self.region.check(events)
        self.columns_ = events.names
        return events

    @abstractmethod
    def learn(self, events: Dataset) -> None:
        """Learn from events that ``accepted`` gave."""


@dataclass(eq=False)
class TemplateSearch(Search):
    """A search with a background template. Abstract."""

    template_: Any = field(default=None, init=False, repr=False)

    def sample_background(self, n: int, m: Any = None, *, seed: int = 0) -> Dataset:
        """n template events inside the window, or at the masses m (n,), in the units of the data."""
        return self.fitted_template.sample(n, seed, m)

    def log_background(self, x: Any, m: Any = None) -> Tensor:
        """log p_B(x | m) of the template, float64 (n,), per product of the units of x; not every one has a density."""
        return self.fitted_template.log_prob(self.seen(x, m))

    @property
    def template_report_(self) -> TemplateReport | None:
        """How well the template reproduces events that it never saw; None with ``check=False``."""
        return self.fitted_template.report

    @property
    def fitted_template(self) -> Template:
        """The template, once fitted."""
        return fitted(self.template_)


@dataclass(eq=False)
class ClassifierSearch(TemplateSearch):
    """A classifier between the events inside the window and a template. Abstract.

    A method says how its template is made, and what the classifier sees of an event.
    """

    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    check: bool = True
    classifier_: Classifier | None = field(default=None, init=False, repr=False)

    @abstractmethod
    def make_template(self, events: Dataset) -> Any:
        """The background template learned from events that ``accepted`` gave."""

    @abstractmethod
    def view(self, events: Dataset) -> Tensor:
        """What the classifier sees of events, (n, k)."""

    @abstractmethod
    def view_of_background(self, n: int, seed: int) -> Tensor:
        """What it sees of n background events inside the window, (n, k)."""

    def learn(self, events: Dataset) -> None:
        self.template_ = self.make_template(events)
        inside = self.view(events[self.region.contains(events)])
        self.classifier_ = fit_ratio(inside, self.background_for(len(inside)), seed=self.seed, members=self.members)

    def background_for(self, n: int) -> Tensor:
        """``oversampling`` times as many background events as n data events, as the classifier sees them."""
        return self.view_of_background(round(self.oversampling * n), self.seed)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(x) / p_B(x) inside the window, float64 (n,)."""
        return fitted(self.classifier_).predict_log_odds(self.view(self.seen(x, m)))

    def _check(self) -> None:
        positive(self.oversampling, "oversampling")


@dataclass(eq=False)
class FeatureSearch(ClassifierSearch):
    """A classifier that sees the features themselves, and the mass where asked for. Abstract."""

    with_mass: bool = False

    def view(self, events: Dataset) -> Tensor:
        return features(events, self.with_mass)

    def view_of_background(self, n: int, seed: int) -> Tensor:
        return features(self.sample_background(n, seed=seed), self.with_mass)


def fitted(part: Any) -> Any:
    """The part that ``fit`` made.

    Raises
    ------
    OptionError : it has not been made.
    """
    if part is None:
        raise OptionError("the detector has not been fitted", got="nothing learned", expected="fit first",
                          do="call fit(x, m)")
    return part


def deal(n: int, folds: int, seed: int) -> Tensor:
    """The fold of each of n events, (n,), of equal sizes to within one, in random order.

    Example
    -------
    >>> deal(5, 2, seed=0).bincount().tolist()
    [3, 2]
    """
    order = torch.randperm(n, generator=stream(seed, "folds"))
    fold = torch.empty(n, dtype=torch.int64)
    fold[order] = torch.arange(n) % folds
    return fold


def features(events: Dataset, with_mass: bool = False) -> Tensor:
    """What a classifier sees: the features, and the mass where asked for."""
    if not with_mass:
        return events.values
    if events.context is None:
        raise ShapeError("the score depends on the mass", got="no m", expected="one mass per event",
                         do="pass m, or a Dataset made with with_context('m_jj')")
    return torch.cat([events.values, events.context], 1)


def fit_ratio(data: Tensor, template: Tensor, *, seed: int = 0, members: int = 10,
              validation: float = 0.5) -> Classifier:
    """A tree ensemble whose log-odds estimate log p_data(x) / p_template(x); equal total weight on both sides.

    data: (n, d); template: (m, d). Half of the rows decide when each member stops growing: with a few hundred
    signal events among 10^5 the danger is to learn noise, not to learn too little.

    Source: Finke et al. 2024 (trees and ensembles for weak supervision), section 2.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> data, template = torch.randn(500, 2, generator=g) + 1, torch.randn(1500, 2, generator=g)
    >>> bool(fit_ratio(data, template, members=1).predict_log_odds(torch.tensor([[2.0, 2.0]])) > 0)
    True
    """
    x = torch.cat([data, template])
    y = torch.cat([torch.ones(len(data)), torch.zeros(len(template))]).double()
    share = len(data) / len(x)
    weights = torch.where(y == 1, 0.5 / share, 0.5 / (1 - share))
    return TreeEnsemble(members=members, seed=seed, validation=validation).fit(x, y, weights)
