"""The signal fraction from counts: events above what is expected, in bins of a score, and the share that a cut keeps.

    n_i = b_i + S q_i,     q_i the share of the signal in bin i of the score,  sum_i q_i = 1

The expectation b_i comes from the curve beside the window (``spectrum_counts``), or from template events that were
scored alike (``template_counts``). What the most signal-like bins hold is counted; how much of the signal lies in the
others is not told by any count, for there the background drowns it. So q is drawn from a family of curves of signal
efficiency t against background efficiency f,

    Phi^-1(t) = a line in Phi^-1(f) with slopes of its own between the edges of the bins,

wide enough for a detector that sees everything and one that sees half (``CURVES``), and S is what the counts leave of
it: likelihood, averaged over the curves. Source: Dorfman & Alf 1969 for the binormal curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import norm

from sundog.random import numpy_stream
from sundog.tasks.anomaly.background.sigma_field import ends
from sundog.tasks.anomaly.checks.fraction import FALL_68, FALL_95, SignalFraction
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.tasks.anomaly.scan.bump import CURVATURES, bins_inside, common_edges, fit_bump

EFFICIENCIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of the background, at the lower edges of the bins
CURVES = 500
HUNDREDTH = EFFICIENCIES.index(0.01) - 1
AT_HUNDREDTH = (1.1, 0.5)  # Phi^-1 of the signal efficiency at 1 % of the background: 0.86 (0.73 to 0.95)
SLOPE, SPREAD, BEND = 1.3, 0.5, 0.2  # median slope, its spread in ln, and that of the parts of one curve
GRID, ROUNDS = 601, 3
FEWEST = 40  # background events above the last threshold
FARTHEST = 0.2  # of a closure from 1
BENT = (*CURVATURES, 0.05)  # a loose cut keeps so many events that a fourth coefficient shows
QUANTILES = (0.16, 0.5, 0.84, 0.025, 0.975, 0.95)


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Events inside the window in bins of the score, from the least to the most signal-like.

    Attributes
    ----------
    observed, expected : (k,) events counted, and expected without signal
    covariance : (k, k) of the expectation
    whole : whether the expectation was scaled to all events inside, signal included
    """

    observed: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray
    whole: bool


def template_counts(score: Any, fold: Any, drawn: Any) -> ScoreCounts:
    """Counts against a template.

    score, fold : (n,) of the events inside the window, each scored by a scorer that never saw it, and by which
    drawn : (folds, t) scores of template events by every scorer
    """
    score, fold, drawn = np.asarray(score), np.asarray(fold), np.asarray(drawn)
    used = _levels(drawn.shape[1])
    observed, expected = np.zeros(len(used) + 1), np.zeros(len(used) + 1)
    for k, scores in enumerate(drawn):
        thresholds = np.quantile(scores, 1 - used)
        p = _counted(scores, thresholds) / len(scores)  # of scores that repeat fewer than asked for lie above
        observed += _counted(score[fold == k], thresholds)
        expected += (fold == k).sum() * p
    p = expected / len(score)
    covariance = len(score) ** 2 * (np.diag(p) - np.outer(p, p)) / drawn.shape[1]
    return ScoreCounts(observed, expected, covariance, whole=True)


def spectrum_counts(m: Any, score: Any, fold: Any, region: SignalRegion) -> ScoreCounts:
    """Counts above the curves through the spectra beside the window, one for each bin of the score.

    Curves and levels keep off a strip on either side of the window (``widened``): the few per cent of a resonance that
    end there are twice the background among the highest scores.

    m, score, fold : (n,) of all events
    """
    mass = mass_column(m).numpy()
    blind = widened(region, mass)
    where = score_bins(blind.sidebands(mass).numpy(), score, fold)
    edges = common_edges(mass, [region, blind])
    inside = bins_inside(edges, region)
    before = fit_bump(mass, blind, edges)
    fits = [fit_bump(mass[where == i], blind, edges, before, curvatures=BENT) for i in range(where.max() + 1)]
    expected = np.array([fit.background[inside].sum() for fit in fits])
    error = np.array([fit.expected_error / fit.expected for fit in fits])
    common = before.expected_error / before.expected  # of the curve of all events, in every bin alike
    alone = np.maximum(error**2 - common**2, 0.0) * expected**2
    return ScoreCounts(np.array([fit.counts[inside].sum() for fit in fits]), expected,
                       np.diag(alone) + common**2 * np.outer(expected, expected), whole=False)


def widened(region: SignalRegion, m: Any) -> SignalRegion:
    """The window with a strip of a quarter of its width on either side, less where a sideband is thin."""
    return SignalRegion(*ends(region, m), region.unit)


def score_bins(beside: np.ndarray, score: Any, fold: Any) -> np.ndarray:
    """The bin (n,) of the score of each event: between levels that keep fixed shares of the events ``beside`` (n,)."""
    score, fold = np.asarray(score), np.asarray(fold)
    where, used = np.empty(len(score), int), _levels(int(beside.sum()))
    for k in np.unique(fold):
        mine = fold == k
        where[mine] = _bins(score[mine], np.quantile(score[mine & beside], 1 - used))
    return where


def _bins(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return np.searchsorted(thresholds, score)


def _counted(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return np.bincount(_bins(score, thresholds), minlength=len(thresholds) + 1)


def _levels(n: int) -> np.ndarray:
    """The background efficiencies that cut off at least ``FEWEST`` of n events."""
    return np.array([level for level in EFFICIENCIES[1:] if level * n >= FEWEST])


@dataclass(frozen=True, eq=False)
class Closure:
    """Events beside the window over template events at the same masses, in bins of the score: 1 for a true template.

    Attributes
    ----------
    ratio, error : (k,) with the standard error of the counts
    """

    ratio: np.ndarray
    error: np.ndarray

    @property
    def passed(self) -> bool:
        """Whether no bin is off by more than a fifth beyond three errors."""
        return not bool((np.abs(self.ratio - 1) > FARTHEST + 3 * self.error).any())

    def __str__(self) -> str:
        told = ", ".join(f"{r:.2f} +- {e:.2f}" for r, e in zip(self.ratio, self.error))
        return f"beside the window, data over template from the lowest scores to the highest: {told}"


def closure(real: Any, drawn: Any) -> Closure:
    """The closure of a template from scores of events (n,) beside the window and of template events (t,) there.

    Example
    -------
    >>> draws = np.random.default_rng(0).normal(size=(2, 20_000))
    >>> closure(draws[0], draws[1]).passed, closure(1.5 * draws[0], draws[1]).passed
    (True, False)
    """
    real, drawn = np.asarray(real), np.asarray(drawn)
    thresholds = np.quantile(drawn, 1 - _levels(len(drawn)))
    n, t = (np.maximum(_counted(score, thresholds), 1.0) for score in (real, drawn))
    ratio = n / t * len(drawn) / len(real)
    return Closure(ratio, ratio * (1 / n + 1 / t) ** 0.5)


def counted_fraction(counts: ScoreCounts) -> SignalFraction:
    """The signal fraction inside the window, and its intervals, from counts in bins of a score.

    Where the counts cannot tell S from none, the interval is one-sided, and its upper end a limit that holds for a
    signal that the score does not see as well: what the curve of all events leaves room for.

    Example
    -------
    >>> b = 100_000 * np.array([0.7, 0.2, 0.07, 0.02, 0.007, 0.002, 0.001])
    >>> q = np.array([0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.45])
    >>> found = counted_fraction(ScoreCounts(b + 600 * q, b, np.diag(b), whole=False))
    >>> found.low < 0.006 < found.high
    True
    """
    n, curves, last = float(counts.observed.sum()), efficiency_curves(), len(counts.observed) - 1
    curves = np.column_stack([curves[:, :last], curves[:, last:].sum(1)])
    above = counts.observed - counts.expected
    lift = curves - counts.expected / counts.expected.sum() * counts.whole
    grid, signal = np.linspace(0, 1, GRID) ** 2 * n, np.zeros_like(above)
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(counts.covariance + np.diag(np.maximum(counts.expected + signal, 1.0)))
        slope, curvature = lift @ (inverse @ above), np.einsum("gi,ij,gj->g", lift, inverse, lift)
        gain = grid[:, None] * slope - 0.5 * grid[:, None] ** 2 * curvature
        weight = np.exp(gain - gain.max())
        law = weight.sum(1) * np.gradient(grid)
        signal = (law @ grid / law.sum()) * (weight.sum(0) @ curves) / weight.sum()
    ends = np.interp(QUANTILES, np.cumsum(law) / law.sum(), grid) / n
    best = 2 * float(gain.max())
    low, high = (ends[0], ends[2]) if best > FALL_68 else (0.0, max(ends[2], _at_most(counts, 0.84)))
    low_95, high_95 = (ends[3], ends[4]) if best > FALL_95 else (0.0, max(ends[5], _at_most(counts, 0.95)))
    return SignalFraction(float(ends[1]), float(low), float(high), float(low_95), float(high_95), best / 2, round(n))


def _at_most(counts: ScoreCounts, level: float) -> float:
    """The limit of any signal, from all events inside whatever their score; 1 where these are what was expected."""
    n = float(counts.observed.sum())
    error = float(n + counts.covariance.sum()) ** 0.5
    return 1.0 if counts.whole else (n - float(counts.expected.sum()) + float(norm.ppf(level)) * error) / n


def least_fraction(counts: ScoreCounts, level: float = 0.01) -> SignalFraction:
    """A lower bound of the fraction, for scores of unknown signal efficiency: the excess at one background efficiency.

    What the cut loses of the signal is not added: intervals end at 1, their lower ends are one-sided limits.

    Example
    -------
    >>> b = 100_000 * np.array([0.7, 0.2, 0.07, 0.02, 0.01])
    >>> found = least_fraction(ScoreCounts(b + np.array([0, 0, 0, 100, 400]), b, np.diag(b), whole=False))
    >>> round(found.value, 3), found.high
    (0.004, 1.0)
    """
    first = min(EFFICIENCIES.index(level), len(counts.observed) - 1)
    n, b = float(counts.observed.sum()), float(counts.expected[first:].sum())
    seen = float(counts.observed[first:].sum())
    spread = float(counts.covariance[first:, first:].sum())
    # The bound solves (seen - b - S)^2 = z^2 (b + S + spread): the signal has Poisson errors of its own.
    low, low_95 = (max((seen - b + z**2 / 2 - z * (seen + spread + z**2 / 4) ** 0.5) / n, 0.0)
                   for z in norm.isf([1 - 0.683, 0.05]))
    gain = 0.5 * max(seen - b, 0.0) ** 2 / (b + spread)
    return SignalFraction(max(seen - b, 0.0) / n, low, 1.0, low_95, 1.0, gain, round(n))


@cache
def efficiency_curves() -> np.ndarray:
    """Shares (c, k) of the signal in the bins of the score, for many curves drawn from the family of this page."""
    generator, at = numpy_stream(0, "efficiency curves"), norm.ppf(EFFICIENCIES[1:])
    slopes = np.exp(np.log(SLOPE) + SPREAD * generator.normal(size=(CURVES, 1))
                    + BEND * generator.normal(size=(CURVES, len(at) - 1)))
    steps = np.column_stack([np.zeros(CURVES), np.cumsum(slopes * np.diff(at), 1)])
    level = AT_HUNDREDTH[0] + AT_HUNDREDTH[1] * generator.normal(size=(CURVES, 1)) + steps - steps[:, [HUNDREDTH]]
    kept = np.column_stack([np.ones(CURVES), norm.cdf(level), np.zeros(CURVES)])
    return -np.diff(kept, axis=1)
