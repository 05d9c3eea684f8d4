"""Spectra against white noise, single waves, Parseval's theorem and a known power law."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import correlation_coefficient, cross_spectrum, in_ell, in_per_arcmin, power_spectrum
from sundog.statistics.maps.spectra import apodising_window, half_plane


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(32, 32), (31, 33), (16, 41), (7, 5)])
@pytest.mark.parametrize("bins", [None, 8])
def test_white_noise_is_flat_at_its_variance(size: tuple[int, int], bins: int | None) -> None:
    n = 300
    s = power_spectrum(1.5 * noise(n, *size), bins=bins)
    error = 2.25 * (2 / (n * s.modes)).sqrt()
    assert ((s.power.mean(0) - 2.25).abs() < 4 * error).all()
    assert ((s.power.mean(0) - 1.8).abs() > 4 * error).any()  # negative control: another variance


def test_scatter_of_the_power_follows_the_number_of_modes() -> None:
    s = power_spectrum(noise(2000, 24, 24))
    ratio = s.power.var(0) / (2 / s.modes)
    # the variance of a variance over 2000 maps: sqrt(2/2000), a little more for the few-mode rings
    assert ((ratio - 1).abs() < 6 * math.sqrt(2 / 2000)).all()


@pytest.mark.parametrize("size", [(12, 12), (11, 14), (9, 9)])
def test_parseval_when_every_mode_has_a_ring(size: tuple[int, int]) -> None:
    x = noise(*size)
    s = power_spectrum(x, bins=torch.tensor([1e-6, 0.2, 0.8]))
    assert torch.allclose((s.power * s.modes).sum(), (x - x.mean()).square().sum())
    assert s.modes.sum() == x.numel() - 1


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (33, 27)])
def test_a_wave_lies_in_its_ring(size: tuple[int, int]) -> None:
    ny, nx = size
    wave = torch.cos(2 * math.pi * 5 * torch.arange(nx, dtype=torch.float64) / nx).expand(ny, nx)
    s = power_spectrum(wave)
    j = int(s.power.argmax())
    assert abs(float(s.k[j]) - 5 / nx) < 1 / min(ny, nx)
    assert torch.allclose((s.power * s.modes).sum(), torch.tensor(ny * nx / 2, dtype=torch.float64))


def power_law_fields(n: int, side: int, index: float) -> torch.Tensor:
    k, _ = half_plane((side, side))
    k[0, 0] = 1.0
    amplitude = k ** (index / 2)
    amplitude[0, 0] = 0.0
    return torch.fft.irfft2(torch.fft.rfft2(noise(n, side, side)) * amplitude, s=(side, side))


def test_a_power_law_survives_the_cut_out_of_a_larger_map() -> None:
    cut = power_law_fields(150, 128, -3.0)[:, 10:58, 20:68]
    s = power_spectrum(cut, periodic=False)
    use = (s.k > 4.5 / 48) & (s.k < 0.45)
    ratio = (s.power.mean(0) * s.k**3)[use]
    assert ((ratio - 1).abs() < 0.15).all()
    wrapped = power_spectrum(cut, periodic=True).power.mean(0) * s.k**3
    assert (wrapped[use][-5:] > 1.5).all()  # negative control: without a window the edges leak into small scales


@pytest.mark.parametrize("window", ["hann", "tukey"])
def test_the_window_keeps_the_level_of_white_noise_and_ignores_an_offset(window: str) -> None:
    x = noise(400, 30, 30)
    s = power_spectrum(x + 1e3, periodic=False, window=window)
    assert ((s.power.mean(0)[3:] - 1).abs() < 0.05).all()
    assert torch.allclose(s.power, power_spectrum(x, periodic=False, window=window).power, rtol=1e-6, atol=1e-8)
    w = apodising_window(30, 31, window)
    assert torch.allclose(w, w.flip(0)) and w.min() > 0 and w.max() <= 1


def test_cross_spectrum_and_correlation_of_related_maps() -> None:
    common, a, b = (noise(300, 20, 20, seed=i) for i in range(3))
    first, second = common + a, common + b
    s = cross_spectrum(first, second)
    error = (5 / (300 * s.modes)).sqrt()  # var of Re(ab*): (P_ab^2 + P_a P_b)/modes = (1 + 4)/modes
    assert ((s.power.mean(0) - 1).abs() < 4 * error).all()
    r = correlation_coefficient(first, second).power.mean(0)
    assert ((r[4:] - 0.5).abs() < 0.05).all()
    assert correlation_coefficient(a, b).power.mean(0)[4:].abs().max() < 0.05
    assert torch.allclose(correlation_coefficient(a, -a).power, -torch.ones(1, dtype=torch.float64))
    assert correlation_coefficient(torch.zeros(20, 20), a[0].float()).power.abs().max() == 0


def test_units_of_the_sky() -> None:
    s = power_spectrum(noise(16, 16))
    ell, fine = in_ell(s, 2.0), in_per_arcmin(s, 2.0)
    assert torch.allclose(ell.k, 10800.0 * s.k)
    assert torch.allclose(fine.k, s.k / 2) and torch.allclose(fine.power, 4 * s.power)
    # white noise of w uK arcmin has C_ell = w^2 in uK^2 arcmin^2, whatever the pixel
    assert torch.allclose(ell.power, fine.power * (math.pi / 10800) ** 2)
    with pytest.raises(OptionError, match="arcmin"):
        in_ell(s, 0.0)


def test_gradients_through_both_conventions() -> None:
    x = noise(2, 6, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: power_spectrum(v, bins=3).power, x)
    assert torch.autograd.gradcheck(lambda v: power_spectrum(v, bins=3, periodic=False).power, x)


def test_edge_cases_and_bad_options() -> None:
    assert power_spectrum(torch.zeros(1, 9, 8)).power.abs().max() == 0
    assert power_spectrum(torch.full((4, 5), 7.0), periodic=False).power.abs().max() < 1e-9
    assert power_spectrum(noise(2, 3, 16, 16)).power.shape[:2] == (2, 3)
    x = noise(8, 8)
    for options in ({"bins": 0}, {"bins": torch.tensor([0.3, 0.1])}, {"bins": torch.tensor([0.01, 0.02])}):
        with pytest.raises(OptionError):
            power_spectrum(x, **options)
    with pytest.raises(OptionError, match="hamming"):
        power_spectrum(x, periodic=False, window="hamming")
    with pytest.raises(ShapeError):
        cross_spectrum(x, noise(8, 9))
    with pytest.raises(ShapeError):
        power_spectrum(noise(1, 8))
    with pytest.raises(DataError, match="NaN"):
        power_spectrum(x * math.nan)


def test_a_mode_on_an_edge_belongs_to_the_band_above() -> None:
    """A plane wave of 8 cycles on 64 pixels: k = 0.125 to the last bit, [low, high) as documented."""
    wave = torch.cos(2 * torch.pi * 8 * torch.arange(64.0, dtype=torch.float64) / 64).expand(64, 64)
    edges = torch.tensor([0.0625, 0.125, 0.25], dtype=torch.float64)
    power = power_spectrum(wave, bins=edges).power
    assert power[..., 0].max() < 1e-20 < power[..., 1].min()
