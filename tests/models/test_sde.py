"""The neural SDE of fractional noise: laws in closed form, each with what must fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import sundog
from sundog.errors import OptionError
from sundog.models.base import RowNoise
from sundog.models.sde import FractionalSDE
from sundog.models.sde.family import PACE
from sundog.simulate.processes import fractional_ornstein_uhlenbeck, markov_weights


def linear(t: int, hurst: float, *, pull: float = 0.1, size: float = 1.0, blur: float = 0.1, first: float = 1.0,
           **options: object) -> FractionalSDE:
    """dX = -pull X dt + size dB^H from X_0 ~ N(0, first^2)."""
    model = FractionalSDE((1, t), hurst=hurst, **options).double()
    with torch.no_grad():
        model.pull.fill_(math.log(math.expm1(pull)))
        model.size.fill_(math.log(size))
        model.faintest.zero_()
        model.blur.fill_(math.log(blur) / PACE)
        model.first_size.fill_(math.log(first))
    return model


def noise(model: FractionalSDE, n: int, seed: int = 0) -> Tensor:
    shape = (n, model.steps + 1, model.channels, model.options.terms + 1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_covariance(hurst: float, steps: int) -> np.ndarray:
    """Cov of the increments of fractional Brownian motion over unit steps."""
    k = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps))).astype(float)
    return 0.5 * ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + np.abs(k - 1) ** (2 * hurst))


def path_covariance(hurst: float, steps: int, pull: float, size: float, first: float) -> np.ndarray:
    """Cov of X_0 ... X_steps by the Euler scheme, exact fractional noise."""
    response = np.tril((1 - pull) ** np.subtract.outer(np.arange(steps + 1), np.arange(steps + 1)).clip(0))
    inside = response[:, 1:] @ step_covariance(hurst, steps) @ response[:, 1:].T
    return size**2 * inside + first**2 * np.outer(response[:, 0], response[:, 0])


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.8])
def test_covariance_of_the_paths_by_monte_carlo(hurst: float) -> None:
    model = linear(33, hurst, terms=8)
    with torch.no_grad():
        path, _ = model._solved(noise(model, 2000), None)
    found, law = np.cov(path[:, 0].numpy().T), path_covariance(hurst, 32, 0.1, 1.0, 1.0)
    scatter = np.sqrt((np.outer(law.diagonal(), law.diagonal()) + law**2) / 2000)
    assert np.abs((found - law) / scatter).max() < 5.5  # 1,000 entries, and the error of the approximation
    other = path_covariance(hurst - 0.15, 32, 0.1, 1.0, 1.0)
    assert np.abs((found - other) / scatter).max() > 5.5


def test_the_bound_is_the_likelihood_where_all_is_linear() -> None:
    model = linear(40, 0.3)
    x = model.sample(5, None, torch.Generator().manual_seed(1)).detach()[:, None, 0]
    with torch.no_grad():
        one, two = (model.elbo(x, noise(model, 5, seed)) for seed in (0, 1))
    assert torch.allclose(one, two, atol=1e-8)  # whatever is drawn: the control is exact
    loose = model.elbo(x, noise(model, 5), control=False)
    assert bool((loose < one).all())


def test_white_noise_gives_the_ordinary_bound() -> None:
    model, t = linear(40, 0.5, terms=10, blur=0.3), 40
    x = model.sample(50, None, torch.Generator().manual_seed(1)).detach()[:, None, 0]
    covariance = path_covariance(0.5, t - 1, 0.1, 1.0, 1.0) + 0.3**2 * np.eye(t)
    law = torch.distributions.MultivariateNormal(torch.zeros(t).double(), torch.from_numpy(covariance))
    with torch.no_grad():
        found, exact = model.elbo(x, noise(model, 50)).mean(), law.log_prob(x[:, 0]).mean()
        other = linear(40, 0.65, terms=10, blur=0.3).elbo(x, noise(model, 50)).mean()
    assert abs(found - exact) < 0.05 < exact - other


def test_no_control_costs_nothing() -> None:
    model = linear(40, 0.7)
    with torch.no_grad():
        _, ratio = model._solved(noise(model, 4), None)
        _, steered = model._solved(noise(model, 4), model._controls(torch.ones(4, 1, 40).double()))
    assert torch.equal(ratio, torch.zeros(4).double())
    assert bool((steered != 0).all())


@pytest.mark.parametrize("hurst", [0.3, 0.7])
def test_bridge_has_the_variance_of_the_gaussian_process(hurst: float) -> None:
    steps, pull = 40, 0.05
    model = linear(steps + 1, hurst, pull=pull, blur=1e-3, first=1e-3, terms=8)
    x = torch.full((1500, 1, steps + 1), torch.nan, dtype=torch.float64)
    x[..., 0], x[..., -1] = 0.0, 2.0
    path = model.conditioned(x, RowNoise(0, 1500, dtype=torch.float64))[:, 0].numpy()
    law = path_covariance(hurst, steps, pull, 1.0, 1e-3)
    exact = (law - np.outer(law[:, -1], law[-1]) / law[-1, -1]).diagonal()
    mean = 2.0 * law[:, -1] / law[-1, -1]
    inside = slice(4, -4)
    assert np.abs(path.var(0)[inside] / exact[inside] - 1).max() < 0.1 + 4 * (2 / 1500) ** 0.5
    assert abs((path.var(0)[inside] / exact[inside]).mean() - 1) < 0.1
    assert np.abs(path.mean(0) - mean).max() < 0.1 * 2 + 4 * (exact.max() / 1500) ** 0.5
    assert np.abs(path[:, -1] - 2).max() < 0.01


def test_gradients_through_the_solver() -> None:
    model = FractionalSDE((1, 32), hidden=(4,), terms=3).double()
    x = torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(2)
    model.prepare(x, None)
    with torch.no_grad():
        for p in model.net.parameters():
            p.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    e, controls = noise(model, 3), model._controls(x)

    def bound() -> Tensor:
        path, ratio = model._solved(e, controls)
        return (ratio - 0.5 * ((x - path) / model.blurring[:, None]).square().sum((1, 2))).sum()

    for name, p in model.named_parameters():
        found = torch.autograd.grad(bound(), p, allow_unused=True)[0]
        assert found is not None, name
        flat, step = p.data.view(-1), 1e-6
        with torch.no_grad():
            flat[0] += step
            up = bound()
            flat[0] -= 2 * step
            down = bound()
            flat[0] += step
        assert abs(float(found.view(-1)[0] - (up - down) / (2 * step))) <= 1e-4 * (1 + abs(float(found.view(-1)[0])))


def test_weights_of_the_noise_are_those_of_the_approximation() -> None:
    model = FractionalSDE((1, 100), terms=5).double()
    exact = markov_weights(0.63, 5, horizon=99.0, kind="I", fastest=20.0, slowest=0.01 / 99)
    assert torch.allclose(model.driver.weights(torch.tensor(0.63).double()), exact.weights, rtol=1e-5)


def test_fit_sample_and_refusals() -> None:
    x = fractional_ornstein_uhlenbeck(30, 39, 0.3, rate=0.1, seed=0)
    data = sundog.Dataset.from_arrays(torch.stack([x, 5 + 2 * x.flip(0)], 2), time_step=0.5, time_unit="d")
    run = sundog.fit("sde", data, steps=2)
    fakes = run.sample(4, seed=1)
    assert tuple(fakes.values.shape) == (4, 40, 2)
    assert abs(float(fakes.values[..., 1].mean()) - 5) < 4
    with pytest.raises(OptionError, match="too short"):
        sundog.fit("sde", sundog.Dataset.from_arrays(x[:, :20], time_step=1.0))
    with pytest.raises(OptionError, match="draws series"):
        sundog.fit("sde", x)


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.3, 0.7])
def test_hurst_exponent_is_learned_from_64_paths(hurst: float) -> None:
    x = fractional_ornstein_uhlenbeck(64, 199, hurst, rate=0.05, seed=3)
    data = sundog.Dataset.from_arrays(x, time_step=1.0, held_out_fraction=0.0)
    model = sundog.fit("sde", data, steps=60, noise="constant").model
    assert abs(float(model.hurst.detach()) - hurst) < 0.05  # type: ignore[operator, union-attr]
    pull = torch.nn.functional.softplus(model.pull.detach())  # type: ignore[operator, union-attr, arg-type]
    assert abs(float(pull) - 0.05) < 0.02
