"""The Hurst exponent of a series and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from sundog.checks import number, whole
from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.statistics.series.increments import checked_series

_FILTER = np.array([1.0, -2.0, 1.0])
_EDGE = 0.005  # H stays this far inside (0, 1)


class HurstExponent(NamedTuple):
    """Estimate of H with its interval; unpacks as ``value, low, high``."""

    value: float
    low: float
    high: float


def hurst_exponent(x: Tensor, *, lags: Sequence[int] | None = None, level: float = 0.95) -> HurstExponent:
    """Return H of a path with stationary increments, and the interval that covers the truth with probability ``level``.

    V_m = < (x_{i+2m} - 2 x_{i+m} + x_i)^2 > ~ m^{2H}: the line through log V_m against log m, weighted by the inverse
    of their covariance, which for fractional Brownian motion follows from H itself,
    Cov(V_m, V_k) = 2 / (N_m N_k) sum_{ij} Cov(d^m_i, d^k_j)^2. Second differences let a linear trend pass unseen and
    keep the estimate Gaussian for every H in (0, 1) (first differences do not above 3/4).

    Parameters
    ----------
    x: (t,) one path, or (n, t) independent paths of one law. A *path*: of noise, pass its running sum.
    lags: steps m; 1, 2, 4, ... up to 32 and t / 16 when None. Leave out the small ones where measurement noise rules.
    level: of the interval.

    The interval is that of fractional Brownian motion: heavy tails, intermittency or measurement noise make it too
    short. Coverage is measured by benchmarks/series.py, see docs/series.md.

    Errors: DataError on gaps (NaN) and constant series; SampleSizeError below 32 points; OptionError for lags that do
    not fit.
    Source: Istas & Lang 1997, Ann. IHP B 33, 407; Coeurjolly 2001, Stat. Inference Stoch. Process. 4, 199.

    Example
    -------
    >>> walk = torch.randn(4000, generator=torch.Generator().manual_seed(0)).cumsum(0)
    >>> value, low, high = hurst_exponent(walk)
    >>> bool(low < 0.5 < high), round(high - low, 2)
    (True, 0.04)
    """
    x = checked_series(x).detach().double()
    rows, t = x.reshape(-1, x.shape[-1]).shape
    if t < 32:
        raise SampleSizeError("too short for a Hurst exponent", got=f"{t} points", expected="32 or more",
                              do="pass longer series")  # fmt: skip
    lags = [m for m in (1, 2, 4, 8, 16, 32) if 16 * m <= t] if lags is None else lags
    steps = sorted({whole(m, "lag") for m in lags})
    if len(steps) < 2 or steps[0] < 1 or 4 * steps[-1] > t:
        raise OptionError("lags of a Hurst exponent", got=steps, expected=f"two or more from 1 to {t // 4}",
                          do="pass lags=[1, 2, 4]")  # fmt: skip
    height = norm.ppf(0.5 + number(level, "level", above=0, below=1) / 2)
    value, error = _line(np.array(_variations(x, steps)), np.array(steps), t, rows)
    half = float(height) * error
    return HurstExponent(value, max(value - half, 0.0), min(value + half, 1.0))


def _variations(x: Tensor, steps: list[int]) -> list[float]:
    """V_m of each lag, over all rows."""
    found = [float((x[..., 2 * m :] - 2 * x[..., m:-m] + x[..., : -2 * m]).square().mean()) for m in steps]
    if min(found) <= (8 * torch.finfo(x.dtype).eps * float(x.abs().max())) ** 2:
        raise DataError("Hurst exponent of a series without variation", got="second differences that are all 0",
                        expected="a rough series", do="pass the path itself, not a constant or a straight line")
    return found


def _line(variations: np.ndarray, steps: np.ndarray, t: int, rows: int) -> tuple[float, float]:
    """Slope / 2 of log V against log m by generalised least squares, and its standard error."""
    design = np.stack([np.ones(len(steps)), 2 * np.log(steps)], 1)
    h = float(np.clip(np.linalg.lstsq(design, np.log(variations), rcond=None)[0][1], _EDGE, 1 - _EDGE))
    for _ in range(2):  # the covariance depends on H but weakly
        covariance = _relative_covariance(h, steps, t) / rows
        weighted = np.linalg.solve(covariance, design)
        inverse = np.linalg.inv(design.T @ weighted)
        slope = inverse @ weighted.T @ (np.log(variations) + covariance.diagonal() / 2)  # E log V = log E V - Var / 2
        h = float(np.clip(slope[1], _EDGE, 1 - _EDGE))
    return h, float(np.sqrt(inverse[1, 1]))


def _relative_covariance(h: float, steps: np.ndarray, t: int) -> np.ndarray:
    """Cov(V_m, V_k) / (E V_m E V_k) of one path of fractional Brownian motion with t points."""
    found = np.empty((len(steps), len(steps)))
    for i, m in enumerate(steps):
        for j, k in enumerate(steps[: i + 1]):
            n_m, n_k = t - 2 * m, t - 2 * k
            apart = np.arange(-n_m + 1, n_k)  # start of the second difference minus start of the first
            pairs = np.minimum(n_k, n_m + apart) - np.maximum(0, apart)
            places = apart[:, None, None] + k * np.arange(3) - m * np.arange(3)[:, None]
            covariance = -0.5 * np.einsum("tpq,p,q->t", np.abs(places, dtype=np.float64) ** (2 * h), _FILTER, _FILTER)
            scale = (4 - 4**h) ** 2 * (m * k) ** (2 * h)
            found[i, j] = found[j, i] = 2 * (pairs * covariance**2).sum() / (n_m * n_k) / scale
    return found
