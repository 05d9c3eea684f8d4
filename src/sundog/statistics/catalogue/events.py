"""The catalogue's statistics of events (n, d)."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.statistics.catalogue.frame import Frame, Shape, Statistic


def standardised(x: Tensor, frame: Frame) -> Tensor:
    """Return z = (x - mean) / std in float64, with the frame's mean and std."""
    return (frame.admit(x).double() - frame.mean) / frame.std


def pairs(d: int) -> tuple[tuple[int, int], ...]:
    """Return all i < j."""
    return tuple((i, j) for i in range(d) for j in range(i + 1, d))


def _marginals(x: Tensor, frame: Frame) -> Tensor:
    return frame.admit(x).double()


def _correlations(x: Tensor, frame: Frame) -> Tensor:
    z = standardised(x, frame)
    i, j = torch.triu_indices(z.shape[1], z.shape[1], offset=1)
    return z[:, i] * z[:, j]


def _projections(x: Tensor, frame: Frame) -> Tensor:
    z = standardised(x, frame)
    i, j = torch.triu_indices(z.shape[1], z.shape[1], offset=1)
    both = torch.stack([z[:, i] + z[:, j], z[:, i] - z[:, j]], dim=2) / 2**0.5
    return both.flatten(1)


def _radius(x: Tensor, frame: Frame) -> Tensor:
    return standardised(x, frame).square().mean(1, keepdim=True).sqrt()


def _pair_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"{frame.names[i]} x {frame.names[j]}" for i, j in pairs(shape[1]))


def _projection_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"{frame.names[i]} {sign} {frame.names[j]}" for i, j in pairs(shape[1]) for sign in "+-")


EVENT_STATISTICS = (
    Statistic("marginals", "events", "distribution", _marginals, lambda shape, frame: frame.names,
              "The features themselves, one by one.", axis_label="feature"),
    Statistic("correlations", "events", "mean", _correlations, _pair_names,
              "Products of standardised features; their mean is the correlation coefficient.",
              axis_label="pair", value_label="z_i z_j", source="Pearson 1895"),
    Statistic("pair projections", "events", "distribution", _projections, _projection_names,
              "Sums and differences of standardised features: dependence beyond correlation.",
              axis_label="pair", value_label="(z_i ± z_j)/√2",
              source="projections as in sliced distances, Rabin et al. 2011"),
    Statistic("radius", "events", "distribution", _radius, lambda shape, frame: ("radius",),
              "Root mean square of the standardised features: how far out an event lies.",
              value_label="√<z²>", source="Mahalanobis 1936, with a diagonal covariance"),
)
