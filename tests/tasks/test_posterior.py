"""The posterior of the signal's statistics covers the truth; the mixture's own statistics do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.tasks.separation import posterior, separate
from sundog.tasks.separation.posterior import reduced


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
