"""The classifier two-sample test: can anything learn to tell the fakes from the truth?

A classifier is trained on labelled rows of both samples and its area under the ROC curve is measured on rows
that it has not seen. AUC = P(score of a fake > score of a real row) is 0.5 exactly when the two laws agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.stats import norm, rankdata
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.models.classifier import Classifier, TreeEnsemble
from sundog.random import key, numpy_stream

FEWEST_LEARNED = 4  # rows of each label below which there is nothing to learn from
SMALLEST = 20  # rows per sample: below, the folds hold too few rows for an area


@dataclass(frozen=True)
class TwoSample:
    """Outcome of the test.

    Attributes
    ----------
    auc : weighted mean over the folds of the area on unseen rows; 0.5 is indistinguishable
    error : DeLong standard error of ``auc``
    null_error : standard error that the area has when both laws agree
    p_value : one-sided probability of an area this large if both laws agree
    """

    auc: float
    error: float
    null_error: float
    p_value: float


def area_under_curve(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Area under the ROC curve and its DeLong standard error, from the scores of real (m,) and fake (n,) rows.

        AUC = (1 / mn) sum_ij [ 1(f_j > r_i) + 1/2 1(f_j = r_i) ]
        var = Var_i(V_i) / m + Var_j(W_j) / n,  V_i = mean_j 1(f_j > r_i),  W_j = mean_i 1(f_j > r_i)

    Source: DeLong, DeLong & Clarke-Pearson 1988, eq. 3-5; by ranks as in Sun & Xu 2014.

    Example
    -------
    >>> area_under_curve(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.25, 0.4, 0.5]))[0]
    0.8888888888888888
    """
    r, f = real.double().numpy(), fake.double().numpy()
    m, n = len(r), len(f)
    if min(m, n) < 2:
        raise SampleSizeError("too few scores for an area", got=f"{m} and {n}", expected="at least 2 of each",
                              do="use more rows or fewer folds")
    ranks = rankdata(np.concatenate([r, f]))
    above = 1 - (ranks[:m] - rankdata(r)) / n
    below = (ranks[m:] - rankdata(f)) / m
    return float(below.mean()), float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))


def duplicate_groups(x: Tensor, tolerance: float = 1e-6) -> np.ndarray:
    """Group number (n,) of each row of x (n, d); rows that agree in every column share a group.

    Two columns agree within ``tolerance`` standard deviations (plus the rounding of float32); groups are the
    connected sets of agreeing rows.

    Example
    -------
    >>> duplicate_groups(torch.tensor([[0.0], [1.0], [0.0]])).tolist()
    [0, 1, 0]
    """
    rows = x.detach().double().numpy()
    scale = tolerance * rows.std(0) + 4 * np.finfo(np.float32).eps * np.abs(rows).max(0)
    rows = rows / np.where(scale > 0, scale, 1.0)
    distinct, group = np.unique(rows, axis=0, return_inverse=True)
    pairs = cKDTree(distinct).query_pairs(1.0, p=np.inf, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(distinct),) * 2)
    joined = connected_components(links, directed=False)[1][group.reshape(-1)]
    return np.unique(joined, return_inverse=True)[1]


def grouped_folds(groups: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold number (n,) of each row: a group never spans two folds, and the folds hold equal shares of each label.

    Example
    -------
    >>> fold = grouped_folds(np.array([0, 0, 1, 2, 3, 4]), np.array([0, 1, 0, 1, 0, 1]), 2, seed=0)
    >>> bool(fold[0] == fold[1])
    True
    """
    generator = numpy_stream(seed, "folds")
    size = np.bincount(groups)
    # Whole groups first, each into the emptiest fold; the rows that stand alone then even out each label.
    home = np.full(len(size), -1)
    filled = np.zeros(folds, dtype=int)
    shuffled = generator.permutation(np.flatnonzero(size > 1))
    for group in shuffled[np.argsort(-size[shuffled], kind="stable")]:
        home[group] = filled.argmin()
        filled[home[group]] += size[group]
    fold = home[groups]
    for label in np.unique(labels):
        alone = generator.permutation(np.flatnonzero((fold < 0) & (labels == label)))
        fold[alone] = _even_out(np.bincount(fold[(fold >= 0) & (labels == label)], minlength=folds), len(alone))
    return fold


def _even_out(filled: np.ndarray, count: int) -> np.ndarray:
    """Folds (count,) that bring the occupation ``filled`` as close to equal as ``count`` rows can."""
    level = filled[:, None] + np.arange(count)  # the occupation that each further row would meet
    return np.argsort(level.ravel(), kind="stable")[:count] // max(count, 1)


def classifier_two_sample(
    real: Tensor,
    fake: Tensor,
    seed: int = 0,
    *,
    folds: int = 5,
    classifier: Callable[[int], Classifier] | None = None,
    groups: np.ndarray | None = None,
) -> TwoSample:
    """AUC on unseen rows of a classifier between real (m, d) and fake (n, d), with error and p-value.

    Duplicates and near-duplicates (``duplicate_groups``) never stand in two folds. Without that, repeated
    fakes drive the AUC to 1 (the classifier recognises a row it was trained on) and rows shared between the
    two samples pull it to or below 0.5 (it has learned the wrong label).

    A fold is scored by a classifier that learned from the folds before it. With cross-validation, where each fold
    is scored by all others, the areas depend on each other: the null is sqrt(2) too wide, 3 to 5 % of false alarms at
    1 %. In this order they do not. Under the null each fold's AUC has variance (m_k + n_k + 1) / (12 m_k n_k) (Mann &
    Whitney 1947); fold k counts sqrt(k) as much, for it is scored by a better classifier. A sample that is one row
    repeated (a collapsed generator) gives 1 without a classifier, or 0.5 when both are the same row.

    Parameters
    ----------
    seed : of the folds and of the classifier
    folds : how many parts; each but the first is scored by a classifier trained on those before it
    classifier : seed -> untrained Classifier; the default is one boosting of small trees
    groups : (m + n,) group numbers, if already known

    Source: Lopez-Paz & Oquab 2017, section 3, with the AUC in place of the accuracy.

    Example
    -------
    >>> g = torch.Generator().manual_seed(1)
    >>> x, y = torch.randn(400, 2, generator=g), torch.randn(400, 2, generator=g)
    >>> classifier_two_sample(x, y).p_value > 0.001, classifier_two_sample(x, y + 1).auc > 0.8
    (True, True)
    """
    _check(real, fake, folds)
    x, labels = torch.cat([real, fake]), np.repeat([0, 1], [len(real), len(fake)])
    groups = duplicate_groups(x) if groups is None else groups
    fold = grouped_folds(groups, labels, folds, seed)
    build = classifier or small_trees
    found = []
    for k in range(1, folds):
        test, learn = fold == k, fold < k
        counts = np.bincount(labels[test], minlength=2)
        if counts.min() < 2 or np.bincount(labels[learn], minlength=2).min() < FEWEST_LEARNED:
            continue
        fitted = build(seed + k).fit(x[learn], torch.from_numpy(labels[learn]).double())
        score, truth = fitted.predict_log_odds(x[test]), labels[test]
        area, error = area_under_curve(score[truth == 0], score[truth == 1])
        found.append((area, error, math.sqrt((counts.sum() + 1) / (12 * counts.prod())), math.sqrt(k)))
    if not found:  # one sample is a single repeated row, so no fold holds some of it and leaves some to learn from
        same = set(groups[labels == 0]) == set(groups[labels == 1])
        found = [(0.5 if same else 1.0, 0.0, math.sqrt((len(x) + 1) / (12 * len(real) * len(fake))), 1.0)]
    area, error_k, null_k, weight = np.array(found).T
    weight = weight / null_k / (weight / null_k).sum()
    auc, error, null = float(weight @ area), *(float(np.hypot.reduce(weight * e)) for e in (error_k, null_k))
    return TwoSample(auc, error, null, float(norm.sf((auc - 0.5) / null)))


def small_trees(seed: int) -> TreeEnsemble:
    """The default classifier of the test: one boosting, shallow enough to be quick and hard to overfit."""
    return TreeEnsemble(members=1, seed=key(seed, "trees") >> 224, max_iter=150, max_leaf_nodes=16, validation=0.2)


def _check(real: Tensor, fake: Tensor, folds: int) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ShapeError("the two samples do not have the same columns", got=f"{tuple(real.shape)} and "
                         f"{tuple(fake.shape)}", expected="(m, d) and (n, d)", do="pass the same features of both")
    if folds < 2:
        raise OptionError("too few folds", got=folds, expected="at least 2", do="pass folds=5")
    if min(len(real), len(fake)) < SMALLEST:
        raise SampleSizeError("too few rows for a classifier test", got=f"{len(real)} and {len(fake)}",
                              expected=f"at least {SMALLEST} of each", do="use larger samples")
