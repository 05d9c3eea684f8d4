"""Band powers and level fractions: agreement with the plain statistics, and gradients."""

from __future__ import annotations

import pytest
import torch

from sundog.errors import OptionError
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.levels import level_fractions, level_thresholds, smoothed_pyramid
from sundog.statistics.maps.spectra import power_spectrum


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(32, 32), (31, 40), (24, 17)])
def test_bands_are_those_of_the_power_spectrum_plus_the_corners(shape: tuple[int, int]) -> None:
    x, bands = noise(3, *shape), BandPowers(shape, 10)
    plain = power_spectrum(x, bins=10)
    assert torch.allclose(bands(x)[:, :-1], plain.power)
    assert torch.allclose(bands.k[:-1], plain.k)
    assert bands.modes.sum() == shape[0] * shape[1] - 1
    variance = (bands(x) * bands.modes).sum(1) / (shape[0] * shape[1])
    assert torch.allclose(variance, x.var((-2, -1), correction=0))


def test_spreading_bands_back_gives_maps_with_those_powers() -> None:
    shape, bands = (48, 48), BandPowers((48, 48), 8)
    wanted = 1 / bands.k**2
    f = torch.fft.rfft2(noise(300, *shape), norm="ortho") * bands.spread(wanted).reshape(48, 25).sqrt()
    found = bands(torch.fft.irfft2(f, s=shape, norm="ortho"))
    error = found.std(0) / 300**0.5
    assert ((found.mean(0) - wanted).abs() < 4.5 * error).all()
    assert not ((found.mean(0) - 1.2 * wanted).abs() < 4.5 * error)[2:].any()


def test_band_and_level_gradients() -> None:
    x = noise(2, 6, 7).requires_grad_()
    levels, widths = level_thresholds(x.detach(), 4)
    assert torch.autograd.gradcheck(lambda x: level_fractions(x, levels, widths), x)
    assert torch.autograd.gradcheck(BandPowers((6, 7), 2), x)
    assert torch.autograd.gradcheck(lambda x: smoothed_pyramid(x, (1.0, 2.0))[1], x)


def test_fractions_follow_the_quantiles() -> None:
    x = noise(1, 128, 128)
    levels, widths = level_thresholds(x, 16)
    found = level_fractions(x, levels, widths / 50)[0]
    expected = 1 - (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    assert (found - expected).abs().max() < 2e-3
    assert (level_fractions(x + 0.1, levels, widths)[0] - expected).abs().max() > 0.02
    flat = level_thresholds(torch.zeros(8, 8), 4)
    assert torch.isfinite(level_fractions(torch.zeros(1, 8, 8), *flat)).all()
    with pytest.raises(OptionError):
        level_thresholds(x, 1)


def test_smoothed_maps_on_small_grids_equal_smoothing_at_full_size() -> None:
    x = noise(1, 60, 64)
    y = torch.arange(60, dtype=torch.float64)
    wave = 3 * torch.sin(2 * torch.pi * 2 * y / 60)[:, None]
    for sigma, smooth in zip((2.0, 4.0), smoothed_pyramid(x + wave, (2.0, 4.0))):
        damping = torch.exp(torch.tensor(-0.5 * (sigma * 2 * torch.pi * 2 / 60) ** 2, dtype=torch.float64))
        step = 60 / smooth.shape[1]
        kept = (smooth - smoothed_pyramid(x, (sigma,))[0])[0, :, 0]
        at = torch.arange(smooth.shape[1], dtype=torch.float64) * step
        assert torch.allclose(kept, 3 * damping * torch.sin(2 * torch.pi * 2 * at / 60), atol=1e-10)
