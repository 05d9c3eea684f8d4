"""Designs: the laws of their draws, exact recovery, and the published advantage over uniform draws."""

from __future__ import annotations

import numpy as np
import pytest
from designs import TARGETS, ratios, rms, uniform
from scipy import stats

from sundog.design import (
    WeightedLeastSquares,
    christoffel_density,
    d_optimal,
    nearest_candidates,
    polynomial_features,
    sample_christoffel,
    sample_conditioned,
    sample_projection_dpp,
    sample_volume_rescaled,
    space_filling,
)
from sundog.design.sampling import gram_distance
from sundog.errors import OptionError, SampleSizeError, SundogError

SAMPLERS = (sample_christoffel, sample_projection_dpp, sample_volume_rescaled)
PHI = polynomial_features(np.random.default_rng(0).normal(size=(30, 2)), 1)  # 30 candidates, 3 features
DRAWS = 10_000


def included(sampler, n: int) -> np.ndarray:
    """How often each candidate was drawn."""
    return sum(np.bincount(sampler(PHI, n, seed)[0], minlength=len(PHI)) for seed in range(DRAWS))


def chi2(counts: np.ndarray, chance: np.ndarray) -> float:
    """p of the counts: each binomial, and all of one design sum to n, which takes one degree of freedom."""
    return float(stats.chi2.sf(np.sum((counts - DRAWS * chance) ** 2 / (DRAWS * chance * (1 - chance))),
                               len(counts) - 1))


def test_inclusion_probabilities_are_leverage_scores() -> None:
    counts = included(sample_projection_dpp, 3)
    leverage = 3 * christoffel_density(PHI) / 30
    assert chi2(counts, leverage) > 1e-4
    assert chi2(counts, np.full(30, 3 / 30)) < 1e-20


def test_pairs_follow_the_determinants() -> None:
    q = PHI / np.sqrt(30)
    kernel = q @ q.T
    both = np.zeros((30, 30))
    for seed in range(DRAWS):
        rows = sample_projection_dpp(PHI, 3, seed)[0]
        both[np.ix_(rows, rows)] += 1
    i, j = np.triu_indices(30, 1)
    chance = np.linalg.det(np.stack([np.stack([kernel[i, i], kernel[i, j]], 1),
                                     np.stack([kernel[j, i], kernel[j, j]], 1)], 2))
    pull = (both[i, j] - DRAWS * chance) / np.sqrt(DRAWS * chance * (1 - chance) + 1)
    assert abs(pull).max() < 5
    alone = np.diag(kernel)[i] * np.diag(kernel)[j]  # independent draws: what repulsion is not
    assert np.abs((both[i, j] - DRAWS * alone) / np.sqrt(DRAWS * alone)).max() > 10


@pytest.mark.parametrize("n", [3, 4, 6, 17, 29, 30])
def test_no_candidate_twice(n: int) -> None:
    for seed in range(50):
        rows, weights = sample_projection_dpp(PHI, n, seed)
        assert rows.shape == weights.shape == (n,)
        assert len(set(rows.tolist())) == n
        assert (weights > 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_design(sampler) -> None:
    (a, b, c) = (sampler(PHI, 7, seed) for seed in (1, 1, 2))
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], c[0])


@pytest.mark.parametrize("sampler, n", [(sample_christoffel, 6), (sample_projection_dpp, 3), (sample_projection_dpp, 6),
                                        (sample_projection_dpp, 8),
                                        pytest.param(sample_projection_dpp, 29, marks=pytest.mark.slow)])
def test_the_weighted_gram_matrix_is_one_on_average(sampler, n: int) -> None:
    draws = 1500
    grams = np.empty((draws, 3, 3))
    for seed in range(draws):
        rows, weights = sampler(PHI, n, seed)
        grams[seed] = (PHI[rows] * weights[:, None]).T @ PHI[rows] / n
    pull = (grams.mean(0) - np.eye(3)) / (grams.std(0) / np.sqrt(draws) + 1e-12)
    assert abs(pull).max() < 4.5
    rows = [sampler(PHI, n, seed)[0] for seed in range(draws)]
    plain = np.mean([PHI[r].T @ PHI[r] / n for r in rows], axis=0)
    if n < 29:  # of all but one candidate, weights hardly matter
        assert abs(plain - np.eye(3)).max() > 0.1  # without weights


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5])
def test_volume_rescaled_least_squares_is_unbiased(n: int) -> None:
    f = christoffel_density(PHI) ** 2  # large where draws are few: what plain least squares gets wrong
    draws = 4000
    found = {}
    for name, sampler in (("volume", sample_volume_rescaled), ("uniform", uniform)):
        fits = []
        for seed in range(draws):
            rows, weights = sampler(PHI, n, seed)
            root = np.sqrt(weights)
            fits.append(np.linalg.lstsq(root[:, None] * PHI[rows], root * f[rows])[0])
        fits = np.array(fits)
        found[name] = abs((fits.mean(0) - PHI.T @ f / 30) / (fits.std(0) / np.sqrt(draws))).max()
    assert found["volume"] < 4
    if n > 3:  # of as many runs as features, the plain fit has no finite variance to compare with
        assert found["uniform"] > 8


@pytest.mark.parametrize("sampler", [sample_projection_dpp, sample_volume_rescaled])
@pytest.mark.parametrize("degree", [3, 9, 19])
def test_exact_recovery_from_as_many_runs_as_features(sampler, degree: int) -> None:
    x = np.linspace(-1, 1, 2001)
    phi = polynomial_features(x, degree)
    f = np.polynomial.Legendre(np.random.default_rng(degree).normal(size=degree + 1))(x)
    for seed in range(5):
        rows, weights = sampler(phi, degree + 1, seed)
        assert abs(WeightedLeastSquares().fit(phi[rows], f[rows], weights).predict(phi) - f).max() < 1e-10


def test_points_of_a_process_keep_apart() -> None:
    x = np.linspace(-1, 1, 2001)
    phi = polynomial_features(x, 19)

    def gap(sampler) -> float:
        return float(np.mean([np.diff(np.sort(x[sampler(phi, 20, seed)[0]])).min() for seed in range(40)]))

    assert gap(sample_projection_dpp) > 3 * gap(sample_christoffel)


@pytest.mark.parametrize("name", TARGETS)
def test_published_table(name: str) -> None:
    """At n = m the process is within 15 of the best error where uniform draws are 1e4 off; at n = 2m within 2."""
    x = np.linspace(-1, 1, 2001)
    phi, f = polynomial_features(x, 19), TARGETS[name](x)
    assert rms(ratios(phi, f, "projection DPP", 20, 60)) < 15
    assert rms(ratios(phi, f, "uniform", 20, 60)) > 1e4
    assert rms(ratios(phi, f, "projection DPP", 40, 60)) < 2
    assert rms(ratios(phi, f, "uniform", 40, 60)) > 1e3


def test_conditioned_designs_are_conditioned() -> None:
    phi = polynomial_features(np.linspace(-1, 1, 501), 9)
    for seed in range(10):
        rows, weights = sample_conditioned(sample_projection_dpp, phi, 40, seed, delta=0.6)
        assert gram_distance(phi[rows], weights) <= 0.6
        assert WeightedLeastSquares().fit(phi[rows], rows, weights).smallest_singular_value_ >= np.sqrt(0.4)
    with pytest.raises(SampleSizeError, match="no design so well conditioned"):
        sample_conditioned(sample_christoffel, phi, 10, 0, delta=0.01, attempts=5)


def test_d_optimal_beats_random_determinants_and_goes_on() -> None:
    phi = polynomial_features(np.random.default_rng(2).uniform(size=(200, 2)), 2)

    def log_det(rows: np.ndarray) -> float:
        return float(np.linalg.slogdet(phi[rows].T @ phi[rows])[1])

    chosen = d_optimal(phi, 9)
    assert len(set(chosen.tolist())) == 9
    assert log_det(chosen) > max(log_det(sample_projection_dpp(phi, 9, seed)[0]) for seed in range(50))
    assert np.array_equal(d_optimal(phi, 5, after=phi[chosen[:4]]), chosen[4:9])  # the same greedy path


def test_space_filling_and_nearest() -> None:
    points = space_filling([(0, 1), (50, 90)], 16, "latin-hypercube", seed=3)
    for j, (low, high) in enumerate([(0, 1), (50, 90)]):
        assert sorted(np.floor(16 * (points[:, j] - low) / (high - low)).astype(int)) == list(range(16))
    assert space_filling([(0, 1)], 5, "sobol").shape == (5, 1)
    pool = np.random.default_rng(0).uniform(size=(40, 2)) * [1, 40] + [0, 50]
    rows = nearest_candidates(pool, np.r_[pool[[3, 9]], pool[[3]]])
    assert rows[1] == 9 and 3 in rows and len(set(rows.tolist())) == 3
    with pytest.raises(OptionError, match=r"latin-hypercube, sobol"):
        space_filling([(0, 1)], 5, "sobel")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_fewer_runs_than_features(sampler) -> None:
    with pytest.raises(SampleSizeError, match=r"fewer runs than features: got n = 2, expected 3 or more; .*d-optimal"):
        sampler(PHI, 2, 0)
    assert d_optimal(PHI, 2).shape == (2,)


@pytest.mark.parametrize("call", [lambda: sample_projection_dpp(PHI, 31, 0), lambda: d_optimal(PHI, 31),
                                  lambda: nearest_candidates(PHI, np.zeros((31, 3)))])
def test_more_runs_than_candidates(call) -> None:
    with pytest.raises(SampleSizeError, match=r"more runs than candidates: got n = 31, expected 30 or fewer; "):
        call()


@pytest.mark.parametrize("n", [0, 2.5, "three"])
def test_no_number_of_runs(n) -> None:
    with pytest.raises(SundogError):
        sample_projection_dpp(PHI, n, 0)
