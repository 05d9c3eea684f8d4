"""The classifier two-sample test: areas against a second definition, folds that do not leak, a true null."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.verdicts.twosample import area_under_curve, classifier_two_sample, duplicate_groups, grouped_folds


def gaussian(n, seed, shift=0.0, d=3):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += shift
    return x


def test_area_agrees_with_a_second_implementation_ties_included():
    scores = (torch.randn(500, generator=torch.Generator().manual_seed(0)) * 3).round()
    truth = torch.arange(500) % 3 == 0
    auc, _ = area_under_curve(scores[~truth], scores[truth])
    assert auc == pytest.approx(roc_auc_score(truth.numpy(), scores.numpy()), abs=1e-12)


def test_delong_error_is_the_scatter_of_fresh_samples():
    generator = torch.Generator().manual_seed(1)
    found = [area_under_curve(torch.randn(200, generator=generator), 1 + torch.randn(100, generator=generator))
             for _ in range(400)]
    areas, errors = np.array(found).T
    assert abs(areas.mean() - 0.5 * (1 + math.erf(0.5))) < 4 * areas.std() / 20
    assert errors.mean() == pytest.approx(areas.std(), rel=4 / math.sqrt(2 * 400))


def test_near_duplicates_share_a_group_and_neighbours_do_not():
    x = gaussian(50, 2)
    twins = torch.cat([x, x[:10], x[:5] * (1 + 1e-7)])
    groups = duplicate_groups(twins)
    assert (groups[50:60] == groups[:10]).all() and (groups[60:] == groups[:5]).all()
    assert len(np.unique(duplicate_groups(x + 1000))) == 50


def test_constant_columns_are_harmless_to_the_groups():
    x = torch.cat([gaussian(20, 3), torch.ones(20, 1)], 1)
    assert len(np.unique(duplicate_groups(x))) == 20


def test_groups_stay_together_and_folds_are_even():
    generator = np.random.default_rng(0)
    groups, labels = generator.integers(0, 300, size=1000), generator.integers(0, 2, size=1000)
    fold = grouped_folds(groups, labels, 5, seed=1)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    assert np.ptp(np.bincount(fold, minlength=5)) < 60
    alone = grouped_folds(np.arange(1000), labels, 5, seed=1)
    assert np.ptp(np.bincount(alone[labels == 1], minlength=5)) <= 1


def test_one_law_gives_one_half():
    pulls = [(r.auc - 0.5) / r.null_error for r in
             (classifier_two_sample(gaussian(300, s), gaussian(300, 1000 + s), seed=s) for s in range(12))]
    assert abs(np.mean(pulls)) < 4 / math.sqrt(12)
    assert np.std(pulls) < 2


def test_a_shift_is_seen_and_its_area_does_not_exceed_the_best_possible():
    found = classifier_two_sample(gaussian(1500, 4), gaussian(1500, 5, shift=1.0))
    best = 0.5 * (1 + math.erf(0.5))
    assert found.p_value < 1e-6
    assert best - 0.06 < found.auc < best + 4 * found.error


def test_repeated_fakes_do_not_leak_but_would_without_groups():
    real, fake = gaussian(600, 6), gaussian(100, 7).repeat(6, 1)
    honest = classifier_two_sample(real, fake)
    leaky = classifier_two_sample(real, fake, groups=np.arange(1200))
    assert honest.auc < 0.65
    assert leaky.auc > 0.8


def test_shared_rows_do_not_pull_the_area_down():
    real = gaussian(600, 8)
    found = classifier_two_sample(real, real[:300])
    assert abs(found.auc - 0.5) < 4 * found.null_error


def test_same_seed_same_area():
    real, fake = gaussian(200, 1), gaussian(200, 2)
    assert classifier_two_sample(real, fake, seed=3) == classifier_two_sample(real, fake, seed=3)


def test_bad_input_is_named():
    x = gaussian(100, 0)
    with pytest.raises(ShapeError, match="columns"):
        classifier_two_sample(x, x[:, :2])
    with pytest.raises(OptionError, match="folds"):
        classifier_two_sample(x, x, folds=1)
    with pytest.raises(SampleSizeError, match="too few rows"):
        classifier_two_sample(x, x[:5])


def test_a_single_repeated_row_needs_no_classifier():
    x = gaussian(100, 0)
    one = torch.ones(50, x.shape[1])
    assert classifier_two_sample(x, one).auc == 1.0
    assert classifier_two_sample(one, one).auc == 0.5
