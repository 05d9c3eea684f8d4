"""The bump hunt: calibrated where only background is, right about a planted peak."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, norm

from sundog.errors import OptionError, SampleSizeError
from sundog.tasks.anomaly.checks.sculpting import sculpting
from sundog.tasks.anomaly.regions import SignalRegion, sliding_windows
from sundog.tasks.anomaly.scan.bump import (
    _goodness,
    bins_inside,
    common_edges,
    count_significance,
    fit_bump,
    fit_curves,
    locate,
    shape_before,
)
from sundog.tasks.anomaly.scan.significance import look_elsewhere

REGION = SignalRegion(3.3, 3.7)


def falling(n, generator):
    """Masses from exp(-1.6 m) on [3, 4.6]."""
    return 3 - np.log(1 - generator.uniform(0, 1 - np.exp(-2.56), n)) / 1.6


def spectra(n, toys, edges, seed):
    """Poisson histograms of the falling law with n events on average."""
    below = 1 - np.exp(-1.6 * (np.clip(edges, 3, 4.6) - 3))
    return np.random.default_rng(seed).poisson(n * np.diff(below) / below[-1], (toys, len(edges) - 1))


def test_edges_hold_every_window():
    m = falling(20_000, np.random.default_rng(0))
    windows = sliding_windows(3.2, 4.2, 0.4)
    edges = common_edges(m, windows)
    assert (np.diff(edges) > 0).all() and edges[0] == m.min() and edges[-1] == m.max()
    for window in windows:
        inside = bins_inside(edges, window)
        assert np.isclose(edges[:-1][inside].min(), window.lo) and np.isclose(edges[1:][inside].max(), window.hi)
    with pytest.raises(OptionError, match="bins do not fit the window"):
        fit_bump(m, SignalRegion(3.33, 3.71), edges)


@pytest.mark.parametrize("n, cut", [(30_000, False), (100, True), (2000, True)])
def test_significance_is_calibrated_without_signal(n, cut):
    """Chosen degrees and all: no bias, unit width to 15 % (the choice of the degree makes Z a little too wide)."""
    generator = np.random.default_rng(1)
    whole = falling(100_000, generator)
    edges = common_edges(whole, [REGION])
    shape = shape_before(fit_bump(whole, REGION, edges), edges) if cut else None
    inside, counts = bins_inside(edges, REGION), spectra(n, 600, edges, seed=n)
    curves = fit_curves(counts, edges, inside, shape)
    z = count_significance(counts[:, inside].sum(1), curves.expected, curves.error)
    assert abs(z.mean()) < 4 / 600**0.5
    assert abs(z.std() - 1) < 0.15 + 4 / 1200**0.5


def test_a_degree_too_low_would_be_noticed():
    """Negative control: without the spectrum before the cut, few events cannot fix the shape, and Z is biased."""
    edges = common_edges(falling(100_000, np.random.default_rng(1)), [REGION])
    inside, counts = bins_inside(edges, REGION), spectra(2000, 600, edges, seed=2)
    curves = fit_curves(counts, edges, inside)
    z = count_significance(counts[:, inside].sum(1), curves.expected, curves.error)
    assert z.mean() > 4 / 600**0.5


def test_formula_against_a_profile_likelihood():
    """On-off counting: b +- s is an auxiliary count of b^2/s^2 events with exposure b/s^2 (Cowan 2012)."""
    n, b, s = 130.0, 100.0, 8.0
    tau = b / s**2
    m = b * tau

    def log_likelihood(signal, background):
        return n * np.log(signal + background) - signal - background + m * np.log(tau * background) - tau * background

    without = (n + m) / (1 + tau)
    q = 2 * (log_likelihood(n - b, b) - log_likelihood(0, without))
    assert abs(float(count_significance(n, b, s)) - q**0.5) < 1e-9
    assert count_significance(70, b, s) < 0 and np.isfinite(count_significance(0, b, s))


def test_p_values_of_toys_are_uniform():
    edges = common_edges(falling(100_000, np.random.default_rng(1)), [REGION])
    inside, counts = bins_inside(edges, REGION), spectra(50_000, 1000, edges, seed=3)
    curves = fit_curves(counts, edges, inside)
    p = norm.sf(count_significance(counts[:, inside].sum(1), curves.expected, curves.error))
    assert kstest(p, "uniform").pvalue > 1e-4
    assert kstest(norm.sf(2 * norm.isf(p)), "uniform").pvalue < 1e-4, "a wrong sigma must show"


def test_a_peak_is_found_where_it_is():
    generator = np.random.default_rng(4)
    peak = generator.normal(3.52, 0.05, 150)
    m = np.concatenate([falling(3000, generator), peak])
    edges = common_edges(m, [REGION])
    fit = fit_bump(m, REGION, edges)
    assert abs(fit.excess - 150) < 4 * (fit.observed + fit.expected_error**2) ** 0.5
    found = locate(m, fit)
    assert abs(found.mass - 3.52) < 4 * found.mass_error < 0.12
    assert abs(found.width - 0.05) < 4 * found.width_error < 0.2
    assert "sigma" in str(fit)


def test_a_faint_excess_has_a_place_with_an_error_however_large():
    generator = np.random.default_rng(8)
    found = []
    for _ in range(12):
        m = np.concatenate([falling(400, generator), generator.normal(3.5, 0.05, 10)])
        fit = fit_bump(m, REGION, common_edges(m, [REGION]))
        found.append(locate(m, fit))
    placed = [peak for peak in found if peak is not None]
    assert placed and all(3.3 <= peak.mass <= 3.7 and peak.mass_error > 0 for peak in placed)


def test_a_deficit_has_no_place():
    m = falling(4000, np.random.default_rng(5))
    m = m[(np.abs(m - 3.5) > 0.2) | (np.arange(len(m)) % 3 > 0)]
    fit = fit_bump(m, REGION, common_edges(m, [REGION]))
    assert fit.significance < -4 and fit.p_value > 0.99 and locate(m, fit) is None


def test_too_few_events_beside():
    m = np.concatenate([falling(15, np.random.default_rng(6)), [3.5] * 30])
    with pytest.raises(SampleSizeError, match="too few events pass the cut"):
        fit_bump(m, REGION, common_edges(m, [REGION]))


def test_spectra_that_reach_zero():
    m = np.random.default_rng(7).uniform(-1, 1, 5000)
    region = SignalRegion(-0.1, 0.1, "")
    assert abs(fit_bump(m, region, common_edges(m, [region])).significance) < 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(10))
def test_no_warning_reaches_the_user(seed):
    """Narrow peaks, strays, masses of one decimal: fits meet their bounds and say nothing of it."""
    g = np.random.default_rng(seed)
    m = np.concatenate([falling(4000, g), g.normal(3.5, 10 ** g.uniform(-4, -1), 400 * (seed % 3)), [1.2, 2.0, 50.0]])
    m = m.round(1) if seed % 2 else m
    edges = common_edges(m, [REGION])
    before = fit_bump(m, REGION, edges)
    cut = (g.random(len(m)) < 0.05) | ((np.abs(m - 3.5) < 0.1) & (g.random(len(m)) < 0.3))
    fit = fit_bump(m[cut], REGION, edges, before)
    locate(m[cut], fit), str(fit), sculpting(m, cut, fit), look_elsewhere([fit], cut[:, None], m, n=20)


@pytest.mark.parametrize(("above", "placed"), [(0.5, False), (1.5, True)])
def test_an_excess_below_one_sigma_has_no_place(above, placed):
    m = falling(4000, np.random.default_rng(6))
    fit = fit_bump(m, REGION, common_edges(m, [REGION]))
    inside, exact = fit.observed, replace(fit, expected_error=1e-6)
    fit = replace(exact, expected=inside - above * inside**0.5)
    assert abs(fit.significance - above) < 0.05
    assert (locate(m, fit) is not None) == placed


def test_goodness_merges_bins_until_five_events_are_expected():
    """Counts 0, 2, 0, 2 ... where one is expected: chi-square 100 in single bins, below 1 in merged ones."""
    expected = np.ones(100)
    assert _goodness(np.tile([0.0, 2.0], 50), expected, 1) > 0.999
    assert _goodness(np.repeat([0.0, 2.0], 50), expected, 1) < 1e-6, "100 too many in one half must show"
