"""The signal fraction and its intervals, against the law that made the events."""

import math

import numpy as np
import pytest

from sundog.errors import DataError, OptionError
from sundog.tasks.anomaly.checks.fraction import SignalFraction, check_fraction, log_likelihood, signal_fraction


def log_ratios(n, w, seed, shift=3.0, believed=3.0):
    """log N(x; believed, 1) - log N(x; 0, 1) of n events, a share w of them from N(shift, 1)."""
    g = np.random.default_rng(seed)
    x = g.normal(size=n) + shift * (g.random(n) < w)
    return believed * x - believed**2 / 2


@pytest.fixture(scope="module")
def toys():
    return [signal_fraction(log_ratios(4000, 0.03, seed)) for seed in range(200)]


def test_value_is_unbiased(toys):
    values = [toy.value for toy in toys]
    assert abs(np.mean(values) - 0.03) < 4 * np.std(values) / 200**0.5


@pytest.mark.parametrize("level, low, high", [(0.683, "low", "high"), (0.95, "low_95", "high_95")])
def test_intervals_cover_as_often_as_they_say(toys, level, low, high):
    hits = sum(getattr(toy, low) <= 0.03 <= getattr(toy, high) for toy in toys)
    assert abs(hits / 200 - level) < 4 * (level * (1 - level) / 200) ** 0.5
    wrong = sum(getattr(toy, low) <= 0.06 <= getattr(toy, high) for toy in toys)
    assert wrong < hits / 2, "an interval that also covers twice the truth would say nothing"


def test_no_signal_no_evidence_whatever_the_believed_signal():
    """E_B[p_S / p_B] = 1 for every p_S, so also for a wrong one the interval holds 0 in 95 % of the cases."""
    for believed in (1.0, 3.0):
        toys = [signal_fraction(log_ratios(4000, 0.0, seed, believed=believed)) for seed in range(200)]
        false_alarms = sum(toy.evidence for toy in toys)
        assert false_alarms <= 0.025 * 200 + 4 * (0.025 * 0.975 * 200) ** 0.5  # one-sided: 2.5 %


def test_signal_is_evidence():
    found = signal_fraction(log_ratios(4000, 0.1, 0))
    assert found.evidence and found.significance > 5 and found.p_value < 1e-6
    assert "sigma" in str(found)
    nothing = signal_fraction(-np.ones(100))
    assert nothing.value == 0 == nothing.low and not nothing.evidence and "no excess" in str(nothing)


def test_the_value_maximises_the_likelihood():
    ratio = log_ratios(2000, 0.05, 1)
    found = signal_fraction(ratio)
    grid = np.linspace(0, 0.2, 401)
    gains = log_likelihood(grid, ratio)
    assert abs(grid[gains.argmax()] - found.value) < 1e-3
    assert math.isclose(found.gain, float(log_likelihood(found.value, ratio)[0]))
    ends = 2 * (found.gain - log_likelihood([found.low, found.high], ratio))
    assert np.allclose(ends, 1, atol=1e-6)


def test_extreme_ratios():
    assert signal_fraction(np.full(100, 800.0)).value > 0.99
    assert signal_fraction(np.full(100, -np.inf)).value == 0
    with pytest.raises(DataError, match="1 NaN of 2"):
        signal_fraction([0.0, math.nan])
    with pytest.raises(OptionError, match="signal fraction out of range"):
        check_fraction(1.0)


@pytest.mark.parametrize("certain", [30.0, 434.0, 1e4])
def test_one_certain_event_is_no_evidence(certain):
    """A template's density far from its events is an extrapolation: what one event says of it is not believed."""
    ratio = log_ratios(4000, 0.0, 3)
    alone = signal_fraction(ratio)
    found = signal_fraction(np.append(ratio, certain))
    assert not found.evidence and found.gain == pytest.approx(alone.gain, abs=1.0)
    many = signal_fraction(np.append(ratio, np.full(20, certain)))
    assert many.evidence and many.low_95 > 0.5 * 20 / 4020


def test_significance_is_that_of_wilks():
    found = SignalFraction(0.1, 0.05, 0.15, 0.01, 0.2, gain=4.5, n=100)
    assert found.significance == 3.0 and abs(found.p_value - 0.0013499) < 1e-6
    assert SignalFraction(0.0, 0.0, 0.1, 0.0, 0.2, gain=0.0, n=100).p_value == 0.5
    with pytest.raises(AttributeError, match="cannot assign"):
        found.gain = 50.0
