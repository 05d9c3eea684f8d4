"""The parts of a simulated sky against closed forms and published tables; whole skies against the S10 convergence."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import spherical_jn

pytest.importorskip("ducc0")
pytest.importorskip("camb")

from sundog.data.sky.sphere import analysis, angular_spectrum, gaussian_alm, synthesis
from sundog.errors import FileError, OptionError, ShapeError
from sundog.simulate.sky import NAMES, SkyMaps, cosmology, simulate_sky
from sundog.simulate.sky.cosmology import MatterPower, matter_power
from sundog.simulate.sky.halos import HaloBins, bias, draw_pixels, mass_function, nfw_window, refine
from sundog.simulate.sky.maps import new_maps
from sundog.simulate.sky.pressure import integrated_y, pressure_window
from sundog.simulate.sky.shells import (
    VelocityField,
    density_power,
    far_lensing_power,
    lognormal_power,
    shells,
    variance,
)  # fmt: skip
from sundog.simulate.sky.sources import DustShell, RadioCounts, dust_scale

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "sky"


@pytest.fixture(scope="module")
def power() -> MatterPower:
    return matter_power(cosmology("wmap5"))


def test_distances_and_growth_of_a_matter_universe_are_known() -> None:
    flat = replace(cosmology("wmap5"), omega_m=1.0)
    z = np.array([0.5, 1.0, 3.0])
    chi = 2 * 299_792.458 / 71 * (1 - 1 / np.sqrt(1 + z))
    assert np.allclose(flat.distance(z), chi, rtol=1e-6)
    assert np.allclose(flat.growth(z), 1 / (1 + z), rtol=1e-4)
    assert np.allclose(flat.redshift(chi), z, rtol=1e-6)


def test_sigma_8_is_the_one_asked_for(power: MatterPower) -> None:
    mass = 4 * math.pi / 3 * power.cosmology.density * (8 / power.cosmology.h) ** 3
    assert abs(float(power.sigma(np.array([mass]))[0]) - 0.80) < 0.002
    assert np.allclose(power(power.k[:5], 0.0), power.linear[:5], rtol=2e-3)  # the largest scales are linear


def test_halo_numbers_and_biases_agree_with_colossus(power: MatterPower) -> None:
    """Tinker08 and Tinker10, M200c, from colossus 1.4.0 with an Eisenstein-Hu spectrum, which differs by 1 %."""
    mass = np.array([1e12, 1e13, 1e14, 1e15])
    known = {0.0: ([1.4436e-3, 1.6148e-4, 1.2007e-5, 1.3120e-7], [0.9034, 1.2368, 2.2488, 6.0468]),
             1.0: ([1.4242e-3, 1.1548e-4, 3.0573e-6, 1.0550e-9], [1.3203, 2.2048, 4.8051, 14.4855])}
    for z, (number, b) in known.items():
        assert np.allclose(mass_function(power, mass, z)[:3], number[:3], rtol=0.02)
        assert np.allclose(mass_function(power, mass, z)[3], number[3], rtol=0.08)
        assert np.allclose(bias(power, mass, z), b, rtol=0.01)


def test_velocities_agree_with_the_bessel_integral(power: MatterPower) -> None:
    shell = shells(power.cosmology)[10]
    found = VelocityField.of(power).power(power.cosmology, shell)
    k = np.geomspace(power.k[0], 2, 40_000)
    linear = np.exp(np.interp(np.log(k), np.log(power.k), np.log(power.linear)))
    model = power.cosmology
    rate = float(model.growth_rate(shell.z) * model.hubble(shell.z) / (1 + shell.z) * model.growth(shell.z))
    for ell in (1, 10, 100):
        wave = spherical_jn(ell, k * shell.distance, derivative=True)
        assert abs(found[ell] / (2 / math.pi * rate**2 * np.trapezoid(linear * wave**2 * k, np.log(k))) - 1) < 2e-3


def test_windows_start_at_one_and_follow_their_second_moment() -> None:
    theta, small = 1e-3, np.array([0.0, 50.0])
    for window in (pressure_window(small, theta, 1e14, 0.3), nfw_window(small, theta, 4.0)):
        assert abs(window[0] - 1) < 1e-6
        assert 0 < 1 - window[1] < 1e-3
    x = np.linspace(1e-4, 1, 20_001)  # NFW: u = 1 - (l theta)^2 <x^2> / 6
    density = x / (1 + 4 * x) ** 2
    second = np.trapezoid(density * x**2, x) / np.trapezoid(density, x)
    assert abs((1 - nfw_window(small, theta, 4.0)[1]) / ((50 * theta) ** 2 * second / 6) - 1) < 1e-2


def test_the_gas_of_a_cluster_is_what_planck_sees(power: MatterPower) -> None:
    """Planck 2013 XX (A&A 571, A20, eq. 7) gives Y500 = 1.7e-3 arcmin^2 for M500 = 7e14 at z = 0.2 with 1 - b = 0.8.

    M200c is 1.4 times M500, and the gas out to 4 R200 holds 1.5 to 2.5 times Y500.
    """
    model = power.cosmology
    y = float(integrated_y(model, np.array([1e15]), 0.2, float(model.distance(0.2)))[0]) * (180 * 60 / math.pi) ** 2
    assert 1.4 < y / 1.7e-3 < 2.6


def test_lognormal_shells_have_the_spectrum_asked_for(power: MatterPower) -> None:
    shell = shells(power.cosmology)[12]
    wanted = density_power(power, shell, 160)
    gaussian = lognormal_power(wanted)
    found = []
    for seed in range(6):
        g = synthesis(gaussian_alm(gaussian, np.random.default_rng(seed)), 64)
        found.append(angular_spectrum(analysis(np.expm1(g - variance(gaussian) / 2), 100, iterations=1)))
    ell = np.arange(101)
    for low, high in ((10, 40), (40, 95)):
        cut = slice(low, high)
        share = ((2 * ell + 1)[cut] * np.mean(found, 0)[cut] / wanted[cut]).sum() / (2 * ell + 1)[cut].sum()
        error = math.sqrt(2 / (6 * (2 * ell + 1)[cut].sum()))
        assert abs(share - 1) < 4 * error + 0.01  # 1 %: power that the exponential throws beyond the band limit
    assert abs(np.mean(np.expm1(g - variance(gaussian) / 2))) < 0.02


def test_halos_fall_where_the_weight_is_and_masses_follow_the_law(power: MatterPower) -> None:
    rng = np.random.default_rng(0)
    weight = np.exp(rng.standard_normal(768))
    counts = np.bincount(draw_pixels(weight, 200_000, rng), minlength=768)
    expected = weight / weight.sum() * 200_000
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi2 - 767) < 4 * math.sqrt(2 * 767)
    assert ((counts - expected[::-1]) ** 2 / expected[::-1]).sum() > 2 * 767  # the check can fail
    bins = HaloBins.of(power, shells(power.cosmology)[8])
    drawn = np.exp(bins.masses(2, 100_000, rng) - bins.edges[2])
    x = np.linspace(0, bins.edges[3] - bins.edges[2], 2001)
    n = mass_function(power, np.exp(bins.edges[2] + x), 0.41)
    mean = np.trapezoid(n * np.exp(x), x) / np.trapezoid(n, x)
    assert abs(drawn.mean() / mean - 1) < 4 * drawn.std() / math.sqrt(len(drawn)) / mean + 2e-3


def test_refined_pixels_stay_inside_their_parent() -> None:
    from sundog.data.sky.sphere import pixelisation

    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 12 * 8**2, 500)
    fine = refine(coarse, 8, 64, rng)
    back = pixelisation(8).vec2pix(pixelisation(64).pix2vec(fine))
    assert (back == coarse).all()
    assert len(np.unique(fine)) > 480


def test_radio_counts_are_a_power_law_with_the_stated_shot_noise() -> None:
    counts = RadioCounts()
    assert abs(counts.shot_noise() - 0.14) < 0.005
    flux = counts.fluxes(400_000, np.random.default_rng(2)).astype(float)
    assert counts.faintest * 0.999 <= flux.min() <= flux.max() <= counts.cut * 1.001
    share = (flux**2).mean() * counts.per_steradian()
    assert abs(share / counts.shot_noise() - 1) < 4 * (flux**2).std() / (flux**2).mean() / math.sqrt(len(flux))
    above = (flux > 1e-3).mean() * counts.per_steradian()
    law = counts.amplitude / 1.25 * (1e-3**-1.25 - counts.cut**-1.25)
    assert abs(above / law - 1) < 4 / math.sqrt((flux > 1e-3).sum())


def test_dust_scale_is_the_amplitude_asked_for(power: MatterPower) -> None:
    layers = shells(power.cosmology)
    dust = [DustShell.of(power, shell) for shell in layers]
    one, four = (dust_scale(power, layers, dust, d) for d in (1.0, 4.0))
    assert abs(four / one - 2) < 1e-9


def test_bad_input_is_named(tmp_path: Path) -> None:
    for bad in (100, 8, 16_384):
        with pytest.raises(OptionError, match="cannot simulate this NSIDE"):
            simulate_sky(bad)
    with pytest.raises(OptionError, match="unknown cosmology"):
        simulate_sky(16, cosmology="wmap6")
    with pytest.raises(OptionError, match="not a cosmology"):
        replace(cosmology("wmap5"), h=71.0)
    with pytest.raises(OptionError, match="seed"):
        simulate_sky(16, seed=-1)
    with pytest.raises(OptionError, match="min_halo"):
        simulate_sky(16, min_halo=13.0)
    with pytest.raises(FileError, match="no finished sky"):
        SkyMaps.load(tmp_path)
    with pytest.raises(ShapeError, match="unequal NSIDE"):
        SkyMaps({"kappa": np.zeros(768), "cib": np.zeros(192)})


def test_one_seed_is_one_sky_at_every_nside() -> None:
    coarse, fine, other = (analysis(simulate_sky(nside, seed, min_halo=1e15).kappa.astype(float), 24)
                           for nside, seed in ((16, 1), (32, 1), (32, 2)))

    def coefficient(a: np.ndarray, b: np.ndarray) -> float:
        shared = angular_spectrum(a, b)[2:].sum()
        return float(shared / math.sqrt(angular_spectrum(a)[2:].sum() * angular_spectrum(b)[2:].sum()))

    assert coefficient(coarse, fine) > 0.99
    assert abs(coefficient(coarse, other)) < 4 / 24


@pytest.mark.slow
def test_same_seed_same_bits_whatever_the_threads(tmp_path: Path) -> None:
    one = simulate_sky(64, seed=3, min_halo=1e14)
    two = simulate_sky(64, seed=3, min_halo=1e14, threads=2, out=tmp_path / "sky")
    other = simulate_sky(64, seed=4, min_halo=1e14)
    kept = SkyMaps.load(tmp_path / "sky")
    for (name, a), (_, b), (_, c), (_, d) in zip(one, two, kept, other):
        assert a.tobytes() == np.asarray(b).tobytes() == np.asarray(c).tobytes(), name
        assert abs(np.corrcoef(a, d)[0, 1]) < 0.05, name
    assert kept.provenance == one.provenance


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_a_whole_sky_has_the_spectrum_signs_and_skewness_it_should() -> None:
    sky, lmax = simulate_sky(128, seed=0), 256
    reference = np.load(DATA / "s10_clkk.npz")["clkk"][: lmax + 1]
    alm = {name: analysis(values.astype(float) - values.mean(), lmax) for name, values in sky}
    ell = np.arange(lmax + 1)

    def band(a: str, b: str, low: int, high: int) -> float:
        cut = slice(low, high)
        return float((angular_spectrum(alm[a], alm[b]) * (2 * ell + 1))[cut].sum() / (2 * ell + 1)[cut].sum())

    for low, high in ((50, 75), (75, 112), (112, 160), (160, 220)):
        cut = slice(low, high)
        expected = (reference * (2 * ell + 1))[cut].sum() / (2 * ell + 1)[cut].sum()
        error = math.sqrt(2 / (2 * ell + 1)[cut].sum())
        assert abs(band("kappa", "kappa", low, high) / expected - 1) < 0.08 + 3 * error

    def coefficient(a: str, b: str) -> float:
        return band(a, b, 100, 230) / math.sqrt(band(a, a, 100, 230) * band(b, b, 100, 230))

    assert 0.6 < coefficient("kappa", "cib") < 0.8
    assert -0.3 < coefficient("kappa", "tsz") < -0.12  # a hole below 217 GHz
    assert -0.2 < coefficient("cib", "tsz") < -0.02
    assert 0.08 < coefficient("kappa", "radio") < 0.3
    assert abs(coefficient("kappa", "ksz")) < 4 / math.sqrt(230**2 - 100**2) + 0.03
    skewness = {name: float(((values - values.mean()) ** 3).mean() / values.std() ** 3) for name, values in sky}
    assert skewness["tsz"] < -4  # not -400: clusters are spread over pixels
    assert 0 < skewness["cib"] < 1
    assert 0.5 < skewness["radio"] < 4
    assert abs(skewness["ksz"]) < 2.2  # 0 on average; 0.55 from sky to sky (seeds 0 to 7)
    assert all(np.isfinite(values).all() for _, values in sky)


def test_far_lensing_is_the_smaller_part(power: MatterPower) -> None:
    near = sum(s.weight**2 * density_power(power, s, 200) for s in shells(power.cosmology))
    far = far_lensing_power(power, 4.2, 200)
    assert 0.02 < far[200] / (near + far)[200] < 0.5


def test_an_old_sky_is_not_taken_for_one_that_is_being_made(tmp_path: Path) -> None:
    maps = new_maps(None, 12, NAMES)
    SkyMaps(maps, frequency_ghz=150.0).save(tmp_path)
    assert SkyMaps.load(tmp_path).nside == 1
    new_maps(tmp_path, 48, NAMES)
    with pytest.raises(FileError, match="no finished sky"):
        SkyMaps.load(tmp_path)


@pytest.mark.slow
def test_a_stopped_sky_leaves_the_one_before_and_a_sky_is_saved_twice(tmp_path, monkeypatch):
    from sundog.simulate.sky import simulator

    first = simulate_sky(16, seed=1, out=tmp_path, min_halo=3e14)
    kept = np.array(first.kappa)
    first.save(tmp_path)  # its maps have moved since they were opened
    assert np.array_equal(SkyMaps.load(tmp_path).kappa, kept)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator._Builder, "add_resolved_halos", stopped)
    with pytest.raises(KeyboardInterrupt):
        simulate_sky(16, seed=2, out=tmp_path, min_halo=3e14)
    assert np.array_equal(SkyMaps.load(tmp_path).kappa, kept)
    assert not [path.name for path in tmp_path.iterdir() if ".part" in path.name]
    (tmp_path / "sky.json").write_text('{"units": 3}')
    with pytest.raises(FileError, match=r"cannot read .*sky\.json"):
        SkyMaps.load(tmp_path)
