"""Descend a smooth loss over the pixels of a map with L-BFGS; knows no probability and no statistics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sundog.errors import OptionError, TrainingError

Loss = Callable[[Tensor], Tensor]
Progress = Callable[[int, float], None]
ROUNDINGS = 100  # of the loss, a sum over pixels: a smaller gain cannot be told from none


@dataclass(frozen=True)
class Descent:
    """Where a descent ended, and how it went.

    Attributes
    ----------
    x : the point with the lowest loss
    loss : its loss
    iterations, evaluations, seconds : what it cost; seconds are wall time
    reason : what ended it: "target"; "iterations" or "seconds", a budget used up; "converged", where the last step
        gained nothing, or the next one promised no more than the rounding of the loss; "line search", where no step
        along the last direction lowered the loss though its slope promised so: the gradient is wrong or not finite
        there, the loss is not smooth, or rounding hides what is left
    losses : the loss after each iteration
    """

    x: Tensor
    loss: float
    iterations: int
    evaluations: int
    seconds: float
    reason: str
    losses: list[float] = field(repr=False)


def ending(promised: float, loss: float, dtype: torch.dtype) -> str:
    """Why a line search found nothing lower: "converged", or "line search" where it should have found something.

    promised: half the slope along a whole quasi-Newton step, what a parabola would gain; loss: where it starts.
    """
    return "converged" if promised <= ROUNDINGS * torch.finfo(dtype).eps * abs(loss) else "line search"


def check_budget(iterations: int, seconds: float | None) -> None:
    """Refuse a budget in which nothing can be done."""
    if iterations < 1 or (seconds is not None and seconds <= 0):
        raise OptionError(
            "the budget of a descent is empty",
            got=f"iterations={iterations}, seconds={seconds}",
            expected="iterations >= 1 and seconds > 0",
            do="pass a larger budget",
        )


class _Stop(Exception):
    """Raised inside the line search when the budget is used up."""


def descend(
    loss: Loss,
    start: Tensor,
    *,
    iterations: int = 150,
    seconds: float | None = None,
    target: float = -math.inf,
    memory: int = 20,
    progress: Progress | None = None,
) -> Descent:
    """Return the lowest point found by L-BFGS with a line search from ``start``.

    x_{t+1} = x_t - a_t H_t grad f(x_t), where H_t is built from the last ``memory`` steps and a_t obeys the Wolfe
    conditions. Directions are held in float64, the loss is evaluated in the precision of ``start``.

    Parameters
    ----------
    loss : from a tensor shaped like ``start`` to a scalar tensor with a gradient.
    start : any shape, float32 or float64, any device.
    iterations : largest number of steps; each costs about 1.1 evaluations.
    seconds : wall-time budget, checked at every evaluation.
    target : stop as soon as the loss is at or below this value.
    progress : called with (iteration, loss) after each step.

    Errors: TrainingError where the loss or its gradient at the start is not finite; OptionError for an empty budget.
    Source: Liu & Nocedal 1989, Math. Prog. 45, 503; the bounded code of Zhu et al. 1997 as shipped in SciPy.

    Example
    -------
    >>> result = descend(lambda x: ((x - 3) ** 2).sum(), torch.zeros(5, 5))
    >>> bool((result.x - 3).abs().max() < 1e-4), result.reason
    (True, 'converged')
    """
    check_budget(iterations, seconds)
    watch = _Watch(loss, start, seconds, target, progress)
    try:
        found = minimize(
            watch.value_and_gradient,
            start.detach().double().cpu().numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=watch.step,
            options={
                "maxiter": iterations,
                "maxfun": 100 * iterations,  # never reached: a step costs at most two line searches
                "maxcor": memory,
                "maxls": 20,
                "ftol": 1e-12,
                "gtol": 0.0,
            },
        )
        reason = "iterations" if found.status == 1 else watch.ending()
    except _Stop as stop:
        reason = str(stop)
    return watch.descent(reason)


class _Watch:
    """Evaluates the loss for the solver, keeps the best point, and enforces the budget."""

    def __init__(
        self, loss: Loss, start: Tensor, seconds: float | None, target: float, progress: Progress | None
    ) -> None:
        self.loss, self.start, self.seconds, self.target, self.progress = loss, start, seconds, target, progress
        self.began = time.perf_counter()
        self.evaluations = 0
        self.best, self.best_loss = start.detach(), float("inf")
        self.losses: list[float] = []  # of the start and of each step
        self.here: tuple[np.ndarray, np.ndarray] | None = None  # point and gradient that a new line search starts from
        self.slope = np.empty(0)
        self.promised = 0.0  # half the slope along the first trial of the last line search

    def value_and_gradient(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        if self.seconds is not None and self.evaluations and time.perf_counter() - self.began > self.seconds:
            raise _Stop("seconds")
        x = torch.from_numpy(flat).to(self.start).reshape(self.start.shape).requires_grad_()
        value = self.loss(x)
        (gradient,) = torch.autograd.grad(value, x)
        self.evaluations += 1
        if self.here is not None:
            self.promised, self.here = -0.5 * float(self.here[1] @ (flat - self.here[0])), None
        number, slope = float(value.detach()), gradient.double().cpu().numpy().ravel()
        if not (np.isfinite(number) and np.isfinite(slope).all()):
            if self.evaluations > 1:  # a trial step too far; the line search comes back
                return 1e3 * abs(self.best_loss) + 1e3, np.zeros_like(slope)
            raise TrainingError(
                "the loss of a descent is not finite at its start",
                got=number,
                expected="a finite loss and gradient",
                do="check the starting map",
            )
        if number < self.best_loss:
            self.best, self.best_loss = x.detach(), number
        if self.evaluations == 1:
            self.here = flat.copy(), slope
            self.losses.append(number)
        self.slope = slope
        return number, slope

    def step(self, point: np.ndarray) -> None:
        self.here = point.copy(), self.slope
        if self.best_loss < self.losses[-1]:
            self.promised = 0.0  # this one was kept
        self.losses.append(self.best_loss)
        if self.progress is not None:
            self.progress(len(self.losses) - 1, self.best_loss)
        if self.best_loss <= self.target:
            raise _Stop("target")

    def ending(self) -> str:
        return ending(self.promised, self.best_loss, self.start.dtype)

    def descent(self, reason: str) -> Descent:
        spent = time.perf_counter() - self.began
        after = self.losses[1:]
        return Descent(self.best, self.best_loss, len(after), self.evaluations, spent, reason, after)
