"""The signal fraction w of a mixture with its interval, from likelihood ratios of events not used to learn p_S."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from sundog.errors import DataError, OptionError
from sundog.models.mixture.signal import FEWEST_EVENTS

FALL_68, FALL_95 = 1.0, 3.841  # twice the fall of the log-likelihood at the ends of the interval


@dataclass(frozen=True)
class SignalFraction:
    """Maximum-likelihood w with its intervals.

    Attributes
    ----------
    value : w, at least 0
    low, high : 68 % interval
    low_95, high_95 : 95 % interval
    gain : log-likelihood at ``value`` above that at w = 0
    n : events

    Example
    -------
    >>> generator = np.random.default_rng(0)
    >>> background, signal = generator.normal(0, 1, 9900), generator.normal(3, 1, 100)
    >>> x = np.concatenate([background, signal])
    >>> w = signal_fraction(3 * x - 4.5)   # log N(x; 3, 1) - log N(x; 0, 1)
    >>> w.low_95 < 0.01 < w.high_95, w.evidence
    (True, True)
    """

    value: float
    low: float
    high: float
    low_95: float
    high_95: float
    gain: float
    n: int

    @property
    def evidence(self) -> bool:
        """Whether the 95 % interval excludes w = 0."""
        return self.low_95 > 0

    @property
    def significance(self) -> float:
        """sqrt(2 gain), in standard deviations: local, for p_B taken as exact and one window."""
        return float(np.sqrt(2 * max(self.gain, 0.0)))

    @property
    def p_value(self) -> float:
        """One-sided local p-value of ``significance``."""
        return float(norm.sf(self.significance)) if self.gain > 0 else 0.5

    def __str__(self) -> str:
        said = f"{self.significance:.1f} sigma, local" if self.evidence else "no excess"
        return (f"w = {100 * self.value:.3f} % (68 %: {100 * self.low:.3f} to {100 * self.high:.3f} %, "
                f"95 %: {100 * self.low_95:.3f} to {100 * self.high_95:.3f} %): {said}")


def log_likelihood(w: Any, log_ratio: Any) -> np.ndarray:
    """l(w) - l(0) = sum_i log(1 - w + w exp(log_ratio_i)) for each w; log_ratio: (n,) log p_S / p_B.

    The four largest count as the fifth, see ``signal_fraction``.

    Example
    -------
    >>> log_likelihood([0.0, 0.5], [0.0, 0.0]).tolist()
    [0.0, 0.0]
    """
    r = _excess(log_ratio)
    return np.array([np.log1p(one * r).sum() for one in np.atleast_1d(w)])


def signal_fraction(log_ratio: Any) -> SignalFraction:
    """The signal fraction that maximises the likelihood of (1 - w) p_B + w p_S, with intervals.

    The log-likelihood is concave in w; an interval holds every w in [0, 1] whose likelihood lies within
    1/2 (68 %) or 1.92 (95 %) of the largest. Where the true w is near 0 it covers more often than it says.

    log_ratio: (n,) log p_S(z_i) / p_B(z_i), p_S learned from OTHER events (cross-fitting). For p_S learned from the
    same events the likelihood always prefers some w > 0 and the interval means nothing. The four largest count as
    the fifth: far from what taught it p_B is an extrapolation, and one event there could claim any significance.

    Source: Wilks 1938; Chernoff 1954 for the boundary.
    """
    r = _excess(log_ratio)

    def slope(w: float) -> float:
        return float((r / (1 + w * r)).sum())

    top = 1 - 1e-9
    if slope(0.0) <= 0:
        best = 0.0
    elif slope(top) >= 0:
        best = top
    else:
        best = float(brentq(slope, 0.0, top, xtol=1e-12))
    peak = float(np.log1p(best * r).sum())

    def ends(fall: float) -> tuple[float, float]:
        def below(w: float) -> float:
            return 2 * (peak - float(np.log1p(w * r).sum())) - fall

        low = float(brentq(below, 0.0, best)) if best > 0 and below(0.0) > 0 else 0.0
        return low, float(brentq(below, best, top)) if below(top) > 0 else 1.0

    (low, high), (low_95, high_95) = ends(FALL_68), ends(FALL_95)
    return SignalFraction(best, low, high, low_95, high_95, peak, len(r))


def _excess(log_ratio: Any) -> np.ndarray:
    ratio = np.asarray(log_ratio, dtype=float).ravel()
    if len(ratio) == 0 or np.isnan(ratio).any():
        raise DataError("likelihood ratios are unusable", got=f"{int(np.isnan(ratio).sum())} NaN of {len(ratio)}",
                        expected="at least one number, none NaN", do="check the background density at these events")
    fifth = np.partition(ratio, -FEWEST_EVENTS)[-FEWEST_EVENTS] if len(ratio) >= FEWEST_EVENTS else 700.0
    return np.expm1(np.clip(ratio, -700, min(fifth, 700.0)))


def check_fraction(w: float | None) -> None:
    """Nothing, if w is None or a usable fixed signal fraction."""
    if w is not None and not 0 < w < 1:
        raise OptionError("signal fraction out of range", got=w, expected="0 < w < 1, or None to learn it",
                          do="pass e.g. w=0.006")
