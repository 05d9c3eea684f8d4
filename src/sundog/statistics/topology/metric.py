"""Distances along a point set: the shortest path by steps of at most epsilon."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from sundog.checks import number
from sundog.errors import DataError, SampleSizeError, ShapeError

GAP = 3.0  # a step of the tree this many times the next longest one parts two pieces
REACH = 2.0  # epsilon over the longest step: a loop whose widest gap is below twice the next one is closed


def epsilon_path_metric(points: Any, epsilon: float) -> np.ndarray:
    """Lengths (n, n) of the shortest paths that step from point to point by at most ``epsilon``; inf between pieces.

    Never below the Euclidean distance; equal to it for epsilon = inf.

    Parameters
    ----------
    points : (n, d) positions, any unit
    epsilon : the longest step, in that unit

    Raises
    ------
    SampleSizeError : fewer than three points. ShapeError : no table. DataError : NaN. OptionError : epsilon <= 0.

    Source: Komendarczuk, Majhi, Tran (2025), arXiv:2506.01603.

    Example
    -------
    >>> d = epsilon_path_metric([[0, 0], [1, 0], [1, 1], [9, 9]], epsilon=1.2)
    >>> d[0, :3].tolist(), float(d[0, 3])
    ([0.0, 1.0, 2.0], inf)
    """
    x = positions(points)
    straight = squareform(pdist(x))
    if epsilon == np.inf:
        return straight
    epsilon = number(epsilon, "epsilon", above=0)
    i, j = np.nonzero(np.triu(straight <= epsilon, 1))
    steps = csr_matrix((straight[i, j], (i, j)), shape=straight.shape)  # keeps steps of length 0 between twins
    paths = dijkstra(steps, directed=False)
    return np.minimum(paths, paths.T)  # the same path summed from its two ends differs by rounding


def epsilon_from_tree(points: Any) -> tuple[float, str]:
    """Epsilon that joins what the points show as joined, and the reason in words.

    Twice the longest step of the minimum spanning tree, steps between pieces aside: those at least three times as
    long as the next longest, in the upper half.

    Raises
    ------
    SampleSizeError, ShapeError, DataError : as `epsilon_path_metric`. DataError : all points in one place.

    Example
    -------
    >>> epsilon_from_tree([[0, 0], [1, 0], [2, 0], [3, 0], [30, 0], [31, 0]])
    (2.0, '2 x the longest step (1) of the minimum spanning tree; 1 longer step (27) parts pieces')
    """
    x = positions(points)
    steps = np.sort(spanning_tree(x)[1])
    if steps[-1] == 0:
        raise DataError("all points are in one place", got=f"{len(x)} equal points", expected="distinct points",
                        do="give positions that differ")
    upper = np.arange(max(len(steps) // 2, 1), len(steps))
    jumps = [int(i) for i in upper if steps[i] > GAP * steps[i - 1] > 0]
    last = (jumps[0] if jumps else len(steps)) - 1
    reason = f"{REACH:g} x the longest step ({steps[last]:.3g}) of the minimum spanning tree"
    if jumps:
        more = len(steps) - 1 - last
        reason += f"; {more} longer step{'s' * (more > 1)} ({steps[last + 1]:.3g}{' or more' * (more > 1)}) " + \
            ("part" if more > 1 else "parts") + " pieces"
    return float(REACH * steps[last]), reason


def spanning_tree(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (n - 1, 2) of the minimum spanning tree of all points, and their lengths."""
    straight = squareform(pdist(x))
    # Twins stand at distance 0, which scipy reads as "no edge"; a shift of all lengths leaves the tree as it is.
    tree = minimum_spanning_tree(straight + (straight.max() or 1)).tocoo()
    edges = np.stack([tree.row, tree.col], axis=1)
    return edges, straight[edges[:, 0], edges[:, 1]]


def positions(points: Any) -> np.ndarray:
    """The points as (n, d) float64, checked."""
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ShapeError("points are no table", got=f"shape {x.shape}", expected="(n, d)", do="pass one row per point")
    if len(x) < 3:
        raise SampleSizeError("too few points", got=len(x), expected="3 or more", do="give more points")
    if not np.isfinite(x).all():
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        raise DataError("points hold NaN or Inf", got=f"{len(bad)} such rows, first {bad[0]}",
                        expected="finite numbers", do="drop these rows")
    return x
