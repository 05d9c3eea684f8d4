"""The two references of every search: the idealised detector, and the fully supervised classifier.

Neither can be used on real data. The idealised detector sees what a perfect template would give it; the
supervised one sees the labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, ShapeError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.detectors.base import Estimator, features, fit_ratio, fitted
from sundog.tasks.anomaly.regions import check_columns, gather, ordered


@dataclass(eq=False)
class IdealisedAD(Estimator):
    """Idealised anomaly detector: a classifier between the data and true background inside the window.

    The upper bound of every template method that ends in the same classifier.

    Parameters
    ----------
    region : the signal region
    seed : of the classifier; member i uses seed + i
    members : boostings in the ensemble
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> toy = ResonantToy()
    >>> detector = IdealisedAD(SignalRegion(3.3, 3.7), members=1)
    >>> score = detector.fit(toy.events(4000, 0.1, seed=0), background=toy.background(4000, 1)
    ...                      ).score_samples(toy.signal(5, seed=2))
    >>> score.shape
    torch.Size([5])
    """

    members: int = 10
    with_mass: bool = False
    classifier_: Classifier | None = field(default=None, init=False, repr=False)

    def fit(self, x: Any, m: Any = None, *, background: Any) -> IdealisedAD:
        """The detector itself, trained on the events inside the window.

        Parameters
        ----------
        x, m : data, (n, d) and (n,), or a Dataset with the mass as context
        background : (x_b, m_b) or a Dataset: true background events; those inside the window are used

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        data = gather(x, m, unit=self.region.unit)
        true = gather(*(background if isinstance(background, tuple) else (background,)), unit=self.region.unit)
        for events in (data, true):
            self.region.check(events, sidebands=False)
        self.columns_ = data.names
        inside = [features(events[self.region.contains(events)], self.with_mass)
                  for events in (data, ordered(true, data.names))]
        self.classifier_ = fit_ratio(inside[0], inside[1], seed=self.seed, members=self.members)
        return self

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_data(x) / p_B(x) inside the window, float64 (n,)."""
        return fitted(self.classifier_).predict_log_odds(features(self.seen(x, m), self.with_mass))


@dataclass(eq=False)
class Supervised(Estimator):
    """Fully supervised classifier of signal against background: what knowing the signal would give.

    Parameters
    ----------
    region : the signal region; rows outside are used as they come
    seed : of the classifier
    members : boostings in the ensemble

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> toy = ResonantToy()
    >>> x = torch.cat([toy.background(1000, 0).values, toy.signal(1000, 1).values])
    >>> model = Supervised(SignalRegion(3.3, 3.7), members=1).fit(x, torch.arange(2000) >= 1000)
    >>> bool(model.score_samples(toy.signal(500, 2).values).mean() > 1)
    True
    """

    members: int = 10
    classifier_: Classifier | None = field(default=None, init=False, repr=False)

    def fit(self, x: Any, y: Any) -> Supervised:
        """The classifier itself, trained on features x (n, d) and labels y (n,): 1 or True for signal."""
        events = x if isinstance(x, Dataset) else Dataset.from_arrays(x)
        check_columns(events)
        self.columns_ = events.names
        labels = torch.as_tensor(y).double().reshape(-1)
        if len(labels) != len(events):
            raise ShapeError("labels do not fit the events", got=len(labels), expected=len(events),
                             do="pass one label per row")
        if set(labels.unique().tolist()) != {0.0, 1.0}:
            raise DataError("labels are unusable", got=f"values {labels.unique().tolist()[:5]}",
                            expected="0 and 1, both present", do="label background 0 and signal 1")
        # Signal is plentiful here: the usual quarter for early stopping is enough.
        self.classifier_ = fit_ratio(events.values[labels == 1], events.values[labels == 0], seed=self.seed,
                                     members=self.members, validation=0.25)
        return self

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_S(x) / p_B(x), float64 (n,); the mass is not used."""
        return fitted(self.classifier_).predict_log_odds(self.seen(x).values)
