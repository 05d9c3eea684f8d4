"""What fakes are worth: the error that more fakes cannot reduce, and whether the generator learned or remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.stats import chi2, norm

from sundog.data.dataset import Dataset
from sundog.data.scaling import ByKind, Chain, Scaling
from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.random import numpy_stream
from sundog.train.fit import fit
from sundog.train.run import Run
from sundog.verdicts.evidence import Worth

FEWEST_GENERATORS, FEWEST_ROWS = 4, 100
Recipe = Callable[[Dataset, int], Any]  # (events, seed) -> generator with ``sample(m, seed=...)``


@dataclass(frozen=True)
class Halves:
    """What two generators of disjoint halves of the events have in common.

    Attributes
    ----------
    own : share of fakes whose nearest event lies in the half that their generator saw; 1/2 where nothing is remembered
    error : its standard error, fakes that share a nearest event counted together
    same_seed : mean squared distance of the generators' fakes of one seed over that of fakes of two seeds; 0 where both
        halves gave one law by one map, 1 where the fakes of one seed have nothing in common

    Whatever is learned lies a little nearer to its own half: a Gaussian fitted to 200 events has ``own`` 51 %. A
    generator whose draws are no smooth function of its random numbers has ``same_seed`` 1 though it remembers nothing.
    """

    own: float
    error: float
    same_seed: float

    @property
    def p_value(self) -> float:
        """Probability of so large a share of own events by chance, one-sided."""
        return float(norm.sf((self.own - 0.5) / max(self.error, 1e-12)))

    def __str__(self) -> str:
        return (f"{self.own:.1%} ± {self.error:.1%} of the fakes lie nearest to an event of their own half (50 % where "
                f"nothing is remembered; p = {self.p_value:.2g}); fakes of one seed differ {self.same_seed:.2f} times "
                "as much as fakes of two")


def like(run: Run) -> Recipe:
    """The recipe of a run: its family, options, column kinds, scaling and plan, for other events.

    Example
    -------
    >>> import sundog
    >>> events = sundog.simulate.densities.TwoMoons().sample(500, seed=0)
    >>> run = sundog.fit("flow-matching", events, plan=sundog.Plan(steps=5))
    >>> like(run)(events, 1).plan.steps
    5
    """
    options = {name: value for name, value in run.model.config().items() if name not in ("shape", "context_dim")}
    return lambda events, seed: fit(run.family, events, plan=run.plan, seed=seed, scaling=_unkinded(run.scaling),
                                    kinds=run.kinds or None, **options)


def _unkinded(scaling: Scaling) -> Scaling:
    """The scaling behind the column kinds."""
    if not isinstance(scaling, Chain):
        return scaling
    parts = [part for part in scaling.parts if not isinstance(part, ByKind)]
    return parts[0] if len(parts) == 1 else Chain(parts)


def amplification(recipe: Recipe | Run, real: Dataset, *, generators: int = 8, draws: float = 20.0,
                  cells: int = 10, seed: int = 0) -> Worth:
    """Equivalent sample size of fakes, from the spread of generators that learned from bootstraps of the events.

        n_eq = sum p (1 - p) / sum [ Var_k(q_k) - mean_k q_k (1 - q_k) / M ]

    with q_k the share of the M fakes of generator k in a cell of equal share p. A sample of n true events has n_eq = n.

    Parameters
    ----------
    recipe : a run, which is fitted again, or (events, seed) -> generator with ``sample(m, seed=...)``, such as
        ``lambda x, s: sundog.fit("flow", x, seed=s)``
    real : events
    generators : bootstraps; each is fitted once
    draws : fakes per generator and event
    cells : of equal share, of each column

    Raises
    ------
    SampleSizeError, OptionError, DataError : fewer than 100 events, or than four generators; weights that differ.

    Source: the idea of 2509.08048; bootstraps in place of an ensemble on all events.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> def resample(events, seed):
    ...     rows = lambda m, s: torch.randint(len(events), (m,), generator=torch.Generator().manual_seed(s))
    ...     return SimpleNamespace(sample=lambda m, seed: events[rows(m, seed)])
    >>> events = Dataset.from_arrays(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
    >>> 0.5 < amplification(resample, events).factor < 2  # the events again are worth what they are
    True
    """
    _check(real)
    if generators < FEWEST_GENERATORS:
        raise OptionError("too few generators for a spread", got=generators, expected=f"at least {FEWEST_GENERATORS}",
                          do=f"ask for {2 * FEWEST_GENERATORS}")
    make = like(recipe) if isinstance(recipe, Run) else recipe
    rng, m = numpy_stream(seed, "worth"), round(draws * len(real))
    edges = np.quantile(real.values.double().numpy(), np.arange(1, cells) / cells, axis=0).T
    shares = []
    for k in range(generators):
        learned = real[torch.from_numpy(rng.integers(0, len(real), len(real)))]
        x = _drawn(make(learned, seed + k), m, seed + k)
        shares.append([np.bincount(np.searchsorted(e, c), minlength=cells) / m for e, c in zip(edges, x.T)])
    q = np.array(shares)  # (generators, d, cells)
    sampling = q.mean(0) * (1 - q.mean(0))
    spread = np.maximum(q.var(0, ddof=1) - sampling / m, 0)
    equivalent = sampling.sum() / max(spread.sum(), 1e-12)
    c = np.cov(q.reshape(generators, -1).T)
    free = (generators - 1) * float(np.trace(c) ** 2 / (c**2).sum())  # as many as the shares move independently
    low, high = (equivalent * chi2.ppf(level, free) / free for level in (0.16, 0.84))
    return Worth(len(real), float(equivalent), float(low), float(high), sampling / np.maximum(spread, 1e-12), edges)


def halves(recipe: Recipe | Run, real: Dataset, *, fakes: int = 1000, seed: int = 0) -> Halves:
    """Do generators of two disjoint halves of the events agree, or does each repeat its own half?

    Both are fitted with one seed and draw with one seed. Parameters and errors as of `amplification`.

    Source: Kadkhodaie, Guth, Simoncelli & Mallat 2024 (ICLR), figure 2: two denoisers of disjoint sets give one image
    from one seed as soon as the sets are large enough.

    Example
    -------
    >>> import sundog
    >>> events = sundog.simulate.densities.TwoMoons().sample(400, seed=0)
    >>> run = sundog.fit("flow-matching", events, plan=sundog.Plan(steps=5))
    >>> 0.4 < halves(run, events, fakes=200).own < 0.6  # hardly trained, it remembers nothing
    True
    """
    _check(real)
    make = like(recipe) if isinstance(recipe, Run) else recipe
    order = torch.from_numpy(numpy_stream(seed, "halves").permutation(len(real)))
    half = len(real) // 2
    parts = [real[order[:half]], real[order[half : 2 * half]]]
    scale = real.values.double().std(0).clamp(min=1e-12).numpy()
    generators = [make(part, seed) for part in parts]
    a, b, other = (_drawn(generators[k], fakes, s) / scale for k, s in ((0, seed), (1, seed), (1, seed + 1)))
    events = np.concatenate([part.values.double().numpy() for part in parts]) / scale
    near = np.stack([cKDTree(events).query(x)[1] for x in (a, other)])
    own = np.stack([near[0] < half, near[1] >= half]).astype(float)
    off = np.bincount(near.ravel(), (own - 0.5).ravel(), len(events))  # an event drawn often is one event
    return Halves(float(own.mean()), float(np.sqrt((off**2).sum()) / own.size),
                  float(((a - b) ** 2).sum(1).mean() / ((a - other) ** 2).sum(1).mean()))


def _check(real: Dataset) -> None:
    if real.kind != "events" or len(real) < FEWEST_ROWS:
        raise SampleSizeError("too little to tell what fakes are worth", got=f"{len(real)} {real.kind}",
                              expected=f"at least {FEWEST_ROWS} events", do="bring more events")
    if real.weights is not None and bool((real.weights != real.weights[0]).any()):
        raise DataError("weighted events are worth less than they are many", got="weights that differ",
                        expected="events that count once each", do="draw events by their weights first")


def _drawn(generator: Any, m: int, seed: int) -> np.ndarray:
    found = generator.sample(m, seed=seed)
    return np.asarray((found.values if isinstance(found, Dataset) else torch.as_tensor(found)).double().numpy())
