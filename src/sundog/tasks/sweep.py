"""Sweep of one setting of a generator: what it does to held-out data, with error bars over seeds.

For the weight of a gradient penalty no theory gives the value; a few short trainings do.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError
from sundog.statistics.samples.distance import energy_distance
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import Run
from sundog.verdicts.modes import ModeReport, mode_report

ROWS = 2000  # held-out rows and fakes: an energy distance costs their product


@dataclass(frozen=True)
class SweepRow:
    """One value of the setting: ``scores`` per seed (lower is better), their mean, its error, and the fakes' variety.

    The error of the mean is the scatter over seeds; infinite with a single one.
    """

    value: Any
    scores: tuple[float, ...]
    modes: tuple[ModeReport, ...]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean score over seeds."""
        return statistics.fmean(self.scores)

    @property
    def error(self) -> float:
        """Standard error of the mean over seeds."""
        return statistics.stdev(self.scores) / len(self.scores) ** 0.5 if len(self.scores) > 1 else float("inf")


@dataclass(frozen=True)
class Sweep:
    """All values of a setting, in the order asked for.

    Attributes
    ----------
    name : of the setting
    rows : one per value
    floor : the score of other real rows in place of fakes: what a perfect generator gets
    """

    name: str
    rows: tuple[SweepRow, ...]
    floor: float

    @property
    def best(self) -> SweepRow:
        """The row of the lowest mean score."""
        return min(self.rows, key=lambda row: row.mean)

    @property
    def ties(self) -> tuple[Any, ...]:
        """Values whose score differs from the best by less than two standard errors of the difference."""
        best = self.best
        return tuple(row.value for row in self.rows
                     if row.mean - best.mean <= 2 * (row.error**2 + best.error**2) ** 0.5)

    def __str__(self) -> str:
        lines = [f"{self.name:>14}  {'score':>18}  {'diversity':>9}  {'coverage':>8}  dropped modes"]
        for row in self.rows:
            diversity, coverage = (statistics.fmean(getattr(m, name) for m in row.modes)
                                   for name in ("diversity", "coverage"))
            lines.append(f"{row.value!s:>14}  {row.mean:8.4f} +- {row.error:6.4f}  {diversity:9.3f}  {coverage:8.3f}  "
                         f"{[len(m.dropped) for m in row.modes]}{'  <- best' if row is self.best else ''}")
        return "\n".join([*lines, f"other real rows: {self.floor:.4f}"])


def sweep(family: str, dataset: Dataset, name: str, values: Sequence[Any], *, seeds: int = 3, plan: Plan | None = None,
          out: str | Path | None = None, score: Callable[[Dataset, Dataset], float] | None = None,
          **options: Any) -> Sweep:
    """One short training per value and seed, scored on held-out rows.

    Parameters
    ----------
    family : of ``sundog.fit``
    dataset : learned from; its held-out part is scored against
    name, values : the setting and what to try, e.g. ``penalty_weight`` and ``(0.1, 1, 10, 100)``
    seeds : trainings per value; below two there is no error bar
    plan : of each training
    out : folder of the runs; trainings found there are not repeated
    score : (real, fake) -> number, lower is better; the energy distance when None
    **options : other settings of the family, the same for all

    Example
    -------
    >>> import sundog
    >>> moons = sundog.simulate.densities.TwoMoons().sample(1500, seed=0)
    >>> found = sweep("gan", moons, "penalty_weight", (0.1, 1.0), seeds=2, plan=Plan(steps=5), hidden=(8,))
    >>> [row.value for row in found.rows], found.best.value in (0.1, 1.0)
    ([0.1, 1.0], True)
    """
    if not len(values) or seeds < 1:
        raise OptionError("nothing to sweep", got=f"{len(values)} values, {seeds} seeds", expected="at least one each",
                          do="pass e.g. values=(0.1, 1, 10), seeds=3")
    real, others = dataset.held_out[:ROWS], dataset.train[:ROWS]
    if len(real) < 2:
        raise DataError("nothing is held out to score on", got=f"{len(real)} rows", expected="some hundred",
                        do="leave held_out_fraction at its default")
    score = _distance if score is None else score
    rows = []
    for value in values:
        runs = [_run(family, dataset, {**options, name: value}, (plan or Plan()).with_(seed=seed),
                     None if out is None else Path(out) / f"{name}-{value}-{seed}") for seed in range(seeds)]
        fakes = [run.sample(len(real), context=real.context, seed=1) for run in runs]
        rows.append(SweepRow(value, tuple(score(real, fake) for fake in fakes),
                             tuple(mode_report(real, fake) for fake in fakes),
                             sum(run.history.seconds for run in runs)))
    return Sweep(name, tuple(rows), score(real, others[: len(real)]))


def _run(family: str, dataset: Dataset, options: dict[str, Any], plan: Plan, out: Path | None) -> Run:
    return fit(family, dataset, plan=plan, out=out, **options)


def _distance(real: Dataset, fake: Dataset) -> float:
    """Energy distance in units of the scatter of all real numbers."""
    scale = float(real.values.std())
    return float(energy_distance(real.values.flatten(1) / scale, fake.values.flatten(1) / scale))
