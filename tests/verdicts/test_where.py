"""Where: a planted lack of fakes is found and measured; where nothing is wrong, nothing is claimed."""

import numpy as np
import pytest
from scipy.stats import binomtest

from sundog.verdicts.deciding.labels import Labels
from sundog.verdicts.explaining.where import _quadrant, regions, telling

NAMES = ("m", "tau21", "pt")


def events(n, rng):
    return np.stack([2 + rng.exponential(1, n), rng.beta(2, 5, n), rng.normal(size=n)], 1)


def found(real, fake, seed=0, weights=None):
    return regions(np.concatenate([real, fake]), NAMES, Labels(len(real), len(fake), seed, weights), "events")


def test_a_corner_that_lacks_fakes_is_named_and_measured():
    rng = np.random.default_rng(0)
    real, fake = events(10_000, rng), events(10_000, rng)
    corner = (fake[:, 1] < 0.15) & (fake[:, 0] > 3.5)
    fake = fake[~corner | (rng.uniform(size=len(fake)) < 0.5)]
    region = found(real, fake)[0]
    assert region.p_value < 1e-4 and region.fake < 0.8 * region.real
    assert "m > 3" in region.words and "tau21 <= 0.1" in region.words
    assert str(region).startswith(f"{100 * region.real:.3g} % of the real events have m > 3")


def test_too_many_fakes_are_found_too():
    rng = np.random.default_rng(1)
    real, fake = events(4000, rng), events(4000, rng)
    fake[:300] = [3.0, 0.5, 0.0] + rng.normal(size=(300, 3)) * [0.1, 0.03, 0.1]
    region = found(real, fake)[0]
    assert region.p_value < 1e-6 and region.fake > 1.5 * region.real


@pytest.mark.parametrize("weighted", [False, True])
def test_of_honest_fakes_one_in_a_hundred_names_a_box_at_one_per_cent(weighted):
    p = []
    for seed in range(200):
        rng = np.random.default_rng([seed, 3])
        real, fake = events(300, rng), events(300, rng)
        weights = rng.choice([-1.0, 1.0, 1.0, 1.0, 1.0], 600) if weighted else None
        p.append(found(real, fake, seed, weights)[0].p_value)
    for level in (0.01, 0.1):
        assert binomtest(int((np.array(p) <= level).sum()), 200, level, "greater").pvalue > 1e-3


def test_columns_that_never_vary_and_single_columns_are_no_obstacle():
    rng = np.random.default_rng(4)
    real, fake = events(200, rng), events(200, rng)
    real[:, 2] = fake[:, 2] = 1.0
    assert len(found(real, fake)) <= 2
    one = regions(np.concatenate([real, fake + 1])[:, :1], NAMES[:1], Labels(200, 200), "events")
    assert one[0].p_value < 1e-6


def test_the_fakes_that_give_themselves_away_are_the_odd_ones():
    rng = np.random.default_rng(5)
    z = rng.normal(size=(200, 4)).astype(np.float32)
    z[[150, 160, 170]] += 6
    assert set(telling(z, Labels(100, 100))) == {50, 60, 70}


def test_both_sides_of_one_column_are_one_condition():
    rng = np.random.default_rng(6)
    real, fake = events(4000, rng), events(4000, rng)
    fake[:400, 0] = rng.uniform(2.5, 2.6, 400)
    words = found(real, fake)[0].words
    assert words.count("m ") == 1 and " < m <= 2.6" in words


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("right", [True, False])
def test_shares_on_either_side_of_two_edges(left, right):
    share = np.random.default_rng(7).uniform(size=(4, 5))
    found = _quadrant(share.cumsum(0).cumsum(1), left, right)
    for i, j in np.ndindex(3, 4):
        rows = slice(i + 1) if left else slice(i + 1, None)
        columns = slice(j + 1) if right else slice(j + 1, None)
        assert found[i, j] == pytest.approx(share[rows, columns].sum())
