"""Gradient-normalised Newton: the laws of the method, and the problems of its source."""

import math

import pytest
import torch

from sundog.errors import OptionError, TrainingError
from sundog.solve.descend import descend
from sundog.solve.newton import gradient_normalised_least_squares, gradient_normalised_newton

DOUBLE = torch.float64


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def log_sum_exp(mu, d=50, m=150):
    """mu log sum exp((a_i x - b_i) / mu), its minimum at 0."""
    g = torch.Generator().manual_seed(0)
    a = 2 * torch.rand(m, d, generator=g, dtype=DOUBLE) - 1
    b = 2 * torch.rand(m, generator=g, dtype=DOUBLE) - 1
    a = a - torch.softmax(-b / mu, 0) @ a  # the gradient at 0 vanishes
    return lambda x: mu * torch.logsumexp((a @ x - b) / mu, 0)


def steepness(f, x):
    x = x.detach().requires_grad_()
    return float(torch.autograd.grad(f(x), x)[0].norm())


@pytest.mark.parametrize("mu", [1.0, 0.1, 0.05])
def test_log_sum_exp_in_150_iterations_where_gradient_descent_fails(mu):
    f = log_sum_exp(mu)
    start = torch.ones(50, dtype=DOUBLE)
    found = gradient_normalised_newton(f, start, iterations=150)  # 125 to 137 at mu = 0.05, by draw
    assert found.reason == "converged"
    assert float(found.x.norm()) < 1e-6
    x = start
    for _ in range(300):
        x = x - mu / 4 * torch.func.grad(f)(x)  # the step of gradient descent: about 1 / L
    assert steepness(f, x) > 1e-6


def test_rosenbrock_to_rounding():
    found = gradient_normalised_newton(rosenbrock, torch.tensor([-1.2, 1.0], dtype=DOUBLE))
    assert found.loss < 1e-12
    assert float((found.x - 1).abs().max()) < 1e-9
    assert all(later <= earlier for earlier, later in zip(found.losses, found.losses[1:]))


def test_the_scale_of_the_loss_does_not_matter():
    start = torch.tensor([-1.2, 1.0], dtype=DOUBLE)
    one = gradient_normalised_newton(rosenbrock, start, iterations=15)
    many = gradient_normalised_newton(lambda x: 1024 * rosenbrock(x), start, iterations=15)
    assert torch.equal(one.x, many.x)


def test_a_large_gamma_is_newton():
    """A quadratic is solved in one step; with gamma = 1 it is not."""
    a = torch.diag(torch.tensor([1.0, 10.0, 1000.0], dtype=DOUBLE))

    def quadratic(x):
        return x @ a @ x / 2 - x.sum()

    solution = 1 / a.diagonal()
    free = gradient_normalised_newton(quadratic, torch.ones(3, dtype=DOUBLE), iterations=1, gamma=1e14)
    damped = gradient_normalised_newton(quadratic, torch.ones(3, dtype=DOUBLE), iterations=1)
    assert float((free.x - solution).abs().max()) < 1e-9
    assert float((damped.x - solution).abs().max()) > 0.01


def test_the_end_is_superlinear():
    """Along the losses over the minimum, the logarithm falls faster and faster."""
    f = log_sum_exp(1.0)
    best = float(f(torch.zeros(50, dtype=DOUBLE)))
    found = gradient_normalised_newton(f, torch.ones(50, dtype=DOUBLE), tolerance=1e-7)
    above = [math.log(max(loss - best, 1e-15)) for loss in found.losses]
    assert above[-3] - above[-2] > 2 * (above[1] - above[2])


def test_an_approximate_hessian_is_used():
    """The weighted Gauss-Newton matrix A^T diag(p) A / mu of LogSumExp also reaches the minimum."""
    f = log_sum_exp(1.0)
    calls = []

    def larger(x):
        calls.append(1)
        return torch.func.hessian(f)(x) + torch.eye(50, dtype=DOUBLE)

    exact = gradient_normalised_newton(f, torch.ones(50, dtype=DOUBLE))
    rough = gradient_normalised_newton(f, torch.ones(50, dtype=DOUBLE), hessian=larger, iterations=2000)
    assert calls
    assert rough.reason == "converged"
    assert rough.iterations > exact.iterations


@pytest.mark.parametrize(("m", "d"), [(5, 40), (40, 5)])
def test_least_squares_in_either_system(m, d):
    """One damped step equals the primal solution whichever system is solved; the end has residual 0 where m < d."""
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(m, d, generator=g, dtype=DOUBLE), torch.randn(m, generator=g, dtype=DOUBLE)
    one = gradient_normalised_least_squares(lambda x: a @ x - b, torch.zeros(d, dtype=DOUBLE), iterations=1)
    slope = -a.T @ b
    known = -torch.linalg.solve(a.T @ a + slope.norm() * torch.eye(d, dtype=DOUBLE), slope)
    assert torch.allclose(one.x, known, atol=1e-12)
    whole = gradient_normalised_least_squares(lambda x: a @ x - b, torch.zeros(d, dtype=DOUBLE))
    assert whole.reason == "converged"
    assert whole.loss == pytest.approx(0 if m < d else float((a @ torch.linalg.pinv(a) @ b - b).square().sum()) / 2,
                                       abs=1e-12)  # fmt: skip


def test_it_agrees_with_the_first_order_descent_and_keeps_the_shape():
    f = log_sum_exp(0.5)
    start = torch.ones(5, 10, dtype=DOUBLE)
    second = gradient_normalised_newton(lambda x: f(x.flatten()), start)
    first = descend(lambda x: f(x.flatten()), start, iterations=500)
    assert second.x.shape == start.shape
    assert second.loss <= first.loss + 1e-10


def test_bad_input_is_refused_by_name():
    with pytest.raises(TrainingError, match="not finite"):
        gradient_normalised_newton(lambda x: x.log().sum(), -torch.ones(2))
    with pytest.raises(OptionError, match="iterations"):
        gradient_normalised_newton(rosenbrock, torch.ones(2), iterations=0)
    with pytest.raises(OptionError, match="gamma"):
        gradient_normalised_newton(rosenbrock, torch.ones(2), gamma=0)
