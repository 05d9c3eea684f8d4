"""Series of losses: whether a training has settled, and whether it oscillates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sundog.errors import DataError, OptionError, SampleSizeError

FEWEST_LOSSES = 16  # for a periodogram


@dataclass(frozen=True)
class Oscillation:
    """The strongest period of a series.

    Attributes
    ----------
    period : in entries of the series
    share : of the power of the whitened series that lies at this period
    p_value : of so large a share without any period
    """

    period: float
    share: float
    p_value: float

    def __bool__(self) -> bool:
        return self.p_value < 1e-3


def oscillation(losses: Sequence[float]) -> Oscillation:
    """The strongest period of a series of losses, and whether noise alone would show it.

    A straight line and the correlation of neighbours (first-order autoregression, phi at most 0.95) are taken out;
    then, I_k being the periodogram of what is left, m = (n - 1) // 2 frequencies,

        g = max_k I_k / sum_k I_k,    P(g > x) <= m (1 - x)^(m - 1).

    Losses of adversaries that chase each other go round; those that merely wander do not.

    Source: Fisher 1929, Proc. R. Soc. A 125, 54 (g test; the bound is its first term).

    Example
    -------
    >>> t = np.arange(200)
    >>> found = oscillation(np.sin(2 * np.pi * t / 20) + np.random.default_rng(0).normal(0, 1, 200))
    >>> bool(found), round(found.period)
    (True, 20)
    """
    x = _series(losses, FEWEST_LOSSES)
    t = np.arange(len(x)) - (len(x) - 1) / 2
    x = x - x.mean() - t * (t @ x) / (t @ t)
    scale = x[:-1] @ x[:-1]
    if not scale > 0:
        return Oscillation(math.inf, 0.0, 1.0)
    phi = float(np.clip(x[1:] @ x[:-1] / scale, -0.95, 0.95))
    left = x[1:] - phi * x[:-1]
    power = np.abs(np.fft.rfft(left - left.mean())[1 : (len(left) - 1) // 2 + 1]) ** 2
    best = int(power.argmax())
    share = float(power[best] / power.sum())
    return Oscillation(len(left) / (best + 1), share, min(1.0, len(power) * (1 - share) ** (len(power) - 1)))


def settled_at(losses: Sequence[float], window: int = 50, tolerance: float = 0.1) -> int | None:
    """How many losses there were when two neighbouring windows first agreed; None if they never did.

    |a - b| <= tolerance max(|a|, s),  a and b the means of the last and the last but one ``window`` losses.

    The rule of the thesis on generated skies has |a| alone. A critic's loss goes to zero, where that is never or by
    accident fulfilled: s, the standard deviation of the two windows, is then the scale.

    Example
    -------
    >>> settled_at([10 / (1 + 0.1 * i) for i in range(800)])
    567
    >>> settled_at(range(400), tolerance=0.001) is None
    True
    """
    if window < 2 or not tolerance > 0:
        raise OptionError("rule of convergence", got=f"window {window}, tolerance {tolerance}",
                          expected="window >= 2, tolerance > 0", do="leave them at 50 and 0.1")
    x = _series(losses, 1)
    for end in range(2 * window, len(x) + 1):
        before, last = x[end - 2 * window : end - window], x[end - window : end]
        scale = max(abs(float(last.mean())), 0.5 * float(before.std() + last.std()))
        if abs(float(last.mean() - before.mean())) <= tolerance * scale:
            return end
    return None


def _series(losses: Sequence[float], fewest: int) -> np.ndarray:
    x = np.asarray(losses, dtype=float).reshape(-1)
    if len(x) < fewest:
        raise SampleSizeError("too few losses", got=len(x), expected=f"at least {fewest}",
                              do="record more often: Plan(validate_every=...)")
    if not np.isfinite(x).all():
        raise DataError("losses are not finite", got=f"{int((~np.isfinite(x)).sum())} of {len(x)}",
                        expected="numbers", do="lower learning_rate")
    return x
