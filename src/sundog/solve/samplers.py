"""Samplers: from noise of level sigma_max down to sigma = 0, given the mean of what lies beneath the noise.

With sigma(t) = t the probability-flow equation is dx/dsigma = (x - D(x, sigma)) / sigma, where D(x, sigma) is
the posterior mean of the clean x given x + sigma e. Every sampler takes ``denoise(x, sigma)``, a state at the
first noise level and the levels in descending order; the last step goes from the last level to 0. All three are
called alike, so that one can stand in for another. They know no probability and no network.

Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models" (EDM).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.solve.ode import integrate

Denoise = Callable[[Tensor, Tensor], Tensor]
Levels = Tensor | Sequence[float]


def noise_levels(n: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """n noise levels from sigma_max down to sigma_min, (n,) float64, without the final zero.

    sigma_i = (sigma_max^(1/rho) + i / (n - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho,  i = 0 .. n - 1

    A large ``rho`` puts more of the levels near sigma_min; rho = 1 spaces them evenly.

    Raises
    ------
    OptionError : fewer than one level, or levels that are not 0 < sigma_min < sigma_max.

    Source: Karras et al. 2022, eq. 5.

    Example
    -------
    >>> noise_levels(3, sigma_min=0.5, sigma_max=1.0, rho=1.0).tolist()
    [1.0, 0.75, 0.5]
    """
    if n < 1 or not 0 < sigma_min < sigma_max < math.inf or not rho > 0:
        raise OptionError("impossible noise levels", got=f"n = {n}, {sigma_min} to {sigma_max}, rho = {rho}",
                          expected="n >= 1, 0 < sigma_min < sigma_max, rho > 0",
                          do="pass e.g. n=35, sigma_min=0.002, sigma_max=80")
    i = torch.linspace(0, 1, n, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    levels = (high + i * (low - high)) ** rho
    levels[-1], levels[0] = sigma_min, sigma_max  # the ends exactly, not to rounding
    return levels


def euler(denoise: Denoise, x: Tensor, sigmas: Levels, generator: torch.Generator | None = None, *,
          churn: float = 0.0, churn_noise: float = 1.0) -> Tensor:
    """x at sigma = 0 by Euler's rule: one evaluation per level; its samples vary too little.

    x' = x + (sigma' - sigma) (x - D(x, sigma)) / sigma

    Parameters and errors are those of `heun`.

    Example
    -------
    >>> levels = noise_levels(200, sigma_min=0.01, sigma_max=50.0)
    >>> x = euler(lambda x, s: x / (1 + s**2), 50 * torch.ones(1), levels)    # exact: x / sqrt(1 + s^2)
    >>> round(float(x), 1)
    1.0
    """
    return _runge_kutta("euler", denoise, x, sigmas, generator, churn, churn_noise)


def heun(denoise: Denoise, x: Tensor, sigmas: Levels, generator: torch.Generator | None = None, *,
         churn: float = 0.0, churn_noise: float = 1.0) -> Tensor:
    """x at sigma = 0 by Heun's rule, as published with EDM: 2 n - 1 evaluations for n levels, order 2.

    With d(x, sigma) = (x - D(x, sigma)) / sigma:  x' = x + (sigma' - sigma) (d(x, sigma) + d(x_Euler, sigma')) / 2;
    the step to 0 is Euler's. Its samples vary too much.

    Parameters
    ----------
    denoise : (x, sigma) -> posterior mean of the clean x, shaped like x; sigma is a number (0-d tensor, float64)
    x : (n, ...) state at the first level, e.g. ``sigmas[0] * randn``
    sigmas : descending noise levels, without the final zero; see `noise_levels`
    generator : of the noise that churn adds
    churn : before each step the level is raised to sigma (1 + g) with g = min(churn / n, sqrt(2) - 1), and noise
        of variance sigma^2 ((1 + g)^2 - 1) is added; 0 is the deterministic sampler
    churn_noise : factor on the standard deviation of that noise; above 1 makes up for a denoiser that removes
        too much

    Raises
    ------
    OptionError : levels that do not descend to above zero, or churn without a generator.

    Source: Karras et al. 2022, algorithm 2.

    Example
    -------
    >>> levels = noise_levels(18, sigma_min=0.002, sigma_max=80.0)
    >>> heun(lambda x, s: x / (1 + s**2), 80 * torch.ones(3), levels).shape
    torch.Size([3])
    """
    return _runge_kutta("heun", denoise, x, sigmas, generator, churn, churn_noise)


class LinearFlow(Protocol):
    """A part of the denoiser whose flow is known exactly; see `sundog.models.gaussian.law.GaussianDenoiser`."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """This part of D(x, sigma)."""

    def carried(self, x: Tensor, sigma: float, after: float) -> Tensor:
        """x taken from level sigma to the level after it by this part alone."""

    def pushed(self, rest: Tensor, sigma: float, after: float) -> Tensor:
        """What a constant rest of D adds to x on the way."""


def dpm_solver_2m(denoise: Denoise, x: Tensor, sigmas: Levels, generator: torch.Generator | None = None, *,
                  around: LinearFlow | None = None) -> Tensor:
    """x at sigma = 0 by DPM-Solver++(2M): order 2 with one evaluation per level; the default here.

    In lambda = -log(sigma) with step h and the one before it h_0, and D_0 the evaluation before:
    x' = (sigma' / sigma) x + (1 - e^-h) (D + h / (2 h_0) (D - D_0));  without D_0 in the first and the last step.

    With ``around``, a linear part L of D, the same is done around the exact flow of L: x' = carried(x) +
    pushed(R + h / (2 h_0) (R - R_0)), R = D - L. For L = 0 this is the formula above; for D = L it is exact,
    however few the levels.

    Parameters are those of `heun`. The solver draws nothing: ``generator`` is there so that it can stand in for
    the others.

    Source: Lu et al. 2022, "DPM-Solver++", algorithm 2, for alpha = 1; ``around`` is ours, an exponential
    integrator (Hochbruck & Ostermann 2010) whose linear part is a full covariance.

    Example
    -------
    >>> levels = noise_levels(35, sigma_min=0.002, sigma_max=80.0)
    >>> x = dpm_solver_2m(lambda x, s: x / (1 + s**2), 80 * torch.ones(1), levels)
    >>> round(float(x), 2)
    1.01
    """
    before, step_before = None, 1.0
    for sigma, after in _steps(sigmas):
        rest = denoise(x, _level(sigma))
        rest = rest if around is None else rest - around(x, _level(sigma))
        step = math.log(sigma / after) if after > 0 else math.inf
        aim = rest if before is None or after == 0 else rest + step / (2 * step_before) * (rest - before)
        if around is None:
            x = torch.lerp(aim, x, after / sigma)
        else:
            x = around.carried(x, sigma, after) + around.pushed(aim, sigma, after)
        before, step_before = rest, step
    return x


def _runge_kutta(method: str, denoise: Denoise, x: Tensor, sigmas: Levels, generator: torch.Generator | None,
                 churn: float, churn_noise: float) -> Tensor:
    if churn > 0 and generator is None:
        raise OptionError("churn draws noise", got="no generator", expected="a torch.Generator",
                          do="pass generator=torch.Generator().manual_seed(seed), or churn=0")

    def slope(sigma: float, x: Tensor) -> Tensor:
        return (x - denoise(x, _level(sigma))) / sigma

    steps = list(_steps(sigmas))
    for sigma, after in steps:
        if churn > 0:
            raised = sigma * (1 + min(churn / len(steps), math.sqrt(2) - 1))
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            x = x + churn_noise * math.sqrt(raised**2 - sigma**2) * noise
            sigma = raised
        x = integrate(slope, x, sigma, after, method=method if after > 0 else "euler", steps=1)
    return x


def _steps(sigmas: Levels) -> Iterator[tuple[float, float]]:
    """(level, next level) of every step, the last one ending at 0; OptionError unless they descend."""
    levels = [float(sigma) for sigma in sigmas]
    if not levels or levels[-1] <= 0 or any(not b < a for a, b in pairwise(levels)):
        raise OptionError("noise levels must descend", got=[f"{level:.3g}" for level in levels[-3:]],
                          expected="positive numbers from large to small, without the final zero",
                          do="use noise_levels(...)")
    return pairwise([*levels, 0.0])


def _level(sigma: float) -> Tensor:
    # A 0-d float64 tensor: exact, and it leaves the type of a float32 state alone.
    return torch.tensor(sigma, dtype=torch.float64)
