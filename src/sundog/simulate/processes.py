"""Processes in time with known law: fractional Brownian motion and noise, Ornstein-Uhlenbeck, their Markov sums,
multifractal walks.

Every function draws ``n`` independent paths on a regular grid as a float64 tensor (n, points); row i is one path.
Where nothing else is said the draw is exact: the covariance on the grid is that of the process, at any time step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import toeplitz
from scipy.signal import lfilter
from scipy.special import gamma, hyp1f1
from torch import Tensor

from sundog.checks import at_least, number, positive
from sundog.errors import OptionError
from sundog.random import stream
from sundog.solve.fractional import (
    FAR,
    MarkovApproximation,
    checked_hurst,
    falling,
    markov_weights,
    scaled_upper_gamma,
)

__all__ = ["MarkovApproximation", "fractional_brownian_motion", "fractional_gaussian_noise",
           "fractional_ornstein_uhlenbeck", "fractional_ou_covariance", "markov_weights",
           "multifractal_random_walk", "ornstein_uhlenbeck"]

_BLOCK = 2**22  # numbers per block of paths: bounds the memory of a draw at some 100 MB
_LONGEST = 4096  # points whose covariance matrix is factorised whole


def fractional_gaussian_noise(n: int, steps: int, hurst: float, *, seed: int) -> Tensor:
    """Increments of fractional Brownian motion over unit time, (n, steps); white and of variance 1 at hurst = 1/2.

    Cov(x_i, x_{i+k}) = 1/2 (|k+1|^{2H} - 2 |k|^{2H} + |k-1|^{2H}), drawn exactly by circulant embedding.

    Errors: OptionError for a Hurst exponent outside (0, 1) or an empty size.
    Source: Mandelbrot & Van Ness 1968, SIAM Rev. 10, 422; Davies & Harte 1987, Biometrika 74, 95; embedding never
    fails for this law: Craigmile 2003, J. Time Ser. Anal. 24, 505.

    Example
    -------
    >>> x = fractional_gaussian_noise(2000, 64, 0.8, seed=0)
    >>> bool(((x[:, 1:] * x[:, :-1]).mean() - (2**1.6 / 2 - 1)).abs() < 0.02)
    True
    """
    h = checked_hurst(hurst)
    return _stationary(n, at_least(steps, 1, "steps"), lambda k: _noise_covariance(k, h), seed, "fractional noise")


def fractional_brownian_motion(n: int, steps: int, hurst: float, *, horizon: float = 1.0, seed: int) -> Tensor:
    """Paths of fractional Brownian motion at t_i = i horizon / steps, (n, steps + 1); the first column is 0.

    E B(s) B(t) = 1/2 (s^{2H} + t^{2H} - |t - s|^{2H}): the sum of `fractional_gaussian_noise`, exact on the grid.

    Parameters
    ----------
    hurst: H in (0, 1); 1/2 is Brownian motion, less is rougher, more is smoother and persistent.
    horizon: time of the last point, in any unit; E B(horizon)^2 = horizon^{2H}.

    Errors: OptionError for a Hurst exponent outside (0, 1), an empty size, or a horizon that is not positive.
    Source: as `fractional_gaussian_noise`.

    Example
    -------
    >>> paths = fractional_brownian_motion(4000, 100, 0.7, horizon=2.0, seed=0)
    >>> paths.shape, bool((paths[:, -1].var() / 2**1.4 - 1).abs() < 0.1)
    (torch.Size([4000, 101]), True)
    """
    noise = fractional_gaussian_noise(n, steps, hurst, seed=seed)
    paths = torch.zeros(len(noise), noise.shape[1] + 1, dtype=torch.float64)
    torch.cumsum(noise, 1, out=paths[:, 1:])
    return paths.mul_((positive(horizon, "horizon") / steps) ** hurst)


def ornstein_uhlenbeck(
    n: int, steps: int, *, rate: float, scale: float = 1.0, dt: float = 1.0, start: float | None = None, seed: int
) -> Tensor:
    """Paths of dX = -rate X dt + scale dW at t_i = i dt, (n, steps + 1), by its exact transition law.

    X(t + dt) = e^{-rate dt} X(t) + scale sqrt((1 - e^{-2 rate dt}) / (2 rate)) z; in equilibrium
    Cov(X(s), X(t)) = scale^2 / (2 rate) e^{-rate |t - s|}.

    Parameters
    ----------
    start: X(0) of every path; None draws it from equilibrium.

    Errors: OptionError for a rate, scale or dt that is not positive.
    Source: Uhlenbeck & Ornstein 1930, Phys. Rev. 36, 823; Gillespie 1996, Phys. Rev. E 54, 2084, eq. 3.1.

    Example
    -------
    >>> x = ornstein_uhlenbeck(4000, 50, rate=0.5, dt=0.1, seed=0)
    >>> bool((x.var() - 1).abs() < 0.1)
    True
    """
    a, s, h = positive(rate, "rate"), positive(scale, "scale"), positive(dt, "dt")
    z = torch.randn(at_least(n, 1, "n"), at_least(steps, 1, "steps") + 1, dtype=torch.float64,
                    generator=stream(seed, "ornstein uhlenbeck"))  # fmt: skip
    z[:, 1:] *= s * math.sqrt(-math.expm1(-2 * a * h) / (2 * a))
    z[:, 0] = z[:, 0] * s / math.sqrt(2 * a) if start is None else number(start, "start")
    return torch.from_numpy(lfilter([1.0], [1.0, -math.exp(-a * h)], z.numpy(), axis=1))


def fractional_ornstein_uhlenbeck(
    n: int, steps: int, hurst: float, *, rate: float, scale: float = 1.0, dt: float = 1.0, seed: int
) -> Tensor:
    """Equilibrium paths of dX = -rate X dt + scale dB^H at t_i = i dt, (n, steps + 1).

    Drawn by circulant embedding from `fractional_ou_covariance` (by a Cholesky factor where paths are so much shorter
    than the memory 1 / rate that no embedding is positive); at hurst = 1/2 this is `ornstein_uhlenbeck`.

    Errors: OptionError for a Hurst exponent outside (0, 1), a rate, scale or dt that is not positive, or more
    than 4096 points of such short paths.
    Source: Cheridito, Kawaguchi & Maejima 2003, Electron. J. Probab. 8, 3.

    Example
    -------
    >>> x = fractional_ornstein_uhlenbeck(4000, 50, 0.7, rate=0.5, dt=0.1, seed=0)
    >>> bool((x.var() / fractional_ou_covariance(0.0, 0.7, rate=0.5) - 1).abs() < 0.1)
    True
    """
    step = positive(dt, "dt")
    return _stationary(n, at_least(steps, 1, "steps") + 1, seed=seed, purpose="fractional ou",
                       covariance=lambda k: fractional_ou_covariance(step * k, hurst, rate=rate, scale=scale))


def multifractal_random_walk(
    n: int, steps: int, intermittency: float, *, scale: int | None = None, seed: int
) -> Tensor:
    """Paths whose increments z_i e^{w_i} are white but bunched and rare, (n, steps + 1); the first column is 0.

    z standard normal, w Gaussian with Cov(w_i, w_{i+k}) = lambda^2 ln(L / (k + 1)) for k < L, else 0, and mean
    -lambda^2 ln L, so that the variance of an increment is 1. Between one step and L,
    S_q(r) ~ r^{zeta_q},  zeta_q = (q - q (q - 2) lambda^2) / 2; exactly, S_2 = r and
    S_4(r) = 3 sum_{i, j < r} (L / (|i - j| + 1))^{4 lambda^2}. With lambda = 0 it is Brownian motion.

    Parameters
    ----------
    intermittency: lambda^2, 0 to 1/4 (beyond, the flatness has no limit); 0.02 to 0.03 in turbulence and markets.
    scale: L in steps, the longest memory; ``steps`` when None.

    Errors: OptionError for an intermittency outside [0, 1/4), a scale below 2 or an empty size.
    Source: Bacry, Delour & Muzy 2001, Phys. Rev. E 64, 026103, eq. 17-21.

    Example
    -------
    >>> x = multifractal_random_walk(2000, 128, 0.06, seed=0).diff(dim=1)
    >>> bool((x.var() - 1).abs() < 0.1), bool((x**4).mean() / x.var()**2 > 4)
    (True, True)
    """
    square = number(intermittency, "intermittency", least=0, below=0.25)
    far = at_least(steps if scale is None else scale, 2, "scale")
    n, steps = at_least(n, 1, "n"), at_least(steps, 1, "steps")
    z = torch.randn(n, steps, generator=stream(seed, "multifractal steps"), dtype=torch.float64)
    if square > 0:
        w = _stationary(n, steps, lambda k: square * np.log(np.maximum(far / (k + 1), 1.0)), seed, "multifractal sizes")
        z *= torch.exp(w - square * math.log(far))
    paths = torch.zeros(n, steps + 1, dtype=torch.float64)
    torch.cumsum(z, 1, out=paths[:, 1:])
    return paths


def fractional_ou_covariance(lag: np.ndarray | float, hurst: float, *, rate: float, scale: float = 1.0) -> np.ndarray:
    """Covariance of the equilibrium fractional Ornstein-Uhlenbeck process at time differences ``lag``, same shape.

    r(t) = (scale^2 H / 2) rate^{-2H} [e^x Gamma(2H, x) + e^{-x} Gamma(2H) - e^{-x} int_0^x v^{2H-1} e^v dv],
    x = rate |t|: the double integral of the noise's covariance, once by parts so that it holds for H < 1/2 too.
    r(0) = scale^2 H Gamma(2H) rate^{-2H}.

    Example
    -------
    >>> [round(float(r), 4) for r in fractional_ou_covariance([0.0, 1.0], 0.5, rate=2.0)]   # e^{-2 t} / 4
    [0.25, 0.0338]
    """
    h, a, s = checked_hurst(hurst), positive(rate, "rate"), positive(scale, "scale")
    x = a * np.abs(np.asarray(lag, dtype=np.float64))
    near = np.minimum(x, FAR)
    inner = near ** (2 * h) / (2 * h) * hyp1f1(1, 2 * h + 1, -near)  # e^{-x} int_0^x v^{2H-1} e^v dv
    close = scaled_upper_gamma(2 * h, near) + np.exp(-near) * gamma(2 * h) - inner
    far = np.maximum(x, FAR)  # of the two integrals, the odd terms of the asymptotic series stay
    odd = 2 * sum(term for k, term in enumerate(falling(2 * h, far)) if k % 2)
    return np.asarray(s**2 * h / 2 * a ** (-2 * h) * np.where(x <= FAR, close, odd))


def _noise_covariance(k: np.ndarray, h: float) -> np.ndarray:
    return 0.5 * (np.abs(k + 1) ** (2 * h) - 2 * np.abs(k) ** (2 * h) + np.abs(k - 1) ** (2 * h))


def _stationary(n: int, points: int, covariance: Callable[[np.ndarray], np.ndarray], seed: int, purpose: str) -> Tensor:
    """``n`` draws (n, points) of the stationary Gaussian process with this covariance at lags 0, 1, 2, ..."""
    n, root = at_least(n, 1, "n"), _circulant_root(covariance, points)
    if root is None:
        return _by_cholesky(n, points, covariance, seed, purpose)
    length, rows = 2 * (len(root) - 1), max(1, _BLOCK // len(root))
    generator = stream(seed, purpose)
    out = torch.empty(n, points, dtype=torch.float64)
    for first in range(0, n, rows):
        block = out[first : first + rows]
        z = torch.randn(len(block), len(root), 2, generator=generator, dtype=torch.float64) * root[:, None]
        block.copy_(torch.fft.irfft(torch.view_as_complex(z), n=length, norm="ortho")[:, :points])
    return out


def _circulant_root(covariance: Callable[[np.ndarray], np.ndarray], points: int) -> Tensor | None:
    """Square roots of the half spectrum of a circulant matrix whose corner is the covariance matrix; None if negative.

    The two real modes (first, last) get the factor sqrt 2: irfft drops their imaginary part.
    """
    half = max(points - 1, 1)
    for _ in range(6):  # a longer circle may be positive where a short one is not
        spectrum = np.fft.rfft(np.r_[c := covariance(np.arange(half + 1.0)), c[-2:0:-1]]).real
        if spectrum.min() > -1e-10 * spectrum.max():
            root = torch.from_numpy(np.sqrt(np.maximum(spectrum, 0) / 2))
            root[[0, -1]] *= math.sqrt(2)
            return root
        half *= 2
    return None


def _by_cholesky(
    n: int, points: int, covariance: Callable[[np.ndarray], np.ndarray], seed: int, purpose: str
) -> Tensor:
    """As `_stationary`, by a factor of the whole covariance matrix: for paths much shorter than their memory."""
    if points > _LONGEST:
        raise OptionError("the circulant embedding is not positive", got=f"{points} points, far less than the memory",
                          expected=f"at most {_LONGEST} points, or a larger rate times dt", do="draw fewer steps")
    factor = torch.from_numpy(np.linalg.cholesky(toeplitz(covariance(np.arange(points, dtype=np.float64)))))
    return torch.randn(n, points, generator=stream(seed, purpose), dtype=torch.float64) @ factor.T
