"""CWoLa hunting: events inside the window against their neighbours beside it, no template at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import SampleSizeError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.detectors.base import Search, fit_ratio, fitted
from sundog.tasks.anomaly.regions import FEWEST_BESIDE


@dataclass(eq=False)
class CWoLa(Search):
    """Classifier between the window and short sidebands: right where the features do not depend on the mass.

    A feature that follows the mass is learned as signal; compare with ``Cathode`` before believing a result.

    Parameters
    ----------
    region : the signal region
    seed : of the classifier
    reach : length of each sideband; half of the window when None
    members : boostings in the ensemble

    Source: Collins, Howe & Nachman 2018 (CWoLa hunting).

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> from sundog.tasks.anomaly import SignalRegion
    >>> events = ResonantToy().events(6000, 0.1, seed=0)
    >>> CWoLa(SignalRegion(3.3, 3.7), members=1).fit(events).score_samples(events[:5]).shape
    torch.Size([5])
    """

    reach: float | None = None
    members: int = 10
    classifier_: Classifier | None = field(default=None, init=False, repr=False)

    def learn(self, events: Dataset) -> None:
        beside = self.region.sidebands(events, self.region.width / 2 if self.reach is None else self.reach)
        if int(beside.sum()) < FEWEST_BESIDE:
            raise SampleSizeError("too few events in the short sidebands", got=int(beside.sum()),
                                  expected=f"at least {FEWEST_BESIDE}", do="pass a longer reach")
        self.classifier_ = fit_ratio(events.values[self.region.contains(events)], events.values[beside],
                                     seed=self.seed, members=self.members)

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_inside(x) / p_beside(x), float64 (n,); the mass is not used."""
        return fitted(self.classifier_).predict_log_odds(self.seen(x).values)
