"""The significance improvement curve against the closed form of the resonant toy."""

import math

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly.checks.evaluation import expected_significance, sic_band, sic_curve


def optimal_scores(n_background, n_signal, seed):
    """Labels and true log-ratios of toy events inside the window."""
    toy = ResonantToy()
    background, signal = toy.background(n_background, seed), toy.signal(n_signal, seed + 1)
    kept = [events[toy.in_signal_region(events)] for events in (background, signal)]
    score = torch.cat([toy.log_likelihood_ratio(e.values, e.context) for e in kept])
    return np.repeat([0, 1], [len(e) for e in kept]), score.numpy()


@pytest.fixture(scope="module")
def optimal():
    return sic_curve(*optimal_scores(900_000, 60_000, seed=3))


@pytest.mark.parametrize("fpr, sic", [(1e-2, 9.58), (1e-3, 16.47), (1e-4, 12.07)])
def test_optimal_curve_of_the_toy(optimal, fpr, sic):
    # The reference at 1e-4 is itself read off a finite sample: about 5 % there.
    own = 0.6 if fpr == 1e-4 else 0.05
    assert abs(optimal.at(fpr) - sic) < 4 * math.hypot(optimal.error(fpr), own)


def test_a_blurred_score_is_worse(optimal):
    labels, score = optimal_scores(300_000, 50_000, seed=8)
    blurred = sic_curve(labels, score + np.random.default_rng(0).normal(0, 3, len(score)))
    assert blurred.at(1e-3) < optimal.at(1e-3) - 4 * blurred.error(1e-3)


def test_error_is_the_scatter_between_samples():
    """150 repetitions of two unit normals 2 apart; TPR at FPR f is Phi(2 - z_f), SIC has mean and scatter known."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [4000, 1000])
    curves = [sic_curve(labels, generator.normal(size=5000) + 2 * labels) for _ in range(150)]
    values, errors = [c.at(0.05) for c in curves], [c.error(0.05) for c in curves]
    expected = 0.5 * math.erfc((1.6448536 - 2) / 2**0.5) / 0.05**0.5
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 150**0.5 + 0.005
    assert abs(np.mean(errors) / np.std(values) - 1) < 4 / (2 * 150) ** 0.5


def test_statistical_cut():
    labels = np.repeat([0, 1], [25_000, 100])
    curve = sic_curve(labels, np.random.default_rng(0).normal(size=25_100))
    assert math.isclose(curve.cut, 1e-3)
    assert curve.at(1e-3) >= 0, "the cut itself is valid"
    with pytest.raises(SampleSizeError, match=r"fpr 0.0009 of 25000 events, expected fpr >= 0.001"):
        curve.at(9e-4)
    assert not curve.valid[curve.fpr < 0.999e-3].any() and curve.valid[curve.fpr > 1.001e-3].all()
    assert curve.max_at >= 1e-3 * (1 - 1e-9)
    assert math.isclose(sic_curve(labels, -labels, max_relative_error=0.5).cut, 1 / (25_000 * 0.25))


def test_equal_scores_are_cut_together():
    curve = sic_curve([0] * 50 + [1] * 50, [0.0] * 100)
    assert curve.fpr.tolist() == [0, 1] and curve.max_sic == 1
    infinite = sic_curve([0] * 50 + [1] * 50, [-math.inf] * 50 + [math.inf] * 50)
    assert infinite.tpr.tolist() == [0, 1, 1] and infinite.fpr.tolist() == [0, 0, 1]


def test_band_and_significance():
    labels, generator = np.repeat([0, 1], 2000), np.random.default_rng(0)
    curves = [sic_curve(labels, labels + generator.normal(size=4000)) for _ in range(5)]
    band = sic_band(curves, [0.1, 1.0])
    values = sorted(curve.at(0.1) for curve in curves)
    assert band.median[0] == values[2] and values[0] <= band.low[0] < band.high[0] <= values[4]
    assert band.low[1] == band.high[1] == 1
    assert sic_band(curves).fpr[0] == pytest.approx(curves[0].cut)
    assert math.isclose(expected_significance(2, 100, 10_000), 2)


@pytest.mark.parametrize("labels, scores, error, message", [
    ([0, 1, 2], [1, 2, 3], DataError, "labels are unusable"),
    ([0, 0], [1, 2], DataError, "both present"),
    ([0, 1], [1, math.nan], DataError, "NaN"),
    ([0, 1], [1, 2, 3], ShapeError, "one score per label"),
    ([0, 1], [1, 2], SampleSizeError, "too few background events"),
])
def test_unusable_scores(labels, scores, error, message):
    with pytest.raises(error, match=message):
        sic_curve(labels, scores)


def test_unusable_options():
    curve = sic_curve([0] * 50 + [1] * 50, range(100))
    with pytest.raises(OptionError, match="background efficiency out of range"):
        curve.at(0)
    with pytest.raises(OptionError, match="no curves"):
        sic_band([])
    with pytest.raises(OptionError, match="relative error"):
        sic_curve([0, 1], [0, 1], max_relative_error=0)
