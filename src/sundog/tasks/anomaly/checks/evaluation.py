"""How much a score improves a search: the significance improvement curve, with its statistical cut and errors.

    SIC = TPR / sqrt(FPR):  a cut that keeps TPR of the signal and FPR of the background turns a significance
    S / sqrt(B) into SIC times as much.

Below FPR = 1 / (N_B r^2) fewer than 1 / r^2 of the N_B background events pass and the background count is known
to worse than r (0.2 by convention); nothing is read off there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError


@dataclass(frozen=True, eq=False)
class SicCurve:
    """Significance improvement against background efficiency, for every threshold on a score.

    Attributes
    ----------
    fpr, tpr : (k,) ascending efficiencies of background and signal, from the tightest threshold to none
    sic : (k,) tpr / sqrt(fpr); 0 where no background passes
    valid : (k,) whether fpr lies above the statistical cut
    cut : the statistical cut, 1 / (N_B r^2)
    n_signal, n_background : events counted
    """

    fpr: np.ndarray
    tpr: np.ndarray
    sic: np.ndarray
    valid: np.ndarray
    cut: float
    n_signal: int
    n_background: int

    @property
    def max_sic(self) -> float:
        """Largest SIC above the statistical cut; biased upwards by the search for the largest."""
        return float(self.sic[self.valid].max())

    @property
    def max_at(self) -> float:
        """Background efficiency of the largest SIC."""
        return float(self.fpr[self.valid][self.sic[self.valid].argmax()])

    def at(self, fpr: float) -> float:
        """SIC at a background efficiency, the signal efficiency interpolated linearly.

        Raises
        ------
        SampleSizeError : below the statistical cut, where too few background events pass.
        """
        self._check(fpr)
        return self._tpr(fpr) / fpr**0.5

    def error(self, fpr: float) -> float:
        """Standard error of ``at(fpr)`` from the counts of both test samples.

        var SIC = [ TPR (1 - TPR) / N_S + (dTPR/dFPR)^2 FPR (1 - FPR) / N_B ] / FPR

        The second part is the threshold, which the background sample fixes only to its own counts. The scatter
        of another training, or of another injection, is not in here.
        """
        self._check(fpr)
        p = self._tpr(fpr)
        shift = (fpr * (1 - fpr) / self.n_background) ** 0.5
        moved = 0.5 * (self._tpr(min(1.0, fpr + shift)) - self._tpr(max(0.0, fpr - shift)))
        return float(((p * (1 - p) / self.n_signal + moved**2) / fpr) ** 0.5)

    def _tpr(self, fpr: float) -> float:
        return float(np.interp(fpr, self.fpr, self.tpr))

    def _check(self, fpr: float) -> None:
        if not 0 < fpr <= 1:
            raise OptionError("background efficiency out of range", got=fpr, expected="0 < fpr <= 1",
                              do="pass e.g. 1e-3")
        if fpr < self.cut * (1 - 1e-9):
            raise SampleSizeError("too few background events at this efficiency",
                                  got=f"fpr {fpr:g} of {self.n_background} events",
                                  expected=f"fpr >= {self.cut:.3g}", do="test on more background events")


def sic_curve(is_signal: Any, score: Any, max_relative_error: float = 0.2) -> SicCurve:
    """The significance improvement curve of a score on labelled test events.

    Parameters
    ----------
    is_signal : (n,) 1 or True for signal
    score : (n,) larger means more signal-like; equal scores are cut together
    max_relative_error : r of the statistical cut FPR >= 1 / (N_B r^2)

    Raises
    ------
    DataError : labels other than 0 and 1, one class missing, NaN scores.
    SampleSizeError : too few background events for any efficiency to be valid.

    Source: Hallin et al. 2022 (CATHODE), section 5; the cut as in Das & Shih 2024 (SIGMA).

    Example
    -------
    >>> labels = np.repeat([0, 1], [1000, 1000])
    >>> curve = sic_curve(labels, np.arange(2000.0))   # perfect separation: every signal before any background
    >>> round(curve.at(0.025), 2), round(curve.cut, 3)
    (6.32, 0.025)
    """
    truth, s = np.asarray(is_signal).astype(float).ravel(), np.asarray(score, dtype=float).ravel()
    _check_scores(truth, s)
    n_signal, n_background = int(truth.sum()), int((1 - truth).sum())
    if not max_relative_error > 0:
        raise OptionError("relative error out of range", got=max_relative_error, expected="> 0", do="pass 0.2")
    cut = 1 / (n_background * max_relative_error**2)
    if cut > 1:
        raise SampleSizeError("too few background events", got=n_background,
                              expected=f"at least {int(np.ceil(1 / max_relative_error**2))}", do="test on more")
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.append(s[order][1:] != s[order][:-1], True))  # one point per distinct score
    tpr = np.concatenate([[0.0], np.cumsum(truth[order])[last] / n_signal])
    fpr = np.concatenate([[0.0], np.cumsum(1 - truth[order])[last] / n_background])
    with np.errstate(divide="ignore", invalid="ignore"):
        sic = np.where(fpr > 0, tpr / np.sqrt(fpr), 0.0)
    return SicCurve(fpr, tpr, sic, fpr >= cut * (1 - 1e-9), cut, n_signal, n_background)


@dataclass(frozen=True, eq=False)
class SicBand:
    """Median and 16 - 84 % band of several curves at common background efficiencies (k,)."""

    fpr: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_curves: int


def sic_band(curves: Sequence[SicCurve], fpr: Any = None) -> SicBand:
    """Median and 16 - 84 % band of the SIC over retrainings or injections.

    fpr : (k,) efficiencies; 60 logarithmic steps from the largest statistical cut to 1 when None.

    Example
    -------
    >>> labels = np.repeat([0, 1], 1000)
    >>> scores = [labels + np.random.default_rng(i).normal(size=2000) for i in range(3)]
    >>> sic_band([sic_curve(labels, s) for s in scores], [0.1]).median.shape
    (1,)
    """
    if not curves:
        raise OptionError("no curves to summarise", got=0, expected="at least 1", do="pass a list of SicCurve")
    grid = np.geomspace(max(curve.cut for curve in curves), 1.0, 60) if fpr is None else np.atleast_1d(fpr)
    table = np.array([[curve.at(float(f)) for f in grid] for curve in curves])
    low, middle, high = np.quantile(table, [0.16, 0.5, 0.84], axis=0)
    return SicBand(grid, middle, low, high, len(curves))


def expected_significance(sic: float, n_signal: float, n_background: float) -> float:
    """Significance after the cut, SIC x S / sqrt(B), for the events inside the window before it.

    Example
    -------
    >>> round(expected_significance(10.0, 772, 121_352), 1)
    22.2
    """
    return sic * n_signal / n_background**0.5


def _check_scores(truth: np.ndarray, score: np.ndarray) -> None:
    if truth.shape != score.shape:
        raise ShapeError("labels and scores do not fit", got=f"{truth.shape} and {score.shape}",
                         expected="one score per label", do="score the events that the labels belong to")
    if set(np.unique(truth)) != {0.0, 1.0}:
        raise DataError("labels are unusable", got=f"values {np.unique(truth)[:5].tolist()}",
                        expected="0 and 1, both present", do="label background 0 and signal 1")
    if np.isnan(score).any():
        raise DataError("scores contain NaN", got=f"{int(np.isnan(score).sum())} of {len(score)}",
                        expected="numbers (infinite ones are allowed)", do="look at these events")
