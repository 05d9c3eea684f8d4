"""Rows of a verdict: each function turns two measured samples and their splits into one or more rows.

Thresholds are not known here: a row leaves with ``passed=True`` and the judge decides once all rows exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import fisher_exact, norm
from torch import Tensor

from sundog.statistics.catalogue.table import Statistic
from sundog.statistics.samples.distance import (
    energy_distance,
    frechet_distance,
    mmd,
    mmd_permutation,
    precision_recall_density_coverage,
    sliced_wasserstein,
    wasserstein_1,
)
from sundog.statistics.samples.neighbours import nearest_distance
from sundog.verdicts.measured import Measured
from sundog.verdicts.null import GAUSSIAN_SPREAD, PULL_LIMIT, Excess, Split, arcsine, cube_root, excess, two_thirds
from sundog.verdicts.twosample import classifier_two_sample
from sundog.verdicts.verdict import Row

Scale = Callable[[np.ndarray], np.ndarray]

PAIRWISE_ROWS = 2000  # statistics that look at all pairs of rows use at most this many, and say so in the row
PERMUTED_SPLITS = 3
SLICED_ROWS = 10_000
CLASSIFIER_ROWS = 20_000
NEAR_SHARE = 0.05  # a fake is "near" when it is nearer to the reference than this share of unseen real rows
PAIRS_AT_ONCE = 2e7  # distances held at once

UNIT_OF_VALUE = {
    "distribution": "Wasserstein-1 distance in true standard deviations, mean over the components.",
    "mean": "Root mean square over the components of (difference of the means) / (its standard error).",
}
ABOUT = {
    "sliced Wasserstein": "Wasserstein-1 distance along 50 random directions in feature space, mean.",
    "energy distance": "2 E|x - y| - E|x - x'| - E|y - y'| in feature space.",
    "MMD²": "Squared maximum mean discrepancy in feature space, Gaussian kernel of the median distance.",
    "Fréchet distance": "Squared Fréchet distance of the Gaussians fitted to both samples in feature space.",
    "precision": "Share of fakes inside the neighbourhoods of the truth: fidelity.",
    "recall": "Share of real rows inside the neighbourhoods of the fakes: variety.",
    "density": "Mean number of true neighbourhoods around a fake, over that expected: fidelity, robust to outliers.",
    "coverage": "Share of true neighbourhoods that hold a fake: variety, sees dropped modes and repeated rows.",
    "classifier AUC": "Area under the ROC curve of boosted trees that saw other rows; 0.5 is indistinguishable.",
    "memorisation": "Share of fakes nearer to known rows than the nearest 5 % of unseen real rows are.",
    "copies": "Share of fakes that agree in every feature with a real or training row.",
    "repeats": "Share of fakes that agree in every feature with another fake.",
}


def vector_row(statistic: Statistic, components: Sequence[str], units: Sequence[str], real: Measured, fake: Measured,
               splits: Sequence[Split]) -> Row | None:
    """The row of a catalogue statistic, or None where it has no components (correlations of one feature).

    "distribution": W1 of each component / true standard deviation, mean over the components.
    "mean": pull (mean_a - mean_b) / sqrt(var_a/n + var_b/n) of each component, root mean square over them.
    Both the summary and the worst component are tested; the smaller p-value counts, twice (Bonferroni), and that
    of the worst component is first multiplied by the number of components.
    """
    x, y = real.vectors[statistic.name], fake.vectors[statistic.name]
    if x.shape[1] == 0:
        return None
    apart = _w1_in_std(x) if statistic.compare == "distribution" else _pulls
    null = np.stack([apart(x[s.other], x[s.real]) for s in splits])
    ours = np.stack([apart(y[s.fake], x[s.real]) for s in splits])
    total = (lambda a: a.mean(1)) if statistic.compare == "distribution" else (lambda a: np.sqrt((a**2).mean(1)))
    least = _least_spread(statistic, x, null)
    floor = float(least.mean()) / x.shape[1] ** 0.5  # as if all components were independent
    row = replace(_row(statistic.name, total(ours), total(null), two_thirds, len(splits[0].real), floor),
                  about=f"{statistic.summary} {UNIT_OF_VALUE[statistic.compare]}")
    if x.shape[1] == 1:
        return _with_means(replace(row, worst=components[0], unit=units[0]), x[:, 0], y[:, 0])
    each = excess(ours, null, two_thirds, least)
    i = int(each.log_p.argmin())
    p_worst = min(1.0, x.shape[1] * math.exp(each.log_p[i]))
    decided_by_worst = p_worst < row.p_value
    row = replace(
        row, worst=components[i], worst_value=float(np.median(ours[:, i])), worst_null=float(np.median(null[:, i])),
        worst_pull=float(each.pull[i]), unit=units[i], pull=float(each.pull[i]) if decided_by_worst else row.pull,
        p_value=min(1.0, 2 * min(p_worst, row.p_value)),
    )
    return _with_means(row, x[:, i], y[:, i])


def sliced_row(real: Measured, fake: Measured, splits: Sequence[Split], seed: int) -> Row:
    """Row of the sliced Wasserstein distance in feature space."""
    part = [s.head(SLICED_ROWS) for s in splits]

    def distance(a: Tensor, b: Tensor) -> float:
        return float(sliced_wasserstein(a, b, n_projections=50, seed=seed))

    return _pair_row("sliced Wasserstein", distance, real, fake, part, two_thirds)


def energy_row(real: Measured, fake: Measured, splits: Sequence[Split]) -> Row:
    """Row of the energy distance in feature space."""
    part = [s.head(PAIRWISE_ROWS) for s in splits]
    return _pair_row("energy distance", lambda a, b: float(energy_distance(a, b)), real, fake, part, cube_root)


def mmd_row(real: Measured, fake: Measured, splits: Sequence[Split], seed: int) -> Row:
    """Row of the squared maximum mean discrepancy (Gaussian kernel), with a permutation p-value in the note."""
    part = [s.head(PAIRWISE_ROWS) for s in splits]
    p = np.median([mmd_permutation(real.space[s.real], fake.space[s.fake], n_permutations=199, seed=seed)[1]
                   for s in part[:PERMUTED_SPLITS]])
    shift = 2 / len(part[0].real)  # unbiased -> biased, never below zero, so that the cube root makes it Gaussian
    row = _pair_row("MMD²", lambda a, b: float(mmd(a, b)), real, fake, part,
                    lambda x: cube_root(np.maximum(x + shift, 0)))
    return replace(row, note=f"permutation p = {p:.2g} (median of {PERMUTED_SPLITS} splits)")


def frechet_row(real: Measured, fake: Measured, splits: Sequence[Split]) -> Row:
    """Row of the squared Fréchet distance in feature space; covariances are shrunk below 10 rows per feature."""
    n, k = len(splits[0].real), real.space.shape[1]
    shrink = n < 10 * k
    row = _pair_row("Fréchet distance", lambda a, b: float(frechet_distance(a, b, shrinkage=shrink)), real, fake,
                    splits, cube_root)
    return replace(row, note=f"{n} rows for {k} features: covariances shrunk" if shrink else "")


def neighbour_rows(real: Measured, fake: Measured, splits: Sequence[Split]) -> list[Row]:
    """Rows of precision, recall, density and coverage; low values are bad, and for the density high ones too."""
    part = [s.head(PAIRWISE_ROWS) for s in splits]
    null = [precision_recall_density_coverage(real.space[s.real], real.space[s.other]) for s in part]
    ours = [precision_recall_density_coverage(real.space[s.real], fake.space[s.fake]) for s in part]
    rows, n = [], len(part[0].real)
    for name in ("precision", "recall", "density", "coverage"):
        a, b = (np.array([getattr(x, name) for x in side]) for side in (ours, null))
        scale = np.log1p if name == "density" else arcsine
        row = _row(name, a, b, scale, n)
        # Halves of one sample complement each other, so their overlap scatters less than that of fresh samples:
        # binomial floor 1 / (2 sqrt n) on the arcsine scale; the density counts k = 5 neighbours per row.
        low = excess(-scale(a), -scale(b), least_spread=math.sqrt(1 / (10 * n)) if name == "density" else 0.5 / n**0.5)
        p = float(np.exp(low.log_p))
        if name == "density":
            p = min(1.0, 2 * min(p, 1 - p))
        rows.append(replace(row, pull=-float(low.pull), p_value=p))
    return rows


def classifier_row(real: Measured, fake: Measured, splits: Sequence[Split], groups: np.ndarray, seed: int) -> Row:
    """Row of the out-of-fold AUC of a classifier in feature space; ``groups`` numbers the rows of real, then fake."""
    part = [s.head(CLASSIFIER_ROWS) for s in splits]
    n, null, ours = len(part[0].real), [], []
    for r, s in enumerate(part):
        a, fake_rows = real.space[s.real], s.fake + len(real)
        null.append(classifier_two_sample(a, real.space[s.other], seed + r,
                                          groups=groups[torch.cat([s.real, s.other]).numpy()]))
        ours.append(classifier_two_sample(a, fake.space[s.fake], seed + r,
                                          groups=groups[torch.cat([s.real, fake_rows]).numpy()]))
    areas, bars = np.array([t.auc for t in ours]), np.array([t.auc for t in null])
    # Few splits: the width of the null comes from the rank law, unless the splits scatter even more.
    width = max(float(np.mean([t.null_error for t in null])), float(np.sqrt(np.mean((bars - 0.5) ** 2))))
    pull = (float(np.median(areas)) - 0.5) / width
    return replace(_row("classifier AUC", areas, bars, np.asarray, n), pull=pull, p_value=float(norm.sf(pull)),
                   note=f"standard error {np.mean([t.error for t in ours]):.2g} (DeLong), {len(part)} splits")


def near_row(real: Measured, fake: Measured, train: Measured | None, splits: Sequence[Split]) -> Row:
    """Row of the memorisation test: share of fakes nearer to the reference than 5 % of unseen real rows.

    The reference is the training data if given, else one half of the truth; the unseen rows are the other half.
    When nothing is memorised, fakes and unseen rows are exchangeable: the share is 5 % with the binomial error
    sqrt(2 q (1 - q) / n). Nearest neighbours in the values themselves (pixels), in units of the true scatter.
    """
    part = [s.head(PAIRWISE_ROWS) for s in splits]
    n, shares = len(part[0].real), []
    to_train = None if train is None else (_nearest(real.pixels, train.pixels), _nearest(fake.pixels, train.pixels))
    for s in part:
        if to_train is None:
            unseen = _nearest(real.pixels[s.other], real.pixels[s.real])
            ours = _nearest(fake.pixels[s.fake], real.pixels[s.real])
        else:
            unseen, ours = to_train[0][s.other], to_train[1][s.fake]
        shares.append(float((ours < unseen.quantile(NEAR_SHARE)).double().mean()))
    width = math.sqrt(2 * NEAR_SHARE * (1 - NEAR_SHARE) / n)
    value = np.array(shares)
    pull = float((np.median(value) - NEAR_SHARE) / width)
    low, high = np.quantile(value, [0.16, 0.84])
    return Row("memorisation", float(np.median(value)), float(low), float(high), NEAR_SHARE, NEAR_SHARE - width,
               NEAR_SHARE + width, pull, float(norm.sf(pull)), 0.0, True, n, about=ABOUT["memorisation"],
               note="" if train is not None else "no training data given: looked for copies of the truth only")


def copy_row(groups: np.ndarray, sizes: tuple[int, int, int], splits: Sequence[Split]) -> Row:
    """Row of exact copies: share of fakes with a twin in the training data if given, else in the truth.

    ``groups`` numbers the rows of real, fake, train. Null: the same share for one half of the truth.
    """
    n_real, n_fake, _ = sizes
    real, fake, train = np.split(groups, [n_real, n_real + n_fake])
    ours, null = [], []
    for s in splits:
        reference = np.concatenate([real[s.real.numpy()], train])
        ours.append(np.isin(fake[s.fake.numpy()], reference).mean())
        null.append(np.isin(real[s.other.numpy()], reference).mean())
    return _share_row("copies", np.array(ours), np.array(null), len(splits[0].real))


def repeat_row(groups: np.ndarray, n_real: int, splits: Sequence[Split]) -> Row:
    """Row of repeated fakes: share of rows with an exact twin within their own sample."""

    def repeated(rows: np.ndarray) -> float:
        return float((np.bincount(rows)[rows] > 1).mean())

    ours = np.array([repeated(groups[n_real + s.fake.numpy()]) for s in splits])
    null = np.array([repeated(groups[s.other.numpy()]) for s in splits])
    return _share_row("repeats", ours, null, len(splits[0].real))


def _share_row(name: str, ours: np.ndarray, null: np.ndarray, n: int) -> Row:
    value, usual = float(np.median(ours)), float(np.median(null))
    counts = [[round(value * n), n - round(value * n)], [round(usual * n), n - round(usual * n)]]
    p = float(fisher_exact(counts, alternative="greater").pvalue)
    width = math.sqrt(max(usual * (1 - usual), 1 / n) * 2 / n)
    pull = min((value - usual) / width, PULL_LIMIT)
    return replace(_row(name, ours, null, np.asarray, n), pull=pull, p_value=p)


def _pair_row(name: str, distance: Callable[[Tensor, Tensor], float], real: Measured, fake: Measured,
              splits: Sequence[Split], scale: Scale) -> Row:
    null = np.array([distance(real.space[s.other], real.space[s.real]) for s in splits])
    ours = np.array([distance(fake.space[s.fake], real.space[s.real]) for s in splits])
    return _row(name, ours, null, scale, len(splits[0].real))


def _row(name: str, ours: np.ndarray, null: np.ndarray, scale: Scale, n: int, least_spread: float = 0.0) -> Row:
    found: Excess = excess(ours, null, scale, least_spread)
    (low, value, high), (null_low, usual, null_high) = (np.quantile(a, [0.16, 0.5, 0.84]) for a in (ours, null))
    return Row(name, float(value), float(low), float(high), float(usual), float(null_low), float(null_high),
               float(found.pull), float(np.exp(found.log_p)), 0.0, True, n, about=ABOUT.get(name, ""))


def _w1_in_std(truth: Tensor) -> Callable[[Tensor, Tensor], np.ndarray]:
    std = truth.std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return lambda a, b: (wasserstein_1(a, b) / std).numpy()


def _pulls(a: Tensor, b: Tensor) -> np.ndarray:
    """|mean_a - mean_b| / sqrt(var_a / n + var_b / n) per component; 0 where nothing varies and nothing differs."""
    gap = (a.mean(0) - b.mean(0)).abs()
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    size = torch.maximum(a.abs().amax(0), b.abs().amax(0))
    return (gap / torch.maximum(error, 1e-12 * size + 1e-300)).clamp_max(1e6).numpy()


def _least_spread(statistic: Statistic, x: Tensor, null: np.ndarray) -> np.ndarray:
    """Floor under the null spread of each component, (k,), on the scale of ``two_thirds``.

    Pulls of means are at least as wide as Gaussian ones. The W1 of two equal laws, the integral of a Brownian
    bridge, has a relative spread of 0.3 to 0.4, 0.2 or more on this scale; a component that is one number in nine
    rows of ten hangs on a few rows, which the splits move around but hardly change, and gets a little more.
    """
    if statistic.compare == "mean":
        return np.full(null.shape[1], GAUSSIAN_SPREAD)
    rows = x[:: max(1, len(x) // 2000)]
    middle = rows.quantile(0.95, dim=0) - rows.quantile(0.05, dim=0)
    return np.where(middle.numpy() > 0, 0.2, 0.3) * two_thirds(null).mean(0)


def _with_means(row: Row, x: Tensor, y: Tensor) -> Row:
    """The row with the mean of a component in each sample, (N,) values each, and its standard error."""
    return replace(row, real_value=float(x.mean()), real_error=float(x.std() / math.sqrt(len(x))),
                   fake_value=float(y.mean()), fake_error=float(y.std() / math.sqrt(len(y))))


def _nearest(x: Tensor, reference: Tensor) -> Tensor:
    size = max(1, int(PAIRS_AT_ONCE / len(reference)))
    return torch.cat([nearest_distance(part, reference) for part in x.split(size)])

