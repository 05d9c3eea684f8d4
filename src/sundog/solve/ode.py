"""The one solver of ordinary differential equations dy/dt = f(t, y); knows no probability.

Fixed steps for speed (Euler, midpoint, Heun, classical Runge-Kutta), the pair of Dormand and Prince with step
control for accuracy. Every method is a Butcher tableau; the loop below knows nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import OptionError, TrainingError

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
    TrainingError : the adaptive step shrank to nothing (a field that is not smooth or not finite).

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
    while (t1 - t) * span > 1e-12 * span * span:
        dt = min(dt, t1 - t) if span > 0 else max(dt, t1 - t)
        k = _stages(f, t, y, dt, tableau, first)
        new = _combine(y, dt, tableau.b, k)
        error = _combine(torch.zeros_like(y), dt, tableau.error, k)
        scale = atol + rtol * torch.maximum(y.abs(), new.abs())
        size = float((error / scale).pow(2).mean().sqrt())
        if size <= 1.0:
            t, y, first = t + dt, new, k[-1]  # first same as last: the 7th stage is f(t + dt, new)
        # Standard controller, Hairer et al. eq. II.4.13, safety 0.9, factor kept in [0.2, 5].
        dt *= min(5.0, max(0.2, 0.9 * size**-0.2)) if size > 0 else 5.0
        if not abs(dt) > 1e-9 * abs(span):
            raise TrainingError("the ODE step shrank to nothing", got=f"step {dt:.1e} at t = {t:.4f}",
                                expected="a smooth, finite velocity field", do="check that training converged")
    return y


def divergence_exact(v: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """v(x) and its divergence sum_i dv_i/dx_i, by one forward-mode derivative per dimension.

    x: (n, d). Returns (n, d) and (n,). Cost: d + 1 evaluations; right for d up to about ten.

    Example
    -------
    >>> value, div = divergence_exact(lambda x: 2 * x, torch.ones(3, 4))
    >>> div.tolist()
    [8.0, 8.0, 8.0]
    """
    n, d = x.shape
    basis = torch.eye(d, dtype=x.dtype, device=x.device)
    value = v(x)

    def column(e: Tensor) -> Tensor:
        return torch.func.jvp(v, (x,), (e.expand(n, d),))[1] @ e

    return value, torch.func.vmap(column)(basis).sum(0)


def divergence_hutchinson(v: Callable[[Tensor], Tensor], x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
    """v(x) and the unbiased estimate e^T (dv/dx) e of its divergence for a fixed probe e of random signs.

    x, probe: (n, ...). Returns (n, ...) and (n,).

    Source: Hutchinson 1990; Grathwohl et al. 2019, eq. 8.
    """
    value, slope = torch.func.jvp(v, (x,), (probe,))[:2]
    return value, (slope * probe).flatten(1).sum(1)
