"""CWoLa hunting: events inside the window against their neighbours beside it, no template at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sundog.errors import SampleSizeError
from sundog.models.classifier import Classifier
from sundog.tasks.anomaly.detectors.references import fit_ratio, scored
from sundog.tasks.anomaly.regions import FEWEST_BESIDE, SignalRegion, gather


@dataclass(eq=False)
class CWoLa:
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
    >>> events = ResonantToy().events(6000, 0.1, seed=0)
    >>> CWoLa(SignalRegion(3.3, 3.7), members=1).fit(events).score_samples(events[:5]).shape
    torch.Size([5])
    """

    region: SignalRegion
    seed: int = 0
    reach: float | None = None
    members: int = 10
    classifier_: Classifier | None = None

    def fit(self, x: Any, m: Any = None) -> CWoLa:
        """The detector itself, fitted to events of the whole spectrum: (n, d) and (n,), or a Dataset.

        Raises
        ------
        DataError, SampleSizeError, ShapeError : unusable events, see ``gather`` and ``SignalRegion.check``.
        """
        events = gather(x, m, unit=self.region.unit)
        self.region.check(events)
        beside = self.region.sidebands(events, self.region.width / 2 if self.reach is None else self.reach)
        if int(beside.sum()) < FEWEST_BESIDE:
            raise SampleSizeError("too few events in the short sidebands", got=int(beside.sum()),
                                  expected=f"at least {FEWEST_BESIDE}", do="pass a longer reach")
        inside = self.region.contains(events)
        self.classifier_ = fit_ratio(events.values[inside], events.values[beside], seed=self.seed,
                                     members=self.members)
        return self

    def score_samples(self, x: Any, m: Any = None) -> Tensor:
        """Estimate of log p_inside(x) / p_beside(x), float64 (n,); the mass is not used."""
        return scored(self.classifier_, x, m, False)
