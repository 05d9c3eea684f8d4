"""The smooth law must know the background under a peak without seeing it; the published variants must not."""

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly.background.spectrum import (
    histogram_masses,
    kde_masses,
    mass_law,
    smooth_masses,
    spread_edges,
)
from sundog.tasks.anomaly.regions import SignalRegion

TOY, REGION = ResonantToy(), SignalRegion(3.3, 3.7)


@pytest.fixture(scope="module")
def masses():
    return TOY.events(200_000, 0.02, seed=0).context


def true_law(grid):
    density = TOY.log_background_mass(grid).exp().numpy()
    return density / (density.sum() * (grid[1] - grid[0]))


def test_smooth_law_counts_the_background_under_the_peak(masses):
    truth = TOY.truth(200_000, 0.02, seed=0)
    background = int((REGION.contains(masses) & ~truth).sum())
    law = smooth_masses(masses, REGION)
    error = (background + law.expected_error**2) ** 0.5
    assert abs(law.expected - background) < 4 * error
    # Negative control: the window holds 4000 signal events more, and 4 errors would notice them.
    assert int(REGION.contains(masses).sum()) - law.expected > 4 * error


@pytest.mark.parametrize("build, sees_signal", [(smooth_masses, False), (histogram_masses, True), (kde_masses, True)])
def test_only_the_published_variants_see_the_signal(masses, build, sees_signal):
    law = build(masses, REGION)
    drawn = law.sample(200_000, seed=1).numpy()
    assert drawn.min() >= 3.3 and drawn.max() <= 3.7
    grid = np.linspace(3.3, 3.7, 2001)
    expected = (true_law(grid) * (np.abs(grid - 3.5) < 0.06)).sum() * (grid[1] - grid[0])
    found = (np.abs(drawn - 3.5) < 0.06).mean()
    # 4 sigma of the draw, and a tenth of the 4 % that the signal would add for the error of the fit.
    assert (abs(found - expected) > 4 * 0.001 + 0.004) == sees_signal


@pytest.mark.parametrize("kind", ["smooth", "histogram", "kde"])
def test_density_is_normalised_and_is_that_of_the_sample(masses, kind):
    law = mass_law(kind, masses[:40_000], REGION)
    grid = torch.linspace(3.3, 3.7, 40_001, dtype=torch.float64)[:-1] + 5e-6
    assert abs(float(law.log_prob(grid).exp().mean()) * 0.4 - 1) < 1e-3
    drawn = law.sample(100_000, seed=2)
    counts = torch.histc(drawn, 20, 3.3, 3.7)
    expected = law.log_prob(grid).exp().reshape(20, -1).mean(1) * 0.02 * len(drawn)
    assert ((counts - expected).square() / expected).sum() < 20 + 4 * 40**0.5
    assert torch.isinf(law.log_prob(torch.tensor([3.2, 3.8]))).all()
    assert torch.equal(law.sample(5, seed=3), law.sample(5, seed=3))


def test_degree_grows_until_the_fit_is_good():
    generator = np.random.default_rng(0)
    straight = smooth_masses(generator.uniform(3.0, 4.6, 50_000), REGION)
    assert straight.degree == 1 and straight.p_value > 1e-4
    hump = generator.normal(3.8, 0.6, 300_000)
    assert smooth_masses(hump[(hump > 3) & (hump < 4.6)], REGION).degree > 1


def test_unusable_spectra():
    m = np.random.default_rng(0).uniform(3, 4.6, 5000)
    with pytest.raises(SampleSizeError, match="sidebands are too thin"):
        smooth_masses(m[m > 3.29], REGION)
    with pytest.raises(DataError, match="GeV for TeV"):
        smooth_masses(m * 1000, REGION)
    with pytest.raises(OptionError, match="unknown law of the mass: got spline"):
        mass_law("spline", m, REGION)


def test_bins_are_shared_out_by_length_and_a_short_piece_gets_one():
    assert np.allclose(spread_edges([1.0, 1.01, 4.0], 4), [1.0, *1.01 * (4 / 1.01) ** (np.arange(5) / 4)])
    assert np.allclose(spread_edges([-1.0, 0.0, 3.0], 4), [-1, 0, 1, 2, 3])
