"""Statistics of events (n, d): one-dimensional marginals and the correlation matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import ShapeError
from sundog.statistics.samples.admission import checked_events
from sundog.statistics.samples.onepoint import histogram


@dataclass(frozen=True)
class Marginals:
    """One histogram per feature: edges (d, b + 1) and the share of events in each bin (d, b)."""

    edges: Tensor
    share: Tensor


def marginals(x: Tensor, *, bins: int = 50, edges: Tensor | None = None, weights: Tensor | None = None) -> Marginals:
    """Return the histogram of every feature, between its extremes or within given edges.

    Parameters
    ----------
    x: (n, d) events.
    edges: (d, b + 1) rising edges; take those of the truth to compare a fake with it. Replaces ``bins``.
    weights: (n,) non-negative, or None.

    Example
    -------
    >>> marginals(torch.tensor([[0.0], [1.0], [1.0]]), bins=2).share
    tensor([[0.3333, 0.6667]])
    """
    x = checked_events(x)
    if edges is None:
        low, high = x.amin(0), x.amax(0)
        high = torch.where(high > low, high, low + 1.0)
        edges = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, bins + 1).to(x)
        edges[:, -1] = high  # the product above may round below the largest value
    if edges.ndim != 2 or len(edges) != x.shape[1]:
        raise ShapeError("edges do not fit the events", got=f"shape {tuple(edges.shape)}",
                         expected=f"({x.shape[1]}, bins + 1)", do="pass one row of edges per feature")  # fmt: skip
    shares = [histogram(column, rows, weights=weights) for column, rows in zip(x.T, edges)]
    return Marginals(edges, torch.stack(shares))


def correlation_matrix(x: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return Pearson's correlation coefficients of the features: (d, d), ones on the diagonal.

    r_ij = C_ij / sqrt(C_ii C_jj), C the (weighted) covariance. A constant feature has r = 0 with all others.

    Example
    -------
    >>> correlation_matrix(torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = checked_events(x)
    w = torch.ones(len(x)).to(x) if weights is None else weights.to(x)
    if w.shape != x.shape[:1] or bool((w < 0).any()) or not float(w.sum()) > 0:
        raise ShapeError("weights do not fit the events", got=f"shape {tuple(w.shape)}",
                         expected=f"{len(x)} non-negative weights, not all zero", do="pass one per event")  # fmt: skip
    w = w / w.sum()
    centred = x - w @ x
    c = (w[:, None] * centred).T @ centred
    variance = c.diagonal()
    varies = variance > torch.finfo(x.dtype).eps ** 2 * x.detach().square().amax(0)
    scale = torch.where(varies, variance, torch.ones_like(variance)).sqrt()
    r = torch.where(varies[:, None] & varies, c / (scale[:, None] * scale), 0.0)
    return r - torch.diag(r.diagonal()) + torch.eye(len(c)).to(x)
