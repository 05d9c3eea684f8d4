"""Descend many maps at once: a limited-memory BFGS with one line search per row, everything on one device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sundog.errors import TrainingError
from sundog.solve.descend import Descent, Progress, check_budget, ending

Losses = Callable[[Tensor, Tensor], Tensor]
ARMIJO, WOLFE = 1e-4, 0.9
TRIALS = 20  # evaluations of one line search


def descend_rows(
    losses: Losses,
    start: Tensor,
    *,
    iterations: int = 150,
    seconds: float | None = None,
    target: float = -math.inf,
    memory: int = 20,
    progress: Progress | None = None,
) -> list[Descent]:
    """Return the lowest point found by L-BFGS for each row of ``start`` (n, ...), all rows descending together.

    Row i follows x <- x - a_i H_i g_i with its own history, and its own step a_i that obeys the weak Wolfe conditions

        f(x + a d) <= f(x) + 1e-4 a d.g      and      d.g(x + a d) >= 0.9 d.g,

    found by bisection with quadratic and secant steps. A row that stopped is evaluated no more.

    Parameters
    ----------
    losses : (x, rows) -> (k,) with a gradient, for the k rows x (k, ...) whose places in ``start`` are rows (k,);
        the loss of a row must depend on that row alone.
    start : (n, ...), float32 or float64, any device; the whole descent keeps its type and place.
    iterations, seconds, target, memory, progress : as in `descend`; seconds is the budget of all rows together, and
        progress is told the mean loss.

    Errors: TrainingError where a loss or gradient at the start is not finite; OptionError for an empty budget.
    Source: Liu & Nocedal 1989, Math. Prog. 45, 503; line search of Lewis & Overton 2013, Math. Prog. 141, 135.

    Example
    -------
    >>> goal = torch.tensor([1.0, 5.0])
    >>> found = descend_rows(lambda x, rows: (x - goal[rows, None]).square().sum(1), torch.zeros(2, 4))
    >>> [round(float(d.x.mean()), 3) for d in found]
    [1.0, 5.0]
    """
    check_budget(iterations, seconds)
    rows = _Rows(losses, start, memory)
    began = time.perf_counter()
    for step in range(iterations):
        rows.step(seconds if seconds is None else began + seconds)
        rows.stop((rows.f <= target) & rows.active, "target")
        if progress is not None:
            progress(step + 1, float(rows.f.mean()))
        if seconds is not None and time.perf_counter() - began > seconds:
            rows.stop(rows.active, "seconds")
        if not bool(rows.active.any()):
            break
    rows.stop(rows.active, "iterations")
    return rows.descents(time.perf_counter() - began)


class _Rows:
    """Points, gradients and histories of all rows, flat (n, D)."""

    def __init__(self, losses: Losses, start: Tensor, memory: int) -> None:
        self.losses, self.shape, self.memory = losses, start.shape, memory
        self.x = start.detach().flatten(1).clone()
        n = len(self.x)
        self.active = torch.ones(n, dtype=torch.bool, device=start.device)
        self.evaluations = torch.zeros(n, dtype=torch.long)
        self.iterations = torch.zeros(n, dtype=torch.long)
        self.reasons = [""] * n
        self.history: list[Tensor] = []
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # steps s, changes of the gradient y, 1 / (s.y) or 0
        self.scale = torch.ones(n, 1, dtype=start.dtype, device=start.device)
        self.f, self.g = self._evaluate(self.x, torch.arange(n, device=start.device))
        if not bool(torch.isfinite(self.f).all() & torch.isfinite(self.g).all()):
            raise TrainingError(
                "the loss of a descent is not finite at its start",
                got=self.f.tolist(),
                expected="a finite loss and gradient",
                do="check the starting map",
            )

    def _evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        self.evaluations[rows.cpu()] += 1
        leaf = x.detach().reshape(-1, *self.shape[1:]).requires_grad_()
        with torch.enable_grad():
            value = self.losses(leaf, rows)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient.flatten(1)

    def step(self, deadline: float | None) -> None:
        d = -self._inverse_hessian(self.g)
        slope = _dot(d, self.g)
        uphill = slope >= 0  # rounding has spoilt the history of that row
        d, slope = torch.where(uphill, -self.g, d), torch.where(uphill, -_dot(self.g, self.g), slope)
        first = not self.pairs
        a = 1.0 / self.g.abs().sum(1, keepdim=True).clamp_min(1e-30) if first else torch.ones_like(slope)
        x, f, g, moved = self._search(d, slope, a, deadline)
        self._remember(x - self.x, g - self.g, moved)
        self.x, self.f, self.g = x, f, g
        self.iterations[moved.cpu()] += 1
        if deadline is None or time.perf_counter() <= deadline:  # else the search was cut short
            self._stop_stuck(self.active & ~moved, -0.5 * slope[:, 0])
        self.history.append(f.double().cpu())

    def _search(
        self, d: Tensor, slope: Tensor, a: Tensor, deadline: float | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points, losses and gradients after the line search, and which rows moved."""
        x, f, g = self.x.clone(), self.f.clone(), self.g.clone()
        low, high = torch.zeros_like(a), torch.full_like(a, math.inf)
        f_low, slope_low = self.f[:, None].clone(), slope.clone()
        todo = self.active.clone()
        for _ in range(TRIALS):
            rows = todo.nonzero()[:, 0]
            if not len(rows) or (deadline is not None and time.perf_counter() > deadline):
                break
            at, step = self.x[rows] + a[rows] * d[rows], a[rows]
            value, gradient = self._evaluate(at, rows)
            rise = _dot(d[rows], gradient)
            finite = (torch.isfinite(value) & torch.isfinite(gradient).all(1))[:, None]
            value = torch.where(finite[:, 0], value, math.inf)
            enough = value[:, None] <= self.f[rows, None] + ARMIJO * step * slope[rows]
            flat = rise >= WOLFE * slope[rows]
            better = (value < f[rows]) & enough[:, 0]  # the lowest point met is kept, whatever the search says
            kept = rows[better]
            x[kept], f[kept], g[kept] = at[better], value[better], gradient[better]
            too_far, too_near = ~enough | ~finite, enough & ~flat & finite
            guess = _lower_guess(low[rows], f_low[rows], slope_low[rows], step, value[:, None], finite)
            further = _upper_guess(low[rows], slope_low[rows], step, rise, high[rows])
            high[rows] = torch.where(too_far, step, high[rows])
            low[rows] = torch.where(too_near, step, low[rows])
            f_low[rows] = torch.where(too_near, value[:, None], f_low[rows])
            slope_low[rows] = torch.where(too_near, rise, slope_low[rows])
            a[rows] = torch.where(too_far, guess, torch.where(too_near, further, step))
            todo[rows] = (too_far | too_near)[:, 0]
        return x, f, g, f < self.f

    def _remember(self, s: Tensor, y: Tensor, moved: Tensor) -> None:
        curvature = _dot(s, y)
        sound = (curvature > 1e-10 * _dot(y, y)) & moved[:, None]
        rho = torch.where(sound, 1 / torch.where(sound, curvature, 1.0), 0.0)
        self.scale = torch.where(sound, curvature / torch.where(sound, _dot(y, y), 1.0), self.scale)
        self.pairs = [*self.pairs, (s, y, rho)][-self.memory :]

    def _inverse_hessian(self, g: Tensor) -> Tensor:
        """H g by the two-loop recursion; pairs with rho = 0 do nothing."""
        q, shares = g.clone(), []
        for s, y, rho in reversed(self.pairs):
            share = rho * _dot(s, q)
            q.addcmul_(share, y, value=-1.0)
            shares.append(share)
        q *= self.scale
        for (s, y, rho), share in zip(self.pairs, reversed(shares)):
            q.addcmul_(share - rho * _dot(y, q), s)
        return q

    def _stop_stuck(self, rows: Tensor, promised: Tensor) -> None:
        reasons = [ending(p, f, self.f.dtype) for p, f in zip(promised.tolist(), self.f.tolist())]
        for reason in set(reasons):
            self.stop(rows & torch.tensor([r == reason for r in reasons], device=rows.device), reason)

    def stop(self, rows: Tensor, reason: str) -> None:
        for i in rows.nonzero()[:, 0].tolist():
            self.reasons[i] = reason
        self.active = self.active & ~rows

    def descents(self, seconds: float) -> list[Descent]:
        points = self.x.reshape(self.shape)
        return [
            Descent(
                points[i], float(self.f[i]), int(self.iterations[i]), int(self.evaluations[i]), seconds,
                self.reasons[i], [float(f[i]) for f in self.history],
            )
            for i in range(len(points))
        ]  # fmt: skip


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("nd,nd->n", a, b)[:, None]


def _lower_guess(low: Tensor, f: Tensor, slope: Tensor, step: Tensor, value: Tensor, finite: Tensor) -> Tensor:
    """Lowest point of the parabola through f and slope at ``low`` and value at ``step``, kept inside the bracket."""
    width = step - low
    bend = value - f - slope * width
    parabola = torch.where(finite & (bend > 0), -slope * width**2 / (2 * bend), 0.5 * width)
    return low + torch.minimum(torch.maximum(parabola, 0.1 * width), 0.6 * width)


def _upper_guess(low: Tensor, slope: Tensor, step: Tensor, rise: Tensor, high: Tensor) -> Tensor:
    """Where the slope would vanish: within (step, high) when there is an upper end, else 1.5 to 10 times as far."""
    width = step - low
    secant = torch.where(rise > slope, -rise * width / (rise - slope), 9 * step)
    ahead = torch.minimum(torch.maximum(secant, 0.5 * step), 9 * step)
    inside = torch.minimum(torch.maximum(secant, 0.1 * (high - step)), 0.6 * (high - step))
    return step + torch.where(torch.isinf(high), ahead, inside)
