"""Random fields: ensemble spectra equal the input, one-point laws hold, the dust stand-in looks like dust."""

import math

import pytest
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.simulate.fields import filamentary_field, gaussian_field, lognormal_field, phase_randomised

SIZES = [16, 15, (12, 9), (9, 16)]


def measured(maps: Dataset) -> Tensor:
    """Mean |FFT|^2 / (ny nx) per mode, (ny, nx)."""
    x = maps.values.double()
    return torch.fft.fft2(x).abs().square().mean(0) / x[0].numel()


def wavenumber(shape) -> Tensor:
    return torch.hypot(torch.fft.fftfreq(shape[0]).double()[:, None], torch.fft.fftfreq(shape[1]).double())


def bump(k: Tensor) -> Tensor:
    return 0.5 + 3 * torch.exp(-((k - 0.2) ** 2) / 0.01)


def worst_pull(maps: Dataset, law) -> float:
    """Largest deviation over modes in sigma; |FFT|^2 of a real mode is chi^2_1 at worst: sigma = P sqrt(2/n)."""
    known = law(wavenumber(maps.values.shape[1:]))
    return float(((measured(maps) / known - 1).abs() / math.sqrt(2 / len(maps))).max())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_mode_of_a_gaussian_field_has_the_asked_power(size):
    maps = gaussian_field(4000, size, bump, seed=1)
    assert worst_pull(maps, bump) < 5  # some hundred modes: the largest of them passes 4 sigma now and then
    assert worst_pull(maps, lambda k: 1.3 * bump(k)) > 5


def test_gaussian_field_is_gaussian_and_power_law_has_its_variance():
    x = gaussian_field(500, 32, -1.0, seed=2, std=3.0).values.double()
    assert float(x.square().mean()) == pytest.approx(9, rel=0.02)
    assert float(x.mean((1, 2)).abs().max()) < 1e-6
    z = gaussian_field(500, 32, lambda k: 0 * k + 1, seed=2).values.double()
    assert abs(float((z**4).mean()) - 3) < 4 * math.sqrt(96 / z.numel())
    assert abs(float((z**3).mean())) < 4 * math.sqrt(15 / z.numel())


def test_lognormal_field_has_the_asked_mean_and_spectrum():
    def law(k):
        return 0.6 * torch.exp(-((k / 0.15) ** 2)) + 0.05

    maps = lognormal_field(6000, 14, law, seed=3, mean=2.0)
    x = maps.values.double()
    assert abs(float(x.mean()) - 2) < 4 * float(x.mean((1, 2)).std()) / math.sqrt(len(x))
    fluctuations = Dataset.from_arrays(x - 2.0, periodic=True)
    power = torch.fft.fft2(fluctuations.values.double()).abs().square() / 196
    pulls = (power.mean(0) - law(wavenumber((14, 14)))) / (power.std(0) / math.sqrt(len(x)))
    assert float(pulls.abs().max()) < 5
    skewness = float((((x - 2) / x.std()) ** 3).mean())
    cv = math.sqrt(float(law(wavenumber((14, 14))).mean())) / 2
    assert skewness == pytest.approx(3 * cv + cv**3, rel=0.1)  # of a lognormal law


def test_lognormal_power_law_has_its_std_and_impossible_spectra_are_refused():
    x = lognormal_field(2000, 32, -1.0, seed=0, mean=2.0, std=1.0).values
    assert float(x.mean()) == pytest.approx(2, rel=0.01)
    assert float(x.std()) == pytest.approx(1, rel=0.03)
    with pytest.raises(OptionError, match="no lognormal field"):
        lognormal_field(1, 64, lambda k: 900 * (k < 0.05) + 1e-6, seed=0, mean=0.5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_surrogate_keeps_every_amplitude_and_no_phase(size):
    maps = lognormal_field(5, size, -1.0, seed=0, std=1.0)
    fake = phase_randomised(maps, seed=1)
    before, after = (torch.fft.fft2(m.values.double()).abs() for m in (maps, fake))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fake.values, maps.values, atol=0.1)
    assert fake.names == maps.names and fake.periodic


def test_surrogate_gaussianises_dust_and_keeps_cross_spectra():
    dust = filamentary_field(3, 64, seed=0)
    two = Dataset.from_arrays(torch.stack([dust.values, dust.values.log()], 1), periodic=True)
    fake = phase_randomised(two, seed=2)
    modes = [torch.fft.fft2(d.values.double()) for d in (two, fake)]
    cross = [m[:, 0] * m[:, 1].conj() for m in modes]
    torch.testing.assert_close(cross[1], cross[0], rtol=1e-3, atol=1e-2)
    skew = [float((((v := d.values[:, 0] - d.values[:, 0].mean()) / v.std()) ** 3).mean()) for d in (two, fake)]
    assert skew[0] > 1 > 3 * abs(skew[1])
    with pytest.raises(ShapeError, match="events have no phases"):
        phase_randomised(Dataset.from_arrays(torch.randn(4, 2)), seed=0)


@pytest.mark.slow
def test_dust_is_positive_skewed_steep_and_periodic():
    maps = filamentary_field(9, 128, seed=0)
    x = maps.values.double()
    assert maps.periodic and float(x.min()) > 0
    torch.testing.assert_close(x.mean((1, 2)), torch.ones(9).double(), atol=1e-5, rtol=0)
    skewness = (((x - 1) / x.std((1, 2), keepdim=True)) ** 3).mean((1, 2))
    assert 1.5 < float(skewness.median()) < 3  # turbulence maps: about 2.2, with a tail of maps of one bright cloud
    k, p = wavenumber((128, 128)), measured(maps)
    fine, coarse = (p[(k > c / 1.2) & (k < 1.2 * c)].mean() for c in (0.12, 0.036))
    slope = math.log(float(fine / coarse)) / math.log(0.12 / 0.036)
    assert -3.2 < slope < -2.0
    wrap = (x[:, 0] - x[:, -1]).square().mean() / (x[:, 1:] - x[:, :-1]).square().mean()
    assert 0.3 < float(wrap) < 3  # a non-periodic cut has a wrap-around jump tens of times larger


def test_a_dust_map_depends_on_its_number_alone():
    assert torch.equal(filamentary_field(3, 32, seed=4).values[:1], filamentary_field(1, 32, seed=4).values)
    assert not torch.equal(filamentary_field(1, 32, seed=4).values, filamentary_field(1, 32, seed=5).values)


def test_odd_and_rectangular_dust_and_bad_spectra():
    assert filamentary_field(1, (33, 48), seed=0).values.shape == (1, 33, 48)
    with pytest.raises(OptionError, match="spectrum is unusable"):
        gaussian_field(1, 8, lambda k: k - 0.2, seed=0)
    with pytest.raises(OptionError, match="size"):
        gaussian_field(1, 0, -2.0, seed=0)
