"""Series: laws in closed form for fractional Brownian motion and OU, coverage of the Hurst interval."""

import math

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.simulate.processes import fractional_brownian_motion, fractional_gaussian_noise, ornstein_uhlenbeck
from sundog.statistics.series import (
    autocorrelation,
    flatness,
    hurst_exponent,
    power_spectrum,
    structure_functions,
)

DRAWS = 200


def estimates(hurst: float, points: int, change=lambda x: x, **options) -> np.ndarray:
    paths = fractional_brownian_motion(DRAWS, points - 1, hurst, seed=11)
    return np.array([hurst_exponent(change(path), **options) for path in paths])


@pytest.mark.parametrize("hurst", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_interval_covers_and_is_not_idle(hurst):
    found = estimates(hurst, 256)
    inside = (found[:, 1] <= hurst) & (hurst <= found[:, 2])
    assert inside.mean() > 0.95 - 4 * math.sqrt(0.95 * 0.05 / DRAWS)
    assert abs(found[:, 0].mean() - hurst) < 4 * found[:, 0].std() / math.sqrt(DRAWS)
    wrong = (found[:, 1] <= hurst + 0.15) & (hurst + 0.15 <= found[:, 2])
    assert wrong.mean() < 0.6  # negative control: another exponent is often excluded


def test_a_narrower_level_covers_less():
    found = estimates(0.6, 256, level=0.68)
    inside = (found[:, 1] <= 0.6) & (found[:, 2] >= 0.6)
    assert abs(inside.mean() - 0.68) < 4 * math.sqrt(0.68 * 0.32 / DRAWS)


def test_units_and_a_linear_trend_change_nothing():
    path = fractional_brownian_motion(1, 500, 0.4, seed=1)[0]
    plain = hurst_exponent(path)
    trended = hurst_exponent(1000 * path + 5 + 30 * torch.arange(501, dtype=torch.float64))
    assert trended == pytest.approx(plain, abs=1e-8)


def test_paths_of_one_law_are_pooled():
    paths = fractional_brownian_motion(64, 200, 0.3, seed=2)
    value, low, high = hurst_exponent(paths)
    one = hurst_exponent(paths[0])
    assert low < 0.3 < high
    assert (high - low) == pytest.approx((one.high - one.low) / 8, rel=0.15)
    assert abs(value - 0.3) < 4 * (high - low) / 3.92


def test_measurement_noise_misleads_small_lags_and_larger_lags_see_past_it():
    path = fractional_brownian_motion(1, 20_000, 0.8, horizon=20_000.0, seed=3)[0]
    noisy = path + 0.5 * torch.randn(20_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert hurst_exponent(noisy).high < 0.8
    lags = [32, 64, 128]
    value, low, high = hurst_exponent(noisy, lags=lags)
    assert low < 0.8 < high
    assert abs(value - 0.8) < 0.1


@pytest.mark.parametrize("hurst", [0.3, 0.7])
def test_structure_functions_and_flatness_of_fractional_brownian_motion(hurst):
    """Gaussian increments: S_2 = r^{2H}, S_4 = 3 S_2^2, S_1 = sqrt(2/pi) r^H."""
    steps = 200
    paths = fractional_brownian_motion(4000, steps, hurst, horizon=float(steps), seed=4)
    lags = [1, 4, 16]
    found = structure_functions(paths, lags, orders=[0.5, 1, 2])
    r = torch.tensor(lags, dtype=torch.float64)
    known = torch.stack([2**0.25 * math.gamma(0.75) / math.sqrt(math.pi) * r ** (hurst / 2),
                         math.sqrt(2 / math.pi) * r**hurst, r ** (2 * hurst)], -1)  # fmt: skip
    error = found.value.std(0) / math.sqrt(4000)
    assert float(((found.value.mean(0) - known) / error).abs().max()) < 4.5
    assert float(((found.value.mean(0) - 1.1 * known) / error).abs().min()) > 4.5
    pooled = structure_functions(paths, lags, orders=[2, 4]).value.mean(0)
    assert float((pooled[:, 1] / pooled[:, 0] ** 2 - 3).abs().max()) < 0.1


def test_flatness_sees_rare_large_steps():
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    intermittent = torch.where(torch.arange(100_000) % 20 == 0, 5 * noise, 0.2 * noise).cumsum(0)
    assert float(flatness(intermittent, [1])) > 10
    assert abs(float(flatness(noise.cumsum(0), [1])) - 3) < 4 * math.sqrt(24 / 100_000)


def test_autocorrelation_of_an_ornstein_uhlenbeck_process():
    x = ornstein_uhlenbeck(400, 4000, rate=0.3, seed=5)
    rho = autocorrelation(x, 8)
    known = torch.exp(-0.3 * torch.arange(9, dtype=torch.float64))
    error = rho.std(0) / 20
    assert float((rho.mean(0) - known)[1:].abs().max()) < 4 * float(error[1:].max()) + 2 / 4000 / 0.15  # mean removed
    assert float((rho.mean(0) - torch.exp(-0.35 * torch.arange(9)))[1:].abs().max()) > 0.02


def test_autocorrelation_is_the_plain_sum():
    x = torch.randn(3, 17, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    c = x - x.mean(1, keepdim=True)
    plain = torch.stack([(c[:, : 17 - k] * c[:, k:]).sum(1) for k in range(17)], 1)
    assert torch.allclose(autocorrelation(x, 16), plain / plain[:, :1], atol=1e-12)


@pytest.mark.parametrize("points", [64, 65])
@pytest.mark.parametrize("periodic", [True, False])
def test_the_spectrum_of_white_noise_is_its_variance(points, periodic):
    x = 2 * torch.randn(4000, points, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = power_spectrum(x, periodic=periodic)
    assert torch.allclose(found.k * points, torch.arange(1, points // 2 + 1, dtype=torch.float64))
    pull = (found.power.mean(0) - 4) / (found.power.std(0) / math.sqrt(4000))
    assert float(pull[0 if periodic else 1 :].abs().max()) < 4.5  # lowest mode: its mean was removed


def test_the_spectrum_of_fractional_noise_falls_as_it_should():
    """P ~ k^{1 - 2H} at small k."""
    x = fractional_gaussian_noise(400, 4096, 0.8, seed=6)
    found = power_spectrum(x, bins=12)
    use = (found.k > 5 / 4096) & (found.k < 0.05)
    slope = np.polyfit(found.k[use].log(), found.power.mean(0)[use].log(), 1)[0]
    assert slope == pytest.approx(1 - 2 * 0.8, abs=0.03)


def test_bad_input_is_refused_by_name():
    path = torch.randn(100).cumsum(0)
    gap = path.clone()
    gap[5] = math.nan
    for measure in (hurst_exponent, lambda x: structure_functions(x, [1]), lambda x: autocorrelation(x, 3),
                    power_spectrum):  # fmt: skip
        with pytest.raises(DataError, match="series hold NaN"):
            measure(gap)
    for measure in (hurst_exponent, lambda x: flatness(x, [1]), lambda x: autocorrelation(x, 3)):
        with pytest.raises(DataError, match=r"constant|without variation"):
            measure(torch.full((100,), 0.1))
    with pytest.raises(DataError, match="without variation"):
        hurst_exponent(0.1 * torch.arange(100, dtype=torch.float64))
    with pytest.raises(SampleSizeError, match="too short"):
        hurst_exponent(path[:31])
    with pytest.raises(OptionError, match="lags"):
        hurst_exponent(path, lags=[1, 60])
    with pytest.raises(OptionError, match="lags"):
        structure_functions(path, [100])
    for measure in (hurst_exponent, structure_functions):
        with pytest.raises(OptionError, match="lag"):
            measure(path, lags=[1, 2.5])
    assert torch.equal(structure_functions(path, torch.tensor([1, 2])).value, structure_functions(path, [1, 2]).value)
