"""Distances between two samples of events or features: one number each, zero (on average) for equal laws."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sundog.checks import at_least, positive
from sundog.errors import SampleSizeError
from sundog.random import stream
from sundog.statistics.samples.admission import checked_pair

BLOCK = 1024  # rows of a distance matrix held at once


def wasserstein_1(x: Tensor, y: Tensor) -> Tensor:
    """Return the Wasserstein-1 distance of every column: (d,), in the units of that column.

    W1 = integral |F_x(t) - F_y(t)| dt, exact for samples of equal or unequal size.

    Parameters
    ----------
    x, y: (n, d) and (m, d) events; (n,) is read as one column.

    Source: Vallender 1974, Theory Probab. Appl. 18, 784. Oracle in the tests: scipy.

    Example
    -------
    >>> wasserstein_1(torch.zeros(4, 1), torch.ones(6, 1))
    tensor([1.], dtype=torch.float64)
    """
    x, y = checked_pair(x, y)
    a, b = x.T.sort(1).values, y.T.sort(1).values
    if len(x) == len(y):
        return (a - b).abs().mean(1)
    steps = torch.cat([a, b], 1).sort(1).values
    # F is constant between neighbouring values of the pooled sample.
    f_x = torch.searchsorted(a.contiguous(), steps[:, :-1].contiguous(), right=True) / len(x)
    f_y = torch.searchsorted(b.contiguous(), steps[:, :-1].contiguous(), right=True) / len(y)
    return ((f_x.double() - f_y.double()).abs() * steps.diff(dim=1)).sum(1)


def sliced_wasserstein(x: Tensor, y: Tensor, *, n_projections: int = 128, seed: int = 0) -> Tensor:
    """Return the mean Wasserstein-1 distance over random directions: a scalar, in the units of x.

    SW1 = < W1(x.u, y.u) > over unit vectors u drawn from ``seed``.

    Source: Rabin et al. 2011, SSVM, LNCS 6667, 435. Oracle in the tests: POT with p = 1.

    Example
    -------
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> sliced_wasserstein(x, x).item()
    0.0
    """
    x, y = checked_pair(x, y)
    at_least(n_projections, 1, "n_projections")
    u = torch.randn(x.shape[1], n_projections, generator=stream(seed, "sliced wasserstein"), dtype=torch.float64).to(x)
    u = u / u.norm(dim=0)
    return wasserstein_1(x @ u, y @ u).mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared energy distance 2 E|x - y| - E|x - x'| - E|y - y'|: a scalar >= 0, in units of x.

    Means over all pairs, equal indices included (V-statistic). scipy's one-dimensional function returns its root.

    Source: Szekely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249, eq. 5.

    Example
    -------
    >>> energy_distance(torch.zeros(3, 1), torch.ones(3, 1)).item()
    2.0
    """
    x, y = checked_pair(x, y)
    between, within_x, within_y = _mean_distance(x, y), _mean_distance(x, x), _mean_distance(y, y)
    return (2 * between - within_x - within_y).clamp_min(0.0)


def mmd(x: Tensor, y: Tensor, *, bandwidth: float | None = None) -> Tensor:
    """Return the unbiased squared maximum mean discrepancy with kernel exp(-|x - y|^2 / (2 h^2)): a scalar.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j); it may come out
    slightly negative. h defaults to the median distance within the pooled sample.

    Source: Gretton et al. 2012, JMLR 13, 723, eq. 3.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> bool(mmd(torch.randn(300, 2, generator=g), 2 + torch.randn(300, 2, generator=g)) > 0.3)
    True
    """
    x, y = checked_pair(x, y)
    signs = torch.cat([torch.ones(len(x)), torch.zeros(len(y))]).double()[:, None]
    return _mmd_of_splits(torch.cat([x, y]), signs, bandwidth)[0]


def mmd_permutation(
    x: Tensor, y: Tensor, *, n_permutations: int = 200, seed: int = 0, bandwidth: float | None = None
) -> tuple[Tensor, float]:
    """Return (MMD^2, p): the p-value is the share of random re-labellings with an MMD^2 at least as large.

    p = (1 + #{permuted >= observed}) / (1 + n_permutations), exact at any size when both laws are equal.

    Source: Gretton et al. 2012, JMLR 13, 723; the +1 from Phipson & Smyth 2010, SAGMB 9, 39.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(100, 2, generator=g), 1 + torch.randn(100, 2, generator=g)
    >>> round(mmd_permutation(x, y, n_permutations=99)[1], 6)
    0.01
    """
    x, y = checked_pair(x, y)
    at_least(n_permutations, 1, "n_permutations")
    generator = stream(seed, "mmd permutation")
    labels = torch.cat([torch.ones(len(x)), torch.zeros(len(y))]).double()
    shuffled = [labels[torch.randperm(len(labels), generator=generator)] for _ in range(n_permutations)]
    values = _mmd_of_splits(torch.cat([x, y]), torch.stack([labels, *shuffled], 1), bandwidth)
    as_far = int((values[1:] >= values[0] - 1e-12).sum())
    return values[0], (1 + as_far) / (1 + n_permutations)


def frechet_distance(x: Tensor, y: Tensor, *, shrinkage: bool = False) -> Tensor:
    """Return the squared Fréchet distance between the Gaussians fitted to two samples: a scalar.

    FD = |m_x - m_y|^2 + tr C_x + tr C_y - 2 |C_x^(1/2) C_y^(1/2)|_*, with |.|_* the sum of singular values, which
    equals tr (C_x^(1/2) C_y C_x^(1/2))^(1/2) and needs no root of a nearly singular product. FD is biased upwards by
    about the number of features / n: compare only at equal n, beside a real-vs-real null.

    Parameters
    ----------
    x, y: (n, k) and (m, k) features, on a scale where distances mean something.
    shrinkage: pull each covariance to a multiple of the identity by the Ledoit-Wolf amount; for n below about 10 k.

    Errors: SampleSizeError when a covariance would be singular (n <= k) and ``shrinkage`` is off.
    Source: Dowson & Landau 1982, J. Multivar. Anal. 12, 450; Ledoit & Wolf 2004, J. Multivar. Anal. 88, 365.

    Example
    -------
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> round(frechet_distance(x, x + torch.tensor([3.0, 4.0])).item(), 4)
    25.0
    """
    x, y = checked_pair(x, y)
    fewest, k = min(len(x), len(y)), x.shape[1]
    if fewest < 2 or (fewest <= k and not shrinkage):
        raise SampleSizeError("too few samples for a covariance", got=f"{fewest} samples of {k} features",
                              expected=f"more than {k}, better {10 * k}", do="pass shrinkage=True or fewer features")
    c_x, c_y = covariance(x, shrinkage=shrinkage), covariance(y, shrinkage=shrinkage)
    overlap = torch.linalg.svdvals(_root(c_x) @ _root(c_y)).sum()
    apart = (x.mean(0) - y.mean(0)).square().sum()
    return (apart + c_x.trace() + c_y.trace() - 2 * overlap).clamp_min(0.0)


def covariance(x: Tensor, *, shrinkage: bool = False) -> Tensor:
    """Return the covariance (k, k) with 1/(n-1), or shrunk as (1 - a) S + a tr(S)/k I (Ledoit & Wolf 2004, eq. 14).

    Example
    -------
    >>> covariance(torch.tensor([[0.0], [2.0]]))
    tensor([[2.]])
    """
    n, k = x.shape
    centred = x - x.mean(0)
    if not shrinkage:
        return centred.T @ centred / (n - 1)
    s = centred.T @ centred / n
    target = s.trace() / k
    identity = torch.eye(k, dtype=x.dtype, device=x.device)
    gap = (s - target * identity).square().sum()
    noise = ((centred.square().sum(1) ** 2).sum() / n - s.square().sum()) / n
    amount = torch.where(gap > 0, (noise / gap.clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1), torch.zeros_like(gap))
    return (1 - amount) * s + amount * target * identity


def median_distance(x: Tensor, *, at_most: int = 1000) -> float:
    """Return the median distance between different rows of x, from an even sub-sample of at most ``at_most`` rows.

    Example
    -------
    >>> median_distance(torch.tensor([[0.0], [3.0]]))
    3.0
    """
    rows = x[torch.linspace(0, len(x) - 1, min(len(x), at_most)).round().long()]
    distances = torch.pdist(rows)
    distances = distances[distances > 0]
    return float(distances.median()) if distances.numel() else 1.0


def _mmd_of_splits(pooled: Tensor, labels: Tensor, bandwidth: float | None) -> Tensor:
    """MMD^2 for every column of 0/1 labels (n + m, s): all splits share one pass over the kernel matrix."""
    n, m = float(labels[:, 0].sum()), float((1 - labels[:, 0]).sum())
    if min(n, m) < 2:
        raise SampleSizeError("too few samples for an unbiased MMD", got=f"{n:.0f} and {m:.0f}",
                              expected="at least 2 each", do="pass more samples")  # fmt: skip
    h = median_distance(pooled) if bandwidth is None else positive(bandwidth, "bandwidth")
    points = (pooled - pooled.mean(0)).float() / h  # centred first: float32 is then good to 1e-6 of a kernel value
    marks = torch.cat([labels, torch.ones_like(labels[:, :1])], 1).float()
    # log k = x.y - |x|^2/2 - |y|^2/2 in one matrix product with two extra columns.
    half, one = points.square().sum(1, keepdim=True) / -2, torch.ones(len(points), 1)
    left, right = torch.cat([points, half, one], 1), torch.cat([points, one, half], 1).T.contiguous()
    within = torch.zeros(marks.shape[1], dtype=torch.float64)  # sum of k over pairs with both labels 1
    rows = torch.zeros(len(points), dtype=torch.float64)  # k of each point with everything
    for block in _blocks(len(points), BLOCK // 8):  # small enough for the cache
        product = (left[block] @ right).clamp_max_(0.0).exp_() @ marks
        within += (product * marks[block]).sum(0).double()
        rows[block] = product[:, -1].double()
    same, inside = within[:-1], rows @ labels
    across = inside - same
    other = rows.sum() - same - 2 * across
    return (same - n) / (n * (n - 1)) + (other - m) / (m * (m - 1)) - 2 * across / (n * m)


def _mean_distance(x: Tensor, y: Tensor) -> Tensor:
    mode = "donot_use_mm_for_euclid_dist" if x.shape[1] <= 32 else "use_mm_for_euclid_dist"
    total = x.new_zeros(())
    for block in _blocks(len(x)):
        total = total + torch.cdist(x[block], y, compute_mode=mode).sum()
    return total / (len(x) * len(y))


def _root(c: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(c)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n, size))
