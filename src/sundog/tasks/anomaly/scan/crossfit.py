"""Scores of every event by a detector that never saw it.

A classifier scores the events it was trained on higher than others of the same law: cut on such scores, and a bump
appears inside the window where none is. Therefore the events are dealt into folds, and each fold is scored by what
was learned without it. Source: the nested cross-validation of Collins, Howe & Nachman 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SundogError
from sundog.random import stream
from sundog.tasks.anomaly.background.spectrum import smooth_masses
from sundog.tasks.anomaly.detectors.base import ClassifierSearch, deal, fit_ratio
from sundog.tasks.anomaly.detectors.ranode import RAnode
from sundog.tasks.anomaly.detectors.sigma import Sigma
from sundog.tasks.anomaly.regions import SignalRegion, mass_column

Make = Callable[[SignalRegion, int], Any]
Scorer = Callable[[Dataset], Tensor]


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Scores of all events, each by a scorer that never saw it.

    Attributes
    ----------
    score : (n,) float64, larger for more signal-like
    fold : (n,) which scorer gave it
    scorers : one per fold
    detector : fitted to all events, or to all folds but the first where each fold has its own; knows template
        report, signal fraction and signal where the method does
    """

    score: Tensor
    fold: Tensor
    scorers: tuple[Scorer, ...]
    detector: Any

    def thresholds(self, beside: Tensor, efficiency: float) -> Tensor:
        """Score (folds,) above which a share ``efficiency`` of the sideband events ``beside`` (n,) of a fold lies."""
        return torch.stack([torch.quantile(self.score[beside & (self.fold == k)].sort().values, 1 - efficiency)
                            for k in range(len(self.scorers))])

    def passing(self, events: Dataset, thresholds: Tensor, seed: int) -> Tensor:
        """Which new events the cut keeps: (n,) booleans, each event judged by one scorer drawn at random."""
        fold = deal(len(events), len(self.scorers), seed)
        kept = torch.zeros(len(events), dtype=torch.bool)
        for k, scorer in enumerate(self.scorers):
            kept[fold == k] = scorer(events[fold == k]) > thresholds[k]
        return kept


def cross_fitted(make: Make, events: Dataset, region: SignalRegion, *, folds: int = 5, members: int = 4,
                 seed: int = 0) -> CrossFit:
    """Scores of the events (from ``gather``) by cross-fitting; the way depends on what the detector is.

    * Classifier on a template (``Cathode``, ``Sigma`` ...): one template, from the sidebands; per fold a new classifier
      between the events inside the window, without that fold, and the template.
    * ``RAnode``: one background density; the signal densities of its own cross-fitting, one per fold.
    * Anything else with ``fit`` and ``score_samples``: per fold fitted anew to all other events.

    Parameters
    ----------
    make : (region, seed) -> an unfitted detector
    members : boostings in each classifier on a template

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import CWoLa
    >>> from sundog.tasks.anomaly.regions import gather
    >>> region = SignalRegion(3.3, 3.7)
    >>> found = cross_fitted(lambda region, seed: CWoLa(region, seed, members=1), gather(ResonantToy().events(
    ...     6000, 0.1, seed=0)), region, folds=2)
    >>> found.score.shape, found.fold.unique().tolist()
    (torch.Size([6000]), [0, 1])
    """
    if folds < 2:
        raise OptionError("too few folds", got=folds, expected="at least 2", do="pass folds=5")
    fold = deal(len(events), folds, seed)
    detector = make(region, seed)
    if refitted(detector):
        fitted = [make(region, seed + k).fit(events[fold != k]) for k in range(folds)]
        scorers, detector = tuple(part.score_samples for part in fitted), fitted[0]
    elif isinstance(detector, RAnode):
        detector.folds = folds
        fold[region.contains(events)] = detector.fit(events).folded
        scorers = detector.scorers()
    else:
        scorers = _classifiers(detector, events, region, fold, members, seed)
    score = torch.empty(len(events), dtype=torch.float64)
    for k, scorer in enumerate(scorers):
        score[fold == k] = torch.as_tensor(scorer(events[fold == k])).double()
    return CrossFit(score, fold, scorers, detector)


def refitted(detector: Any) -> bool:
    """Whether cross-fitting fits the whole detector anew to all folds but one, template or sidebands included."""
    return not isinstance(detector, ClassifierSearch | RAnode)


def background_events(fit: CrossFit, events: Dataset, region: SignalRegion, n: int, seed: int,
                      other: Sigma | None = None) -> Dataset | None:
    """n background events over the whole spectrum, from the detector's template; from ``other`` where it has none.

    Masses beside the window are those of the data, inside they come from the smooth law. None where the template
    cannot be asked for events beside the window.
    """
    law, beside = smooth_masses(events.context, region), region.sidebands(events)
    n_inside = round(n * law.expected / (law.expected + float(beside.sum())))
    masses = mass_column(events)[beside]
    drawn = masses[torch.randint(len(masses), (n - n_inside,), generator=stream(seed, "masses beside"))]
    m = torch.cat([drawn, law.sample(n_inside, seed)])
    try:
        template: Any = getattr(fit.detector, "template_", None)
        detector = fit.detector if hasattr(template, "sample") else other
        if isinstance(detector, Sigma):  # beside the window nothing is interpolated
            outside = detector.template_for(region, "none").sample(n - n_inside, seed, m[: n - n_inside])
            return _joined(outside, detector.sample_background(n_inside, m[n - n_inside :], seed=seed))
        return None if detector is None else template.sample(n, seed, m)
    except (SundogError, TypeError):
        return None


def _joined(first: Dataset, second: Dataset) -> Dataset:
    assert first.context is not None and second.context is not None  # both were drawn at masses
    return replace(first, values=torch.cat([first.values, second.values]),
                   context=torch.cat([first.context, second.context]))


def _classifiers(detector: ClassifierSearch, events: Dataset, region: SignalRegion, fold: Tensor, members: int,
                 seed: int) -> tuple[Scorer, ...]:
    detector.columns_, detector.template_ = events.names, detector.make_template(events)
    is_inside = region.contains(events)
    inside = detector.view(events[is_inside])
    drawn = detector.background_for(len(inside))

    def without(k: int) -> Scorer:
        classifier = fit_ratio(inside[fold[is_inside] != k], drawn, seed=seed + 100 * k, members=members)
        return lambda new: classifier.predict_log_odds(detector.view(new))

    return tuple(without(k) for k in range(int(fold.max()) + 1))
