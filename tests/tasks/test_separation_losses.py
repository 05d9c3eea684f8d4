"""Every loss is 1 at the truth and not elsewhere; masks, open edges, channels, regions, several contaminations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.maps.spectra import correlation_coefficient, power_spectrum
from sundog.tasks.separation import (
    Cross,
    Domain,
    HalfMissions,
    Independence,
    Match,
    Observed,
    Residual,
    Schedule,
    Statistics,
    separate,
)
from sundog.tasks.separation.observed import periodic_part
from sundog.tasks.separation.start import filled, gaussian_start, local_start

QUICK = {"eras": 1, "iterations": 5, "polish": 0, "draws": 20}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red(shape: tuple[int, ...], seed: int = 0, slope: float = 1.5, skew: float = 0.8) -> Tensor:
    """Red lognormal maps of mean 0 and variance 1; Gaussian when ``skew`` is 0."""
    x = torch.randn(*shape, generator=generator(seed))
    ny, nx = shape[-2:]
    k = (torch.fft.fftfreq(ny)[:, None] ** 2 + torch.fft.rfftfreq(nx)[None] ** 2).sqrt().clamp_min(1 / nx)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-slope, s=(ny, nx))
    x = x / x.std((-2, -1), keepdim=True)
    x = (skew * x).exp() if skew else x
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("averaged", [False, True])
def test_cross_losses_are_one_at_the_truth_and_large_elsewhere(averaged: bool) -> None:
    """Mean over 10 mixtures at the truth is 1 within 4 standard errors; it is far off at a wrong map."""
    truth, g = red((32, 32))[None], generator(2)
    phi = Statistics(Domain((32, 32)), 2, 4, 6)
    tracer = truth + 0.3 * torch.randn(1, 32, 32, generator=g)
    at_truth: dict[str, list[float]] = {}
    elsewhere: dict[str, list[float]] = {}
    for _ in range(10):
        noise = 0.7 * torch.randn(41, 1, 32, 32, generator=g)
        halves = 0.7 * torch.randn(2, 41, 1, 32, 32, generator=g)
        d, draws = truth + noise[0], noise[1:]
        losses = {
            "cross": Cross(tracer), "independence": Independence(),
            "halves": HalfMissions(truth + halves[0, 0], truth + halves[1, 0], halves[0, 1:], halves[1, 1:]),
        }  # fmt: skip
        zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        # at the mixture half missions would see too much power, and independence a signal that knows the noise
        wrong = {"cross": 0.3 * truth, "independence": 0.5 * d, "halves": d}
        for name, loss in losses.items():
            ready = loss.prepared(d, zero, one)
            part = ready.averaged(phi, d, truth, draws, 16) if averaged else ready.in_era(phi, d, truth, draws)
            at_truth.setdefault(name, []).append(float(part(truth)))
            elsewhere.setdefault(name, []).append(float(part(wrong[name])))
    for name, values in at_truth.items():
        found = torch.tensor(values)
        # 40 draws: E[1 / s^2] is 5 % over 1 / sigma^2, the mean adds 1/40
        assert abs(found.mean() - 1) < 4 * found.std() / 10**0.5 + 0.15, name
        assert torch.tensor(elsewhere[name]).mean() > 2, name


@pytest.mark.slow
def test_ancillary_data_tell_where_the_noise_wins() -> None:
    """With a tracer of the signal the recovered map follows it; the same descent without it does not."""
    truth = red((32, 32), slope=0.5)
    noise = 1.5 * torch.randn(21, 32, 32, generator=generator(1))
    options = {"eras": 2, "iterations": 15, "polish": 0, "draws": 20, "levels": 0, "J": 2, "bins": 6}
    plain = separate(truth + noise[0], noise[1:], **options).signal
    told = separate(truth + noise[0], noise[1:], [Match(), Cross(2 * truth + 3)], **options).signal
    low, high = (float(correlation_coefficient(u, truth, bins=6).power.mean()) for u in (plain, told))
    assert high > low + 0.05


def test_a_mask_hides_what_it_hides() -> None:
    truth = red((48, 48))
    d = truth + 0.5 * torch.randn(48, 48, generator=generator(1))
    mask = torch.ones(48, 48)
    mask[10:18, 20:30] = 0
    noise = 0.5 * torch.randn(20, 48, 48, generator=generator(2))
    hidden = d.clone()
    hidden[mask == 0] = float("nan")
    found = separate(hidden, noise, mask=mask, J=2, **QUICK)
    assert torch.isnan(found.signal[mask == 0]).all()
    assert torch.isfinite(found.signal[mask == 1]).all()
    bright = d.clone()
    bright[mask == 0] = 1e3
    other = separate(bright, noise, mask=mask.numpy(), J=2, **QUICK)
    assert torch.allclose(found.signal[mask == 1], other.signal[mask == 1], atol=1e-4)
    error = (found.signal - truth)[mask == 1].square().mean()
    assert error < 0.8 * (d - truth)[mask == 1].square().mean()


@pytest.mark.slow
def test_open_edges_do_not_become_power() -> None:
    """A cut-out with a gradient: as a periodic map its jump adds power at small scales, as an open one it does not."""
    whole = red((192, 192), slope=2.0, skew=0.3) + 3 * torch.linspace(-1, 1, 192)[:, None]
    truth = whole[40:136, 40:136]
    truth = truth / truth.std()
    noise = 0.3 * torch.randn(41, 96, 96, generator=generator(3))
    options = {"eras": 2, "iterations": 10, "polish": 0, "draws": 20, "target": 1.0}  # to 0.1 both are right to 0.26
    edged = separate(truth + noise[0], noise[1:], boundary="edge-mask", **options)
    wrapped = separate(truth + noise[0], noise[1:], J=4, **options)
    window = torch.hann_window(96, periodic=False)
    window = window[:, None] * window

    def power(x: Tensor) -> Tensor:
        return power_spectrum((x - x.mean()) * window, bins=8).power

    kept = (power(truth) > 0.2 * power(noise[0]))
    kept[:2] = False  # few modes
    one, two = ((power(u.signal) / power(truth)).log()[kept].abs().max() for u in (edged, wrapped))
    assert one < 0.4
    assert edged.report.deterministic_down_to < 10
    assert one < two


@pytest.mark.slow
def test_channels_come_back_with_what_they_share() -> None:
    """Two correlated channels: their coherence is recovered together and lost one by one."""
    a, b = red((2, 64, 64), slope=1.0)
    truth = torch.stack([a, 0.8 * a + 0.6 * b])
    noise = 1.2 * torch.randn(41, 2, 64, 64, generator=generator(4))
    options = {"eras": 3, "iterations": 15, "polish": 0, "draws": 40}
    both = separate(truth + noise[0], noise[1:], **options).signal
    single = [separate(truth[c] + noise[0, c], noise[1:, c], seed=c, **options) for c in range(2)]
    alone = torch.stack([found.signal for found in single])
    assert both.shape == (2, 64, 64)

    def coherence(x: Tensor) -> Tensor:
        return correlation_coefficient(x[0], x[1], bins=6).power[3:5]  # S/N 1.6 and 0.8

    errors = [(coherence(x) - coherence(truth)).abs().mean() for x in (both, alone)]
    assert errors[0] < 0.15
    assert errors[1] > 0.25


@pytest.mark.slow
def test_several_contaminations_come_apart() -> None:
    truth, clouds = red((64, 64)), 0.8 * red((41, 64, 64), seed=5, slope=2.0, skew=0.5)
    noise = 0.6 * torch.randn(41, 64, 64, generator=generator(6))
    found = separate(truth + clouds[0] + noise[0], {"clouds": clouds[1:], "noise": noise[1:]},
                     eras=2, iterations=15, polish=0, draws=40)  # fmt: skip
    assert set(found.components) == {"clouds", "noise"}
    total = sum(found.components.values())
    assert torch.allclose(total, found.residual, atol=1e-4)
    for name, draws in (("clouds", clouds), ("noise", noise)):
        own = power_spectrum(draws, bins=6).power.mean(0)
        other = power_spectrum(clouds if name == "noise" else noise, bins=6).power.mean(0)
        ratio = (power_spectrum(found.components[name], bins=6).power / own)[1:][(own > other)[1:]]
        assert ((ratio > 0.4) & (ratio < 1.8)).all(), name
    # Each component against its own truth, beside what as many unrelated maps of the same law give by chance. The
    # signal is stronger than the clouds at every scale, so that they are found in part only.
    unrelated = {"clouds": 0.8 * red((100, 64, 64), seed=77, slope=2.0, skew=0.5),
                 "noise": torch.randn(100, 64, 64, generator=generator(78))}
    for name, own, rings in (("clouds", clouds[0], [1, 2, 3, 4]), ("noise", noise[0], [3, 4, 5])):
        shared, *chance = (float(correlation_coefficient(found.components[name], x, bins=6).power[rings].mean())
                           for x in (own, *unrelated[name]))
        assert shared > max(chance), name
        assert shared > 3 * torch.tensor(chance).std(), name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bias", "average", "diffusive"])
def test_every_method_recovers_the_power(method: str) -> None:
    truth, sigma = red((64, 64)), 0.7
    d = truth + sigma * torch.randn(64, 64, generator=generator(1))
    found = separate(d, lambda n, g: sigma * torch.randn(n, 64, 64, generator=g), method=method, draws=40, eras=3,
                     iterations=15, polish=5)  # fmt: skip
    true = power_spectrum(truth, bins=8).power
    ratio = power_spectrum(found.signal, bins=8).power / true
    noisy = true / sigma**2 > 0.1
    assert (ratio[noisy] > 0.6).all()
    assert (ratio[noisy] < 1.6).all()
    mixed = power_spectrum(d, bins=8).power / true
    assert not (mixed[noisy] < 1.6).all()  # the mixture itself fails


@pytest.mark.slow
def test_regions_follow_noise_that_is_not_stationary() -> None:
    """Noise three times stronger on the right half: matched by region, the left half is not smoothed like the right."""
    truth = red((64, 128))
    level = torch.where(torch.arange(128) < 64, 0.3, 1.2)
    noise = level * torch.randn(41, 64, 128, generator=generator(7))
    left_half = (torch.arange(128) < 64).float().expand(64, 128)
    sides = torch.stack([left_half, 1 - left_half])
    found = separate(truth + noise[0], noise[1:], regions=sides, J=3, eras=2, iterations=15, polish=0, draws=40)
    errors = [(found.signal - truth)[:, half].square().mean() for half in (slice(8, 56), slice(72, 120))]
    assert errors[0] < 0.75 * 0.3**2 + 0.05 * truth[:, 8:56].var()
    assert errors[1] < 0.5 * 1.2**2
    for half in (slice(8, 56), slice(72, 120)):
        ratio = found.signal[:, half].var() / truth[:, half].var()
        assert 0.7 < ratio < 1.4


def test_a_gaussian_signal_starts_gaussian_and_filaments_start_thin() -> None:
    """The local start sharpens what is sharp, and leaves a Gaussian field alone (4 sigma of its kurtosis)."""
    noise = torch.randn(16, 1, 128, 128, generator=generator(8))
    for skew, wanted in ((0.0, False), (1.0, True)):
        truth = red((128, 128), seed=3, slope=1.2, skew=skew)
        d = (truth + torch.randn(128, 128, generator=generator(9)))[None]
        flat, local = (start(d, noise, 12, True, generator(0))[0] for start in (gaussian_start, local_start))
        kurtosis = [float((((x - x.mean()) / x.std()) ** 4).mean()) for x in (truth, flat, local)]
        if wanted:
            assert abs(kurtosis[2] - kurtosis[0]) < 0.7 * abs(kurtosis[1] - kurtosis[0])
        else:
            assert abs(kurtosis[2] - kurtosis[1]) < 0.5
        assert torch.allclose(power_spectrum(flat, bins=6).power, power_spectrum(local, bins=6).power, rtol=0.35)


@pytest.mark.slow
def test_observed_contaminations_vary_like_a_sky() -> None:
    """Band powers of draws scatter by sqrt(2 (1 + 1/patches) / modes); maps fitted without it would not."""
    patch = red((32, 32), skew=0.0)
    draw = Observed(patch, (32, 32), count=4, iterations=20, periodic=True)
    maps = draw(200, generator(0))
    powers = draw.bands(maps / draw.unit)
    inner = draw.bands.modes > 30
    ratio = (powers.std(0) / powers.mean(0)) / (4 / draw.bands.modes).sqrt()
    assert ((ratio > 0.8) & (ratio < 1.3))[inner].all()
    target = draw.bands(((patch - patch.mean()) / patch.std())[None])[0]
    assert ((powers.mean(0) / target - 1).abs() < 0.2)[inner].all()
    ramp = torch.arange(32.0).expand(32, 32) + red((32, 32))
    assert (periodic_part(ramp)[:, 0] - periodic_part(ramp)[:, -1]).abs().mean() < 0.2 * 31


def test_missing_pixels_are_filled_from_around() -> None:
    x = torch.linspace(0, 1, 40)[:, None].expand(40, 40).clone()
    mask = torch.ones(40, 40)
    mask[15:25, 10:30] = 0
    full = filled(torch.where(mask == 1, x, torch.full_like(x, 9.0)), mask)
    assert (full - x)[mask == 0].abs().max() < 0.2
    assert torch.equal(full[mask == 1], x[mask == 1])


def test_integer_maps_and_rectangles_are_fine() -> None:
    d = (20 * red((24, 32))).round()
    noise = 3 * torch.randn(20, 24, 32, generator=generator(0))
    counts = separate(d.to(torch.int32), noise, **QUICK)
    assert counts.signal.dtype == torch.float64
    assert torch.allclose(counts.signal, separate(d.double(), noise, **QUICK).signal)


def test_bad_input_is_named() -> None:
    d, maps = torch.randn(16, 16, generator=generator(0)), torch.randn(12, 16, 16, generator=generator(1))
    holes = d.clone()
    holes[3, 3] = float("nan")
    bad = [
        ((holes, maps), {}, DataError),
        ((d, maps), {"J": 7}, OptionError),
        ((d, maps), {"mask": torch.zeros(16, 16)}, DataError),
        ((d, maps), {"mask": torch.ones(8, 16)}, ShapeError),
        ((d, maps), {"boundary": "edge-mask", "J": 3}, OptionError),
        ((d, maps), {"boundary": "other"}, OptionError),
        ((d, maps), {"regions": torch.ones(1, 8, 8)}, ShapeError),
        ((d, maps), {"method": "other"}, OptionError),
        ((d, maps), {"start": "other"}, OptionError),
        ((d, maps), {"draws": 3}, OptionError),
        ((d, {}), {}, OptionError),
        ((d, {"noise": maps, "cib": maps[:, :8]}), {}, ShapeError),
        ((torch.stack([d, d]), maps), {}, ShapeError),
        ((d, maps, [Cross(torch.ones(16, 16))]), {}, DataError),
        ((d, maps, [Cross(d[:8])]), {}, ShapeError),
        ((d, maps, [HalfMissions(d, d, maps[:5], maps[:5])]), {}, SampleSizeError),
        ((d, maps, [HalfMissions(d[:8], d, maps, maps)]), {}, ShapeError),
    ]
    for arguments, options, error in bad:
        with pytest.raises(error):
            separate(*arguments, **{**QUICK, **options})
    with pytest.raises(OptionError):
        Schedule(eras=0)
    with pytest.raises(ShapeError):
        Observed(d, (32, 32))
    with pytest.raises(DataError):
        Observed(torch.ones(16, 16), (16, 16))
    other = Dataset.from_arrays(maps, units="K")
    with pytest.raises(ShapeError):
        separate(Dataset.from_arrays(d[None], units="uK"), other, **QUICK)
    flux = Dataset.from_arrays(np.asarray(d[None]), units="K", periodic=True)
    assert math.isfinite(separate(flux, other, [Match(), Residual()], **QUICK).report.losses["Residual"])
