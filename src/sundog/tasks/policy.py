"""The value of holding on: what a discounted stream of rewards along paths is worth, learnt from the paths.

J(x) = E[ int_t^inf e^{-rho (s - t)} r(X_s) ds | X_t = x ]. It is right if and only if
M_t = e^{-rho t} J(X_t) + int_0^t e^{-rho s} r(X_s) ds is a martingale; both functions here test that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.checks import number, positive
from sundog.errors import DataError, SampleSizeError, ShapeError


def lstd(features: Tensor, rewards: Tensor, *, discount: float, dt: float, trace: float = 0.0) -> Tensor:
    """Return the coefficients theta of J(x) = theta . phi(x) that make M orthogonal to the features, LSTD(lambda).

    sum_i xi_i . (phi_{i+1} theta - phi_i theta + (r_i - rho phi_i theta) dt) = 0, with test functions
    xi_i = sum_{j <= i} lambda^{i-j} phi_j: linear in theta, solved at once. Error O(dt) from the time step.

    A rule that stops, at tau with payoff g: features 0 from tau on, and as reward of the step that ends there g / dt;
    J is then E[e^{-rho (tau - t)} g(X_tau)] with what is earned before.

    Never minimise the mean-square TD error sum (J_{i+1} - J_i + (r_i - rho J_i) dt)^2 instead: as dt -> 0 it becomes
    the quadratic variation of J(X), smallest for a constant J. See docs/series.md for what that does.

    Parameters
    ----------
    features : (n, t + 1, p) phi(X_i) along n paths with step dt; include a constant.
    rewards : (n, t) or (n, t + 1) r(X_i) per unit time; the last of t + 1 is not used.
    discount : rho, per unit time.
    dt : time step.
    trace : lambda, the memory of the test functions per step; 0 is LSTD(0), with theta that of CTD(0).

    Errors: ShapeError for shapes that do not fit; DataError on NaN, or features that depend on each other;
    OptionError for a discount or step that is not positive, or lambda outside 0 to 1.
    Source: Jia & Zhou 2022, JMLR 23, 154 (arXiv 2108.06655), section 4; Bradtke & Barto 1996, Mach. Learn. 22, 33.

    Example
    -------
    >>> from sundog.simulate.processes import ornstein_uhlenbeck
    >>> x = ornstein_uhlenbeck(200, 2000, rate=0.5, dt=0.05, seed=0)
    >>> theta = lstd(torch.stack([torch.ones_like(x), x**2], -1), x**2, discount=0.5, dt=0.05)
    >>> bool((theta - torch.tensor([4 / 3, 2 / 3])).abs().max() < 0.1)
    True
    """
    phi, r, rho, step = _admitted(features, rewards, discount, dt)
    lam = number(trace, "trace", least=0, below=1)
    tests = phi[:, :-1] if lam == 0 else _traces(phi[:, :-1], lam)
    change = phi[:, 1:] - (1 + rho * step) * phi[:, :-1]
    matrix = torch.einsum("ntp,ntq->pq", tests, change)
    vector = -step * torch.einsum("ntp,nt->p", tests, r)
    if torch.linalg.matrix_rank(torch.einsum("ntp,ntq->pq", phi, phi), hermitian=True) < phi.shape[-1]:
        raise DataError("features that depend on each other", got=f"{phi.shape[-1]} columns of lower rank",
                        expected="independent columns", do="drop a feature")  # fmt: skip
    return torch.linalg.solve(matrix, vector)


def martingale_loss(values: Tensor, rewards: Tensor, *, discount: float, dt: float) -> Tensor:
    """Return 1/2 E sum_i (M_T - M_i)^2 dt, differentiable: smallest where the values follow the truth.

    M_T - M_i = e^{-rho T} J(X_T) + sum_{j >= i} e^{-rho t_j} r_j dt - e^{-rho t_i} J(X_i). M_T is held fixed: it is the
    future that J(X_i) is asked to predict, and the minimum over J is the conditional mean. Give J(X_T) the known
    terminal value, or paths so long that e^{-rho T} J(X_T) does not matter.

    Parameters
    ----------
    values : (n, t + 1) J(X_i) along n paths, the last the terminal value.
    rewards, discount, dt : as in `lstd`.

    Errors: as `lstd`.
    Source: Jia & Zhou 2022, JMLR 23, 154 (arXiv 2108.06655), section 3.

    Example
    -------
    >>> float(martingale_loss(torch.zeros(5, 11), torch.zeros(5, 10), discount=0.5, dt=0.1))
    0.0
    """
    j, r, rho, step = _admitted(values[..., None], rewards, discount, dt)
    j, steps = j[..., 0], r.shape[1]
    decay = torch.exp(-rho * step * torch.arange(steps + 1, dtype=j.dtype, device=j.device))
    ahead = (decay[:-1] * r * step).flip(1).cumsum(1).flip(1)
    future = (decay[-1] * j[:, -1:]).detach() + ahead
    return 0.5 * (future - decay[:-1] * j[:, :-1]).square().sum(1).mean() * step


def _admitted(features: Tensor, rewards: Tensor, discount: float, dt: float) -> tuple[Tensor, Tensor, float, float]:
    """The arguments, checked; rewards without the last."""
    if features.ndim != 3 or rewards.ndim != 2 or len(rewards) != len(features):
        raise ShapeError("paths of another shape", got=f"{tuple(features.shape)} and {tuple(rewards.shape)}",
                         expected="(n, t + 1, ...) and (n, t)", do="pass one row per path")  # fmt: skip
    steps = features.shape[1] - 1
    if rewards.shape[1] not in (steps, steps + 1):
        raise ShapeError("rewards do not fit the path", got=f"{rewards.shape[1]} for {steps} steps",
                         expected=f"{steps} or {steps + 1}", do="evaluate the reward at every point")  # fmt: skip
    if steps < 1:
        raise SampleSizeError("paths without a step", got=features.shape[1], expected="2 points", do="pass paths")
    if not bool(torch.isfinite(features.detach()).all() and torch.isfinite(rewards).all()):
        raise DataError("paths hold NaN or Inf", got="gaps", expected="finite values", do="cut the paths at the gap")
    return features, rewards[:, :steps], positive(discount, "discount"), positive(dt, "dt")


def _traces(phi: Tensor, lam: float) -> Tensor:
    """xi_i = lambda xi_{i-1} + phi_i."""
    rows = [phi[:, 0]]
    for i in range(1, phi.shape[1]):
        rows.append(lam * rows[-1] + phi[:, i])
    return torch.stack(rows, 1)
