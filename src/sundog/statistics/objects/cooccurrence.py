"""Grey-level co-occurrence: how often two levels stand side by side, and what that says about texture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sundog.statistics.objects.firstorder import EPSILON


def directions(distances: Sequence[int]) -> list[tuple[int, int]]:
    """Return the offsets (dy, dx) with max(|dy|, |dx|) in ``distances``, one of each opposite pair.

    Example
    -------
    >>> directions((1,))
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    """
    far = max(distances)
    around = [(dy, dx) for dy in range(far + 1) for dx in range(-far, far + 1) if dy > 0 or dx > 0]
    return [(dy, dx) for dy, dx in around if max(dy, abs(dx)) in distances]


def cooccurrence(levels: Tensor, distances: Sequence[int] = (1,)) -> Tensor:
    """Return the symmetric co-occurrence counts (n, directions, g, g), g the highest level.

    C_ij counts the pixel pairs at one offset with levels i + 1 and j + 1, and those the other way round. Pairs with
    a pixel of level 0, which is outside, do not count.

    Parameters
    ----------
    levels: (n, ny, nx) whole numbers from 0

    Example
    -------
    >>> cooccurrence(torch.tensor([[[1, 1], [2, 2]]]))[0, 0]
    tensor([[2., 0.],
            [0., 2.]], dtype=torch.float64)
    """
    n, ny, nx = levels.shape
    g = int(levels.max())
    matrices = []
    for dy, dx in directions(distances):
        if dy >= ny or abs(dx) >= nx:
            matrices.append(torch.zeros(n, g, g, dtype=torch.float64))
            continue
        left, right = max(0, -dx), nx - max(0, dx)
        here, there = levels[:, : ny - dy, left:right], levels[:, dy:, left + dx : right + dx]
        pair = (torch.arange(n)[:, None, None] * (g + 1) + here) * (g + 1) + there
        count = torch.bincount(pair.flatten(), minlength=n * (g + 1) ** 2).reshape(n, g + 1, g + 1)[:, 1:, 1:]
        matrices.append((count + count.transpose(1, 2)).double())
    return torch.stack(matrices, 1)


def glcm_features(counts: Tensor, highest: Tensor) -> dict[str, Tensor]:
    """Return the 24 co-occurrence features, each (n,): the mean over the directions that hold any pair.

    With p_ij the normalised matrix, i and j levels from 1, px its marginal, mu its mean, p+(k) and p-(k) the laws
    of i + j and |i - j|; see docs/radiomics.md for every formula. An image without any pair has NaN.

    Parameters
    ----------
    counts: (n, directions, g, g), symmetric
    highest: (n,) highest level of each image, Ng

    Example
    -------
    >>> found = glcm_features(cooccurrence(torch.tensor([[[1, 2], [2, 1]]])), torch.tensor([2]))
    >>> float(found["Contrast"])     # 1 along rows and columns, 0 along diagonals
    0.5
    """
    total = counts.sum((2, 3), keepdim=True)
    holds = total[..., 0, 0] > 0
    p = counts / torch.where(total > 0, total, 1.0)
    ng = highest.to(p)[:, None]
    each = {**_moments(p), **_differences(p, ng), **_information(p), "MCC": _correlation_coefficient(p, highest)}
    weight = holds.to(p) / holds.sum(1, keepdim=True)  # 0/0 = NaN: an image of one pixel has no texture
    return {name: (torch.where(holds, each[name], 0.0) * weight).sum(1) for name in sorted(each)}


def _moments(p: Tensor) -> dict[str, Tensor]:
    """Features of the levels themselves, (n, directions) each."""
    i = torch.arange(1, p.shape[-1] + 1).to(p)
    px = p.sum(-1)
    mean = (px * i).sum(-1)
    about = i - mean[..., None]
    variance = (px * about.square()).sum(-1)
    pair = i[:, None] + i - 2 * mean[..., None, None]
    together = torch.einsum("ndi,ndij,ndj->nd", about, p, about)
    return {
        "Autocorrelation": torch.einsum("i,ndij,j->nd", i, p, i),
        "JointAverage": mean,
        "ClusterProminence": (p * pair**4).sum((-2, -1)),
        "ClusterShade": (p * pair**3).sum((-2, -1)),
        "ClusterTendency": (p * pair**2).sum((-2, -1)),
        "Correlation": torch.where(variance == 0, 1.0, together / (variance + EPSILON)),
        "SumAverage": 2 * mean,
        "SumSquares": variance,
        "SumEntropy": _entropy(_sums(p)),
        "JointEnergy": p.square().sum((-2, -1)),
        "JointEntropy": _entropy(p.flatten(-2)),
        "MaximumProbability": p.amax((-2, -1)),
    }


def _differences(p: Tensor, ng: Tensor) -> dict[str, Tensor]:
    """Features of |i - j|, (n, directions) each."""
    minus = _gaps(p)
    k = torch.arange(p.shape[-1]).to(p)
    mean = (minus * k).sum(-1)
    ratio = k / ng[..., None]
    return {
        "Contrast": (minus * k.square()).sum(-1),
        "DifferenceAverage": mean,
        "DifferenceEntropy": _entropy(minus),
        "DifferenceVariance": (minus * (k - mean[..., None]).square()).sum(-1),
        "Id": (minus / (1 + k)).sum(-1),
        "Idm": (minus / (1 + k.square())).sum(-1),
        "Idn": (minus / (1 + ratio)).sum(-1),
        "Idmn": (minus / (1 + ratio.square())).sum(-1),
        "InverseVariance": (minus[..., 1:] / k[1:].square()).sum(-1),
    }


def _information(p: Tensor) -> dict[str, Tensor]:
    """Informational measures of correlation, (n, directions) each."""
    px = p.sum(-1)
    independent = px[..., :, None] * px[..., None, :]
    joint, alone = _entropy(p.flatten(-2)), _entropy(px)
    crossed = -(p * torch.log2(independent + EPSILON)).sum((-2, -1))
    apart = _entropy(independent.flatten(-2))
    return {
        "Imc1": torch.where(alone != 0, (joint - crossed) / torch.where(alone != 0, alone, 1.0), 0.0),
        "Imc2": torch.where(apart == joint, 0.0, (1 - torch.exp(-2 * (apart - joint)))).clamp_min(0).sqrt(),
    }


def _correlation_coefficient(p: Tensor, highest: Tensor) -> Tensor:
    """Square root of the second largest eigenvalue of Q_ij = sum_k p_ik p_jk / (px_i px_k); 1 for a single level."""
    px = p.sum(-1)
    q = p / (px[..., :, None] * px[..., None, :] + EPSILON) @ p.transpose(-1, -2)
    several = (px > 0).any(1).sum(-1) > 1  # levels present in some direction
    if p.shape[-1] < 2:
        return torch.ones_like(p[..., 0, 0])
    values = torch.linalg.eigvals(q).real.sort(-1).values[..., -2].clamp_min(0).sqrt()
    return torch.where(several[:, None], values, 1.0)


def _entropy(p: Tensor) -> Tensor:
    return -(p * torch.log2(p + EPSILON)).sum(-1)


def _sums(p: Tensor) -> Tensor:
    """Law of i + j: (n, directions, 2 g - 1)."""
    return _along(p, torch.arange(p.shape[-1])[:, None] + torch.arange(p.shape[-1]))


def _gaps(p: Tensor) -> Tensor:
    """Law of |i - j|: (n, directions, g)."""
    return _along(p, (torch.arange(p.shape[-1])[:, None] - torch.arange(p.shape[-1])).abs())


def _along(p: Tensor, place: Tensor) -> Tensor:
    empty = p.new_zeros(*p.shape[:2], int(place.max()) + 1)
    return empty.index_add(2, place.flatten(), p.flatten(-2))
