"""Look-elsewhere: how often background alone makes the best of all windows as good as the one found.

The windows of a scan overlap, and events that pass one cut often pass the next, so their excesses are correlated.
Pseudo-experiments keep that. Events are grouped in cells (bin of the mass, set of cuts passed); the expected count of
every cell starts at the count observed and is scaled in turn, window by window, until in each bin the cells that
pass a cut sum to the curve fitted to that cut's spectrum (iterative proportional fitting). Poisson counts drawn in
the cells then give every window its background-only spectrum, correlated as in the data; each is fitted as the data
were, the choice of the degree included.

    p_local(w)  = P( Z_w >= Z_w observed )          p_global = P( max_w Z_w >= max_w Z_w observed )

Source: Gross & Vitells 2010 for the problem; Deming & Stephan 1940 for the scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm

from sundog.errors import OptionError, ShapeError
from sundog.random import numpy_stream
from sundog.tasks.anomaly.scan.bump import BumpFit, Shape, bins_inside, count_significance, fit_curves

ROUNDS = 200  # of the scaling; it stops when no bin is off by more than CLOSE
LONE = 0.05  # of an event, in cells where none was seen: more would loosen windows that share their events
CLOSE = 1e-6
BLOCK = 500  # pseudo-experiments fitted at once
FEW = 10  # pseudo-experiments beyond the observation: with fewer the tail is extrapolated
QUANTILE = 0.9  # of the largest Z, where the extrapolation is anchored


@dataclass(frozen=True, eq=False)
class LookElsewhere:
    """Local and global p-values of a scan from pseudo-experiments.

    Attributes
    ----------
    z : (w,) observed significance of each window, asymptotic
    z_null : (t, w) the same in t pseudo-experiments without signal
    """

    z: np.ndarray = field(repr=False)
    z_null: np.ndarray = field(repr=False)

    @property
    def p_local(self) -> np.ndarray:
        """(w,) probability of a Z as large in that window, where there is only background.

        Counted, (1 + k) / (2 + t), where at least ten pseudo-experiments reach it; beyond, the asymptotic p-value
        times its error at the 90 % quantile of the pseudo-experiments (where that makes it larger).
        """
        return np.array([_tail(float(z), null) for z, null in zip(self.z, self.z_null.T)])

    def p_global(self, z: float | None = None) -> float:
        """Probability that background alone has a best window at least as significant as z (the best one when None).

        Counted where at least ten pseudo-experiments reach it; beyond, 1 - (1 - p)^N with p the asymptotic local
        p-value and N = ``trials``.
        """
        z = float(self.z.max()) if z is None else z
        beyond = self._beyond(z)
        if beyond >= FEW:
            return (1 + beyond) / (2 + len(self.z_null))
        return float(-np.expm1(self.trials * np.log1p(-norm.sf(z))))

    def p_global_error(self, z: float | None = None) -> float:
        """Standard error of ``p_global`` from the number of pseudo-experiments; 0 where it is extrapolated."""
        z = float(self.z.max()) if z is None else z
        p = self.p_global(z)
        return 0.0 if self._beyond(z) < FEW else float((p * (1 - p) / len(self.z_null)) ** 0.5)

    @property
    def extrapolated(self) -> bool:
        """Whether ``p_global`` of the best window lies beyond the pseudo-experiments."""
        return self._beyond(float(self.z.max())) < FEW

    def _beyond(self, z: float) -> int:
        return int((self.z_null.max(1) >= z).sum())

    @property
    def trials(self) -> float:
        """Effective number N of independent windows: 1 - (1 - p)^N = P(max Z >= z) at the 90 % quantile z of max Z."""
        largest = self.z_null.max(1)
        at = float(np.quantile(largest, QUANTILE))
        share = min(max(float((largest >= at).mean()), 1 / len(largest)), 1 - 1e-9)
        # More than the number of windows is a fluctuation, or a Z whose tail is heavier than normal.
        return float(max(np.log1p(-share) / np.log1p(-norm.sf(at)), 1.0))


def look_elsewhere(fits: Sequence[BumpFit], passed: np.ndarray, m: np.ndarray, n: int = 1000, seed: int = 0,
                   ) -> LookElsewhere:
    """p-values from n background-only pseudo-experiments.

    Parameters
    ----------
    fits : the fit of each window's spectrum, on common edges
    passed : (events, windows) booleans: which events the cut of each window keeps
    m : (events,) masses

    Example
    -------
    >>> from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
    >>> from sundog.tasks.anomaly.regions import SignalRegion
    >>> m = 3 - np.log(np.random.default_rng(0).uniform(0.2, 1, 5000)) / 1.6
    >>> region = SignalRegion(3.3, 3.7)
    >>> fit = fit_bump(m, region, common_edges(m, [region]))
    >>> found = look_elsewhere([fit], np.ones((5000, 1), bool), m, n=100)
    >>> found.z_null.shape, bool(0 < found.p_global() <= 1)
    ((100, 1), True)
    """
    passed = np.asarray(passed, dtype=bool)
    if passed.shape != (len(m), len(fits)) or not fits:
        raise ShapeError("the cuts do not fit the events", got=passed.shape, expected=f"({len(m)}, {len(fits)})",
                         do="pass one column of booleans per window")
    if n < 2 * FEW:
        raise OptionError("too few pseudo-experiments", got=n, expected=f"at least {2 * FEW}", do="pass n=1000")
    edges = fits[0].edges
    if any(not np.array_equal(fit.edges, edges) for fit in fits):
        raise ShapeError("the windows were fitted in different bins", got="several sets of edges", expected="one",
                         do="use common_edges with all windows")
    means, cell_bin, member = _cells(fits, passed, np.asarray(m, dtype=float))
    generator = numpy_stream(seed, "pseudo-experiments")
    inside = [bins_inside(edges, fit.region) for fit in fits]
    parts = []
    for start in range(0, n, BLOCK):
        drawn = generator.poisson(means, (min(BLOCK, n - start), len(means)))
        parts.append(np.stack([_significances(drawn[:, member[:, w]], cell_bin[member[:, w]], edges, inside[w],
                                               fits[w].shape) for w in range(len(fits))], 1))
    z_null = np.concatenate(parts)
    # The priors of a fit make Z narrower than normal where the truth is their centre, as it is here. That the truth
    # of the data is too is not known: what is narrower than a unit normal is widened to one.
    return LookElsewhere(np.array([fit.significance for fit in fits]), z_null / np.minimum(z_null.std(0), 1.0))


def channels(looks: Sequence[LookElsewhere]) -> LookElsewhere:
    """One look at several channels (categories of events) that were scanned in the same windows.

    Its significances are those of every window in each channel, one channel after the other, and at last those of
    each window in all of them, sum_c Z_c / sqrt(number of channels): a resonance that each channel shows a little.
    ``p_global`` of it is the one p-value of the search. Events must not be shared between channels.

    Source: Stouffer et al. 1949 for the sum.

    Example
    -------
    >>> g = np.random.default_rng(0)
    >>> looks = [LookElsewhere(np.array([0.2, 2.5]), g.normal(size=(1000, 2))) for _ in range(3)]
    >>> found = channels(looks)
    >>> len(found.z), int(found.z.argmax()), bool(found.p_global() < min(look.p_global() for look in looks))
    (8, 7, True)
    """
    shapes = {look.z_null.shape for look in looks}
    if len(shapes) != 1:
        raise ShapeError("the channels were not scanned alike", got=f"{len(looks)} channels, windows and pseudo-"
                         f"experiments {sorted(shapes)}", expected="the same windows, as many pseudo-experiments",
                         do="scan every channel in the same windows, with one number of pseudo_experiments")
    # Scans of one seed draw alike; in a new order their pseudo-experiments are independent.
    null = [look.z_null[numpy_stream(0, "channel", c).permutation(len(look.z_null))] for c, look in enumerate(looks)]
    root = len(looks) ** 0.5
    return LookElsewhere(np.concatenate([*(look.z for look in looks), sum(look.z for look in looks) / root]),
                         np.concatenate([*null, sum(null) / root], 1))


def _cells(fits: Sequence[BumpFit], passed: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected count (c,), bin (c,) and cuts passed (c, w) of every cell, scaled to the curves."""
    edges, k = fits[0].edges, len(fits[0].edges) - 1
    where = np.clip(np.searchsorted(edges, m, side="right") - 1, 0, k - 1)
    some = passed.any(1) & (m >= edges[0]) & (m <= edges[-1])
    table = np.column_stack([where[some], passed[some]])
    # One cell per bin that passes this cut alone: where no event was seen the curve needs a place to stand.
    alone = [np.column_stack([np.arange(k), np.tile(np.eye(len(fits), dtype=int)[w], (k, 1))])
             for w in range(len(fits))]
    cells, count = np.unique(np.concatenate([table, *alone]), axis=0, return_counts=True)
    # The added rows were counted once each; a share of an event keeps them from deciding anything where data are.
    lone = cells[:, 1:].sum(1) == 1
    means = np.where(lone, np.maximum(count - 1, 0) + LONE, count).astype(float)
    bins, member = cells[:, 0], cells[:, 1:].astype(bool)
    for _ in range(ROUNDS):
        worst = 0.0
        for w, fit in enumerate(fits):
            mine = member[:, w]
            ratio = fit.background / np.maximum(np.bincount(bins[mine], means[mine], minlength=k), 1e-300)
            means[mine] *= ratio[bins[mine]]
            worst = max(worst, float(np.abs(ratio - 1).max()))
        if worst < CLOSE:
            break
    return means, bins, member


def _significances(counts: np.ndarray, cell_bin: np.ndarray, edges: np.ndarray, inside: np.ndarray,
                   shape: Shape | None) -> np.ndarray:
    """Z (t,) of pseudo-experiments given as counts (t, c) of the cells of one window."""
    t, k = len(counts), len(edges) - 1
    spectra = np.zeros((t, k))
    np.add.at(spectra.T, cell_bin, counts.T)
    curves = fit_curves(spectra, edges, inside, shape)
    return count_significance(spectra[:, inside].sum(1), curves.expected, curves.error)


def _tail(z: float, null: np.ndarray) -> float:
    """P(Z >= z) from draws of Z under the null, scaled from the normal tail where they are too few."""
    beyond = int((null >= z).sum())
    if beyond >= FEW:
        return (1 + beyond) / (2 + len(null))
    return float(norm.sf(z) * max(1.0, (1 - QUANTILE) / norm.sf(np.quantile(null, QUANTILE))))
