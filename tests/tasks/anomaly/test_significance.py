"""Look-elsewhere: global p-values are uniform without signal, and hold the correlation of the windows."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest, norm

from sundog import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.tasks.anomaly.regions import SignalRegion, sliding_windows
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.tasks.anomaly.scan.found import look_together
from sundog.tasks.anomaly.scan.significance import LONE, LookElsewhere, _cells, channels, look_elsewhere

WINDOWS = sliding_windows(3.2, 4.0, 0.4)


def cut_scan(seed, overlap, signal=0, n=12_000, windows=WINDOWS):
    """Fits, cuts and masses; the cuts keep 3 % at random, ``overlap`` of the events that pass one pass the next."""
    generator = np.random.default_rng(seed)
    m = 3 - np.log(1 - generator.uniform(0, 1 - np.exp(-2.56), n)) / 1.6
    passed = generator.uniform(size=(n, len(windows))) < 0.03
    for w in range(1, len(windows)):
        same = generator.uniform(size=n) < overlap
        passed[same, w] = passed[same, w - 1]
    m = np.concatenate([m, generator.normal(3.4, 0.05, signal)])
    passed = np.concatenate([passed, np.ones((signal, len(windows)), bool)])
    edges = common_edges(m, windows)
    fits = [fit_bump(m[passed[:, w]], window, edges, fit_bump(m, window, edges)) for w, window in enumerate(windows)]
    return fits, passed, m


def scanned(seed, overlap, signal=0, toys=200, windows=WINDOWS):
    return look_elsewhere(*cut_scan(seed, overlap, signal, windows=windows), toys, seed)


@pytest.mark.slow
def test_p_values_are_uniform_without_signal():
    looks = [scanned(seed, 0.5, toys=80) for seed in range(90)]
    assert kstest([look.p_global() for look in looks], "uniform").pvalue > 1e-4
    assert kstest([look.p_local[1] for look in looks], "uniform").pvalue > 1e-4
    # Negative control: the best local p-value taken for a global one.
    assert kstest([look.p_local.min() for look in looks], "uniform").pvalue < 1e-4


def test_correlated_windows_cost_fewer_trials():
    """Two windows that share nine tenths: with cuts on the same events their significances move together."""
    near = [SignalRegion(3.2, 3.6), SignalRegion(3.24, 3.64)]
    looks = [scanned(0, overlap, toys=600, windows=near) for overlap in (0.0, 1.0)]
    apart, same = (float(np.corrcoef(look.z_null.T)[0, 1]) for look in looks)
    assert abs(apart) < 4 / 600**0.5 < 0.4 < same
    assert looks[1].trials < looks[0].trials


@pytest.mark.slow
def test_the_null_is_centred_over_data_sets():
    """Of one spectrum it is up to 0.6 off: its curve is pulled to a prior, those of its toys once more."""
    near = [SignalRegion(3.2, 3.6), SignalRegion(3.24, 3.64)]
    means = np.array([scanned(seed, 0.0, toys=100, windows=near).z_null.mean() for seed in range(20)])
    assert abs(means.mean()) < 4 * means.std() / 20**0.5 < 0.3


@pytest.mark.slow
def test_the_correlation_is_that_of_repeated_scans():
    near = [SignalRegion(3.2, 3.6), SignalRegion(3.24, 3.64)]
    z = np.array([[fit.significance for fit in cut_scan(seed, 1.0, windows=near)[0]] for seed in range(150)])
    truth = float(np.corrcoef(z.T)[0, 1])
    found = np.mean([np.corrcoef(scanned(seed, 1.0, windows=near).z_null.T)[0, 1] for seed in range(5)])
    assert abs(found - truth) < 4 * (1 - truth**2) / 150**0.5


def test_a_signal_is_significant_also_globally():
    look = scanned(1, 0.5, signal=120)
    assert look.extrapolated and 0 < look.p_global() < 1e-6 and look.p_global_error() == 0
    assert look.p_global() >= look.p_local.min()


def test_counted_and_extrapolated_tails():
    null = np.random.default_rng(0).normal(size=(4000, 5))
    look = LookElsewhere(np.array([2.0, 0, 0, 0, 0]), null)
    expected = 1 - norm.cdf(2.0) ** 5
    assert abs(look.p_global() - expected) < 4 * look.p_global_error() and not look.extrapolated
    assert abs(look.trials - 5) < 1 and len(repr(look)) < 200, "20,000 numbers are no name"
    alone = LookElsewhere(np.array([1.5]), null[:, :1])
    assert 1 <= alone.trials < 1.3, "one window is one trial"
    assert 1 <= LookElsewhere(np.zeros(5), np.zeros((100, 5))).trials < np.inf, "equal ones all reach their quantile"
    far = LookElsewhere(np.array([6.0, 0, 0, 0, 0]), null)
    assert far.extrapolated and 0.7 < far.p_global() / (5 * norm.sf(6.0)) < 1.4
    assert 1 <= far.p_local[0] / norm.sf(6.0) < 1.3


def test_cuts_that_do_not_fit():
    m = np.random.default_rng(0).uniform(3, 4.6, 3000)
    edges = common_edges(m, WINDOWS)
    fits = [fit_bump(m, WINDOWS[0], edges)]
    with pytest.raises(ShapeError, match="cuts do not fit the events"):
        look_elsewhere(fits, np.ones((3000, 2), bool), m)
    with pytest.raises(OptionError, match="too few pseudo-experiments"):
        look_elsewhere(fits, np.ones((3000, 1), bool), m, n=5)
    other = fit_bump(m, SignalRegion(3.3, 3.7), common_edges(m, [SignalRegion(3.3, 3.7)]))
    with pytest.raises(ShapeError, match="different bins"):
        look_elsewhere([fits[0], other], np.ones((3000, 2), bool), m)


def test_cells_share_the_curve_as_the_events_do():
    """First bin: 4 events pass the first cut alone, 2 the second, 3 both, and LONE of an event stands for each cut."""
    edges, passes = np.array([0.0, 1.0, 2.0]), {(True, False): 4, (False, True): 2, (True, True): 3}
    passed = np.repeat(list(passes), list(passes.values()), axis=0)
    curves = [SimpleNamespace(edges=edges, background=np.array([k + LONE, LONE])) for k in (7, 5)]
    means, bins, member = _cells(curves, passed, np.full(9, 0.5))
    found = {(int(b), *map(bool, cuts)): mean for mean, b, cuts in zip(means, bins, member)}
    right = {(0, True, False): 4 + LONE, (0, False, True): 2 + LONE, (0, True, True): 3, (1, True, False): LONE,
             (1, False, True): LONE}
    assert found == pytest.approx(right)
    tripled = [SimpleNamespace(edges=edges, background=3 * curve.background) for curve in curves]
    means, bins, member = _cells(tripled, passed, np.full(9, 0.5))
    for w, curve in enumerate(tripled):
        assert np.allclose(np.bincount(bins, means * member[:, w]), curve.background, rtol=0.01)


def looked(seed, shift=0.0, null=None):
    g = np.random.default_rng(seed)
    z = g.normal(size=4)
    z[2] += shift
    return LookElsewhere(z, g.normal(size=(400, 4)) if null is None else null)


def test_one_global_p_for_several_channels():
    p = [channels([looked(10 * seed + c) for c in range(3)]).p_global() for seed in range(200)]
    assert kstest(p, "uniform").pvalue > 1e-3
    # Negative control: the best channel alone, its channel not counted as a choice.
    best = [min(looked(10 * seed + c).p_global() for c in range(3)) for seed in range(200)]
    assert kstest(best, "uniform").pvalue < 1e-6


def test_channels_together_show_what_none_shows_alone():
    alone, both = [], []
    for seed in range(40):
        looks = [looked(10 * seed + c, shift=1.6) for c in range(4)]
        alone.append(min(look.p_global() for look in looks) * 4)
        both.append(channels(looks).p_global())
    assert np.median(both) < 0.03 < np.median(alone)


def test_channels_of_one_seed_are_independent():
    null = np.random.default_rng(0).normal(size=(2000, 2))
    found = channels([looked(0, null=null[:, [0, 1, 0, 1]]), looked(1, null=null[:, [0, 1, 0, 1]])])
    assert abs(np.corrcoef(found.z_null[:, 0], found.z_null[:, 4])[0, 1]) < 4 / 2000**0.5
    assert found.z_null[:, -1].std() == pytest.approx(1, abs=0.07)
    with pytest.raises(ShapeError, match="not scanned alike"):
        channels([looked(0), looked(1, null=null)])


def of_cuts(seed, seconds):
    """Scans of parts of one set of events: windows of a second number of each event, and a cut that says nothing."""
    g = np.random.default_rng(seed)
    m, second, score = 3 - np.log(g.uniform(0.2, 1, 6000)) / 1.6, g.uniform(size=6000), g.uniform(size=6000)
    events = Dataset.from_arrays(np.column_stack([second, score]), m, context_names=("m",))
    scans = []
    for lo, hi in seconds:
        part = events[(events.values[:, 0] > lo) & (events.values[:, 0] < hi)]
        windows = [SimpleNamespace(region=region, passed=part.values[:, 1].numpy() < 0.3) for region in WINDOWS]
        scans.append(SimpleNamespace(events=part, windows=windows))
    return scans


@pytest.mark.slow
def test_windows_of_a_second_mass_have_one_global_p():
    pairs = [(0, 0.5), (0.25, 0.75), (0.5, 1)]
    p = [look_together(of_cuts(seed, pairs), 200).p_global() for seed in range(40)]
    # Not too small. Larger they are: Z of a cut that says nothing scatters by 0.8, and its null is widened to one.
    assert kstest(p, "uniform", alternative="greater").pvalue > 1e-3
    naive = [look_together(of_cuts(seed, pairs)[k : k + 1], 200).p_global() for seed in range(12) for k in range(3)]
    best = np.reshape(naive, (-1, 3)).min(1)
    assert np.mean(best) < np.mean(p), "the best of three is chosen"


def test_an_event_of_two_scans_is_drawn_once():
    once, twice = (look_together(of_cuts(3, pairs), 300) for pairs in ([(0, 0.5)], [(0, 0.5), (0, 0.5)]))
    k = len(WINDOWS)
    assert all(np.corrcoef(twice.z_null[:, w], twice.z_null[:, w + k])[0, 1] > 0.8 for w in range(k))
    assert np.allclose(twice.z[:k], once.z, atol=0.01)
    apart = look_together(of_cuts(3, [(0, 0.5), (0.5, 1)]), 300)
    assert abs(np.corrcoef(apart.z_null[:, 0], apart.z_null[:, k])[0, 1]) < 4 / 300**0.5
