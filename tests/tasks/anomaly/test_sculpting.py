"""A cut that follows the mass is told from one that does not, with a template and without."""

import numpy as np
import pytest

from sundog.errors import ShapeError
from sundog.tasks.anomaly.checks.sculpting import sculpting
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump
from sundog.tasks.anomaly.scan.found import doubts

REGION = SignalRegion(3.3, 3.7)
SCORES = {
    "fair": lambda m, noise: noise,
    "linear": lambda m, noise: noise + (m - 3.5),  # depends on the mass, smoothly: no bump
    "peaked": lambda m, noise: noise - 4 * np.abs(m - 3.5),
    "window": lambda m, noise: noise + 0.3 * ((m > 3.3) & (m < 3.7)),  # nothing shows beside the window
}


def found(kind, seed, with_template=True, signal=0, template=100_000):
    generator = np.random.default_rng(seed)

    def events(n):
        m = 3 - np.log(1 - generator.uniform(0, 1 - np.exp(-2.56), n)) / 1.6
        return m, SCORES[kind](m, generator.normal(size=n))

    (m, score), (m_template, score_template) = events(50_000), events(template)
    at = np.quantile(score[(m < 3.3) | (m > 3.7)], 0.98)
    m, passed = np.append(m, generator.normal(3.5, 0.05, signal)), np.append(score > at, np.ones(signal, bool))
    edges = common_edges(m, [REGION])
    fit = fit_bump(m[passed], REGION, edges, fit_bump(m, REGION, edges))
    template = (m_template, score_template > at) if with_template else None
    return fit, sculpting(m, passed, fit, template)


@pytest.mark.parametrize("kind, sculpted, correlated", [("fair", False, False), ("linear", False, True),
                                                        ("peaked", True, True), ("window", True, False)])
def test_with_a_template(kind, sculpted, correlated):
    fit, told = found(kind, seed=0)
    assert told.sculpted == sculpted and told.correlated == correlated
    assert (fit.significance > 4) == sculpted, "the false excess is there whenever it is reported"
    assert ("SCULPTED" in str(told)) == sculpted


def test_without_a_template_only_the_sidebands_speak():
    assert found("peaked", 1, with_template=False)[1].sculpted
    assert not found("fair", 1, with_template=False)[1].sculpted
    assert not found("window", 1, with_template=False)[1].sculpted, "and these cannot know"


def test_a_true_signal_is_no_sculpting():
    fit, told = found("fair", 2, signal=200)
    assert fit.significance > 5 and not told.sculpted


@pytest.mark.parametrize("size", [200, 3000, 100_000])
def test_no_template_is_too_small_to_count(size):
    """Planted: a window that the cut carved, with a template that cannot tell: nothing may be left of the excess."""
    fit, told = found("window", 0, template=size)
    assert told.sculpted == (size == 100_000) and told.left < 3 < 4 < fit.significance
    fit, told = found("fair", 2, signal=200, template=size)
    assert not told.sculpted and (told.left > 3) == (size == 100_000), "a poor template does not call it carved"
    because = [said for said, _ in doubts(fit, fit, told, claimed=True)]
    assert [("sigma are left of it" in said) for said in because] == [True] * (size < 100_000)
    assert doubts(fit, fit, told, claimed=False) == [], "nothing is said of windows without an excess"


@pytest.mark.slow
def test_fair_cuts_are_rarely_accused():
    assert sum(found("fair", seed)[1].sculpted for seed in range(10, 22)) <= 1


def test_a_cut_of_other_events():
    fit, _ = found("fair", 3)
    with pytest.raises(ShapeError, match="cut does not fit"):
        sculpting(np.ones(10), np.ones(9, bool), fit)


@pytest.mark.parametrize("every", [False, True])
def test_a_cut_that_keeps_nothing_or_all_beside_the_window_says_nothing(every):
    m = np.random.default_rng(0).uniform(3, 4.6, 2000)
    fit = fit_bump(m, REGION, common_edges(m, [REGION]))
    said = sculpting(m, np.full(len(m), every) | ((m > 3.3) & (m < 3.7)), fit)
    assert (said.distance, said.p_value, said.curvature) == (0.0, 1.0, 0.0) and not said.sculpted
