"""First-order radiomic features: what the values of the pixels say, wherever they stand."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 2.0**-52  # pyradiomics adds it inside logarithms


def first_order_features(x: Tensor, inside: Tensor, levels: Tensor, pixel: float = 1.0) -> dict[str, Tensor]:
    """Return the 18 first-order features of each image, each (n,), over the pixels inside the mask.

    With X the N values, p the share of each grey level: Energy = sum X^2; TotalEnergy = Energy pixel^2;
    Entropy = -sum p log2 p; Uniformity = sum p^2; MeanAbsoluteDeviation = <|X - <X>|>, Robust... the same for
    the values from the 10 % to the 90 % quantile; Variance with 1/N; Skewness and Kurtosis (3 for a Gaussian) are 0
    for a flat image.

    Parameters
    ----------
    x, inside: (n, ny, nx) float64 and bool
    levels: (n, ny, nx) grey levels from 1, 0 outside
    pixel: side of a pixel

    Example
    -------
    >>> x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).double()
    >>> found = first_order_features(x, x > 0, x.long())
    >>> [float(found[name]) for name in ("Mean", "Energy", "Variance", "Uniformity")]
    [2.5, 30.0, 1.25, 0.25]
    """
    flat = torch.where(inside, x, torch.nan).flatten(1)
    count = inside.flatten(1).sum(1).to(x)
    shares = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=x.dtype)
    p10, p25, median, p75, p90 = torch.nanquantile(flat, shares, dim=1)
    lowest, highest = flat.nan_to_num(torch.inf).amin(1), flat.nan_to_num(-torch.inf).amax(1)
    mean = flat.nanmean(1)
    away = flat - mean[:, None]
    m2, m3, m4 = (away.pow(k).nanmean(1) for k in (2, 3, 4))
    flat_image = m2 == 0
    safe = torch.where(flat_image, 1.0, m2)
    central = torch.where((flat < p10[:, None]) | (flat > p90[:, None]), torch.nan, flat)
    energy = flat.square().nansum(1)
    p = _level_shares(levels.flatten(1), count)
    return {
        "10Percentile": p10,
        "90Percentile": p90,
        "Energy": energy,
        "Entropy": -(p * torch.log2(p + EPSILON)).sum(1),
        "InterquartileRange": p75 - p25,
        "Kurtosis": torch.where(flat_image, 0.0, m4) / safe.square(),
        "Maximum": highest,
        "MeanAbsoluteDeviation": away.abs().nanmean(1),
        "Mean": mean,
        "Median": median,
        "Minimum": lowest,
        "Range": highest - lowest,
        "RobustMeanAbsoluteDeviation": (central - central.nanmean(1, keepdim=True)).abs().nanmean(1),
        "RootMeanSquared": (energy / count).sqrt(),
        "Skewness": torch.where(flat_image, 0.0, m3) / safe**1.5,
        "TotalEnergy": energy * pixel**2,
        "Uniformity": p.square().sum(1),
        "Variance": m2,
    }


def _level_shares(levels: Tensor, count: Tensor) -> Tensor:
    """Share of the pixels inside that have each level: (n, highest level)."""
    most = int(levels.max()) + 1
    row = torch.arange(len(levels))[:, None] * most
    counts = torch.bincount((row + levels).flatten(), minlength=len(levels) * most).reshape(len(levels), most)
    return counts[:, 1:].to(count) / count[:, None]
