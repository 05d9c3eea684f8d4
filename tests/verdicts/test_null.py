"""The null band: halves of one sample scatter like fresh samples; pulls have the right size on known laws."""

import numpy as np
import pytest
import torch

from sundog.verdicts.null import arcsine, cube_root, disjoint_splits, excess, two_thirds


def test_splits_are_disjoint_complete_and_reproducible():
    splits = disjoint_splits(100, 80, 50, 6, seed=1)
    for split in splits:
        assert sorted(torch.cat([split.real, split.other]).tolist()) == list(range(100))
        assert len(split.fake.unique()) == 50
    assert torch.equal(splits[3].real, disjoint_splits(100, 80, 50, 6, seed=1)[3].real)
    assert not torch.equal(splits[0].real, splits[1].real)


def test_halves_of_one_sample_scatter_as_two_fresh_samples_do():
    n, x = 200, torch.randn(400, generator=torch.Generator().manual_seed(0))
    gaps = [float(x[s.real].mean() - x[s.other].mean()) for s in disjoint_splits(400, n, n, 2000, seed=0)]
    # Halves of this sample: 2 s^2 / n with the sample's own s; error of a standard deviation 1 / sqrt(2 * 2000)
    assert np.std(gaps) == pytest.approx(float(x.std()) * (2 / n) ** 0.5, rel=4 / 4000**0.5)


@pytest.mark.parametrize(("scale", "power"), [(cube_root, 1), (two_thirds, 0.5)])
@pytest.mark.parametrize("degrees", [1, 4, 30])
def test_p_values_of_chi_squares_are_honest(scale, power, degrees):
    generator = np.random.default_rng(degrees)
    draws = generator.chisquare(degrees, size=(25, 4000)) ** power
    null = draws[1:]
    p = np.exp(excess(draws[:1], null, scale).log_p)
    for level in (0.1, 0.01):
        error = (level * (1 - level) / 4000) ** 0.5
        assert p[p < level].size / 4000 < 1.35 * level + 4 * error
    wrong = np.exp(excess(draws[:1] * 40**power, null, scale).log_p)
    assert np.median(wrong) < 0.01


def test_a_known_shift_has_its_pull():
    null = np.random.default_rng(0).normal(3, 2, size=4000)
    assert excess(np.full(5, 13.0), null).pull == pytest.approx(5, rel=4 / 8000**0.5 + 0.02)


def test_a_statistic_that_never_varies_gives_no_alarm_and_no_nan():
    found = excess(np.ones(5), np.ones(24), two_thirds)
    assert found.pull == 0 and np.isfinite(found.log_p)


def test_least_spread_is_a_floor():
    null = np.full(24, 1.0)
    assert excess(np.full(5, 2.0), null).pull > 100
    assert excess(np.full(5, 2.0), null, least_spread=0.5).pull == pytest.approx(2, rel=0.05)


def test_arcsine_is_safe_at_the_ends():
    assert np.isfinite(arcsine(np.array([-1e-9, 0.0, 1.0, 1 + 1e-9]))).all()
