"""Processes: covariances in closed form, by Monte Carlo at 4 to 5 sigma; Markov sums against quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from sundog.errors import OptionError
from sundog.simulate.processes import (
    fractional_brownian_motion,
    fractional_gaussian_noise,
    fractional_ornstein_uhlenbeck,
    fractional_ou_covariance,
    markov_weights,
    multifractal_random_walk,
    ornstein_uhlenbeck,
)
from sundog.statistics.series import structure_functions

N = 20_000
EXPONENTS = [0.1, 0.3, 0.5, 0.7, 0.95]


def worst_pull(paths: Tensor, covariance: Tensor) -> float:
    """Largest deviation of the sample covariance in sigma; Var(xy) = C_xx C_yy + C_xy^2 for Gaussian pairs."""
    found = paths.T @ paths / len(paths)
    d = covariance.diagonal()
    return float(((found - covariance) / ((d[:, None] * d + covariance**2) / len(paths)).sqrt()).abs().max())


def fbm_covariance(t: Tensor, hurst: float) -> Tensor:
    s = t[:, None]
    return 0.5 * (s ** (2 * hurst) + t ** (2 * hurst) - (s - t).abs() ** (2 * hurst))


@pytest.mark.parametrize("hurst", EXPONENTS)
def test_fractional_brownian_motion_has_its_covariance(hurst):
    steps = 13
    t = 3.0 * torch.arange(1, steps + 1, dtype=torch.float64) / steps
    paths = fractional_brownian_motion(N, steps, hurst, horizon=3.0, seed=0)
    assert paths.shape == (N, steps + 1)
    assert (paths[:, 0] == 0).all()
    assert worst_pull(paths[:, 1:], fbm_covariance(t, hurst)) < 5
    assert worst_pull(paths[:, 1:], fbm_covariance(t, hurst + 0.04)) > 5  # negative control


def test_noise_is_the_increment_and_white_at_one_half():
    noise = fractional_gaussian_noise(N, 10, 0.5, seed=1)
    assert worst_pull(noise, torch.eye(10, dtype=torch.float64)) < 5
    paths = fractional_brownian_motion(50, 10, 0.8, horizon=10.0, seed=1)
    assert torch.allclose(paths.diff(), fractional_gaussian_noise(50, 10, 0.8, seed=1), atol=1e-12)


def test_seeds_and_paths_are_independent_and_repeatable():
    a, b, c = (fractional_gaussian_noise(400, 500, 0.7, seed=s) for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert abs(float((a * c).mean())) < 4 * math.sqrt(2 / 400 / 500) * 2  # 2: long memory of the product
    assert abs(float((a[:-1] * a[1:]).mean())) < 4 * math.sqrt(2 / 400 / 500) * 2
    with pytest.raises(AssertionError):  # negative control: the same paths are not independent
        assert abs(float((a * b).mean())) < 0.1


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_paths(steps):
    noise = fractional_gaussian_noise(N, steps, 0.9, seed=2)
    lag = torch.arange(steps, dtype=torch.float64)
    lag = lag[:, None] - lag
    known = 0.5 * ((lag + 1).abs() ** 1.8 - 2 * lag.abs() ** 1.8 + (lag - 1).abs() ** 1.8)
    assert worst_pull(noise, known) < 5


@pytest.mark.parametrize("start", [None, 2.0])
def test_ornstein_uhlenbeck_is_exact_at_any_step(start):
    rate, scale, dt = 0.8, 1.5, 1.7
    x = ornstein_uhlenbeck(N, 6, rate=rate, scale=scale, dt=dt, start=start, seed=3)
    t = dt * torch.arange(7, dtype=torch.float64)
    lag, total = (t[:, None] - t).abs(), t[:, None] + t
    known = scale**2 / (2 * rate) * (torch.exp(-rate * lag) - (0 if start is None else torch.exp(-rate * total)))
    mean = 0 if start is None else start * torch.exp(-rate * t)
    centred = (x - mean)[:, 0 if start is None else 1 :]
    known = known[-centred.shape[1] :, -centred.shape[1] :]
    assert worst_pull(centred, known) < 5
    assert worst_pull(centred, 1.1 * known) > 5


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("rate", [2.0, 0.01])  # the second has no positive embedding at H = 0.8
def test_fractional_ou_has_its_covariance(hurst, rate):
    x = fractional_ornstein_uhlenbeck(N, 9, hurst, rate=rate, scale=0.7, dt=0.3, seed=4)
    t = 0.3 * np.arange(10)
    known = torch.from_numpy(fractional_ou_covariance(t[:, None] - t, hurst, rate=rate, scale=0.7))
    assert worst_pull(x, known) < 5


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("lag", [0.0, 0.3, 10.0, 24.99, 25.01, 60.0])
def test_fractional_ou_covariance_is_the_spectral_integral(hurst, lag):
    """r(t) = s^2 Gamma(2H+1) sin(pi H) / pi int_0^inf cos(t w) w^{1-2H} / (a^2 + w^2) dw."""
    a, power = 2.0, 1 - 2 * hurst
    norm = math.gamma(2 * hurst + 1) * math.sin(math.pi * hurst) / math.pi
    if lag == 0:
        known = math.gamma(2 * hurst) * hurst * a ** (-2 * hurst)
    else:
        head = quad(lambda w: math.cos(lag * w) / (a * a + w * w), 0, 1, weight="alg", wvar=(power, 0), limit=400)[0]
        tail = quad(lambda w: w**power / (a * a + w * w), 1, math.inf, weight="cos", wvar=lag, limlst=400)[0]
        known = norm * (head + tail)
    found = float(fractional_ou_covariance(lag, hurst, rate=a))
    assert found == pytest.approx(known, rel=1e-5, abs=1e-8)


# Relative mean-square errors of type II on (0, 10), rates up to 20.
KNOWN_ERRORS = {(0.5, 3): 5.5e-3, (0.5, 5): 1.8e-4, (0.5, 10): 6.9e-10, (0.7, 3): 2.1e-2, (0.7, 5): 5.5e-4,
                (0.7, 10): 4.4e-6, (0.9, 3): 5.2e-2, (0.9, 5): 1.3e-3, (0.9, 10): 7.5e-7, (0.1, 10): 0.14}  # fmt: skip


@pytest.mark.parametrize(("hurst", "terms"), KNOWN_ERRORS)
def test_markov_errors_are_those_of_the_derivation(hurst, terms):
    found = markov_weights(hurst, terms).error
    assert found == pytest.approx(KNOWN_ERRORS[hurst, terms], rel=0.02)


def test_small_hurst_exponents_need_fast_rates():
    assert markov_weights(0.1, 10, fastest=2e5).error == pytest.approx(0.025, rel=0.02)


@pytest.mark.parametrize("kind", ["I", "II"])
@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8])
def test_markov_error_is_the_quadrature_of_the_kernel_difference(hurst, kind):
    """int_0^T E (B - sum)^2 dt with E as the integral over the past of the squared difference of the two kernels."""
    horizon = 4.0
    law = markov_weights(hurst, 4, horizon=horizon, kind=kind, fastest=8.0)
    a = hurst + 0.5
    standard = math.sqrt(math.gamma(2 * hurst + 1) * math.sin(math.pi * hurst))
    norm = (1 if kind == "II" else standard) / math.gamma(a)
    weights, rates = law.weights.numpy(), law.rates.numpy()

    def after(u: np.ndarray) -> np.ndarray:
        return (norm * u ** (a - 1) - np.exp(-np.multiply.outer(u, rates)) @ weights) ** 2

    def before(t: float, v: np.ndarray) -> np.ndarray:
        e = np.exp(-np.multiply.outer(v, rates))
        return (norm * ((t + v) ** (a - 1) - v ** (a - 1)) - (e * np.expm1(-rates * t)) @ weights) ** 2

    # u = y^p flattens the singularity at 0; int_0^T dt int_0^t f(u) du = int_0^T (T - u) f(u) du.
    y, w = np.polynomial.legendre.leggauss(400)
    y, w = (y + 1) / 2, w / 2
    u, du = horizon * y**6, horizon * 6 * y**5
    squared = float((w * du * (horizon - u) * after(u)).sum())
    if kind == "I":
        v = np.exp(40 * y - 25)  # from 1e-11 to 3e6
        past = [float((w * 40 * v * before(t, v)).sum()) for t in horizon * y]
        squared += float((w * horizon * np.array(past)).sum())
    total = norm**2 * horizon ** (2 * hurst + 1) / (2 * hurst * (2 * hurst + 1))
    if kind == "I":
        total = horizon ** (2 * hurst + 1) / (2 * hurst + 1)
    assert law.error == pytest.approx(squared / total, rel=2e-3)


@pytest.mark.parametrize("kind", ["I", "II"])
def test_paths_of_the_markov_sum_have_its_covariance(kind):
    """Law of the sum itself, exact at a step 20 times too long for Euler."""
    law = markov_weights(0.3, 4, horizon=4.0, kind=kind, fastest=100.0)
    steps = 8
    paths = law.sample(N, steps, seed=5)
    t = 4.0 * torch.arange(1, steps + 1, dtype=torch.float64) / steps
    g, sums = law.rates, law.rates[:, None] + law.rates

    def moment(s: Tensor, t: Tensor) -> Tensor:
        """E (Y_k(s) - Y_k(0)) (Y_l(t) - Y_l(0))."""
        early = torch.minimum(s, t)
        decay = torch.exp(-g[:, None] * (s - early) - g * (t - early))
        grown = decay * -torch.expm1(-sums * early) / sums
        return grown + (torch.expm1(-g * s)[:, None] * torch.expm1(-g * t) / sums if kind == "I" else 0)

    known = torch.stack([torch.stack([law.weights @ moment(s, u) @ law.weights for u in t]) for s in t])
    assert worst_pull(paths[:, 1:], known) < 5
    assert worst_pull(paths[:, 1:], 1.1 * known) > 5


def test_only_kind_one_has_stationary_increments():
    one, two = (markov_weights(0.8, 8, kind=k, fastest=20.0, slowest=1e-4).sample(N, 10, seed=6) for k in ("I", "II"))
    first, last = one.diff()[:, 0].var(), one.diff()[:, -1].var()
    assert abs(float(first / last - 1)) < 4 * 2 / math.sqrt(N)
    assert abs(float(two.diff()[:, 0].var() / two.diff()[:, -1].var() - 1)) > 0.1


def test_kind_one_needs_slow_rates():
    default, slow = markov_weights(0.7, 8, kind="I"), markov_weights(0.7, 8, kind="I", slowest=1e-5)
    assert default.error > 0.2
    assert slow.error < 0.02


@pytest.mark.parametrize("hurst", [0, 1, -0.2, math.nan, "0.5"])
def test_a_hurst_exponent_outside_its_range_is_refused(hurst):
    for draw in (lambda: fractional_brownian_motion(2, 8, hurst, seed=0), lambda: markov_weights(hurst)):
        with pytest.raises(OptionError, match="hurst"):
            draw()


def test_other_bad_arguments_are_refused():
    with pytest.raises(OptionError, match="rate"):
        ornstein_uhlenbeck(2, 8, rate=0, seed=0)
    with pytest.raises(OptionError, match="kind"):
        markov_weights(0.7, kind="III")
    with pytest.raises(OptionError, match="scale out of range: got 0"):
        multifractal_random_walk(2, 8, 0.02, scale=0, seed=0)
    with pytest.raises(OptionError, match="steps"):
        fractional_brownian_motion(2, 0, 0.7, seed=0)
    with pytest.raises(OptionError, match="4096 points"):
        fractional_ornstein_uhlenbeck(1, 5000, 0.9, rate=1e-7, seed=0)


def test_whole_numbers_may_come_as_floats():
    for draw in (fractional_gaussian_noise, fractional_brownian_motion):
        assert torch.equal(draw(2.0, 8.0, 0.7, seed=0), draw(2, 8, 0.7, seed=0))
    assert torch.equal(multifractal_random_walk(2.0, 8.0, 0.02, seed=0), multifractal_random_walk(2, 8, 0.02, seed=0))
    for rate in (2.0, 1e-7):  # by embedding, by Cholesky factor
        one, two = (fractional_ornstein_uhlenbeck(n, 8.0, 0.9, rate=rate, seed=0) for n in (2, 2.0))
        assert torch.equal(one, two)
    assert torch.equal(markov_weights(0.7, 3.0).sample(2.0, 8.0, seed=0), markov_weights(0.7, 3).sample(2, 8, seed=0))


def test_multifractal_walk_has_the_moments_of_its_law() -> None:
    square, lags = 0.05, [1, 4, 16, 64]
    s = structure_functions(multifractal_random_walk(4000, 256, square, seed=0), lags, orders=(2, 4)).value
    mean, error = s.mean(0), s.std(0) / len(s) ** 0.5
    apart = [torch.arange(r).double()[:, None] - torch.arange(r) for r in lags]
    fourth = torch.stack([3 * (256 / (d.abs() + 1)).pow(4 * square).sum() for d in apart])
    assert bool(((mean[:, 0] - torch.tensor(lags)).abs() < 4 * error[:, 0]).all())
    assert bool(((mean[:, 1] - fourth).abs() < 4 * error[:, 1]).all())
    assert bool((mean[:, 1] > 1.2 * 3 * torch.tensor(lags) ** 2).all())  # Brownian motion has 3 r^2
    assert torch.equal(multifractal_random_walk(3, 8, 0.0, seed=0)[:, 0], torch.zeros(3).double())
    with pytest.raises(OptionError, match="intermittency"):
        multifractal_random_walk(3, 8, 0.3, seed=0)
