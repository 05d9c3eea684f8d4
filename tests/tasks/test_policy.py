"""Values of paths: closed forms of an Ornstein-Uhlenbeck process and of Brownian motion, and the wrong objective."""

import math

import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.simulate.processes import ornstein_uhlenbeck
from sundog.tasks.policy import lstd, martingale_loss

RHO, RATE = 0.5, 0.5
TRUTH = torch.tensor([1 / (RHO * (RHO + 2 * RATE)), 1 / (RHO + 2 * RATE)], dtype=torch.float64)  # of 1 and x^2
DT = 0.02


def features(x):
    return torch.stack([torch.ones_like(x), x**2], -1)


@pytest.fixture(scope="module")
def paths():
    return ornstein_uhlenbeck(400, 2000, rate=RATE, dt=DT, seed=0)


@pytest.mark.parametrize("trace", [0.0, 0.5, 0.95])
def test_orthogonality_finds_the_value_and_the_mean_square_td_error_does_not(paths, trace):
    theta = lstd(features(paths), paths**2, discount=RHO, dt=DT, trace=trace)
    assert float((theta - TRUTH)[1].abs()) < 0.03
    assert float((theta - TRUTH)[0].abs()) < 0.06
    phi = features(paths)
    change = (phi[:, 1:] - (1 + RHO * DT) * phi[:, :-1]).flatten(0, 1)
    wrong = torch.linalg.lstsq(change, -(DT * paths[:, :-1] ** 2).reshape(-1, 1)).solution[:, 0]
    assert float(wrong[1].abs()) < 0.1  # collapses to a constant
    assert float(wrong[0]) == pytest.approx(2.0, abs=0.15)  # E x^2 / rho


def test_the_published_numbers():
    """0.667 by orthogonality against 0.007 by the mean-square TD error, at dt = 0.01."""
    dt = 0.01
    x = ornstein_uhlenbeck(400, 4000, rate=RATE, dt=dt, seed=0)
    assert float(lstd(features(x), x**2, discount=RHO, dt=dt)[1]) == pytest.approx(0.667, abs=0.03)
    phi = features(x)
    change = (phi[:, 1:] - (1 + RHO * dt) * phi[:, :-1]).flatten(0, 1)
    wrong = torch.linalg.lstsq(change, -(dt * x[:, :-1] ** 2).reshape(-1, 1)).solution[1, 0]
    assert float(wrong) == pytest.approx(0.007, abs=0.003)


def test_the_martingale_loss_is_least_at_the_truth(paths):
    def loss(theta):
        return martingale_loss(features(paths) @ theta, paths**2, discount=RHO, dt=DT)

    best = float(loss(TRUTH))
    for change in ([0.4, 0], [-0.4, 0], [0, 0.2], [0, -0.2], [0.6, -0.6]):
        assert float(loss(TRUTH + torch.tensor(change, dtype=torch.float64))) > best


def test_the_gradient_of_the_martingale_loss_vanishes_at_the_truth(paths):
    """Path by path the gradient scatters; its mean is 0 within 4 errors at the truth and not beside it."""

    def pull(theta):
        theta = theta.clone().requires_grad_()
        rows = torch.stack([torch.autograd.grad(
            martingale_loss(features(x) @ theta, x**2, discount=RHO, dt=DT), theta)[0]
            for x in paths[:, None, :].unbind(0)])  # fmt: skip
        return float((rows.mean(0) / rows.std(0) * math.sqrt(len(rows))).abs().max())

    assert pull(TRUTH) < 4
    assert pull(TRUTH + torch.tensor([0.5, 0.2], dtype=torch.float64)) > 4


def test_brownian_motion_with_a_linear_reward():
    """dX = dW, r = x: J = x / rho."""
    dt = 0.02
    noise = torch.randn(2000, 1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = math.sqrt(dt) * noise.cumsum(1)
    theta = lstd(torch.stack([torch.ones_like(x), x], -1), x, discount=1.0, dt=dt)
    assert float(theta[1]) == pytest.approx(1.0, abs=0.03)
    assert abs(float(theta[0])) < 0.1


def test_a_sure_path_is_exact():
    """Without noise, r = 1 for ever: J = 1 / rho up to the Riemann sum, by both ways."""
    dt = 0.01
    one = torch.ones(2, 2001, dtype=torch.float64)
    assert float(lstd(one[..., None], one, discount=RHO, dt=dt)) == pytest.approx(2.0, rel=1e-12)
    right = float(martingale_loss(2 * one, one, discount=RHO, dt=dt))
    assert right < 1e-3
    assert float(martingale_loss(1.8 * one, one, discount=RHO, dt=dt)) > 10 * right


def test_bad_input_is_refused_by_name(paths):
    phi, r = features(paths[:5]), paths[:5] ** 2
    with pytest.raises(OptionError, match="discount"):
        lstd(phi, r, discount=0, dt=DT)
    with pytest.raises(OptionError, match="trace"):
        lstd(phi, r, discount=RHO, dt=DT, trace=1.0)
    with pytest.raises(ShapeError, match="rewards"):
        lstd(phi, r[:, :7], discount=RHO, dt=DT)
    with pytest.raises(ShapeError, match="paths"):
        lstd(paths[:5], r, discount=RHO, dt=DT)
    with pytest.raises(DataError, match="depend"):
        lstd(torch.cat([phi, phi], -1), r, discount=RHO, dt=DT)
    with pytest.raises(DataError, match="NaN"):
        martingale_loss(torch.full_like(r, math.nan), r, discount=RHO, dt=DT)


def test_a_rule_that_stops_is_worth_the_discounted_payoff():
    """1 where Brownian motion leaves (-1, 1): J = cosh(k x) / cosh(k b), k = (2 rho)^(1/2); seen at steps of dt alone,
    the barrier stands at b = 1 + 0.5826 dt^(1/2) (Chernoff 1965; Siegmund 1979)."""
    dt, k, n = 0.01, math.sqrt(2 * RHO), 3000
    g = torch.Generator().manual_seed(0)
    start = 1.9 * torch.rand(n, 1, generator=g, dtype=torch.float64) - 0.95
    steps = dt**0.5 * torch.randn(n, 1000, generator=g, dtype=torch.float64)
    x = torch.cat([start, start + steps.cumsum(1)], 1)
    left = (x.abs() >= 1).int().cummax(1).values.bool()
    phi = torch.stack([torch.cosh(k * x), torch.ones_like(x)], -1) * ~left[..., None]
    payoff = (left[:, 1:] & ~left[:, :-1]).double() / dt
    theta = lstd(phi, payoff, discount=RHO, dt=dt)
    truth = 1 / math.cosh(k * (1 + 0.5826 * dt**0.5))
    assert float(theta @ torch.tensor([1.0, 1.0], dtype=theta.dtype)) == pytest.approx(truth, abs=0.015)  # J(0)
    assert float(lstd(phi, 1.5 * payoff, discount=RHO, dt=dt).sum()) > truth + 0.1  # another payoff, another worth
