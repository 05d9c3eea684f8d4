"""The laws obey their own formulas: densities integrate to 1, draws follow them, the toy has its published SIC."""

import math

import numpy as np
import pytest
import torch

from sundog.errors import OptionError, ShapeError
from sundog.simulate.densities import CorrelatedGaussian, GaussianMixture, ResonantToy, TwoMoons

MIXTURE = GaussianMixture([[0.0, 0.0], [2.0, 1.0]], [[[0.5, 0.2], [0.2, 0.4]], [[0.1, 0.0], [0.0, 0.3]]], [1.0, 3.0])
PLANE = [MIXTURE, GaussianMixture.ring(), TwoMoons(0.1), TwoMoons(0.25),
         CorrelatedGaussian([0.5, -0.5], [[1.0, 0.8], [0.8, 1.0]])]
TOY = ResonantToy()


def grid(law):
    """Points and cell area; steps below the narrowest width, where sums of blurred densities are exact."""
    half_width, step = (2.2 + 5 * law.noise, 0.8 * law.noise) if isinstance(law, TwoMoons) else (6.0, 0.05)
    axis = torch.arange(-half_width, half_width, step, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), step**2


@pytest.mark.parametrize("law", PLANE, ids=lambda law: type(law).__name__)
def test_density_integrates_to_one(law):
    points, area = grid(law)
    assert float(law.log_prob(points).exp().sum() * area) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("law", PLANE, ids=lambda law: type(law).__name__)
def test_draws_follow_the_density(law):
    """Mean log p and second moments of the draws against quadrature, within 4 sigma; a shifted sample must fail."""
    points, area = grid(law)
    p = law.log_prob(points).exp() * area
    x = law.sample(20_000, seed=3).values.double()

    def pull(sample):
        pulls = []
        for f in (law.log_prob, lambda v: v[:, 0] * v[:, 1], lambda v: v[:, 0] ** 2, lambda v: v[:, 1]):
            known, drawn = float((p * f(points)).sum()), f(sample)
            pulls.append(abs(float(drawn.mean()) - known) / (float(drawn.std()) / math.sqrt(len(sample))))
        return max(pulls)

    assert pull(x) < 4
    assert pull(x + torch.tensor([0.1, 0.1])) > 4


def test_moons_agree_with_brute_force_even_far_out():
    law = TwoMoons(0.1)
    x = torch.tensor([[0.2, 0.3], [-4.0, 3.0], [1.0, -0.5]], dtype=torch.float64)
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) * math.pi / 200_000
    arcs = torch.cat([torch.stack([t.cos(), t.sin()], 1), torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)])
    log_kernel = -torch.cdist(x, arcs).square() / 0.02 - math.log(2 * math.pi * 0.01) - math.log(len(arcs))
    torch.testing.assert_close(law.log_prob(x), torch.logsumexp(log_kernel, 1), rtol=1e-8, atol=0)


def toy_sic(false_positive_rates, noise=0.0, n=400_000):
    """SIC of the true score inside the signal region; background rates by importance weights p_B / p_S on signal
    features, which reach FPR 1e-4 with thousands of events instead of dozens."""
    signal = TOY.signal(n, seed=1)
    background = TOY.background(4 * n, seed=2)
    mass_b = background.context[TOY.in_signal_region(background)].double()[:n]
    x = signal.values[: len(mass_b)].double()
    score = TOY.log_likelihood_ratio(x, mass_b)
    order = score.argsort(descending=True)
    fpr = torch.cumsum((-score[order]).exp(), 0) / len(score)
    inside = signal[TOY.in_signal_region(signal)]
    score_s = TOY.log_likelihood_ratio(inside.values, inside.context)
    score_s = score_s + noise * torch.randn(len(score_s), generator=torch.Generator().manual_seed(5))
    cuts = [score[order][int(torch.searchsorted(fpr, f))] for f in false_positive_rates]
    return [float((score_s > cut).double().mean()) / math.sqrt(f) for cut, f in zip(cuts, false_positive_rates)]


@pytest.mark.slow
def test_toy_has_the_known_sic():
    """9.58 / 16.47 / 12.07 at FPR 1e-2 / 1e-3 / 1e-4 in a plain sample, which holds some 100 events at the last;
    importance weights on two million events give 9.57 / 16.51 / 11.23."""
    sic = toy_sic((1e-2, 1e-3, 1e-4))
    assert sic[0] == pytest.approx(9.58, abs=0.05)
    assert sic[1] == pytest.approx(16.47, abs=0.15)
    assert sic[2] == pytest.approx(11.23, abs=0.3)
    assert toy_sic((1e-3,), noise=1.0)[0] < 16.3  # negative control: a blurred score loses


def test_toy_background_fraction_and_labels():
    n = 100_000
    events, truth = TOY.events(n, 0.2, seed=4), TOY.truth(n, 0.2, seed=4)
    assert abs(float(truth.double().mean()) - 0.2) < 4 * math.sqrt(0.16 / n)
    share = float(TOY.in_signal_region(events[~truth]).double().mean())
    assert abs(share - 0.317) < 4 * math.sqrt(0.317 * 0.683 / (0.8 * n)) + 5e-4
    assert float(events.values[truth].double().mean(0)[0]) == pytest.approx(1.5, abs=4 * 0.4 / math.sqrt(0.2 * n))
    assert torch.equal(events.values, TOY.events(n, 0.2, seed=4).values)
    assert not torch.equal(events.values, TOY.events(n, 0.2, seed=5).values)


def test_toy_mass_laws_integrate_to_one():
    m = torch.linspace(2.9, 4.7, 180_001, dtype=torch.float64)
    for law in (TOY.log_background_mass, TOY.log_signal_mass):
        assert float(law(m).exp().sum() * 1e-5) == pytest.approx(1, abs=1e-4)


def test_toy_features_do_not_depend_on_mass_where_the_slope_is_zero():
    background = TOY.background(50_000, seed=0)
    correlation = np.corrcoef(np.column_stack([background.values.numpy(), background.context.numpy()]).T)[-1, :4]
    assert abs(correlation[3]) < 4 / math.sqrt(50_000)
    assert correlation[0] > 0.1 and correlation[1] < -0.1


def test_bad_requests_have_named_errors():
    with pytest.raises(OptionError, match="n out of range"):
        TOY.background(0, seed=0)
    with pytest.raises(OptionError, match="signal fraction"):
        TOY.events(10, 1.5, seed=0)
    with pytest.raises(ShapeError, match=r"\(n, 4\)"):
        TOY.log_signal(torch.zeros(3, 2))
    with pytest.raises(OptionError, match="covariance is unusable"):
        CorrelatedGaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ShapeError, match="isotropic"):
        GaussianMixture([[0.0, 0.0]], [1.0])
    with pytest.raises(OptionError, match="noise"):
        TwoMoons(0.0)
