"""Expectation-maximisation of a signal on a known background: known answers, and nothing where nothing is."""

import math

import pytest
import torch

from sundog.errors import OptionError, ShapeError
from sundog.models.mixture.signal import GaussianSignal, climb, excesses, find_signal, gains, split_signal

CENTRE = torch.tensor([2.0, -1.5, 1.0], dtype=torch.float64)
WIDTH = 0.3


def planted(n_background, n_signal, seed):
    """Unit normal background and its log-density, a narrow normal signal at CENTRE; signal rows come last."""
    g = torch.Generator().manual_seed(seed)
    background = torch.randn(n_background, 3, generator=g, dtype=torch.float64)
    signal = CENTRE + WIDTH * torch.randn(n_signal, 3, generator=g, dtype=torch.float64)
    z = torch.cat([background, signal])
    return z, log_normal(z, torch.zeros(3), 1.0)


def log_normal(z, centre, width):
    return -0.5 * ((z - centre) / width).square().sum(1) - 1.5 * math.log(2 * math.pi * width**2)


@pytest.fixture(scope="module")
def found():
    z, log_b = planted(30_000, 300, seed=0)
    return z, log_b, find_signal(z, log_b, seed=0)


def test_finds_place_width_and_fraction(found):
    _, _, fit = found
    error = 300**0.5 / 30_300  # Poisson; the overlap with the background adds less than half of it
    assert abs(fit.w - 300 / 30_300) < 4 * 1.5 * error
    assert ((fit.signal.means[0] - CENTRE).abs() < 4 * 1.5 * WIDTH / 300**0.5).all()
    assert ((fit.signal.covariances[0].diagonal().sqrt() - WIDTH).abs() < 4 * 1.5 * WIDTH / 600**0.5 + 0.005).all()


def test_gain_is_the_log_likelihood(found):
    z, log_b, fit = found
    ratio = (fit.signal.log_prob(z) - log_b).exp()
    assert float(torch.log1p(fit.w * (ratio - 1)).sum()) == pytest.approx(fit.gain, abs=0.5)
    assert fit.gain > 100


def test_likelihood_never_falls(found):
    z, log_b, _ = found
    start = GaussianSignal(torch.ones(1).double(), CENTRE[None] + 0.5, torch.eye(3)[None].double())
    reached = [climb(z, log_b, start, 0.003, steps=n, tolerance=-math.inf, floor=0.0).gain
               for n in (10, 20, 30, 40, 60)]
    assert reached == sorted(reached) and reached[-1] > reached[0]


def test_a_fixed_fraction_stays(found):
    z, log_b, fit = found
    fixed = find_signal(z, log_b, seed=0, w=0.02, starts=2)
    assert fixed.w == 0.02
    assert fixed.gain < fit.gain


def test_nothing_is_found_where_nothing_is():
    """Without signal the gain is that of a fit to noise: far below the planted one, some ten units."""
    z, log_b = planted(30_000, 0, seed=1)
    fit = find_signal(z, log_b, seed=0)
    assert fit.w < 0.002 and fit.gain < 50


def test_excesses_point_at_the_signal(found):
    z, log_b, _ = found
    points = excesses(z, log_b, torch.Generator().manual_seed(3), count=4)
    assert torch.dist(points[0], CENTRE) < 1.0
    gaps = torch.cdist(points, points) + 10 * torch.eye(len(points))
    assert gaps.min() > 1.0


def test_gaussian_signal_density_sample_and_marginal():
    law = GaussianSignal(torch.tensor([0.3, 0.7]).double(), torch.tensor([[0.0, 1.0], [2.0, -1.0]]).double(),
                         torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[0.2, 0.0], [0.0, 0.4]]]).double())
    z = law.sample(50_000, torch.Generator().manual_seed(0))
    assert ((z.mean(0) - torch.tensor([1.4, -0.4])).abs() < 4 * z.std(0) / 50_000**0.5).all()
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(law.weights),
        torch.distributions.MultivariateNormal(law.means, law.covariances))
    assert torch.allclose(law.log_prob(z[:100]), reference.log_prob(z[:100]))
    first = law.marginal([0])
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    assert float(first.log_prob(grid).exp().sum() * 0.004) == pytest.approx(1, abs=1e-6)


def test_same_seed_same_numbers(found):
    z, log_b, fit = found
    again = find_signal(z, log_b, seed=0)
    assert again.w == fit.w and torch.equal(again.signal.means, fit.signal.means)


def test_unusable_input():
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(ShapeError, match="do not fit"):
        find_signal(z, torch.zeros(49).double())
    with pytest.raises(OptionError, match="signal fit is unusable"):
        find_signal(z, torch.zeros(50).double(), starts=0)
    with pytest.raises(OptionError, match="number of Gaussians"):
        split_signal(z, torch.zeros(50).double(), find_signal(z, log_normal(z, 0, 1)), 0)


@pytest.mark.parametrize("far", [10.0, 20.0, 30.0, 37.0, 38.0, 60.0, 1e4])
@pytest.mark.parametrize("n_signal", [100, 0])
def test_one_row_far_out_is_no_signal_and_hides_none(far, n_signal):
    """Alone it is worth far^2 / 2 to a likelihood that believes p_B there: more than any signal of a hundred events."""
    g = torch.Generator().manual_seed(0)
    clean = torch.cat([torch.randn(5000, 1, generator=g), 3 + 0.1 * torch.randn(n_signal, 1, generator=g)]).double()
    start = GaussianSignal(torch.ones(1).double(), torch.full((1, 1), 2.8).double(), torch.eye(1)[None].double())
    results = []
    for z in (clean, torch.cat([clean, torch.tensor([[far]]).double()])):
        log_b = -0.5 * z[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
        results.append((climb(z, log_b, start, 0.01), find_signal(z, log_b, seed=0)))
    for before, after in zip(*results):
        assert after.w == pytest.approx(before.w, rel=0.02, abs=1e-3)
        assert after.gain == pytest.approx(before.gain, rel=0.02, abs=4)
        assert n_signal == 0 or torch.dist(after.signal.means, before.signal.means) < 0.02


def test_many_events_far_out_are_a_signal():
    """The floor must not hide what it is no floor for: sixty events where background is impossible."""
    z, log_b = planted(10_000, 0, seed=1)
    g = torch.Generator().manual_seed(2)
    signal = 40 + 0.3 * torch.randn(60, 3, generator=g, dtype=torch.float64)
    fit = find_signal(torch.cat([z, signal]), torch.cat([log_b, log_normal(signal, torch.zeros(3), 1.0)]), seed=0)
    assert fit.w == pytest.approx(60 / 10_060, rel=0.02) and math.isfinite(fit.gain)
    assert ((fit.signal.means[0] - 40).abs() < 4 * 0.3 / 60**0.5).all()


def test_the_gain_of_one_event_does_not_overflow():
    far = torch.tensor([-1e4, 0.0, 700.0, 710.0, 1e4], dtype=torch.float64)
    expected = [math.log1p(-0.1), 0.0, 700 + math.log(0.1), 710 + math.log(0.1), 1e4 + math.log(0.1)]
    assert gains(far, 0.1).tolist() == pytest.approx(expected, abs=1e-9)
    assert gains(far[:2], 0.0).tolist() == [0.0, 0.0]
