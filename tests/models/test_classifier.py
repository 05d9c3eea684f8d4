"""Two Gaussians of unit covariance a distance s apart: AUC = Phi(s / sqrt 2), log-ratio linear in x."""

import math

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.models.classifier import LEVELS, TreeEnsemble, _edges
from sundog.train.classifier import NetworkClassifier
from sundog.verdicts.twosample import area_under_curve

SHIFT = torch.tensor([0.8, 0.0, -0.5])
CLASSIFIERS = {
    "trees": lambda seed=0: TreeEnsemble(members=3, seed=seed, learning_rate=0.05, max_leaf_nodes=8),
    "network": lambda seed=0: NetworkClassifier(members=2, seed=seed, hidden=(32,), epochs=25),
}


def gaussians(n, seed, shift=SHIFT):
    generator = torch.Generator().manual_seed(seed)
    y = (torch.arange(n) % 2).double()
    return torch.randn(n, len(shift), generator=generator) + y[:, None].float() * shift, y


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_area_under_curve_and_log_ratio_of_two_gaussians(name):
    x, y = gaussians(12000, 1)
    test_x, test_y = gaussians(8000, 2)
    score = CLASSIFIERS[name]().fit(x, y).predict_log_odds(test_x)
    auc, error = area_under_curve(score[test_y == 0], score[test_y == 1])
    truth = 0.5 * (1 + math.erf(float(SHIFT.norm()) / 2))
    assert abs(auc - truth) < 4 * error + 0.003  # 0.003: what a finite training sample may cost
    log_ratio = (test_x @ SHIFT - 0.5 * SHIFT @ SHIFT).double()
    assert torch.corrcoef(torch.stack([score, log_ratio]))[0, 1] > 0.97


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_without_meaning_teach_nothing(name):
    x, y = gaussians(4000, 3, 0 * SHIFT)
    test_x, test_y = gaussians(4000, 4, 0 * SHIFT)
    score = CLASSIFIERS[name]().fit(x, y).predict_log_odds(test_x)
    auc, error = area_under_curve(score[test_y == 0], score[test_y == 1])
    assert abs(auc - 0.5) < 4 * error


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weights_enter_the_log_odds(name):
    x, y = gaussians(4000, 5, 0 * SHIFT)
    equal = CLASSIFIERS[name]().fit(x, y).predict_log_odds(x).mean()
    heavy = CLASSIFIERS[name]().fit(x, y, weights=1 + 3 * y).predict_log_odds(x).mean()
    assert abs(float(equal)) < 0.1
    assert abs(float(heavy) - math.log(4)) < 0.15


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_same_seed_same_numbers_another_seed_others(name):
    x, y = gaussians(1000, 6)
    first, again, other = (CLASSIFIERS[name](seed).fit(x, y).predict_log_odds(x) for seed in (0, 0, 7))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_generator_alone():
    x, y = gaussians(300, 6)
    before = torch.random.get_rng_state()
    NetworkClassifier(members=1, epochs=2).fit(x, y)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_bad_input_is_named(name):
    x, y = gaussians(200, 7)
    classifier = CLASSIFIERS[name]()
    with pytest.raises(OptionError, match="fit"):
        classifier.predict_log_odds(x)
    with pytest.raises(DataError, match="both present"):
        classifier.fit(x, 0 * y)
    with pytest.raises(ShapeError, match="label"):
        classifier.fit(x, y[:-1])
    with pytest.raises(DataError, match="negative"):
        classifier.fit(x, y, -torch.ones(200))
    with pytest.raises(ShapeError, match=r"\(n, 3\)"):
        classifier.fit(x, y).predict_log_odds(x[:, :2])
    with pytest.raises(OptionError, match="members"):
        TreeEnsemble(members=0)


def test_weights_count_like_rows_in_the_levels_of_trees():
    x = torch.randn(900, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
    w = np.random.default_rng(0).integers(1, 4, 900)
    for column in x.T:
        levels = _edges(column, w)
        assert len(levels) < LEVELS + 1 and np.array_equal(levels, _edges(np.repeat(column, w), np.ones(w.sum())))
        share = np.array([w[column <= at].sum() for at in levels]) / w.sum()
        assert np.abs(np.diff(share) - 1 / LEVELS).max() < 2 * 3 / w.sum(), "levels of equal weight"
