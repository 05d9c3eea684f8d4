"""The samplers against the Gaussian, where the posterior mean and the answer are known in closed form."""

import math

import pytest
import torch

from sundog.errors import OptionError
from sundog.solve.samplers import dpm_solver_2m, euler, heun, noise_levels

VARIANCES = torch.tensor([1e-3, 1e-2, 0.1, 1.0, 10.0], dtype=torch.float64)


def gaussian(variance):
    """Posterior mean of x ~ N(0, variance) given x + sigma e."""
    return lambda x, sigma: x * variance / (variance + sigma**2)


def std_error(sampler, levels, variance=VARIANCES):
    """Relative error of the generated standard deviation: the flow is linear, so one number carries it."""
    end = sampler(gaussian(variance), float(levels[0]) * torch.ones_like(variance), levels)
    return end.abs() / variance.sqrt() - 1


def published(n):
    return noise_levels(n, sigma_min=0.002, sigma_max=80.0)


def test_levels_descend_between_their_ends_without_the_zero():
    levels = noise_levels(10, sigma_min=0.002, sigma_max=80.0)
    assert levels.shape == (10,)
    assert (levels[0], levels[-1]) == (80.0, 0.002)
    assert (levels.diff() < 0).all()
    middle = (0.5 * (80 ** (1 / 7) + 0.002 ** (1 / 7))) ** 7
    assert math.isclose(noise_levels(3, sigma_min=0.002, sigma_max=80.0)[1], middle, rel_tol=1e-12)
    assert noise_levels(1, sigma_min=0.1, sigma_max=2.0).shape == (1,)


@pytest.mark.parametrize("bad", [{"n": 0}, {"sigma_min": 0.0}, {"sigma_min": 90.0}, {"rho": -1.0},
                                 {"sigma_max": math.inf}])
def test_impossible_levels_are_named(bad):
    with pytest.raises(OptionError, match="impossible noise levels"):
        noise_levels(**{"n": 5, "sigma_min": 0.002, "sigma_max": 80.0, **bad})


@pytest.mark.parametrize("levels", [[], [1.0, 2.0], [1.0, 0.0], [1.0, 1.0]])
@pytest.mark.parametrize("sampler", [heun, euler, dpm_solver_2m])
def test_levels_must_descend_to_above_zero(sampler, levels):
    with pytest.raises(OptionError, match="must descend"):
        sampler(gaussian(1.0), torch.ones(1), levels)


def order(sampler):
    sizes = (40, 80, 160)
    # The last step to zero is of first order, but its share of the error falls with sigma_min: keep it out.
    errors = [float(std_error(sampler, noise_levels(n, sigma_min=1e-4, sigma_max=80.0), torch.ones(1).double()).abs())
              for n in sizes]
    return [math.log2(a / b) for a, b in zip(errors, errors[1:])]


def test_heun_is_of_order_two():
    assert all(2.0 <= slope <= 2.4 for slope in order(heun))


def test_euler_is_of_order_one():  # the negative control of the test above
    assert all(0.8 <= slope <= 1.2 for slope in order(euler))


def test_the_default_sampler_is_within_three_percent_at_35_evaluations():
    error = std_error(dpm_solver_2m, published(35))
    assert (error.abs() <= 0.03).all()
    assert (error[2:].abs() <= 0.02).all()


def test_heun_as_published_is_not():
    """18 levels are 35 evaluations: the samples of a perfect denoiser vary too much, by 3 to 13 percent."""
    error = std_error(heun, published(18))
    assert (error > 0.029).all()
    assert (error < 0.14).all()


@pytest.mark.parametrize(("sampler", "expected"), [(heun, 35), (euler, 18), (dpm_solver_2m, 18)])
def test_the_number_of_evaluations(sampler, expected):
    calls = []
    sampler(lambda x, s: calls.append(float(s)) or x / (1 + s**2), torch.ones(1), published(18))
    assert len(calls) == expected
    assert min(calls) == 0.002


@pytest.mark.parametrize("sampler", [heun, euler, dpm_solver_2m])
def test_the_last_step_lands_on_the_posterior_mean(sampler):
    x = sampler(lambda x, s: torch.full_like(x, 3.0), torch.zeros(2, 3), [5.0, 1.0])
    assert torch.equal(x, torch.full((2, 3), 3.0))


@pytest.mark.parametrize("sampler", [heun, euler, dpm_solver_2m])
def test_states_keep_their_type_and_shape(sampler):
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(4, 2, 3, dtype=dtype)
        end = sampler(gaussian(1.0), x, published(5))
        assert (end.dtype, end.shape) == (dtype, x.shape)


def churned(churn, churn_noise=1.0, n=80, rows=40_000):
    g = torch.Generator().manual_seed(1)
    levels = noise_levels(n, sigma_min=0.01, sigma_max=20.0)
    x = heun(gaussian(1.0), 20 * torch.randn(rows, generator=g), levels, g, churn=churn, churn_noise=churn_noise)
    return float(x.var())


def test_churn_really_adds_the_noise():
    """The variance stays 1 (4 sigma of 40,000 rows: 2.8 %); raising the level without the noise would lose it."""
    tolerance = 4 * math.sqrt(2 / 40_000) + 0.01  # plus the solver's own error at 80 levels
    assert abs(churned(20.0) - 1) < tolerance
    assert abs(churned(20.0, churn_noise=0.0) - 1) > 4 * tolerance


def test_churn_follows_the_generator_and_asks_for_it():
    levels, x = published(8), torch.ones(3)
    runs = [euler(gaussian(1.0), x, levels, torch.Generator().manual_seed(s), churn=5.0) for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    with pytest.raises(OptionError, match="churn draws noise"):
        heun(gaussian(1.0), x, levels, churn=5.0)
