"""A flow as signal density: it follows shapes that Gaussians do not, and keeps the promises of the mixture."""

import math

import numpy as np
import pytest
import torch

from sundog import Dataset
from sundog.errors import OptionError
from sundog.models.mixture.signal import find_signal, floored
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, SignalRegion, sic_curve
from sundog.tasks.anomaly.detectors.growth import FlowFit, climb_on, grow

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)


def bananas(n, g):
    """Signal on a parabola: no Gaussian follows it."""
    a, b, m = torch.randn(3, n, generator=g, dtype=torch.float64)
    return torch.stack([2 + 0.5 * a, 1 + 0.8 * a**2 + 0.1 * b, 0.3 * m], 1)


def sample(n, n_signal, seed=0):
    """Events (x, y, mass) and log p_B: standard normal features, uniform mass in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    background = torch.randn(n, 3, generator=g, dtype=torch.float64)
    background[:, 2] = 2 * torch.rand(n, generator=g, dtype=torch.float64) - 1
    z = torch.cat([background, bananas(n_signal, g)])
    z = z[z[:, 2].abs() < 1]
    return z, -0.5 * z[:, :2].square().sum(1) - math.log(2 * math.pi) - math.log(2)


@pytest.fixture(scope="module")
def fits():
    z, log_b = sample(4000, 300)
    one = find_signal(z, log_b, starts=2)
    return z, log_b, one, grow(z, log_b, one, steps=100)


def test_flow_follows_what_a_gaussian_cannot(fits):
    z, _, one, flow = fits
    fresh = bananas(4000, torch.Generator().manual_seed(5))
    fresh = fresh[fresh[:, 2].abs() < 1]
    better = flow.signal.log_prob(fresh) - one.signal.log_prob(fresh)
    assert float(better.mean()) > 4 * float(better.std()) / len(fresh) ** 0.5
    true = 300 / len(z)
    assert abs(flow.w - true) < 4 * 1.5 * (300**0.5 / len(z))  # 1.5: the background under the signal


def test_flow_is_a_density(fits):
    """Over a box the features' law integrates to the share of draws in it, and the joint law over the mass to it."""
    _, _, _, flow = fits
    features = flow.signal.marginal([0, 1])
    x, y = (torch.linspace(lo, hi, 241, dtype=torch.float64) for lo, hi in ((1.0, 3.0), (0.5, 2.0)))
    density = features.log_prob(torch.cartesian_prod(x, y)).exp().reshape(241, 241)
    drawn = flow.signal.sample(40_000, torch.Generator().manual_seed(0))
    share = float(((drawn[:, :2] - torch.tensor([2.0, 1.25])).abs() < torch.tensor([1.0, 0.75])).all(1).double().mean())
    integral = float(torch.trapezoid(torch.trapezoid(density, y), x))
    assert 0.1 < share < 0.9 and abs(integral - share) < 4 * (share * (1 - share) / 40_000) ** 0.5
    m = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    for at in drawn[:3, :2]:
        along = flow.signal.log_prob(torch.cat([at.expand(len(m), 2), m], 1)).exp()
        there = float(features.log_prob(at[None]).exp())
        assert float(torch.trapezoid(along, m[:, 0])) == pytest.approx(there, rel=1e-4)
    with pytest.raises(OptionError, match="together"):
        flow.signal.marginal([1])


def test_gain_counts_every_event(fits):
    z, log_b, _, flow = fits
    ratio = (flow.signal.log_prob(z) - floored(log_b)).exp()
    assert flow.gain == pytest.approx(float(torch.log1p(flow.w * (ratio - 1)).sum()), abs=1e-3)


@pytest.mark.slow
def test_fixed_fraction_and_seed(fits):
    z, log_b, one, flow = fits
    fixed = climb_on(z, log_b, flow, 0.02)
    assert isinstance(fixed, FlowFit) and fixed.w == pytest.approx(0.02)
    assert fixed.gain < flow.gain + 5  # 0.07 is right
    again = [grow(z, log_b, one, steps=20, seed=3).gain for _ in range(2)]
    assert again[0] == again[1]


def test_random_numbers_of_others_are_left_alone(fits):
    z, log_b, one, _ = fits
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    grow(z[:2000], log_b[:2000], one, steps=1, seed=2**64)
    assert torch.equal(torch.rand(1), expected)


def test_unknown_signal():
    with pytest.raises(OptionError, match="unknown signal density"):
        RAnode(REGION, signal="gan")


@pytest.mark.slow
def test_toy_with_a_flow_signal():
    """As good as the mixture where the signal is a Gaussian; silent where there is none."""
    settings = {"background": TOY.log_background, "components": (1,), "folds": 2, "signal": "flow"}
    events = TOY.events(15_000, 0.012, seed=0)
    search = RAnode(REGION, **settings).fit(events)
    inside = TOY.in_signal_region(events)
    truth = float(TOY.truth(15_000, 0.012, seed=0)[inside].double().mean())
    assert search.evidence_ and 0.6 < search.core_fraction_.value / truth < 1.2  # of 120 events
    tests = [e[TOY.in_signal_region(e)] for e in (TOY.background(40_000, 1), TOY.signal(4000, 2))]
    data = Dataset.from_arrays(torch.cat([e.values for e in tests]), torch.cat([e.context for e in tests]))
    labels = np.repeat([0, 1], [len(e) for e in tests])
    curve = sic_curve(labels, search.score_samples(data))
    best = sic_curve(labels, TOY.log_likelihood_ratio(data.values, data.context)).at(1e-2)
    assert curve.at(1e-2) > 0.85 * best - 4 * curve.error(1e-2)
    assert abs(float(search.sample_signal(2000, seed=0).values.mean(0)[0]) - TOY.centre[0]) < 4 * 0.05
    profile = search.profile([search.fit_.w, 0.12])
    assert profile.gain.argmax() == 0
    nothing = RAnode(REGION, **settings).fit(TOY.background(15_000, seed=9))
    assert not nothing.evidence_ and nothing.core_fraction_.value < 0.005


@pytest.mark.parametrize("far", [20.0, 38.0, 1e3])
def test_one_row_far_out_takes_nothing_from_the_flow(far):
    z, log_b = sample(3000, 150)
    stray = torch.tensor([[far, 0.0, 0.0]], dtype=torch.float64)
    log_far = -0.5 * stray[:, :2].square().sum(1) - math.log(2 * math.pi) - math.log(2)
    clean = grow(z, log_b, find_signal(z, log_b, starts=2), steps=40)
    z, log_b = torch.cat([z, stray]), torch.cat([log_b, log_far])
    found = grow(z, log_b, find_signal(z, log_b, starts=2), steps=40)
    assert math.isfinite(found.gain) and abs(found.w - clean.w) < 4 * (150**0.5 / 3150)
