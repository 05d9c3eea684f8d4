"""Graphs of filaments as a statistic for the judge: of the peaks of maps, and of sets of points."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sundog.statistics.catalogue.frame import Frame, Shape, Statistic
from sundog.statistics.maps.morphology import gaussian_smooth
from sundog.statistics.maps.peaks import peak_mask
from sundog.statistics.topology.filaments import reconstruct_graph
from sundog.statistics.topology.metric import positions, spanning_tree

MOST_POINTS = 150  # of each map, the highest peaks: the complex costs their third power
FEWEST_POINTS = 3
WIDEST_POINT = 3  # a map this wide or less is a set of points, a row each
SMOOTHING = 1.0  # pixels
STEP = 1.5  # epsilon over the median step of the spanning trees of the truth, the same for both samples
MAPS = 20  # of the truth, that set it
NAMES = ("pieces", "loops", "branch points", "ends", "length", "points")


def point_sets(x: Tensor, frame: Frame) -> list[np.ndarray]:
    """Points (k, 2 or 3) of each image (n, ny, nx): the peaks above the mean, in pixels; or rows that are not zero."""
    if x.shape[-1] <= WIDEST_POINT:
        return [rows[(rows != 0).any(1)].double().numpy() for rows in x]
    smooth = gaussian_smooth(x.double(), SMOOTHING, periodic=frame.periodic)
    high = torch.where(peak_mask(smooth, periodic=frame.periodic) & (smooth > frame.mean), smooth, -torch.inf)
    best = high.flatten(1).topk(min(MOST_POINTS, high[0].numel()), dim=1)
    return [np.stack(np.divmod(at[value.isfinite()].numpy(), x.shape[-1]), 1).astype(float)
            for value, at in zip(best.values, best.indices)]


def _epsilon(frame: Frame) -> float:
    steps = [np.median(spanning_tree(positions(points))[1]) for points in point_sets(frame.sample[:MAPS], frame)
             if len(points) >= FEWEST_POINTS]
    return STEP * float(np.median(steps)) if steps and np.median(steps) > 0 else 1.0


def graph_vectors(x: Tensor, frame: Frame) -> Tensor:
    """Pieces, loops, branch points, ends and length of the graph of each image, and its points: (n, 6)."""
    epsilon = _epsilon(frame)
    out = torch.zeros(len(x), len(NAMES), dtype=torch.float64)
    for row, points in zip(out, point_sets(frame.admit(x), frame)):
        if len(points) >= FEWEST_POINTS:
            g = reconstruct_graph(points, epsilon)
            row[:] = torch.tensor([g.pieces, g.loops, g.branch_points, g.ends, g.length, len(points)])
        else:
            row[[0, -1]] = float(len(points))
    return out


def _measured(x: Tensor, frame: Frame) -> Tensor:
    channels = [x] if x.ndim == 3 else list(x.unbind(1))
    return torch.cat([graph_vectors(part, frame.channel(i)) for i, part in enumerate(channels)], 1)


def _names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    many = len(frame.names) > 1
    return tuple(f"{name} ({channel})" if many else name for channel in frame.names for name in NAMES)


FILAMENT_GRAPH = Statistic(
    "filament graph", "images", "distribution", _measured, _names,
    "Pieces, loops, branch points, ends and length of the graph through the peaks of every image, or through every set "
    "of points (n, points, 2 or 3); at one epsilon, set by the truth.", axis_label="of the graph",
    value_label="count, length", source="Komendarczuk, Majhi, Tran 2025, arXiv:2506.01603")
