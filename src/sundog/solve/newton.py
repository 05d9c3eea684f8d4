"""Second-order descent for small problems: Newton's method damped by the norm of the gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least, positive
from sundog.errors import ShapeError, TrainingError
from sundog.solve.descend import ROUNDINGS, Descent, Loss

_SMALLEST = 1e-30  # of gamma over its start: no step down is left


def gradient_normalised_newton(
    loss: Loss,
    start: Tensor,
    *,
    hessian: Callable[[Tensor], Tensor] | None = None,
    iterations: int = 200,
    tolerance: float = 1e-10,
    gamma: float = 1.0,
) -> Descent:
    """Return the lowest point found by Newton steps whose damping is proportional to the gradient.

    h = -(H + lambda I)^{-1} g, lambda = |g| / gamma. The step is taken, and gamma doubled, if
    f(x) - f(x + h) >= |g(x + h)|^2 / (8 lambda); else gamma is halved. Without constants of the problem: f and c f
    give the same steps, and gamma grows where the Hessian can be trusted, so that the end is Newton's.
    One iteration costs a Hessian (d backward passes) and O(d^3): for some hundred unknowns, not for the pixels of a
    map, where `sundog.solve.descend.descend` is faster (see docs/series.md).

    Parameters
    ----------
    loss : from a tensor shaped like ``start`` to a scalar tensor, twice differentiable.
    start : any shape; float64 reaches the default tolerance, float32 does not.
    hessian : from x to (d, d), where an approximation is cheaper (Gauss-Newton, Fisher); None for the exact one.
    iterations : largest number of trials, taken or not.
    tolerance : |g| at which the search has converged.
    gamma : first trust, in the unit of a step.

    The `Descent` returned says why it ended: "converged"; "iterations"; "line search", where no step, however
    short, lowered the loss. Meant for convex losses and fits: elsewhere it may stop at a saddle, where |g| vanishes.

    Errors: TrainingError where loss or gradient at the start is not finite; OptionError for an empty budget.
    Source: Semenov, Jaggi & Doikov 2025, arXiv 2506.13710, algorithm 1.

    Example
    -------
    >>> rosenbrock = lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    >>> found = gradient_normalised_newton(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64))
    >>> found.reason, bool((found.x - 1).abs().max() < 1e-9)
    ('converged', True)
    """
    shape = start.shape

    def look(x: Tensor) -> _Here:
        x = x.detach().requires_grad_()
        value = loss(x.reshape(shape))
        (slope,) = torch.autograd.grad(value, x)
        return _Here(x.detach(), float(value.detach()), slope.detach())

    def step(here: _Here, damping: float) -> Tensor:
        if here.curvature is None:
            here.curvature = (
                torch.autograd.functional.hessian(lambda x: loss(x.reshape(shape)), here.x, vectorize=True)
                if hessian is None else hessian(here.x.reshape(shape)).reshape(len(here.x), -1)
            ).detach()  # fmt: skip
        return _solved(here.curvature, damping, here.slope)

    return _search(look, step, start, iterations, tolerance, gamma)


def gradient_normalised_least_squares(
    residuals: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    iterations: int = 200,
    tolerance: float = 1e-10,
    gamma: float = 1.0,
) -> Descent:
    """Return the lowest point of 1/2 |r(x)|^2 by Gauss-Newton steps damped as in `gradient_normalised_newton`.

    H is J^T J with J = dr/dx (m, d). With fewer residuals than unknowns the m x m dual system is solved instead,
    h = -J^T (J J^T + lambda I)^{-1} r, the same step: this is the case of few statistics of many pixels.

    Parameters are those of `gradient_normalised_newton`; ``residuals`` maps x to a tensor of m values.

    Example
    -------
    >>> t = torch.linspace(0, 1, 20, dtype=torch.float64)
    >>> data = 3 * torch.exp(-2 * t)
    >>> found = gradient_normalised_least_squares(lambda p: p[0] * torch.exp(-p[1] * t) - data, torch.ones(2).double())
    >>> found.x.round(decimals=6).tolist()
    [3.0, 2.0]
    """
    shape = start.shape

    def look(x: Tensor) -> _Here:
        r = residuals(x.reshape(shape)).reshape(-1)
        jacobian = torch.autograd.functional.jacobian(
            lambda y: residuals(y.reshape(shape)).reshape(-1), x.detach(), vectorize=True)  # fmt: skip
        r, jacobian = r.detach(), jacobian.detach()
        return _Here(x.detach(), float(r.square().sum()) / 2, jacobian.T @ r, jacobian, r)

    def step(here: _Here, damping: float) -> Tensor:
        jacobian, r = here.curvature, here.residuals
        if jacobian is None or r is None:
            raise ShapeError("no residuals", got=None, expected="a Jacobian", do="pass a function of residuals")
        if len(r) < len(here.x):
            return jacobian.T @ _solved(jacobian @ jacobian.T, damping, r)
        return _solved(jacobian.T @ jacobian, damping, here.slope)

    return _search(look, step, start, iterations, tolerance, gamma)


@dataclass
class _Here:
    """A point, its loss and gradient, and what its step is made of: the Hessian, or Jacobian and residuals."""

    x: Tensor
    loss: float
    slope: Tensor
    curvature: Tensor | None = None
    residuals: Tensor | None = None

    @property
    def steepness(self) -> float:
        return float(self.slope.norm())

    def finite(self) -> bool:
        return abs(self.loss) < float("inf") and bool(torch.isfinite(self.slope).all())


def _search(look: Callable[[Tensor], _Here], step: Callable[[_Here, float], Tensor], start: Tensor, iterations: int,
            tolerance: float, gamma: float) -> Descent:  # fmt: skip
    """The loop of both: try, compare, adapt gamma."""
    at_least(iterations, 1, "iterations")
    first = trust = positive(gamma, "gamma")
    began, losses, reason = time.perf_counter(), [], "iterations"
    here = look(start.detach().reshape(-1))
    if not here.finite():
        raise TrainingError("the loss of a descent is not finite at its start", got=here.loss,
                            expected="a finite loss and gradient", do="check the starting point")  # fmt: skip
    tried = 0
    while here.steepness > tolerance and tried < iterations:
        tried += 1
        damping = here.steepness / trust
        there = look(here.x - step(here, damping))
        if there.finite() and _better(here, there, damping):
            here, trust = there, 2 * trust
        else:
            trust /= 2
        losses.append(here.loss)
        if trust < _SMALLEST * first:
            reason = "line search"
            break
    reason = "converged" if here.steepness <= tolerance else reason
    return Descent(here.x.reshape(start.shape), here.loss, len(losses), tried + 1, time.perf_counter() - began, reason,
                   losses)  # fmt: skip


def _better(here: _Here, there: _Here, damping: float) -> bool:
    """Whether the step gained enough; where the gain drowns in rounding, whether the gradient became smaller."""
    gain, rounding = here.loss - there.loss, ROUNDINGS * torch.finfo(here.x.dtype).eps * abs(here.loss)
    if abs(gain) <= rounding:
        return there.steepness < here.steepness
    return gain >= there.steepness**2 / (8 * damping)


def _solved(matrix: Tensor, damping: float, right: Tensor) -> Tensor:
    """(matrix + damping I)^{-1} right; NaN where that is singular, so that the trial is not taken."""
    found, info = torch.linalg.solve_ex(matrix + damping * torch.eye(len(matrix)).to(matrix), right)
    return found if int(info) == 0 else torch.full_like(right, float("nan"))
