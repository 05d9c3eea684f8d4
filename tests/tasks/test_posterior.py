"""The posterior of the signal's statistics covers the truth; the mixture's own statistics do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.tasks.separation import posterior, separate
from sundog.tasks.separation.posterior import _conditional, _neural, reduced


def red(side: int, seed: int) -> Tensor:
    x = torch.randn(side, side, generator=torch.Generator().manual_seed(seed))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-1.5, s=(side, side))
    x = (0.8 * x / x.std()).exp()
    return (x - x.mean()) / x.std()


def noise(n: int, g: torch.Generator) -> Tensor:
    return 0.7 * torch.randn(n, 64, 64, generator=g)


@pytest.mark.slow
def test_the_truth_is_where_the_posterior_is() -> None:
    """Root-mean-square pull over 3 maps and 14 statistics; 1 is expected, correlated statistics make it scatter."""
    pulls, of_mixture = [], []
    for seed in range(3):
        truth = red(64, seed)
        d = truth + noise(1, torch.Generator().manual_seed(100 + seed))[0]
        found = separate(d, noise, bins=8, seed=seed, eras=2, iterations=10, polish=0, draws=32)
        answer, true = posterior(found, noise, samples=100, seed=seed), reduced(found, truth[None])[0]
        pulls.append((answer.mean - true) / answer.std)
        of_mixture.append((reduced(found, d[None])[0] - true) / answer.std)
        assert answer.samples.shape == (1000, len(answer.names))
    assert 0.4 < torch.stack(pulls).square().mean().sqrt() < 1.5
    assert torch.stack(of_mixture).square().mean().sqrt() > 1.7


def test_bad_input_is_named() -> None:
    maps = torch.randn(20, 16, 16, generator=torch.Generator().manual_seed(0))
    found = separate(maps[0].cumsum(0), maps[1:], J=2, bins=4, eras=1, iterations=2, polish=0, draws=12)
    with pytest.raises(OptionError):
        posterior(found, maps, method="other")
    with pytest.raises(SampleSizeError):
        posterior(found, maps, samples=5)
    open_map = separate(maps[0], maps[1:], J=1, boundary="edge-mask", eras=1, iterations=2, polish=0, draws=12)
    with pytest.raises(ShapeError):
        posterior(open_map, maps)


@pytest.mark.slow
def test_the_flow_finds_the_conditional_of_a_gaussian() -> None:
    """mu ~ N(m, C), y = A mu + N(0, s^2): the posterior is known; m + C A^T (A C A^T + s^2)^-1 (y - A m)."""
    g, n = torch.Generator().manual_seed(0), 2000
    root = torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [0.2, 0.3, 0.7]]).double()
    A = torch.tensor([[1.0, 0.3, 0], [0.2, 0.8, 0.1], [0, 0.4, 1.2]]).double()
    m, s, C = torch.tensor([1.0, -2, 5]).double(), 0.6, root @ root.T
    mu = m + torch.randn(n, 3, generator=g, dtype=torch.float64) @ root.T
    seen = mu @ A.T + s * torch.randn(n, 3, generator=g, dtype=torch.float64)
    y = torch.tensor([1.5, -1.0, 4.0]).double()
    gain = C @ A.T @ torch.linalg.inv(A @ C @ A.T + s**2 * torch.eye(3))
    mean, width = m + gain @ (y - A @ m), (C - gain @ A @ C).diagonal().sqrt()
    draws = _neural(mu, seen, y, 0)
    # 1000 draws know the mean to 0.03 and the width to 0.02 of the width; the rest is for the training
    assert ((draws.mean(0) - mean) / width).abs().max() < 0.25
    assert (draws.std(0) / width - 1).abs().max() < 0.15
    elsewhere = _neural(mu, seen, y + 1, 0)
    assert ((elsewhere.mean(0) - mean) / width).abs().max() > 0.5


@pytest.mark.slow
def test_the_flow_finds_two_answers_where_a_gaussian_finds_none() -> None:
    """y = mu^2 + N(0, 0.1^2) at y = 1: mu is 1 or -1 to 0.05."""
    g = torch.Generator().manual_seed(0)
    mu = torch.randn(2000, 1, generator=g, dtype=torch.float64)
    seen, y = mu**2 + 0.1 * torch.randn(2000, 1, generator=g, dtype=torch.float64), torch.ones(1).double()
    draws = _neural(mu, seen, y, 0)
    assert abs(float(draws.abs().mean()) - 1) < 0.08
    assert float(draws.abs().std()) < 0.25
    assert 0.35 < float((draws > 0).double().mean()) < 0.65
    mean, covariance = _conditional(mu, seen, y)
    assert abs(float(mean)) < 0.2
    assert float(covariance) > 0.8


@pytest.mark.slow
def test_the_flow_answers_about_a_separation() -> None:
    truth = red(64, 0)
    d = truth + noise(1, torch.Generator().manual_seed(100))[0]
    found = separate(d, noise, bins=6, J=4, eras=2, iterations=10, polish=0, draws=32)
    true = reduced(found, truth[None])[0]
    answer = posterior(found, noise, samples=300, method="flow")
    assert len(answer.names) == len(true) and answer.samples.shape == (1000, len(true))
    assert ((answer.mean - true) / answer.std).square().mean().sqrt() < 2
    assert ((reduced(found, d[None])[0] - true) / answer.std).square().mean().sqrt() > 2
