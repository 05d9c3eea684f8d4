"""The part of a mass spectrum that a smooth law can describe: found, not assumed.

Below a threshold stand a few events of another kind, or the slow turn-on of a trigger; above the end of a spectrum one
event with a mass that was measured wrong; in between there may be a stretch where nothing was kept. A curve fitted
through all of this describes none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from sundog.data.dataset import Dataset
from sundog.data.scaling.found import grid
from sundog.errors import OptionError, SampleSizeError
from sundog.random import stream
from sundog.tasks.anomaly.regions import mass_column

NEIGHBOURS = 20  # events over which a density is measured
THIN = 0.1  # of the density of the lower spectrum: what is thinner lies below the threshold
MOST = 0.01  # share of the events that may be left out at an end, beside a turn-on
LONE = 8.0  # distance of a last event from the next, in mean distances of the last hundredth: probability e^-8
LAST = 10  # events that may be so left out
RISE, FIRM = 0.6, 5.0  # a turn-on begins below this share of the largest density, at so many standard deviations
CELLS = 100
COARSE = 1e-4  # of the range: coarser steps are spread, for bins of a spectrum would hold unequal numbers of them


@dataclass(frozen=True)
class Extent:
    """The range of masses that is searched and fitted, and why it ends there.

    Attributes
    ----------
    lo, hi : its ends, both inside
    below, above : events left out
    reasons : one sentence per end that is not that of the data
    """

    lo: float
    hi: float
    below: int
    above: int
    reasons: tuple[str, ...]

    def holds(self, m: Any) -> np.ndarray:
        """Which masses (n,) lie in the range."""
        mass = mass_column(m).numpy()
        return (mass >= self.lo) & (mass <= self.hi)

    def __str__(self) -> str:
        said = f"range {self.lo:.4g} to {self.hi:.4g}"
        return f"{said}: {'; '.join(self.reasons)}" if self.reasons else f"{said}: all of the data"


def searched(events: Dataset, start: float | None = None, stop: float | None = None) -> Dataset:
    """The events (from ``gather``) that a search uses: in range, each once; ``provenance["searched"]`` says so.

    Copies of an event are no further evidence: a classifier would recognise those that it was trained on, and a
    Poisson error holds for events that are counted once. Masses in whole steps, such as 0.01 TeV, are spread evenly
    over their step, the same way each time: bins and windows would cut between steps.

    start, stop : ends of the range, see ``extent``
    """
    assert events.context is not None  # gather gave every event its mass
    found = extent(events.context, start, stop)
    kept = np.flatnonzero(found.holds(events.context))
    rows = torch.cat([events.values, events.context], 1).numpy()[kept]
    _, first = np.unique(rows, axis=0, return_index=True)
    said, copies = [str(found)] if found.reasons else [], len(kept) - len(first)
    if copies:
        said.append(f"{copies} of {len(kept)} events are copies of others and count once")
    part = events[torch.from_numpy(kept[np.sort(first)])] if said else events
    assert part.context is not None
    step = grid(part.context[:, 0].double().unique())[0]
    if step > COARSE * (found.hi - found.lo):
        mass = part.context[:, 0]
        part = part[(mass > mass.min()) & (mass < mass.max())]  # the ends of the spectrum cut through their steps
        assert part.context is not None
        said.append(f"masses come in steps of {step:g}: each is spread evenly over its step, the "
                    f"{len(mass) - len(part)} events of the first and last step left out")
        within = torch.rand(part.context.shape, generator=stream(0, "mass within its step"), dtype=torch.float64) - 0.5
        part = replace(part, context=(part.context.double() + step * within).to(part.context.dtype))
    return replace(part, provenance={**events.provenance, "searched": said}) if said else events


def extent(m: Any, start: float | None = None, stop: float | None = None) -> Extent:
    """The range of the spectrum m (n,) from its threshold, or the end of its turn-on, to its last event in company.

    start, stop : chosen ends, in place of those found

    Raises
    ------
    OptionError, SampleSizeError : chosen ends that leave no events.

    Example
    -------
    >>> m = 3 + np.random.default_rng(0).exponential(0.5, 20_000)
    >>> found = extent(np.concatenate([m, np.linspace(1.2, 2.8, 19), [97.0]]))
    >>> found.below, found.above, bool(found.lo == m.min() and found.hi == m.max())
    (19, 1, True)
    """
    mass = np.sort(mass_column(m).numpy())
    if start is not None and stop is not None and not start < stop:
        raise OptionError("this range is none", got=f"from {start:g} to {stop:g}", expected="from < to",
                          do="leave it out: the range is then found")
    lo, below = (start, ("from: chosen",)) if start is not None else _low(mass)
    hi, above = (stop, ("to: chosen",)) if stop is not None else _high(mass)
    kept = (mass >= lo) & (mass <= hi)
    if not kept.any():
        raise SampleSizeError("there are no events in this range", got=f"from {lo:g} to {hi:g}",
                              expected=f"masses between {mass[0]:.4g} and {mass[-1]:.4g}", do="choose another range")
    return Extent(float(lo), float(hi), int((mass < lo).sum()), int((mass > hi).sum()), (*below, *above))


def _low(mass: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Where the spectrum (ascending) begins, and why."""
    n, k = len(mass), NEIGHBOURS
    if n < 50 * k:
        return float(mass[0]), ()
    first, tenth = mass[int(0.02 * n)], mass[int(0.1 * n)]
    usual = 0.08 * n / max(tenth - first, 1e-12)
    some = np.arange(int(MOST * n))
    width = mass[some + k] - mass[some]
    dense = np.flatnonzero(k >= THIN * usual * width)
    i = int(dense[0]) if len(dense) else 0
    top = _turn_on(mass[i:])
    if top is not None:
        return top, (f"the spectrum rises up to {top:.4g}: {int((mass < top).sum())} events in the turn-on left out",)
    return float(mass[i]), (f"threshold at {mass[i]:.4g}: {i} scattered events below it left out",) if i else ()


def _turn_on(mass: np.ndarray) -> float | None:
    """The mass up to which the spectrum (ascending) rises from its beginning, None where it falls or is flat."""
    edges = np.linspace(mass[0], mass[int(0.95 * len(mass))], CELLS + 1)
    counts = np.histogram(mass, edges)[0].astype(float)
    smooth = uniform_filter1d(counts, 5, mode="nearest")
    top = int(smooth.argmax())
    begin = counts[: max(2, top // 5)].mean()
    error = (smooth[top] / 5 + begin / max(2, top // 5)) ** 0.5
    # A rise over most of the spectrum is its shape, and no turn-on.
    if top < 3 or top > CELLS // 2 or begin > RISE * smooth[top] or smooth[top] - begin < FIRM * error:
        return None
    return float(edges[top])


def _high(mass: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Where the spectrum (ascending) ends, and why: distances in ln m, where tails are no heavier than exponential."""
    n = len(mass)
    if n < 2 * LAST:
        return float(mass[-1]), ()
    tail = np.log(mass[-max(20, n // 100):]) if mass[0] > 0 else mass[-max(20, n // 100):]
    # The j-th last distance of an exponential tail has mean scale / j, and times j the scale. A median of these would
    # be zero for masses with few digits, most of which have an equal neighbour.
    gaps = np.diff(tail) * np.arange(len(tail) - 1, 0, -1)
    scale = float(gaps[:-LAST].mean())
    lone = np.flatnonzero(gaps[-LAST:] > LONE * max(scale, 1e-12))
    if len(lone) == 0:
        return float(mass[-1]), ()
    left = LAST - int(lone[0])
    return float(mass[-left - 1]), (f"{left} events far above {mass[-left - 1]:.4g} left out",)
