"""How many events are the fakes worth? The error that more fakes of one generator cannot reduce, without the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError
from sundog.random import numpy_stream

FEWEST_GENERATORS, FEWEST_ROWS = 4, 100


@dataclass(frozen=True, eq=False)
class Worth:
    """Equivalent sample size of an endless sample of fakes.

    Attributes
    ----------
    n : rows that the generators learned from
    equivalent : true events that would know shares of events as well, over all regions
    low, high : 68 % interval of ``equivalent``
    regions : (d, cells) the same for every cell of every column
    edges : (d, cells - 1) between the cells

    ``equivalent`` above n is amplification: what the generator knows beyond the events (smoothness, its form). A bias
    that all generators share is not seen here; that is what ``judge`` is for.
    """

    n: int
    equivalent: float
    low: float
    high: float
    regions: np.ndarray
    edges: np.ndarray

    @property
    def factor(self) -> float:
        """Equivalent events per event learned from."""
        return self.equivalent / self.n

    def __str__(self) -> str:
        return (f"endless fakes know shares of events as well as {self.equivalent:.0f} true events would "
                f"({self.low:.0f} to {self.high:.0f}); learned from {self.n}")


def amplification(fit: Callable[[Dataset, int], Any], real: Dataset, *, generators: int = 8, draws: float = 20.0,
                  cells: int = 10, seed: int = 0) -> Worth:
    """Equivalent sample size of fakes, from the spread of generators that learned from bootstraps of the events.

        n_eq = sum p (1 - p) / sum [ Var_k(q_k) - mean_k q_k (1 - q_k) / M ]

    with q_k the share of the M fakes of generator k in a cell of equal share p. A sample of n true events has n_eq = n.

    Parameters
    ----------
    fit : (events, seed) -> generator with ``sample(m, seed=...)``: ``lambda x, s: sundog.fit("flow", x, seed=s)``
    real : events
    generators : bootstraps; each is fitted once
    draws : fakes per generator and event
    cells : of equal share, of each column

    Raises
    ------
    SampleSizeError, OptionError : fewer than 100 events, or than four generators.

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
    if real.kind != "events" or len(real) < FEWEST_ROWS:
        raise SampleSizeError("too little to tell what fakes are worth", got=f"{len(real)} {real.kind}",
                              expected=f"at least {FEWEST_ROWS} events", do="bring more events")
    if generators < FEWEST_GENERATORS:
        raise OptionError("too few generators for a spread", got=generators, expected=f"at least {FEWEST_GENERATORS}",
                          do="pass generators=8")
    rng, m = numpy_stream(seed, "worth"), round(draws * len(real))
    edges = np.quantile(real.values.double().numpy(), np.arange(1, cells) / cells, axis=0).T
    shares = []
    for k in range(generators):
        learned = real[torch.from_numpy(rng.integers(0, len(real), len(real)))]
        fakes = fit(learned, seed + k).sample(m, seed=seed + k)
        x = (fakes.values if isinstance(fakes, Dataset) else torch.as_tensor(fakes)).double().numpy()
        shares.append([np.bincount(np.searchsorted(e, c), minlength=cells) / m for e, c in zip(edges, x.T)])
    q = np.array(shares)  # (generators, d, cells)
    sampling = q.mean(0) * (1 - q.mean(0))
    spread = np.maximum(q.var(0, ddof=1) - sampling / m, 0)
    equivalent = sampling.sum() / max(spread.sum(), 1e-12)
    c = np.cov(q.reshape(generators, -1).T)
    free = (generators - 1) * float(np.trace(c) ** 2 / (c**2).sum())  # as many as the shares move independently
    low, high = (equivalent * chi2.ppf(level, free) / free for level in (0.16, 0.84))
    return Worth(len(real), float(equivalent), float(low), float(high), sampling / np.maximum(spread, 1e-12), edges)
