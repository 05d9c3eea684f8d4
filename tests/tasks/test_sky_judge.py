"""Spectra, bispectra and counts of whole skies against closed forms; the judge of skies on a sky that is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("ducc0")

from sundog.data.sky.healpix import UNSEEN, reordered
from sundog.data.sky.sphere import (
    adjoint,
    angular_spectrum,
    gaussian_alm,
    legendre_power,
    legendre_sum,
    pixelisation,
    synthesis,
)  # fmt: skip
from sundog.data.sky.strips import Sources
from sundog.data.sky.tiles import TileLayout
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.simulate.sky.sources import RadioCounts
from sundog.tasks.sky import (
    judge_skies,
    plausible,
    sky_bispectrum,
    sky_patches,
    sky_spectra,
    sky_trispectrum,
    source_counts,
)  # fmt: skip
from sundog.tasks.sky.judge import compare_numbers
from sundog.tasks.sky.measure import SkySpectra, binned

POWER = 1 / (5 + np.arange(65.0)) ** 2


def pair(seed: int, nside: int = 32) -> dict[str, np.ndarray]:
    """Two maps with correlation 0.6 at every multipole."""
    rng = np.random.default_rng(seed)
    a, b = (gaussian_alm(POWER, rng) for _ in range(2))
    return {"kappa": synthesis(a, nside), "tsz": synthesis(0.6 * a + 0.8 * b, nside)}


def test_spectra_correlations_and_their_errors() -> None:
    edges = [2, 12, 25, 45, 64]
    found = [sky_spectra(pair(seed), edges) for seed in range(30)]
    ell = np.arange(65)
    truth = np.array([np.average(POWER[a:b], weights=(2 * ell + 1)[a:b]) for a, b in zip(edges[:-1], edges[1:])])
    cross = np.array([s.between("kappa", "tsz") for s in found])
    for values, wanted, error in (
            (np.array([s.power[0, 0] for s in found]), truth, np.mean([s.error[0, 0] for s in found], 0)),
            (cross, 0.6 * truth, np.mean([s.error[0, 1] for s in found], 0)),
            (np.array([s.correlation[0, 1] for s in found]), 0.6,
             np.mean([s.correlation_error[0, 1] for s in found], 0))):
        assert (np.abs(values.mean(0) - wanted) < 4.5 * error / math.sqrt(30) + 0.005 * np.abs(wanted)).all()
        assert np.abs(values.std(0, ddof=1) / error - 1).max() < 0.6  # 30 skies know their scatter to 13 %
    assert (np.abs(cross.mean(0) - truth) > 5 * cross.std(0) / math.sqrt(30)).all()  # the check can fail


def test_bispectrum_of_a_squared_field_is_the_known_one() -> None:
    """x = g + f (g^2 - <g^2>) has the reduced bispectrum 2 f (C1 C2 + C2 C3 + C3 C1) to first order in f."""
    edges, f, found, none = np.array([4, 12, 24, 40]), 0.1, [], []
    power = np.where(np.arange(41) >= 2, POWER[:41], 0)
    for seed in range(12):
        g = synthesis(gaussian_alm(power, np.random.default_rng(seed)), 32)
        found.append(sky_bispectrum(g + f * (g**2 - g.var()), edges))
        none.append(sky_bispectrum(g, edges))
    mean, scatter = (fn([s.value for s in found], axis=0) for fn in (np.mean, np.std))
    c = np.array([np.average(POWER[a:b], weights=2 * np.arange(a, b) + 1) for a, b in zip(edges[:-1], edges[1:])])
    i, j, k = found[0].triples.T
    wanted = 2 * f * (c[i] * c[j] + c[j] * c[k] + c[k] * c[i])
    assert (np.abs(mean - wanted) < 4 * scatter / math.sqrt(12) + 0.3 * wanted).all()  # C varies inside a bin
    null = np.array([s.value / s.error for s in none])
    assert abs(null.std() - 1) < 0.25
    assert (mean / scatter * math.sqrt(12)).max() > 5


def test_trispectrum_of_points_is_their_density_and_of_gaussian_maps_zero() -> None:
    edges, none = np.array([4, 12, 24, 40]), []
    power = np.where(np.arange(41) >= 2, POWER[:41], 0)
    for seed in range(30):
        g = sky_trispectrum(synthesis(gaussian_alm(power, np.random.default_rng(seed)), 32), edges)
        none.append(g.value / g.error)
    assert np.abs(np.mean(none, 0)).max() < 4.5 / math.sqrt(30)  # no bias
    assert np.abs(np.std(none, 0) - 1).max() < 0.6  # skewed: 30 maps know their scatter to some 20 %
    density, found = 40 / (4 * math.pi), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        where = rng.integers(0, 12 * 32**2, rng.poisson(40))
        peaks = np.bincount(where, minlength=12 * 32**2).astype(float)
        found.append(sky_trispectrum(synthesis(adjoint(peaks, 48), 32), edges).value)
    values = np.array(found)
    assert (np.abs(values.mean(0) - density) < 4.5 * values.std(0, ddof=1) / math.sqrt(12)).all()
    assert (values.mean(0) > 0.7 * density).all() and (values.mean(0) < 1.4 * density).all()


def test_counts_are_the_counts() -> None:
    counts, rng = RadioCounts(), np.random.default_rng(0)
    n = rng.poisson(4 * math.pi * counts.per_steradian() / 40)
    sources = Sources(np.zeros(n), np.zeros(n), counts.fluxes(rng.random(n)))
    edges = np.geomspace(1e-4, 5e-3, 8)
    found, error = source_counts(sources, edges, sky_fraction=1 / 40)
    a = counts.slope - 1
    truth = counts.amplitude / a * (edges[:-1] ** -a - edges[1:] ** -a) / np.diff(edges)
    assert (np.abs(found - truth) < 4 * error).all()
    assert not (np.abs(found - 1.3 * truth) < 4 * error).all()


def numbers(seed: int, factor: float = 1.0, correlation: float = 0.6) -> dict:
    """Spectra and correlations of a pair of Gaussian maps: what `judge_skies` measures, drawn as their a_lm."""
    rng, edges = np.random.default_rng(seed), np.array([10, 16, 25, 40, 65])
    a, b = (gaussian_alm(POWER, rng) for _ in range(2))
    alm = [math.sqrt(factor) * a, correlation * a + math.sqrt(1 - correlation**2) * b]
    power = np.array([[binned(angular_spectrum(x, y), edges) for y in alm] for x in alm])
    found = SkySpectra(("kappa", "tsz"), edges, power, np.add.reduceat(2 * np.arange(65) + 1, edges[:-1]).astype(float))
    return {(name, str(k)): (values[i, j, k], error[i, j, k]) for k in range(4) for i, j in ((0, 0), (0, 1), (1, 1))
            for name, values, error in ((f"{i}{j}", found.power, found.error),
                                        (f"r{i}{j}", found.correlation, found.correlation_error))
            if i != j or name[0] != "r"}


def failures(trials: int, **wrong: float) -> int:
    """How often five skies against five are told apart."""
    return sum(compare_numbers([numbers(10 * t + i) for i in range(5)],
                               [numbers(10 * t + i, **wrong) for i in range(5, 10)])[1] < 0.01 for t in range(trials))


def test_five_skies_find_a_wrong_spectrum_and_a_wrong_correlation() -> None:
    assert failures(12, factor=1.3) >= 11
    assert failures(12, correlation=0.5) >= 11
    assert failures(12) <= 2
    rows, p = compare_numbers([numbers(i) for i in range(5)], [numbers(i, 1.3) for i in range(5, 10)])
    assert rows[0].name == "00" and not rows[0].passed and rows[0].pull > 4 * rows[0].null / 2 and p < 0.01


@pytest.mark.slow
def test_equal_skies_fail_as_often_as_said() -> None:
    """2 of 200 are expected at 0.01 (exactly 1 in 126); 7 or more have a probability of 0.002."""
    assert failures(200) <= 6


@pytest.mark.slow
def test_the_judge_of_skies_finds_a_channel_that_was_shuffled() -> None:
    real, good = [pair(seed) for seed in range(5)], [pair(seed) for seed in range(10, 15)]
    wrong = [{"kappa": pair(seed)["kappa"], "tsz": pair(seed + 1)["tsz"]} for seed in range(20, 30, 2)]
    layout = TileLayout(32, 70.0, 8)
    fine, bad = (judge_skies(real, fake, layout=layout, patches=60, lmax=60, bins=4,
                             statistics=["power spectrum", "cross spectra"]) for fake in (good, wrong))
    assert fine.passed and all(row.passed for row in fine.sphere)
    assert not bad.passed and bad.p_sphere < 0.01
    assert bad.sphere[0].name in ("kappa x tsz", "r kappa x tsz")
    assert "FAIL" in str(bad)


def test_skies_of_other_maps_and_maps_of_zeros_are_told() -> None:
    skies = [pair(seed) for seed in range(10)]
    options = {"layout": TileLayout(16, 60.0, 8), "patches": 20, "bins": 3, "lmax": 40,
               "statistics": ["power spectrum"]}
    turned = [dict(reversed(sky.items())) for sky in skies[5:]]
    assert judge_skies(skies[:5], turned, **options).p_sphere == judge_skies(skies[:5], skies[5:], **options).p_sphere
    with pytest.raises(ShapeError, match="skies of other maps"):
        judge_skies(skies[:5], [*skies[5:9], {"kappa": skies[9]["kappa"]}], **options)
    with pytest.raises(DataError, match="cib x cib cannot be compared"):  # the p of all was 0
        compare_numbers(*[[{**numbers(seed), ("cib x cib", "10-20"): (0.0, 0.0)} for seed in seeds]
                          for seeds in (range(5), range(5, 10))])


def test_too_few_skies_are_told_how_many_are_needed() -> None:
    with pytest.raises(SampleSizeError, match=r"5 real and 5 fake, or 13 real for 2 fake"):
        judge_skies([pair(0)] * 3, [pair(1)] * 2)


def test_patches_of_skies_are_the_sky() -> None:
    layout = TileLayout(16, 120.0, 8)
    ramp = {"kappa": pixelisation(16).pix2vec(np.arange(3072))[:, 2].astype(np.float32)}
    data = sky_patches([ramp], 20, layout)
    nearest = sky_patches([ramp], 20, layout, point_like=("kappa",))
    assert data.values.shape == (20, 1, 16, 16)
    assert (data.values - nearest.values).abs().max() < 0.1
    assert data.values.abs().max() <= 1.01


def test_bad_skies_are_named() -> None:
    sky = pair(0)
    with pytest.raises(ShapeError, match="unequal NSIDE"):
        sky_spectra({"a": sky["kappa"], "b": np.zeros(768)}, [2, 10])
    with pytest.raises(DataError, match="NESTED"):
        sky_spectra({"a": reordered(sky["kappa"], "NESTED")}, [2, 10])
    with pytest.raises(DataError, match="UNSEEN"):
        sky_spectra({"a": np.where(np.arange(12288) < 5, UNSEEN, sky["kappa"])}, [2, 10])
    with pytest.raises(ShapeError, match="beyond the map"):
        sky_spectra(sky, [2, 200])
    with pytest.raises(OptionError, match="do not rise"):
        sky_spectra(sky, [10, 2])
    with pytest.raises(OptionError, match="flux bins"):
        source_counts(Sources(np.ones(1), np.ones(1), np.ones(1)), [2.0, 1.0])
    noise = np.random.default_rng(0).normal(size=768)
    plausible({"cib": 4 * noise, "radio": noise})
    with pytest.raises(DataError, match="tsz cannot be in uK_CMB"):
        plausible({"tsz": 1e-6 * noise})
    with pytest.raises(DataError, match="different units"):
        plausible({"cib": 0.012 * noise, "radio": 900 * noise})


def test_lognormal_spectrum_round_trip_on_the_sphere() -> None:
    """exp(g) measured by the harmonics has the correlation function exp(xi) - 1 that Legendre sums predict."""
    power = 2e-3 * POWER[:33]
    xi = legendre_sum(np.pad(power, (0, 64)))
    wanted = legendre_power(np.expm1(xi))[2:30]
    found = np.mean([angular_spectrum(gaussian_alm(power, np.random.default_rng(s)))[2:30] for s in range(40)], 0)
    weight = 2 * np.arange(2, 30) + 1
    assert abs((found / wanted * weight).sum() / weight.sum() - 1) < 4 * math.sqrt(2 / (40 * weight.sum())) + 0.01
