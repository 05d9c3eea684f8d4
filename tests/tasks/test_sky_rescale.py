"""Frequencies, units, beams, frames, lensing and sources of skies."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.data.sky.sphere import analysis, angular_spectrum, gaussian_alm, pixelisation, synthesis, values_at
from sundog.data.sky.strips import Sources
from sundog.errors import OptionError
from sundog.simulate.frequency import greybody
from sundog.simulate.sky import NAMES, SkyMaps
from sundog.simulate.sky.cmb import lensed_cmb
from sundog.simulate.sky.indices import BANDS, CIB, RADIO
from sundog.tasks.sky import (
    convert,
    find_point_sources,
    in_frame,
    in_unit,
    place_sources,
    rescale,
    sz_spectrum,
    thermodynamic_to_intensity,
    with_beam,
)

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "sky"


def ones(n: int = 768) -> SkyMaps:
    return SkyMaps(dict(zip(NAMES, np.ones((5, n), np.float32))))


def test_colours_are_the_published_ones() -> None:
    """CODATA 2018 and T = 2.7255 K; with 2.726 K the fourth digit changes, which is why it is an argument."""
    known = {30: -1.953705, 90: -1.597948, 143: -1.040364, 148: -0.978469, 217: -0.007775, 219: 0.022914,
             277: 0.952460, 350: 2.189046, 353: 2.240743}
    for nu, g in known.items():
        assert abs(float(sz_spectrum(nu)) - g) < 1e-6
    assert abs(float(sz_spectrum(148, t_cmb=2.726)) + 0.978808) < 1e-6
    assert abs(float(sz_spectrum(217.5074))) < 1e-6
    intensity = {90: 202.7177, 148: 393.3475, 217: 483.6447, 353: 296.6515}
    for nu, value in intensity.items():
        assert abs(float(thermodynamic_to_intensity(nu)) - value) < 1e-4


def test_brightness_is_the_derivative_of_planck() -> None:
    h, k, c = 6.62607015e-34, 1.380649e-23, 299_792_458.0
    planck = lambda T: 2 * h * (148e9) ** 3 / c**2 / np.expm1(h * 148e9 / (k * T)) / 1e-26  # noqa: E731
    numerical = (planck(2.7255 + 1e-4) - planck(2.7255 - 1e-4)) / 2e-4 * 1e-6
    assert abs(float(thermodynamic_to_intensity(148)) / numerical - 1) < 1e-6


def test_greybody_joins_a_power_law_smoothly_and_stays_finite() -> None:
    nu = np.geomspace(30, 20_000, 2000)
    slope = np.gradient(np.log(greybody(nu, 25.0)), np.log(nu))
    assert abs(slope[0] - 3.6) < 0.05  # Rayleigh-Jeans: beta + 2
    assert abs(slope[-1] + 1.7) < 1e-3
    assert np.abs(np.diff(slope)).max() < 0.05
    assert np.isfinite(greybody(np.float32(1e5), np.float32(20))).all()


def test_units_go_there_and_back() -> None:
    for unit in ("K_CMB", "mK_CMB", "Jy/sr", "MJy/sr", "y"):
        assert abs(convert(convert(3.0, "uK_CMB", unit, 90), unit, "uK_CMB", 90) - 3) < 1e-9
    assert abs(in_unit(ones(), "Jy/sr")["radio"][0] - 393.3475) < 1e-3
    assert abs(in_unit(ones(), "y")["tsz"][0] * -0.978469 * 2.7255e6 - 1) < 1e-5
    with pytest.raises(OptionError, match="unknown unit"):
        convert(1.0, "uK", "K_CMB", 148)
    with pytest.raises(OptionError, match="GHz"):
        sz_spectrum(0.0)


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_indices_are_those_of_the_data_files() -> None:
    stored = json.loads((DATA / "mmdl_normalisation_and_spectral_indices.json").read_text())
    for name, key in (("cib", "cib_spectra_indexv3"), ("radio", "radio_spectra_indexv2")):
        assert np.allclose({"cib": CIB, "radio": RADIO}[name].mean, stored[key]["mean"], atol=1e-6)
        assert np.allclose({"cib": CIB, "radio": RADIO}[name].covariance, stored[key]["cov"], atol=1e-6)
        assert (stored[key]["freq_ghz"] == BANDS).all()


def test_rescaled_sources_follow_the_full_covariance_across_bands() -> None:
    """log S(nu)/S(148) over ln(nu/148) is the index; its covariance between two bands is the stored one."""
    sky, n = ones(12 * 64**2), 12 * 64**2
    bands = {nu: rescale(sky, nu, seed=3) for nu in (90.0, 277.0, 350.0)}
    for name, law in (("cib", CIB), ("radio", RADIO)):
        alpha = {}
        for nu, made in bands.items():
            brightness = thermodynamic_to_intensity(148) / thermodynamic_to_intensity(nu)
            alpha[nu] = np.log(made[name] / brightness) / math.log(nu / 148)
        for i, nu in ((1, 90.0), (4, 350.0)):
            sigma = math.sqrt(law.covariance[i, i])
            assert abs(alpha[nu].mean() - law.mean[i]) < 4 * sigma / math.sqrt(n)
            assert abs(alpha[nu].std() / sigma - 1) < 4 / math.sqrt(2 * n)
        rho = law.covariance[3, 4] / math.sqrt(law.covariance[3, 3] * law.covariance[4, 4])
        found = np.corrcoef(alpha[277.0], alpha[350.0])[0, 1]
        assert abs(found - rho) < 4 * (1 - rho**2) / math.sqrt(n) + 1e-3
        assert abs(found) > 0.3  # with the diagonal alone it would be 0
    assert (bands[90.0].ksz == 1).all()
    assert (bands[90.0].kappa == 1).all()
    assert np.allclose(bands[90.0].tsz, 1.597948 / 0.978469, rtol=1e-5)
    assert rescale(sky, 90.0, seed=3).cib.tobytes() == bands[90.0].cib.tobytes()
    with pytest.raises(OptionError, match="cannot rescale"):
        rescale(bands[90.0], 350.0)
    with pytest.raises(OptionError, match="20 to 500"):
        rescale(sky, 353e9)


def test_beams_and_frames() -> None:
    ell = np.arange(33.0)
    alm = gaussian_alm(1 / (1 + ell) ** 2, np.random.default_rng(0))
    m = synthesis(alm, 32).astype(np.float32)
    sky = SkyMaps(dict.fromkeys(NAMES, m))
    smooth = angular_spectrum(analysis(with_beam(sky, 300.0).tsz, 32))
    sigma = math.radians(5) / math.sqrt(8 * math.log(2))
    expected = angular_spectrum(alm) * np.exp(-ell * (ell + 1) * sigma**2)
    assert np.allclose(smooth[2:25], expected[2:25], rtol=0.02)
    galactic = in_frame(sky, "galactic")
    from astropy.coordinates import SkyCoord

    theta, phi = pixelisation(32).pix2ang(np.array([4321]))[0]
    place = SkyCoord(l=phi, b=math.pi / 2 - theta, unit="rad", frame="galactic").icrs
    exact = values_at(alm, np.array([math.pi / 2 - place.dec.rad]), np.array([place.ra.rad]))[0]
    assert abs(galactic.kappa[4321] - exact) < 1e-3
    assert np.abs(galactic.cib - galactic.kappa).std() < 0.2 * m.std()  # nearest pixel
    assert np.abs(in_frame(galactic, "icrs").kappa - m).max() < 1e-2
    with pytest.raises(OptionError, match="unknown frame"):
        in_frame(replace(sky, frame="horizon"), "icrs")


def test_lensing_moves_the_cmb_as_its_gradient_says() -> None:
    """To first order T(n + grad phi) = T + grad T . grad phi, for a deflection far below the pixels."""
    from sundog.data.sky.sphere import gradient, scaled

    nside, lmax = 64, 64
    power = np.where(np.arange(lmax + 1) > 1, 1.0, 0) / (1 + np.arange(lmax + 1.0)) ** 2
    kappa_alm = gaussian_alm(np.where(np.arange(41) > 0, 1e-10, 0), np.random.default_rng(1))
    kappa = synthesis(kappa_alm, nside)
    lensed, plain = (lensed_cmb(x, seed=2, power=power) for x in (kappa, np.zeros_like(kappa)))
    alm = analysis(plain, lmax, iterations=8)
    ell = np.arange(41)
    potential = scaled(kappa_alm, 2 / np.maximum(ell * (ell + 1), 1) * (ell > 0))
    first = sum(a * b for a, b in zip(gradient(alm, nside), gradient(potential, nside)))
    moved = lensed - plain
    assert np.corrcoef(moved, first)[0, 1] > 0.999
    assert abs(moved.std() / first.std() - 1) < 0.01


@pytest.mark.slow
def test_the_lensed_spectrum_is_that_of_camb() -> None:
    correlations = pytest.importorskip("camb.correlations")
    from sundog.simulate.sky.cmb import cmb_power
    from sundog.simulate.sky.cosmology import cosmology

    lmax = 384
    ell = np.arange(lmax + 1)
    power = cmb_power(cosmology("wmap5"), 768)[: lmax + 1]
    potential = np.where(ell > 1, 2e-3 / np.maximum(ell, 1.0) ** 5, 0)  # far stronger than real, to be seen
    kappa_power = potential * (ell * (ell + 1)) ** 2 / 4
    unlensed = np.zeros((lmax + 1, 4))
    unlensed[:, 0] = power * ell * (ell + 1) / 2 / math.pi
    expected = correlations.lensed_cls(unlensed, potential * (ell * (ell + 1)) ** 2 / 2 / math.pi)[:, 0]
    change = []
    for seed in range(6):
        kappa = synthesis(gaussian_alm(kappa_power, np.random.default_rng(100 + seed)), 256)
        pair = [angular_spectrum(analysis(lensed_cmb(k, seed=seed, power=power), lmax)) for k in (kappa, 0 * kappa)]
        change.append((pair[0] - pair[1]) * ell * (ell + 1) / 2 / math.pi)
    for low, high in ((150, 200), (200, 250), (250, 300)):
        found = [c[low:high].mean() for c in change]
        wanted = (expected - unlensed[:, 0])[low:high].mean()
        assert abs(np.mean(found) - wanted) < 4 * np.std(found, ddof=1) / math.sqrt(6) + 0.03 * abs(wanted)
        assert abs(wanted) > 4 * np.std(found, ddof=1) / math.sqrt(6)  # there is something to see


def test_sources_are_found_with_their_flux_and_put_back() -> None:
    nside, rng = 64, np.random.default_rng(5)
    grid, n = pixelisation(nside), 12 * 64**2
    angles = grid.pix2ang(rng.choice(n, 60, replace=False))
    truth = Sources(angles[:, 0], angles[:, 1], 10 ** rng.uniform(-1.5, 0, 60))
    noise = rng.normal(0, 1.0, n)
    sky = place_sources(noise, truth)
    found, rest = find_point_sources(sky, threshold=12)
    assert 55 <= len(found) <= 60
    vectors = [np.stack([np.sin(s.theta) * np.cos(s.phi), np.sin(s.theta) * np.sin(s.phi), np.cos(s.theta)], 1)
               for s in (found, truth)]
    match = (vectors[0] @ vectors[1].T).argmax(1)
    near = (vectors[0] * vectors[1][match]).sum(1) > math.cos(0.02)
    assert near.mean() > 0.9
    error = (found.flux - truth.flux[match])[near] * n / (4 * math.pi)
    assert np.abs(np.median(error)) < 3  # noise of a nine-pixel aperture: 3 to 4
    assert np.std(error) < 8
    assert np.abs(rest - rest.mean()).max() < 13
    back = place_sources(rest, found)
    assert abs(back.sum() / sky.sum() - 1) < 0.02
    with pytest.raises(OptionError, match="do not nest"):
        find_point_sources(sky, radius_pixels=5.0)
