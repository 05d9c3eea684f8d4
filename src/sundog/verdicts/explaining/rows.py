"""Rows that explain a verdict: each a table of label-blind features, the number of each part, and a sentence.

None of them decides. Each has its own p-value from relabellings and a band of real against real.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor

from sundog.random import numpy_stream
from sundog.verdicts.deciding.labels import Labels, Table, hotelling, pulls
from sundog.verdicts.deciding.rows import FAR, FREQUENCIES, SCALES, fourier, standardised, whitened
from sundog.verdicts.pooled.sample import Pooled

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
CELLS = 64  # equal shares of the pooled rows in which a distribution function is known
COLUMNS_AT_ONCE = 64  # bounds memory
SLICES = 20
CENTRES = 50  # of the cells of PQMass
MOST_PARTS = 1000  # columns, or pairs of columns, that a row looks at
MOST_SQUARE = 40  # columns whose covariance is looked at as a matrix
DECIMALS = (0, 1, 2, 3)
ATOMS = 4  # most frequent values of a column, and the least share of one
LEAST_ATOM = 0.01


@dataclass(frozen=True, eq=False)
class Explaining:
    """A row before the labels are known.

    Attributes
    ----------
    name, about : what it is
    table : features
    parts : filled table -> (k, columns), large is bad; each part's own number
    names : of the k parts
    summary : parts -> (columns,) the number shown
    power : brings a part onto a scale on which it is nearly Gaussian
    """

    name: str
    about: str
    table: Table
    parts: Callable[[Table], Tensor]
    names: tuple[str, ...] = ("",)
    summary: Callable[[Tensor], Tensor] = lambda parts: parts[0]
    power: float = 1.0


def features_row(name: str, about: str, features: np.ndarray, names: Sequence[str]) -> Explaining:
    """Pull of the mean of each feature, root mean square over them, and the worst."""
    f = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    table = Table(lambda rows: f[rows])
    return Explaining(name, f"{about} Root mean square of (difference of the means) / (its standard error).", table,
                      lambda t: pulls(t).abs(), tuple(names), lambda p: p.square().mean(0).sqrt(), 2 / 3)


def distribution_row(name: str, about: str, columns: np.ndarray, names: Sequence[str],
                     distance: Callable[[Tensor, Tensor], Tensor], power: float = 2 / 3) -> Explaining:
    """A distance of the distribution functions of each column, mean over the columns, and the worst."""
    cell, steps = _cells(columns)
    k = cell.shape[1]

    def parts(table: Table) -> Tensor:
        parts = zip(table.difference.reshape(k, CELLS, -1).split(COLUMNS_AT_ONCE), steps.split(COLUMNS_AT_ONCE))
        return torch.cat([distance(share.double().cumsum(1), step[:, :, None]) for share, step in parts])

    return Explaining(name, about, Table(lambda rows: cell[rows], cells=CELLS), parts, tuple(names),
                      lambda p: p.mean(0), power)


def power_row(name: str, about: str, powers: np.ndarray, names: Sequence[str]) -> Explaining:
    """Distances of the distributions of log power and of its normal scores: a few loud images cannot hide the others.

    The logarithm sees how loud the few are, the scores see a small change of the many.
    """
    scores = norm.ppf((rankdata(powers, axis=0) - 0.5) / len(powers))
    columns = np.concatenate([_unit(logarithm(powers)), _unit(scores)], 1)
    return distribution_row(name, f"{about} Wasserstein-1 distance of logarithms and of ranks, in standard deviations, "
                            "mean.", columns, [*names, *(f"rank of {part}" for part in names)], wasserstein)


def logarithm(powers: np.ndarray) -> np.ndarray:
    """log10 of each column, zeros at its smallest positive number."""
    least = np.where(powers > 0, powers, np.inf).min(0)
    return np.log10(np.maximum(powers, np.where(np.isfinite(least), least, 1.0)))


def wasserstein(f: Tensor, step: Tensor) -> Tensor:
    """Integral of |F_fake - F_real| of each column; f (k, cells, columns), step (k, cells, 1)."""
    return (f.abs() * step).sum(1)


def kolmogorov(f: Tensor, step: Tensor) -> Tensor:
    """Largest |F_fake - F_real| of each column."""
    return f.abs().amax(1)


def cramer(f: Tensor, step: Tensor) -> Tensor:
    """Integral of (F_fake - F_real)^2 of each column."""
    return (f.square() * step).sum(1)


def _cells(columns: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cell (N, k) of each row among 64 of equal share, and the steps (k, 64) between the centres of the cells.

    Rows of one value share a cell, so that discrete columns are exact.
    """
    n, k = columns.shape
    cell, step = np.zeros((n, k), np.int64), np.zeros((k, CELLS))
    for i, x in enumerate(columns.T):
        edges = np.unique(np.quantile(x, np.arange(1, CELLS) / CELLS, method="inverted_cdf"))
        at = np.searchsorted(edges, x, side="left")
        filled, share = np.unique(at, return_counts=True)
        centre = np.bincount(at, x)[filled] / share
        step[i, filled[:-1]] = np.diff(centre)
        cell[:, i] = at
    return torch.from_numpy(cell), torch.from_numpy(step)


def catalogue_rows(pooled: Pooled) -> list[Explaining]:
    """The statistics of the catalogue: pulls of means, or W1 of each component in pooled standard deviations."""
    rows = []
    for s in pooled.statistics:
        x, names = pooled.vectors[s.name], pooled.components[s.name]
        if s.compare == "mean":
            rows.append(features_row(s.name, s.summary, _unit(x), names))
        elif s.compare == "power":
            rows.append(power_row(s.name, s.summary, x, names))
        else:
            rows.append(distribution_row(s.name, f"{s.summary} Wasserstein-1 distance in standard deviations, mean.",
                                         _unit(x), names, wasserstein))
    return rows


def moment_rows(pooled: Pooled) -> list[Explaining]:
    """Mean, width, skewness, tails, distribution function, atoms and rounding of every column."""
    moving = _moving(pooled.space)[:MOST_PARTS]
    x, names = pooled.space[:, moving], [pooled.names[i] for i in moving]
    z = standardised(x)
    cut = np.clip(z, -FAR, FAR)
    levels = np.quantile(x, LEVELS, axis=0)
    tails = np.concatenate([x <= level for level in levels], 1)
    tail_names = [f"{name} below its {100 * level:g} % point" for level in LEVELS for name in names]
    rows = [
        features_row("mean", "Mean of each column.", z, names),
        features_row("width", "Variance of each column.", z**2, names),
        features_row("skewness", "Third Hermite moment of each column.", cut**3 - 3 * cut, names),
        features_row("tails", "Share of rows below the 0.1 ... 99.9 % points of each column.", tails, tail_names),
        distribution_row("Kolmogorov-Smirnov", "Largest difference of the distribution functions, mean over columns.",
                         z, names, kolmogorov),
    ]
    for name, about, (f, parts) in (("atoms", "Share of rows at the most frequent values.", _atoms(x, names)),
                                    ("rounding", "Share of rows on a decimal grid.", _grids(x, names))):
        rows += [features_row(name, about, f, parts)] if parts else []
    return rows


def _atoms(x: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    found, parts = [np.zeros((len(x), 0), bool)], []
    for column, name in zip(x.T, names):
        value, count = np.unique(column, return_counts=True)
        for i in np.argsort(-count, kind="stable")[:ATOMS]:
            if count[i] > max(8, LEAST_ATOM * len(x)):
                found.append((column == value[i])[:, None])
                parts.append(f"P({name} = {value[i]:g})")
    return np.concatenate(found, 1), parts


def _grids(x: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    found, parts = [np.zeros((len(x), 0), bool)], []
    for column, name in zip(x.T, names):
        for k in DECIMALS:
            y = column * 10.0**k
            if np.abs(y).max() > 1e4:  # float32 resolves no more
                break
            on = np.abs(y - np.rint(y)) <= 2 * np.finfo(np.float32).eps * np.abs(y)
            if 0.02 < on.mean() < 1:
                found.append(on[:, None])
                parts.append(f"{name} a multiple of {10.0**-k:g}")
    return np.concatenate(found, 1), parts


def joint_rows(pooled: Pooled) -> list[Explaining]:
    """Sliced distances, energy, kernels, covariance, Fréchet distance and cells of all columns together."""
    z = standardised(pooled.space)
    w = whitened(z)
    rng = numpy_stream(pooled.labels.seed, "slices")
    u = rng.normal(size=(z.shape[1], SLICES))
    slices = z @ (u / np.linalg.norm(u, axis=0)).astype(np.float32)
    names = [""] * SLICES
    d = z.shape[1]
    energy = 2 * math.sqrt(math.pi) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    base = z if d <= MOST_SQUARE else w[:, -MOST_SQUARE:]
    return [
        distribution_row("sliced Wasserstein", "Wasserstein-1 distance along random directions, mean.", slices, names,
                         wasserstein),
        distribution_row("sliced KS", "Largest difference of distribution functions along random directions, mean.",
                         slices, names, kolmogorov),
        distribution_row("energy distance", "2 E|x - y| - E|x - x'| - E|y - y'|, from random directions.", slices,
                         names, lambda f, step: energy * cramer(f, step), 1 / 3),
        *_kernel_rows(w, pooled.labels), *_matrix_rows(base, pooled.labels), _cell_row(w, pooled.labels),
    ]


def _kernel_rows(w: np.ndarray, labels: Labels) -> list[Explaining]:
    table = Table(fourier(torch.from_numpy(w), labels.seed), full=True)

    def mmd(table: Table) -> Tensor:
        d = table.difference.reshape(2, len(SCALES), FREQUENCIES, -1)
        return d.square().sum(0).mean(1)

    return [
        Explaining("MMD²", "Squared maximum mean discrepancy, Gaussian kernels of two bandwidths, the worse counts.",
                   table, mmd, tuple(f"{scale:g} median distances" for scale in SCALES), lambda p: p.mean(0), 1 / 3),
        Explaining("spectral kernel test", "Mean discrepancy with the kernel's spectrum flattened, ridge 1e-4.", table,
                   lambda t: hotelling(t, 1e-4)[None], power=1 / 3),
    ]


def _matrix_rows(z: np.ndarray, labels: Labels) -> list[Explaining]:
    d = z.shape[1]
    i, j = np.triu_indices(d)
    x = torch.from_numpy(z)
    table = Table(lambda rows: torch.cat([x[rows], x[rows][:, i] * x[rows][:, j]], 1))
    second = torch.from_numpy(z.T.astype(float) @ z / len(z))
    root = torch.linalg.cholesky(second + 1e-6 * torch.eye(d, dtype=torch.float64))
    m, n = labels.effective[1] / sum(labels.effective), labels.effective[0] / sum(labels.effective)

    def matrices(table: Table) -> tuple[Tensor, Tensor]:
        moved, flat = table.difference[:d].T, table.difference[d:].T
        change = torch.zeros(len(flat), d, d, dtype=torch.float64)
        change[:, i, j] = change[:, j, i] = flat
        return moved, change

    def frechet(table: Table) -> Tensor:
        moved, change = matrices(table)
        a, b = n * moved, -m * moved
        c_fake = second + n * change - a[:, :, None] * a[:, None, :]
        c_real = second - m * change - b[:, :, None] * b[:, None, :]
        values, vectors = torch.linalg.eigh(c_real)
        half = vectors * values.clamp_min(0).sqrt()[:, None, :]
        overlap = torch.linalg.eigvalsh(half.mT @ c_fake @ half).clamp_min(0).sqrt().sum(1)
        traces = (c_fake + c_real).diagonal(dim1=1, dim2=2).sum(1)
        return (moved.square().sum(1) + traces - 2 * overlap).clamp_min(0)[None]

    def eigenvalue(table: Table) -> Tensor:
        _, change = matrices(table)
        inner = torch.linalg.solve_triangular(root, change, upper=False)
        inner = torch.linalg.solve_triangular(root, inner.mT.contiguous(), upper=False)
        return torch.linalg.eigvalsh(inner).abs().amax(1)[None]

    rows = [Explaining("covariance eigenvalue", "Largest relative change of variance along any direction.", table,
                       eigenvalue, power=2 / 3)]
    if labels.weights is None:
        rows.append(Explaining("Fréchet distance", "Squared Fréchet distance of the Gaussians fitted to both samples.",
                               table, frechet, power=1 / 3))
    return rows


def _cell_row(w: np.ndarray, labels: Labels) -> Explaining:
    """χ² on the Voronoi cells of random rows. Source: Lemos et al. 2024, arXiv 2402.04355."""
    centres = w[numpy_stream(labels.seed, "centres").choice(len(w), min(CENTRES, len(w) // 10), replace=False)]
    cell = _nearest_number(w, centres)
    share = torch.from_numpy(np.bincount(cell, minlength=len(centres)) / len(w)).clamp_min(1e-9)
    scale = sum(1 / n for n in labels.effective)
    at = torch.from_numpy(cell[:, None])
    return Explaining("cells", "χ² / degrees of freedom of the counts in Voronoi cells of random rows.",
                      Table(lambda rows: at[rows], cells=len(centres)),
                      lambda t: (t.difference.square() / share[:, None]).sum(0)[None] / scale / (len(centres) - 1),
                      power=1 / 3)


def _nearest_number(w: np.ndarray, centres: np.ndarray) -> np.ndarray:
    x, c = torch.from_numpy(w), torch.from_numpy(centres)
    return torch.cat([torch.cdist(part, c).argmin(1) for part in x.split(8192)]).numpy()


def _unit(x: np.ndarray) -> np.ndarray:
    """Columns over their pooled standard deviation, where they have one, about their mean."""
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 1e-12 * np.abs(x).max(0), spread, 1.0)


def _moving(x: np.ndarray) -> np.ndarray:
    return np.flatnonzero(x.std(0) > 1e-9 * (np.abs(x).max(0) + 1e-300))
