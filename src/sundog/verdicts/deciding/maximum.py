"""One p-value of several rows: the largest of statistics standardised by the same relabellings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import pearson3

FEWEST = 10  # labellings at least as extreme: from here on their number is the p-value, below a law is fitted
MATCHED = 0.05  # share of the relabellings above the point where the law is matched
LEAST_SKEWNESS = 0.02
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class Combined:
    """What the rows say together.

    Attributes
    ----------
    p : of the largest standardised statistic: the global p-value
    each : (rows,) step-down p-values, valid for all rows at once
    pull : (rows,) observed statistic in standard deviations of its relabellings
    """

    p: float
    each: np.ndarray
    pull: np.ndarray


def combined(statistics: np.ndarray) -> Combined:
    """The combined p-values of statistics (rows, 1 + B), large is bad, the observed labelling first.

        Z = (T - mean T) / sd T over all 1 + B labellings, M = max over the rows,  p = #{M_b >= M_0} / (1 + B)

    The observed labelling is counted, and is one of those that standardise: if it is one among equals, p is uniform on
    1/(1+B), 2/(1+B) ... exactly, at any sample size. Where fewer than ten labellings are as extreme, p is that of
    the law P(M > x) = c sum_k Q_k(x), if that is smaller: Q_k is the Pearson III tail with the skewness of row k, and
    c <= 1, for rows that say the same, is matched where one relabelling in twenty lies above. Step-down: the second row
    is compared with the maximum over all rows but the first, and so on.

    Source: Westfall & Young 1993, algorithm 4.1.

    Example
    -------
    >>> null = np.random.default_rng(0).normal(size=(2, 1000))
    >>> null[0, 0] = 8.0
    >>> found = combined(null)
    >>> found.p < 1e-10, bool(found.each[1] > 0.01)
    (True, True)
    """
    t = np.asarray(statistics, float)
    z = (t - t.mean(1, keepdims=True)) / spread(t)
    alone = t[:, 1:]  # for the law beyond the relabellings, which an outstanding observation must not stretch
    scores = (t - alone.mean(1, keepdims=True)) / spread(alone)
    skewness = np.clip((scores[:, 1:] ** 3).mean(1), LEAST_SKEWNESS, 2.0)
    order = np.argsort(-z[:, 0], kind="stable")
    each, largest = np.ones(len(t)), 0.0
    for i, row in enumerate(order):
        left = order[i:]
        p = _rank(z[left].max(0))
        if p * t.shape[1] < FEWEST:
            p = min(p, _beyond(scores[row, 0], scores[left, 1:].max(0), skewness[left]))
        each[row] = largest = max(largest, p)
    return Combined(float(each.min()), each, scores[:, 0])


def spread(t: np.ndarray) -> np.ndarray:
    """Standard deviations (rows, 1) over the labellings, above the rounding of float32.

    A statistic of a single row is the same for all labellings but for that rounding, which knows the observed one.
    """
    return np.maximum(t.std(1, keepdims=True), ROUNDING * (1e-300 + np.abs(t).max(1, keepdims=True)))


def _rank(maxima: np.ndarray) -> float:
    return float((maxima >= maxima[0]).mean())


def _beyond(x: float, maxima: np.ndarray, skewness: np.ndarray) -> float:
    """P(M > x) far out, from relabelled maxima and the skewness of each row."""
    level = float(np.quantile(maxima, 1 - MATCHED))
    overlap = min(1.0, MATCHED / float(pearson3.sf(level, skewness).sum()))
    return min(1.0, overlap * float(pearson3.sf(x, skewness).sum()))
