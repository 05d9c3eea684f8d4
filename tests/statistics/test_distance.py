"""Distances against scipy, POT, scikit-learn and closed forms for Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics import (
    energy_distance,
    frechet_distance,
    mmd,
    mmd_permutation,
    sliced_wasserstein,
    wasserstein_1,
)
from sundog.statistics.samples.distance import covariance, median_distance


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n, m", [(50, 50), (40, 73), (1, 5), (3, 1)])
def test_wasserstein_follows_scipy(n: int, m: int) -> None:
    x, y = noise(n, 3), 0.5 + noise(m, 3, seed=1)
    x[0], y[0] = 1.0, 1.0  # ties across the samples
    expected = [scipy.stats.wasserstein_distance(a.numpy(), b.numpy()) for a, b in zip(x.T, y.T)]
    assert wasserstein_1(x, y).tolist() == pytest.approx(expected)


def test_wasserstein_of_a_shift_is_the_shift_and_has_a_gradient() -> None:
    x = noise(100, 2)
    assert torch.allclose(wasserstein_1(x, x + torch.tensor([0.3, -2.0])), torch.tensor([0.3, 2.0]).double())
    shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    wasserstein_1(x + 5 + shift, noise(60, 2, seed=2)).sum().backward()
    assert torch.allclose(shift.grad, torch.ones(2).double())


def test_sliced_wasserstein_of_a_shift() -> None:
    x = noise(400, 3)
    shift = torch.tensor([1.0, 2.0, 2.0]).double()
    # E |u . shift| = |shift| / 2 for directions in three dimensions
    value = sliced_wasserstein(x, x + shift, n_projections=3000)
    assert abs(value - 1.5) < 4 * 3 / math.sqrt(12 * 3000)
    assert sliced_wasserstein(x, 2 * x, seed=1) == sliced_wasserstein(x, 2 * x, seed=1)


@pytest.mark.slow  # importing POT takes seconds
def test_sliced_wasserstein_follows_pot() -> None:
    ot = pytest.importorskip("ot")
    x = noise(400, 3)
    y = noise(300, 3, seed=4) * 1.5
    theirs = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), n_projections=3000, p=1, seed=0)
    assert float(sliced_wasserstein(x, y, n_projections=3000)) == pytest.approx(theirs, rel=0.03)


def test_energy_distance_is_the_square_of_scipys() -> None:
    x, y = noise(60), 1.3 * noise(45, seed=1)
    expected = scipy.stats.energy_distance(x.numpy(), y.numpy()) ** 2
    assert float(energy_distance(x, y)) == pytest.approx(expected)
    assert energy_distance(noise(2500, 2), noise(2500, 2, seed=1)) < 0.01 < energy_distance(x, y + 1)


def test_mmd_follows_a_plain_double_sum() -> None:
    x, y = noise(30, 2), 0.4 + noise(20, 2, seed=1)
    k = lambda a, b: torch.exp(-torch.cdist(a, b).square() / (2 * 0.7**2))  # noqa: E731
    xx, yy, xy = k(x, x), k(y, y), k(x, y)
    expected = (xx.sum() - 30) / (30 * 29) + (yy.sum() - 20) / (20 * 19) - 2 * xy.mean()
    assert float(mmd(x, y, bandwidth=0.7)) == pytest.approx(float(expected), abs=1e-6)
    far = mmd(x + 1e4, y + 1e4, bandwidth=0.7)  # an offset costs no precision
    assert float(far) == pytest.approx(float(expected), abs=1e-6)
    assert float(mmd_permutation(x, y, n_permutations=3, bandwidth=0.7)[0]) == pytest.approx(float(expected), abs=1e-6)


def test_mmd_is_unbiased() -> None:
    values = torch.stack([mmd(noise(25, 2, seed=i), noise(20, 2, seed=1000 + i), bandwidth=1.0) for i in range(300)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
    assert (values < 0).any()


def test_permutation_p_values_are_uniform_under_the_null_and_small_otherwise() -> None:
    p = [mmd_permutation(noise(30, 2, seed=i), noise(30, 2, seed=500 + i), n_permutations=39, seed=i)[1]
         for i in range(150)]  # fmt: skip
    low = np.mean(np.array(p) <= 0.1)
    assert abs(low - 0.1) < 4 * math.sqrt(0.09 / 150)
    assert mmd_permutation(noise(60, 2), 1 + noise(60, 2, seed=1), n_permutations=99)[1] == 0.01


def test_frechet_follows_scipys_matrix_root_and_a_closed_form() -> None:
    mix = noise(4, 4, seed=9)
    x, y = noise(300, 4) @ mix, 0.5 + 1.7 * noise(200, 4, seed=1)
    c_x, c_y = np.cov(x.numpy().T), np.cov(y.numpy().T)
    expected = np.sum((x.mean(0) - y.mean(0)).numpy() ** 2) + np.trace(
        c_x + c_y - 2 * scipy.linalg.sqrtm(c_x @ c_y).real
    )
    assert float(frechet_distance(x, y)) == pytest.approx(float(expected), rel=1e-6)
    assert float(frechet_distance(x, 3 * x)) == pytest.approx(
        float(4 * covariance(x).trace() + 4 * x.mean(0).square().sum())
    )
    assert frechet_distance(x, x) < 1e-9


def test_frechet_is_stable_on_degenerate_and_badly_scaled_features() -> None:
    x = noise(50, 3) * torch.tensor([1e6, 1.0, 0.0])
    assert frechet_distance(x, x) < 1e-2  # of 1e12
    assert torch.isfinite(frechet_distance(torch.ones(5, 2), torch.zeros(5, 2)))
    assert float(frechet_distance(torch.ones(5, 2), torch.zeros(5, 2))) == 2.0


def test_shrinkage_follows_scikit_learn_and_allows_few_samples() -> None:
    sk = pytest.importorskip("sklearn.covariance")
    x = noise(25, 40) * torch.linspace(0.5, 3, 40)
    assert np.allclose(covariance(x, shrinkage=True).numpy(), sk.LedoitWolf().fit(x.numpy()).covariance_)
    with pytest.raises(SampleSizeError, match="shrinkage=True"):
        frechet_distance(x, x)
    assert frechet_distance(x, x, shrinkage=True) < 1e-6
    assert torch.isfinite(frechet_distance(torch.zeros(2, 1), torch.ones(2, 1), shrinkage=True))


def test_median_distance_of_few_and_of_equal_points() -> None:
    assert median_distance(noise(5000, 1)) == pytest.approx(0.954, abs=0.1)  # sqrt(2) x 0.6745
    assert median_distance(torch.ones(4, 2)) == 1.0
    assert torch.isfinite(mmd(torch.ones(4, 2), torch.ones(4, 2)))


def test_bad_input() -> None:
    x = noise(10, 2)
    with pytest.raises(ShapeError, match="features"):
        wasserstein_1(x, noise(10, 3))
    with pytest.raises(DataError, match="NaN"):
        energy_distance(x, x * math.nan)
    with pytest.raises(SampleSizeError):
        mmd(x[:1], x)
    for call in (lambda: mmd(x, x, bandwidth=0.0), lambda: mmd_permutation(x, x, n_permutations=0),
                 lambda: sliced_wasserstein(x, x, n_projections=0)):  # fmt: skip
        with pytest.raises(OptionError):
            call()
