"""Series of losses: convergence of known curves, oscillations against noise that has none."""

import numpy as np
import pytest

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.verdicts.settling import oscillation, settled_at


def wandering(n, phi, rng):
    x = np.zeros(n)
    for i in range(1, n):
        x[i] = phi * x[i - 1] + rng.normal()
    return x


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_noise_does_not_oscillate(phi):
    """False alarms at p < 0.05 in at most 5 % of 300 series (4 sigma above: 10 %)."""
    rng = np.random.default_rng(0)
    alarms = sum(oscillation(wandering(200, phi, rng)).p_value < 0.05 for _ in range(300))
    assert alarms <= 0.05 * 300 + 4 * (300 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("period", [8, 25])
def test_a_cycle_in_noise_is_found_with_its_period(period):
    rng = np.random.default_rng(1)
    t = np.arange(300)
    found = oscillation(np.sin(2 * np.pi * t / period) + 0.002 * t + rng.normal(0, 0.7, 300))
    assert found and found.period == pytest.approx(period, rel=period / 300)


def test_a_straight_line_has_no_period():
    assert not oscillation([1.0] * 50) and oscillation([1.0] * 50).p_value == 1


def test_settled_where_the_curve_says_so():
    """exp(-i / 100) + c: windows of 50 differ by (e^0.5 - 1) e^(-end/100) s; the rule |a - b| <= 0.1 |a| is algebra."""
    t, c = np.arange(1000), 0.2
    x = np.exp(-t / 100) + c
    mean = np.exp(-t / 100)[:50].mean()  # of a window that starts at 0, without c
    ends = np.arange(100, 1001)
    last, before = mean * np.exp(-(ends - 50) / 100) + c, mean * np.exp(-(ends - 100) / 100) + c
    assert settled_at(x) == ends[np.argmax(np.abs(last - before) <= 0.1 * last)]
    assert settled_at(x, tolerance=0.01) > settled_at(x)


def test_means_near_zero_are_judged_by_the_scatter():
    """Losses about zero: the bare ratio of the means is a lottery, the scatter is a scale."""
    rng = np.random.default_rng(2)
    settled, bare = [], []
    for _ in range(50):
        x = rng.normal(0, 1, 100)
        settled.append(settled_at(x, tolerance=0.9) == 100)
        bare.append(abs(x[50:].mean() - x[:50].mean()) <= 0.9 * abs(x[50:].mean()))
    # The difference of the means has standard deviation 0.2: 0.9 is 4.5 of these.
    assert all(settled) and sum(bare) < 40
    drift = np.linspace(-5, 5, 200) + rng.normal(0, 0.1, 200)
    assert settled_at(drift, tolerance=0.1) is None  # negative control


def test_bad_input():
    with pytest.raises(SampleSizeError, match="record more often"):
        oscillation([1.0, 2.0])
    with pytest.raises(DataError, match="not finite"):
        settled_at([1.0, float("nan")])
    with pytest.raises(OptionError, match="rule of convergence"):
        settled_at([1.0] * 10, window=1)
    assert settled_at([1.0] * 99) is None and settled_at([1.0] * 100) == 100
