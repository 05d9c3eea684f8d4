"""Moments, histograms and quantiles against closed forms and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import histogram, moments, quantiles


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_moments_of_a_gaussian_and_of_an_exponential() -> None:
    n = 200_000
    z = moments(3 + 2 * gaussian(n))
    assert abs(z.mean - 3) < 4 * 2 / math.sqrt(n)
    assert abs(z.variance - 4) < 4 * 4 * math.sqrt(2 / n)
    assert abs(z.skewness) < 4 * math.sqrt(6 / n)
    assert abs(z.kurtosis) < 4 * math.sqrt(24 / n)
    e = moments(torch.empty(n, dtype=torch.float64).exponential_(1.0, generator=torch.Generator().manual_seed(1)))
    assert abs(e.skewness - 2) < 0.2 and abs(e.kurtosis - 6) < 2  # negative control: far from Gaussian
    assert abs(e.skewness) > 4 * math.sqrt(6 / n)


def test_weights_act_like_copies() -> None:
    x, copies = gaussian(50), torch.arange(50) % 4
    repeated, weighted = moments(x.repeat_interleave(copies)), moments(x, weights=copies)
    for name in ("mean", "variance", "skewness", "kurtosis"):
        assert torch.allclose(getattr(repeated, name), getattr(weighted, name))
    edges = torch.linspace(-2, 2, 6)
    assert torch.allclose(histogram(x.repeat_interleave(copies), edges), histogram(x, edges, weights=copies))
    assert not torch.allclose(histogram(x, edges), histogram(x, edges, weights=copies))


def test_axes_choose_feature_image_or_pool() -> None:
    x = gaussian(7, 3, 5)
    assert moments(x).mean.shape == ()
    assert torch.allclose(moments(x, dim=(1, 2)).variance, x.var((1, 2), unbiased=False))
    assert torch.allclose(quantiles(x, [0.3], dim=0)[..., 0], torch.as_tensor(np.quantile(x.numpy(), 0.3, axis=0)))
    assert histogram(x, torch.tensor([-9.0, 0.0, 9.0]), dim=(0, 2)).shape == (3, 2)
    with pytest.raises(ShapeError):
        moments(x, dim=3)


def test_histogram_follows_numpy_and_open_ends_catch_everything() -> None:
    x = torch.cat([gaussian(500), torch.tensor([1.0, -1.0])])  # values on the edges
    edges = torch.linspace(-1, 1, 9, dtype=torch.float64)
    expected = np.histogram(x.numpy(), edges.numpy())[0] / len(x)
    assert np.allclose(histogram(x, edges).numpy(), expected)
    whole = histogram(x, torch.cat([torch.tensor([-math.inf]), edges, torch.tensor([math.inf])]))
    assert float(whole.sum()) == pytest.approx(1.0)
    with pytest.raises(OptionError, match="increase"):
        histogram(x, torch.tensor([0.0, 0.0]))


def test_quantiles_of_many_float32_values_and_of_one() -> None:
    x = gaussian(1_000_003).float()
    assert torch.allclose(quantiles(x, [0.001, 0.5, 0.999]).double(),
                          torch.as_tensor(np.quantile(x.numpy(), [0.001, 0.5, 0.999])), atol=1e-6)  # fmt: skip
    assert quantiles(torch.tensor([4.0]), [0.0, 0.5, 1.0]).tolist() == [4.0, 4.0, 4.0]
    with pytest.raises(OptionError, match="probabilities"):
        quantiles(x, [50.0])


@pytest.mark.parametrize("value", [0.0, 3.7, 1e6])
def test_constant_values_have_finite_moments_and_gradients(value: float) -> None:
    x = torch.full((4, 6), value, requires_grad=True)
    m = moments(x, dim=1)
    (m.variance + m.skewness + m.kurtosis).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert m.skewness.abs().max() == 0 and m.kurtosis.abs().max() == 0


def test_gradients_of_moments_match_differences() -> None:
    x = gaussian(2, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: moments(v, dim=1).skewness + moments(v, dim=1).kurtosis, x)


@pytest.mark.parametrize("bad", [torch.tensor([1.0, math.nan]), torch.tensor([math.inf, -math.inf]), torch.empty(0)])
def test_unusable_values_are_named(bad: torch.Tensor) -> None:
    with pytest.raises(DataError):
        moments(bad)
    with pytest.raises(ShapeError):
        moments(torch.ones(3), weights=torch.zeros(3))
