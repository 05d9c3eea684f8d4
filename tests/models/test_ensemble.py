"""Mean field: the mean over maps meets the targets, and what differs between maps stays."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sundog.models.microcanonical.ensemble import mean_field_energy
from sundog.models.microcanonical.family import MicrocanonicalModel


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red(n: int, side: int, seed: int) -> Tensor:
    """Gaussian maps with P(k) ~ k^-2."""
    x = torch.randn(n, side, side, generator=generator(seed))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    return torch.fft.irfft2(torch.fft.rfft2(x) / k, s=(side, side))


def test_two_passes_have_the_gradient_of_one() -> None:
    x = torch.randn(5, 3, generator=generator(0), dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 4, generator=generator(1), dtype=torch.float64)

    def features(x: Tensor) -> Tensor:
        return (x @ w).sin() - 0.3

    values = [mean_field_energy(features, x, k) for k in (5, 2)]
    slopes = [torch.autograd.grad(value, x)[0] for value in values]
    assert torch.allclose(values[0], values[1]) and torch.allclose(slopes[0], slopes[1])
    assert torch.autograd.gradcheck(lambda x: mean_field_energy(features, x, 2), x)


@pytest.mark.parametrize("shape", [(16, 16), (2, 16, 16), (64,), (16, 16, 16)])
def test_two_passes_of_the_statistics_themselves(shape: tuple[int, ...]) -> None:
    domain = "volume" if shape == (16, 16, 16) else "auto"
    model = MicrocanonicalModel(shape, levels=4, smoothings=(0.0,), domain=domain)
    x = torch.randn(5, *shape, generator=generator(0))
    model.prepare(x.cumsum(-1), None)
    fields = x.reshape(5, model.layout.channels, *model.layout.seen).requires_grad_()

    def features(x: Tensor) -> Tensor:
        return model.constraints.features(x, linear=True)

    slopes = [torch.autograd.grad(mean_field_energy(features, fields, k), fields)[0] for k in (5, 2)]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-4 * slopes[0].abs().max()


def spread(maps: Tensor, model: MicrocanonicalModel) -> Tensor:
    """Variance of the band powers between maps, over that of Gaussian maps, 2 P^2 / modes: (b,)."""
    power = model.constraints.bands(maps)
    return (power.var(0) / power.mean(0) ** 2 / (2 / model.constraints.bands.modes)).float()


@pytest.mark.slow
def test_spread_of_the_spectrum_of_a_gaussian_law() -> None:
    """2 P^2 / modes between maps of a Gaussian law: kept by the mean field, lost where every map is pinned."""
    n, law = 64, red(64, 32, seed=5)
    options = {"bins": 6, "iterations": 20, "levels": 8, "smoothings": (0.0,)}
    found = {}
    for size in (n, 0):
        model = MicrocanonicalModel((32, 32), mean_field=size, **options)  # type: ignore[arg-type]
        model.prepare(law, None)
        found[size] = model.sample(n, None, generator(1)).detach()
    # Variance of a sample variance of n numbers with the kurtosis of a chi^2 of the modes of the band.
    error = torch.sqrt((2 + 12 / model.constraints.bands.modes) / n).float()
    kept, lost = spread(found[n], model), spread(found[0], model)
    assert ((kept - 1).abs() < 4 * error).all(), kept
    assert (lost < 0.2).all(), lost
    assert ((spread(law, model) - 1).abs() < 4 * error).all()  # the ruler itself
    mean = model.constraints.bands(found[n]).mean(0) / model.constraints.bands(law).mean(0)
    assert (mean - 1).abs().max() < 0.02  # and the mean over maps meets its target
    free = model.constraints.bands(red(n, 32, seed=9)).mean(0) / model.constraints.bands(law).mean(0)
    assert (free - 1).abs().max() > 0.02 and math.isfinite(float(free.sum()))


def test_an_ensemble_is_whole_whatever_is_asked_of_it() -> None:
    model = MicrocanonicalModel((16, 16), mean_field=4, iterations=4, levels=4, smoothings=(0.0,))
    model.prepare(red(3, 16, seed=0), None)
    few, many = model.sample(2, None, generator(3)), model.sample(4, None, generator(3))
    assert torch.equal(few, many[:2])
    assert model.sample(6, None, generator(3)).shape == (6, 16, 16)
