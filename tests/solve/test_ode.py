"""The solver against equations with known solutions."""

import math

import pytest
import torch

from sundog.errors import OptionError, TrainingError
from sundog.solve.ode import METHODS, divergence_along, divergence_exact, integrate, integrate_beside, signs


def pendulum(t, y):
    """Rotation with a time-dependent rate: y(t) = (cos a, sin a), a = t + t^2 / 2."""
    return torch.stack([-y[:, 1], y[:, 0]], 1) * (1 + t)


def error(method, steps):
    y = integrate(pendulum, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 0, 2, method=method, steps=steps)
    return float((y - torch.tensor([[math.cos(4.0), math.sin(4.0)]])).norm())


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "rk4"])
def test_fixed_steps_converge_with_their_order(method):
    measured = math.log2(error(method, 40) / error(method, 80))
    assert abs(measured - METHODS[method].order) < 0.25


def test_negative_control_euler_is_not_second_order():
    assert math.log2(error("euler", 40) / error("euler", 80)) < 1.5


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_adaptive_error_follows_the_tolerance(tolerance):
    y = integrate(pendulum, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 0, 2, method="dopri5",
                  rtol=tolerance, atol=tolerance)
    assert abs(float(y[0, 0]) - math.cos(4.0)) < 20 * tolerance


def test_backwards_undoes_forwards():
    start = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = integrate(pendulum, start, 0, 1, method="dopri5", rtol=1e-10, atol=1e-10)
    back = integrate(pendulum, there, 1, 0, method="dopri5", rtol=1e-10, atol=1e-10)
    assert torch.allclose(back, start, atol=1e-8)


def test_exact_divergence_equals_the_jacobian_trace():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    _, div = divergence_exact(net, x)
    trace = torch.stack([torch.autograd.functional.jacobian(net, row).trace() for row in x])
    assert torch.allclose(div, trace, atol=1e-12)


def test_random_signs_find_the_divergence_on_average():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    x = torch.zeros(3, 6, dtype=torch.float64)
    found = divergence_along(lambda x: x @ matrix.T, x, signs(4000, x))[1]
    assert found.shape == (3, 4000)
    assert torch.equal(found[0], found[2])
    assert abs(found[0].mean() - matrix.trace()) < 4 * found[0].std() / math.sqrt(4000)
    assert abs(found[0].mean() - 2 * matrix.trace()) > 8 * found[0].std() / math.sqrt(4000)


def test_what_is_carried_along_is_integrated_beside_the_path():
    y = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    end, carried = integrate_beside(lambda t, y: (-y, torch.cat([y, y**2], 1)), y, 2, 0.0, 1.0, method="rk4", steps=50)
    one = torch.tensor(1.0, dtype=torch.float64)
    assert torch.allclose(end, y * torch.exp(-one))
    assert torch.allclose(carried, torch.cat([y * (1 - torch.exp(-one)), y**2 * (1 - torch.exp(-2 * one)) / 2], 1))


def test_wrong_options_are_named():
    with pytest.raises(OptionError, match="unknown ODE method: got magic"):
        integrate(pendulum, torch.zeros(1, 2), method="magic")
    with pytest.raises(OptionError, match="too few ODE steps"):
        integrate(pendulum, torch.zeros(1, 2), steps=0)


def test_a_field_with_a_pole_stops_with_an_error():
    with pytest.raises(TrainingError, match="shrank to nothing"):
        integrate(lambda t, y: 1 / (0.5 - t) * torch.ones_like(y), torch.zeros(1, 1), method="dopri5")


@pytest.mark.parametrize("bad_after", [-1.0, 0.3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_field_that_is_not_finite_stops_with_an_error(bad, bad_after):
    calls = []

    def field(t, y):
        calls.append(t)
        return torch.full_like(y, bad if t > bad_after else 1.0)

    with pytest.raises(TrainingError, match="velocity field is not finite"):
        integrate(field, torch.zeros(2, 1), method="dopri5")
    assert len(calls) < 500


def test_a_step_into_infinity_is_taken_back():
    """Infinite where the first trial step lands, finite all along the true path."""
    def field(t, y):
        return torch.where(y > 0.9, torch.full_like(y, math.inf), 10 * (0.5 - y))

    y = integrate(field, torch.zeros(1, 1, dtype=torch.float64), 0, 4, method="dopri5")
    assert abs(float(y) - 0.5) < 1e-4
