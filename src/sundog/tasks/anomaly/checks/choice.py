"""Which interpolation should a window use? Signal-injection tests with artificial Gaussian signals.

The answer cannot be read off the data inside the window: a template is good there if it leaves the signal out,
and nobody knows the signal. So signals that everybody knows are put in, the generator is trained on the mixture
as it is on the data, and the interpolation that finds them again best is the one to use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.random import stream
from sundog.tasks.anomaly.background.sigma_field import (
    INTERPOLATIONS,
    control_template,
    fit_everything,
    window_template,
)
from sundog.tasks.anomaly.checks.evaluation import sic_curve
from sundog.tasks.anomaly.detectors.base import fit_ratio
from sundog.tasks.anomaly.regions import SignalRegion, gather, mass_column
from sundog.train.run import Run

FEATURE_WIDTH = 0.3  # of an artificial signal, in standard deviations of each feature
MASS_WIDTH = 0.125  # of an artificial signal, in widths of the window: 50 GeV in 0.4 TeV
APART = 2.0  # widths between signals injected into the same data: none sits where another window interpolates from


@dataclass(frozen=True)
class InterpolationChoice:
    """Outcome of the injection tests of one window.

    Attributes
    ----------
    region : the window
    sic : interpolation -> significance improvement of every test, at background efficiency ``fpr``
    fpr : that efficiency
    """

    region: SignalRegion
    sic: Mapping[str, tuple[float, ...]]
    fpr: float

    def mean(self, how: str) -> tuple[float, float]:
        """Mean over the tests and its standard error, of one interpolation."""
        values = np.array(self.sic[how])
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        return float(values.mean()), float(error)

    @property
    def best(self) -> str:
        """The interpolation of the highest mean; of those that the tests cannot tell from it, the first listed.

        Compared test by test on the same injections, so that easy and hard signals do not blur the answer.
        """
        top = max(self.sic, key=lambda how: self.mean(how)[0])
        for how in self.sic:
            apart = np.array(self.sic[top]) - np.array(self.sic[how])
            if len(apart) > 1 and apart.mean() <= apart.std(ddof=1) / len(apart) ** 0.5:
                return how
        return top

    def __str__(self) -> str:
        parts = [f"{how} {self.mean(how)[0]:.2f} +- {self.mean(how)[1]:.2f}" for how in self.sic]
        return (f"{self.region.lo:g} to {self.region.hi:g} {self.region.unit}: use {self.best} "
                f"(SIC at {self.fpr:g}: {', '.join(parts)})")


@dataclass(frozen=True)
class GaussianSignal:
    """An artificial resonance: Gaussian in mass and in every feature, inside the range of the data.

    Attributes
    ----------
    centre, width : (d,) of the features
    mass, mass_width : of the mass
    low, high : (d,) the range that draws are kept in

    Example
    -------
    >>> box = torch.zeros(2), torch.ones(2)
    >>> GaussianSignal(torch.full((2,), 0.5), torch.full((2,), 0.1), 3.5, 0.05, *box).draw(7, 0)[0].shape
    torch.Size([7, 2])
    """

    centre: Tensor
    width: Tensor
    mass: float
    mass_width: float
    low: Tensor
    high: Tensor

    @staticmethod
    def somewhere(inside: Dataset, region: SignalRegion, seed: int) -> GaussianSignal:
        """A signal centred on one of the events inside the window, of the rarer half: where a search could find it."""
        values = inside.values
        spread = values.std(0)
        apart = ((values - values.mean(0)) / spread).square().sum(1)
        rare = (apart > apart.median()).nonzero()[:, 0]
        chosen = rare[torch.randint(len(rare), (1,), generator=stream(seed, "place"))][0]
        return GaussianSignal(values[chosen], FEATURE_WIDTH * spread, region.centre, MASS_WIDTH * region.width,
                              values.min(0).values, values.max(0).values)

    def draw(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Features (n, d) and masses (n,) of n signal events."""
        g = stream(seed, "signal")
        found = torch.empty(0, len(self.centre))
        while len(found) < n:  # the centre is an event of the data, so some share always lies in the range
            x = self.centre + self.width * torch.randn(4 * n + 64, len(self.centre), generator=g)
            found = torch.cat([found, x[((x > self.low) & (x < self.high)).all(1)]])
        return found[:n], self.mass + self.mass_width * torch.randn(n, generator=g, dtype=torch.float64)


def choose_interpolation(x: Any, m: Any = None, *, windows: Sequence[SignalRegion], tests: int = 3,
                         interpolations: Sequence[str] = ("context", "linear", "none"), share: float = 0.01,
                         fpr: float = 1e-2, members: int = 3, seed: int = 0, **settings: Any
                         ) -> list[InterpolationChoice]:
    """Which interpolation finds injected signals best, for every window.

    Each test puts one artificial Gaussian signal into every window, trains one generator on the mixture, and
    measures, per window and interpolation, the significance improvement of a classifier on events it never saw:
    fresh signal, and the half of the data inside the window that was kept from it.

    Parameters
    ----------
    x, m : events of the whole spectrum, as for ``Sigma.fit``
    windows : to be decided
    tests : injections per window, each with another signal and another generator
    interpolations : to be compared, the preferred first; ``sidebands`` costs one more training per window and test
    share : signal events per data event inside the window
    fpr : background efficiency of the comparison
    members : boostings of each classifier
    settings : ``plan``, ``scaling``, ``gap`` and options of the generator, as for ``Sigma``

    Cost: windows that overlap or touch share no training, see ``APART``.

    Example
    -------
    >>> from sundog import Plan
    >>> from sundog.simulate.densities import ResonantToy
    >>> choice, = choose_interpolation(ResonantToy().events(8000, 0.0, seed=0), windows=[SignalRegion(3.3, 3.7)],
    ...                                tests=1, members=1, fpr=0.1, plan=Plan(steps=20), hidden=(16,))
    >>> sorted(choice.sic)
    ['context', 'linear', 'none']
    """
    interpolations = (interpolations,) if isinstance(interpolations, str) else interpolations
    _check(windows, tests, interpolations, share)
    events = gather(x, m, unit=windows[0].unit)
    for region in windows:
        region.check(events)
    found: dict[SignalRegion, dict[str, list[float]]] = {w: {how: [] for how in interpolations} for w in windows}
    for test in range(tests):
        for k, group in enumerate(_groups(windows)):
            key = seed + 1000 * test + 10 * k
            signals = {w: GaussianSignal.somewhere(events[w.contains(events)], w, key + i)
                       for i, w in enumerate(group)}
            dirty, fresh = _inject(events, signals, share, key)
            run = _generator(dirty, interpolations, key, settings)
            for region in group:
                for how in interpolations:
                    sic = _found(dirty, fresh, signals[region], region, how, run=run, fpr=fpr, members=members,
                                 seed=key, settings=settings)
                    found[region][how].append(sic)
    return [InterpolationChoice(w, {how: tuple(v) for how, v in found[w].items()}, fpr) for w in windows]


def _check(windows: Sequence[SignalRegion], tests: int, interpolations: Sequence[str], share: float) -> None:
    for how in interpolations:
        one_of(how, INTERPOLATIONS, "interpolation")
    if not windows or tests < 1 or not 0 < share < 1 or not interpolations:
        raise OptionError("injection tests are unusable", got=f"{len(windows)} windows, {tests} tests, share {share}, "
                          f"{len(interpolations)} interpolations", expected="one at least of each, 0 < share < 1",
                          do="pass windows=[SignalRegion(3.3, 3.7)], tests=3")


def _groups(windows: Sequence[SignalRegion]) -> list[list[SignalRegion]]:
    """Windows far enough apart to share one training, first come first served."""
    groups: list[list[SignalRegion]] = []
    for region in windows:
        free = (g for g in groups
                if all(abs(w.centre - region.centre) >= APART * max(w.width, region.width) for w in g))
        group = next(free, None)
        groups.append([region]) if group is None else group.append(region)
    return groups


def _inject(events: Dataset, signals: Mapping[SignalRegion, GaussianSignal], share: float, seed: int
            ) -> tuple[Dataset, Tensor]:
    """The events with every signal added, and which of the rows are injected (n,)."""
    values, masses = [events.values], [mass_column(events)]
    for i, (region, signal) in enumerate(signals.items()):
        x, mass = signal.draw(max(1, round(share * int(region.contains(events).sum()))), seed + 500 + i)
        values.append(x)
        masses.append(mass)
    added = torch.arange(sum(len(v) for v in values)) >= len(events)
    return Dataset.from_arrays(torch.cat(values), torch.cat(masses), events.names, events.units,
                               context_names=events.context_names, context_units=events.context_units,
                               held_out_fraction=0.0), added


def _generator(dirty: Dataset, interpolations: Sequence[str], seed: int, settings: Mapping[str, Any]) -> Run | None:
    if set(interpolations) <= {"sidebands"}:
        return None
    options = {name: value for name, value in settings.items() if name != "gap"}
    return fit_everything(dirty, seed=seed, check=False, **options)


def _found(dirty: Dataset, added: Tensor, signal: GaussianSignal, region: SignalRegion, how: str, *,
           run: Run | None, fpr: float, members: int, seed: int, settings: Mapping[str, Any]) -> float:
    """Significance improvement at ``fpr`` on fresh signal and on data that the classifier never saw."""
    inside = region.contains(dirty)
    half = torch.rand(len(dirty), generator=stream(seed, "half")) < 0.5
    known = dirty[inside & (added | half)]
    unknown = dirty[inside & ~added & ~half]
    if run is None or how == "sidebands":
        options = {name: value for name, value in settings.items() if name != "gap"}
        template = control_template(dirty, region, seed=seed, check=False, **options)
    else:
        template = window_template(run, dirty, region, how=how, gap=settings.get("gap"))
    drawn = template.sample(3 * len(known), seed)
    trees = fit_ratio(known.values, drawn.values, seed=seed, members=members)
    fresh, _ = signal.draw(4000, seed + 900)
    score = torch.cat([trees.predict_log_odds(unknown.values), trees.predict_log_odds(fresh)])
    return sic_curve(np.repeat([0, 1], [len(unknown), len(fresh)]), score).at(fpr)
