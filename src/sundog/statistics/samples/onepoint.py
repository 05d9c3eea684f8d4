"""One-point statistics: histogram, moments and quantiles, along any axes, with weights where they make sense.

Axes follow torch: ``dim=None`` pools everything, ``dim=0`` gives one answer per feature of events (n, d),
``dim=(-2, -1)`` one answer per image of (n, ny, nx).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.statistics.samples.admission import checked_finite


@dataclass(frozen=True)
class Moments:
    """Mean, variance (1/n), skewness and excess kurtosis; both are 0 for a Gaussian, and 0 for a constant."""

    mean: Tensor
    variance: Tensor
    skewness: Tensor
    kurtosis: Tensor


def moments(x: Tensor, *, dim: int | tuple[int, ...] | None = None, weights: Tensor | None = None) -> Moments:
    """Return the first four moments along ``dim``.

    mean = sum w x / sum w,  variance = sum w (x - mean)^2 / sum w,
    skewness = m3 / m2^(3/2),  kurtosis = m4 / m2^2 - 3 (excess).
    Where the variance is zero, skewness and kurtosis are 0. Differentiable.

    Parameters
    ----------
    x: (...) values.
    dim: axes to reduce; None pools all.
    weights: one non-negative weight per reduced value, broadcastable to the reduced axes; None is equal weights.

    Errors: DataError on NaN, Inf or nothing at all.

    Example
    -------
    >>> moments(torch.tensor([[0.0, 2.0], [1.0, 1.0]]), dim=1).variance
    tensor([1., 0.])
    """
    x = _reduced_last(checked_finite(x, "values"), dim)
    w = _weights(x, weights)
    mean = (w * x).sum(-1)
    centred = x - mean[..., None]
    square = centred * centred
    variance = (w * square).sum(-1)
    spread = variance > (1e-12 if x.dtype == torch.float32 else 1e-28) * mean.detach() ** 2
    # Divide by one where nothing varies: the quotient, and its gradient, stay finite.
    safe = torch.where(spread, variance, torch.ones_like(variance))
    skewness = torch.where(spread, (w * square * centred).sum(-1) / safe**1.5, 0.0)
    kurtosis = torch.where(spread, (w * square * square).sum(-1) / safe**2 - 3.0, 0.0)
    return Moments(mean, variance, skewness, kurtosis)


def histogram(
    x: Tensor, edges: Tensor, *, dim: int | tuple[int, ...] | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return the share of values in each bin, along ``dim``: (..., k) for k + 1 edges.

    share_j = sum w [edges_j <= x < edges_j+1] / sum w; the last bin includes its upper edge. Values outside the
    edges belong to no bin, so shares add up to less than one: put -inf and inf at the ends to catch tails.

    Errors: OptionError when the edges do not increase.

    Example
    -------
    >>> histogram(torch.tensor([0.1, 0.2, 0.7]), torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.6667, 0.3333])
    """
    if edges.ndim != 1 or edges.numel() < 2 or not bool((edges[1:] > edges[:-1]).all()):
        raise OptionError("histogram edges do not increase", got=edges.tolist(), expected="at least two rising numbers",
                          do="pass torch.linspace(low, high, bins + 1)")
    x = _reduced_last(checked_finite(x, "values"), dim).detach().contiguous()
    edges = edges.to(x)
    n_bins = edges.numel() - 1
    index = torch.bucketize(x, edges, right=True)
    index = torch.where(x == edges[-1], n_bins, index)  # 0 and n_bins + 1 are the two outsides
    rows = index.reshape(-1, x.shape[-1])
    offset = torch.arange(len(rows), device=x.device)[:, None] * (n_bins + 2)
    w = None if weights is None else _weights(x, weights).expand(x.shape).reshape(-1)
    counts = torch.bincount((rows + offset).reshape(-1), weights=w, minlength=len(rows) * (n_bins + 2))
    shares = counts.reshape(*x.shape[:-1], n_bins + 2)[..., 1:-1].to(x.dtype)
    return shares if weights is not None else shares / x.shape[-1]


def quantiles(
    x: Tensor, q: Sequence[float] | Tensor, *, dim: int | tuple[int, ...] | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return the quantiles ``q`` along ``dim``: (..., len(q)), linear between order statistics.

    The i-th smallest value sits at rank (C_i - w_i/2 - w_1/2) / (W - w_1/2 - w_n/2), C the cumulative and W the
    total weight; equal weights give rank (i - 1)/(n - 1), numpy's default. No limit on the number of values.

    Errors: OptionError when a probability lies outside [0, 1].

    Example
    -------
    >>> quantiles(torch.arange(5.0), [0.5, 1.0])
    tensor([2., 4.])
    """
    x = _reduced_last(checked_finite(x, "values"), dim)
    q = torch.as_tensor(q, dtype=torch.float64, device=x.device).reshape(-1)
    if bool(((q < 0) | (q > 1)).any()):
        raise OptionError("quantile probabilities out of range", got=q.tolist(), expected="numbers in [0, 1]",
                          do="pass 0.16, not 16")
    # Ranks in float64: a float32 running sum over millions of weights drifts.
    w = _weights(x.detach().double(), weights).expand(x.shape)
    ordered, order = x.sort(-1)
    w = w.gather(-1, order)
    rank = w.cumsum(-1) - w / 2 - w[..., :1] / 2
    rank = rank / rank[..., -1:].clamp_min(1e-300)
    wanted = q.expand(*x.shape[:-1], -1).contiguous()
    above = torch.searchsorted(rank.contiguous(), wanted).clamp(0, x.shape[-1] - 1)
    below = (above - 1).clamp_min(0)
    left, right = rank.gather(-1, below), rank.gather(-1, above)
    step = torch.where(right > left, right - left, torch.ones_like(left))
    low, high = ordered.gather(-1, below), ordered.gather(-1, above)
    return low + ((wanted - left) / step).clamp(0, 1).to(x.dtype) * (high - low)


def _reduced_last(x: Tensor, dim: int | tuple[int, ...] | None) -> Tensor:
    """Move the axes to be reduced to the end and flatten them into one."""
    axes = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if not axes:
        return x.reshape(1)
    if any(not -x.ndim <= axis < x.ndim for axis in axes):
        raise ShapeError("no such axis", got=f"dim {dim} for shape {tuple(x.shape)}",
                         expected=f"axes of a {x.ndim}-D tensor", do="count axes from 0 or from -1")
    kept = x.ndim - len(axes)
    moved = x.movedim(axes, tuple(range(kept, x.ndim)))
    return moved.reshape(*moved.shape[:kept], -1)


def _weights(x: Tensor, weights: Tensor | None) -> Tensor:
    """Weights along the last axis that add up to one."""
    if weights is None:
        return x.new_full((1,), 1.0 / x.shape[-1])
    w = weights.to(x)
    if w.shape[-1] != x.shape[-1] or bool((w < 0).any()) or not bool((w.sum(-1) > 0).all()):
        raise ShapeError("weights do not fit the values", got=f"shape {tuple(w.shape)}",
                         expected=f"{x.shape[-1]} non-negative weights, not all zero", do="pass one weight per value")
    return w / w.sum(-1, keepdim=True)
