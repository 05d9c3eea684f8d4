"""The one solver of ordinary differential equations dy/dt = f(t, y); knows no probability.

Fixed steps for speed (Euler, midpoint, Heun, classical Runge-Kutta), the pair of Dormand and Prince with step
control for accuracy. Every method is a Butcher tableau; the loop below knows nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundog.errors import OptionError, TrainingError
from sundog.random import stream

Field = Callable[[float, Tensor], Tensor]


@dataclass(frozen=True)
class Tableau:
    """Runge-Kutta coefficients: nodes c, matrix rows a, weights b, and b minus the embedded weights."""

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()


METHODS = {
    "euler": Tableau(1, (0.0,), ((),), (1.0,)),
    "midpoint": Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Tableau(2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "rk4": Tableau(4, (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    # Dormand & Prince 1980, table 2 (the 5th-order solution is propagated).
    "dopri5": Tableau(
        5,
        (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
        (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    ),
}


def integrate(
    f: Field,
    y: Tensor,
    t0: float = 0.0,
    t1: float = 1.0,
    *,
    method: str = "midpoint",
    steps: int = 25,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """y at t1 of dy/dt = f(t, y), y(t0) = y; t1 may be smaller than t0.

    Parameters
    ----------
    y : (n, ...) state; one system per row, all advanced with the same step
    method : ``euler``, ``midpoint``, ``heun``, ``rk4`` take ``steps`` equal steps; ``dopri5`` chooses its
        steps so that the rms local error over all numbers stays below atol + rtol |y|
    steps : number of equal steps (fixed-step methods)

    Raises
    ------
    OptionError : unknown method, or no step at all.
    TrainingError : ``dopri5`` met a field that is not finite, or its step shrank to nothing (a field not smooth).

    Source: Hairer, Norsett & Wanner 1993, "Solving Ordinary Differential Equations I", sec. II.1 and II.4.

    Example
    -------
    >>> y = integrate(lambda t, y: -y, torch.ones(1, 1), method="dopri5")
    >>> round(float(y), 4)
    0.3679
    """
    if method not in METHODS:
        raise OptionError("unknown ODE method", got=method, expected=" | ".join(METHODS), do="choose one of these")
    if steps < 1:
        raise OptionError("too few ODE steps", got=steps, expected="at least 1", do="pass e.g. steps=25")
    tableau = METHODS[method]
    if tableau.error:
        return _adaptive(f, y, t0, t1, tableau, rtol, atol)
    dt = (t1 - t0) / steps
    for i in range(steps):
        k = _stages(f, t0 + i * dt, y, dt, tableau)
        y = _combine(y, dt, tableau.b, k)
    return y


def _stages(f: Field, t: float, y: Tensor, dt: float, tableau: Tableau, first: Tensor | None = None) -> list[Tensor]:
    k = [f(t, y) if first is None else first]
    for c, a in zip(tableau.c[1:], tableau.a[1:]):
        k.append(f(t + c * dt, _combine(y, dt, a, k)))
    return k


def _combine(y: Tensor, dt: float, weights: tuple[float, ...], k: list[Tensor]) -> Tensor:
    for w, stage in zip(weights, k):
        if w != 0.0:
            y = torch.add(y, stage, alpha=w * dt)
    return y


def _adaptive(f: Field, y: Tensor, t0: float, t1: float, tableau: Tableau, rtol: float, atol: float) -> Tensor:
    t, span = t0, t1 - t0
    dt = span / 20
    first = f(t, y)
    if not bool(torch.isfinite(first).all()):
        raise _not_finite(t)
    while (t1 - t) * span > 1e-12 * span * span:
        dt = min(dt, t1 - t) if span > 0 else max(dt, t1 - t)
        k = _stages(f, t, y, dt, tableau, first)
        new = _combine(y, dt, tableau.b, k)
        error = _combine(torch.zeros_like(y), dt, tableau.error, k)
        scale = atol + rtol * torch.maximum(y.abs(), new.abs())
        size = float((error / scale).pow(2).mean().sqrt().nan_to_num(nan=math.inf))  # NaN: a step too far
        if size <= 1.0:
            t, y, first = t + dt, new, k[-1]  # first same as last: the 7th stage is f(t + dt, new)
        # Standard controller, Hairer et al. eq. II.4.13, safety 0.9, factor kept in [0.2, 5].
        dt *= min(5.0, max(0.2, 0.9 * size**-0.2)) if size > 0 else 5.0
        if not abs(dt) > 1e-9 * abs(span):
            if math.isinf(size):
                raise _not_finite(t)
            raise TrainingError("the ODE step shrank to nothing", got=f"step {dt:.1e} at t = {t:.4f}",
                                expected="a smooth, finite velocity field", do="check that training converged")
    return y


def _not_finite(t: float) -> TrainingError:
    return TrainingError("the velocity field is not finite", got=f"NaN or Inf at t = {t:.4f}",
                         expected="finite velocities", do="check the input and that training converged")


def integrate_beside(
    f: Callable[[float, Tensor], tuple[Tensor, Tensor]], y: Tensor, count: int, t0: float, t1: float, **how: Any
) -> tuple[Tensor, Tensor]:
    """y at t1 of dy/dt = v(t, y), and the integrals of k(t, y) along its path, where f(t, y) = (v, k).

    y, v: (n, ...); k: (n, count). ``how``: as in `integrate`. Returns (n, ...) and (n, count).
    """
    size, grid = y[0].numel(), y.shape[1:]

    def whole(t: float, state: Tensor) -> Tensor:
        v, k = f(t, state[:, :size].reshape(-1, *grid))
        return torch.cat([v.flatten(1), k], 1)

    end = integrate(whole, torch.cat([y.flatten(1), y.new_zeros(len(y), count)], 1), t0, t1, **how)
    return end[:, :size].reshape(y.shape), end[:, size:]


def divergence_along(v: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """v(x) and e^T (dv/dx) e of each row for each probe e; all rows share the probes.

    x: (n, ...), probes: (m, ...). Returns (n, ...) and (n, m). For unit vectors e the sum over all of them is the
    divergence; for random signs e the expectation is. Cost: m + 1 evaluations.

    Source: Hutchinson 1990; Grathwohl et al. 2019, eq. 8.
    """

    def along(e: Tensor) -> Tensor:
        return (torch.func.jvp(v, (x,), (e.expand_as(x),))[1] * e).flatten(1).sum(1)

    return v(x), torch.func.vmap(along)(probes).T


def divergence_exact(v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """v(x) and its divergence sum_i dv_i/dx_i, by one forward-mode derivative per number in a row.

    x: (n, ...). Returns (n, ...) and (n,).

    Example
    -------
    >>> value, div = divergence_exact(lambda x: 2 * x, torch.ones(3, 4))
    >>> div.tolist()
    [8.0, 8.0, 8.0]
    """
    basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])
    value, along = divergence_along(v, x, basis)
    return value, along.sum(1)


def signs(count: int, like: Tensor) -> Tensor:
    """Probes of random signs (count, ...) for rows like these (n, ...), the same at every call."""
    drawn = torch.randint(0, 2, (count, *like.shape[1:]), generator=stream(0, "probes"))
    return (2 * drawn - 1).to(like)
