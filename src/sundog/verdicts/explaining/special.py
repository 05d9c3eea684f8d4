"""Rows that are no means of features: neighbourhoods, a classifier, the support, rows on top of each other."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor

from sundog.random import numpy_stream
from sundog.statistics.samples.neighbours import precision_recall_density_coverage
from sundog.verdicts.deciding.labels import Table
from sundog.verdicts.deciding.rows import standardised
from sundog.verdicts.explaining.rows import Explaining
from sundog.verdicts.pooled.sample import TREE_COLUMNS, Pooled
from sundog.verdicts.twosample import classifier_two_sample
from sundog.verdicts.verdict import Row

NEIGHBOUR_ROWS, NEIGHBOUR_SPLITS = 1000, 8  # every pair of rows is looked at
CLASSIFIER_ROWS = 20_000
CLOSEST = 0.01  # share of the rows whose nearest neighbour is looked at
ABOUT = {
    "precision": "Share of fakes inside the neighbourhoods of the truth: fidelity.",
    "recall": "Share of real rows inside the neighbourhoods of the fakes: variety.",
    "density": "Mean number of true neighbourhoods around a fake, over that expected: fidelity, robust to outliers.",
    "coverage": "Share of true neighbourhoods that hold a fake: variety, sees dropped modes and repeated rows.",
}


def neighbour_rows(pooled: Pooled) -> list[Row]:
    """Precision, recall, density, coverage (k = 5) on splits of the truth; low is bad, for the density high too.

    Each number is a median over eight disjoint splits, on at most 1000 rows of each part.
    """
    z, labels = torch.from_numpy(standardised(pooled.space)), pooled.labels
    real, fake, rng = z[: labels.real], z[labels.real :], numpy_stream(labels.seed, "neighbours")
    n = min(NEIGHBOUR_ROWS, len(fake), len(real) // 2)
    ours, null = [], []
    for _ in range(NEIGHBOUR_SPLITS):
        order = rng.permutation(len(real))
        a, b, f = real[order[:n]], real[order[n : 2 * n]], fake[rng.permutation(len(fake))[:n]]
        ours.append(precision_recall_density_coverage(a, f))
        null.append(precision_recall_density_coverage(a, b))
    rows = []
    for name in ("precision", "recall", "density", "coverage"):
        x, y = (np.array([getattr(v, name) for v in side]) for side in (ours, null))
        # Halves of one sample complement each other, so their overlap scatters less than that of fresh samples:
        # binomial floor 1 / (2 sqrt n) on the arcsine scale; the density counts k = 5 neighbours per row.
        g, floor = (np.log1p, math.sqrt(1 / (10 * n))) if name == "density" else (_arcsine, 0.5 / math.sqrt(n))
        width = max(float(g(y).std(ddof=1)), floor) * math.sqrt(1 + 1 / len(y))
        pull = float((np.median(g(x)) - g(y).mean()) / width)
        p = float(student.cdf(pull, len(y) - 1))
        low, middle, high = np.quantile(y, [0.16, 0.5, 0.84])
        rows.append(Row(name, float(np.median(x)), float(middle), float(low), float(high), pull,
                        min(1.0, 2 * min(p, 1 - p)) if name == "density" else p, about=ABOUT[name], n=n))
    return rows


def _arcsine(x: np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(np.clip(x, 0, 1)))


def classifier_row(pooled: Pooled, groups: np.ndarray) -> Row:
    """Area under the ROC curve of boosted trees, each fold scored by trees that saw the folds before it."""
    z, labels = torch.from_numpy(standardised(pooled.space)), pooled.labels
    rng = numpy_stream(labels.seed, "trees")
    real = rng.permutation(labels.real)[:CLASSIFIER_ROWS]
    fake = labels.real + rng.permutation(labels.fake)[:CLASSIFIER_ROWS]
    found = classifier_two_sample(z[real], z[fake], labels.seed, groups=groups[np.concatenate([real, fake])])
    width = found.null_error
    return Row("classifier AUC", found.auc, 0.5, 0.5 - width, 0.5 + width, float((found.auc - 0.5) / width),
               found.p_value, n=min(len(real), len(fake)), note=f"standard error {found.error:.2g} (DeLong)",
               about="Area under the ROC curve of boosted trees, on rows later than those they learned from; 0.5 is "
               "indistinguishable.")


def support_row(pooled: Pooled) -> Row:
    """Share of fakes beyond the real extremes in the worst column.

    p is exact: k fakes lie beyond all real rows with probability prod_{i<k} (m - i) / (n + m - i) if the laws agree.
    """
    n, m = pooled.labels.real, pooled.labels.fake
    real, fake = pooled.space[:n], pooled.space[n:]
    beyond = np.stack([(fake < real.min(0)).sum(0), (fake > real.max(0)).sum(0)])
    side, column = np.unravel_index(int(beyond.argmax()), beyond.shape)
    k = int(beyond[side, column])
    steps = np.arange(k)
    p = min(1.0, beyond.size * math.exp(float(np.log((m - steps) / (n + m - steps)).sum())))
    usual = 1 / (n + 1)
    return Row("support", k / m, usual, 0.0, 2 * usual, float(norm.isf(min(max(p, 1e-300), 0.999))), p, n=m,
               worst=f"{pooled.names[column]} {'above' if side else 'below'} every real one",
               about="Share of fakes beyond the real extremes of a column.")


def closeness(pooled: Pooled) -> Explaining:
    """Pairs of one fake and one real row among the closest pairs of all: copies with a little noise on top."""
    x = pooled.values
    if x.shape[1] <= TREE_COLUMNS:
        distance, other = (a[:, 1] for a in cKDTree(x).query(x, k=2))
    else:
        distance, other = _second(torch.from_numpy(x))
    first = np.argsort(distance, kind="stable")[: max(8, int(CLOSEST * len(x)))]
    rows, place = np.unique(np.concatenate([first, other[first]]), return_inverse=True)
    a, b = np.split(place, 2)
    number = np.zeros(len(x), np.int64)
    number[rows] = 1 + np.arange(len(rows))
    at = torch.from_numpy(number[:, None])

    def across(table: Table) -> Tensor:
        fake = table.difference[1:]
        return (fake[a] != fake[b]).double().mean(0)[None]

    return Explaining("near copies", "Share of one fake and one real row among the closest 1 % of all pairs.",
                      Table(lambda r: at[r], cells=len(rows) + 1, marks=True), across)


def _second(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance and number of each row's nearest other row, by all distances."""
    parts = [torch.cdist(part, x).topk(2, largest=False) for part in x.split(512)]
    return torch.cat([p.values[:, 1] for p in parts]).numpy(), torch.cat([p.indices[:, 1] for p in parts]).numpy()


