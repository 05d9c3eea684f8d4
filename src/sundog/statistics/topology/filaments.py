"""Graph of filaments from a point set: total length, branch points, loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from sundog.checks import positive
from sundog.errors import OptionError
from sundog.statistics.topology.metric import epsilon_from_tree, epsilon_path_metric, positions, spanning_tree
from sundog.statistics.topology.rips import essential


@dataclass(frozen=True)
class FilamentGraph:
    """Filaments as a graph whose nodes are points of the sample.

    Attributes
    ----------
    nodes : (n, d) all points
    edges : (k, 2) rows of ``nodes`` that are joined; hairs cut
    length : of all edges together, unit of the points; of a line with scatter it holds the zigzag
    branch_points, ends, loops, pieces : how many; a crossing counts as one branch point
    epsilon, scale : what they were seen with, and ``reason``, why that epsilon
    """

    nodes: np.ndarray
    edges: np.ndarray
    length: float
    branch_points: int
    ends: int
    loops: int
    pieces: int
    epsilon: float
    scale: float
    reason: str

    def __str__(self) -> str:
        return (f"{self.pieces} pieces, {self.loops} loops, {self.branch_points} branch points, {self.ends} ends, "
                f"length {self.length:.4g} (epsilon {self.epsilon:.3g}: {self.reason}; scale {self.scale:.3g})")


def reconstruct_graph(points: Any, epsilon: float | None = None, scale: float | None = None) -> FilamentGraph:
    """Graph that the points are a sample of: the minimum spanning tree, closed once for each loop of the Rips complex.

    Loops are the classes of b1 of the Rips complex of the epsilon-path metric at ``scale``; each is closed by the
    shortest step that its cocycle tells from a detour. Branches shorter than ``scale`` are scatter and are cut;
    branch points nearer to each other than ``scale`` are one.

    Parameters
    ----------
    points : (n, d) positions
    epsilon : the longest step along a filament; from `epsilon_from_tree` unless given
    scale : what is no wider than this is no hole; 1.5 epsilon unless given. Loops shorter than about three times
        this are filled.

    Raises
    ------
    OptionError : scale below epsilon. Otherwise as `epsilon_path_metric` and `rips_betti`.

    Example
    -------
    >>> t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    >>> graph = reconstruct_graph(np.stack([np.cos(t), np.sin(t)], axis=1))
    >>> graph.loops, graph.branch_points, round(graph.length, 1)
    (1, 0, 6.3)
    """
    x = positions(points)
    epsilon, reason = epsilon_from_tree(x) if epsilon is None else (positive(epsilon, "epsilon"), "given")
    scale = 1.5 * epsilon if scale is None else positive(scale, "scale")
    if scale < epsilon:
        raise OptionError("scale below epsilon", got=scale, expected=f"{epsilon:g} or more",
                          do="leave scale out, or pass a smaller epsilon")
    d = epsilon_path_metric(x, epsilon)
    tree, lengths = spanning_tree(x)
    tree = tree[lengths <= epsilon]
    pieces, cocycles = essential(d, scale)
    edges = _without_hairs(x, np.concatenate([tree, _closing(x, tree, epsilon, cocycles)]), scale)
    degree = np.bincount(edges.ravel(), minlength=len(x))
    forks = np.flatnonzero(degree >= 3)
    branches = connected_components(csr_matrix(d[np.ix_(forks, forks)] <= scale))[0] if len(forks) else 0
    return FilamentGraph(x, edges, float(_lengths(x, edges).sum()), int(branches), int((degree == 1).sum()),
                         len(cocycles), pieces, float(epsilon), float(scale), reason)


def _closing(x: np.ndarray, tree: np.ndarray, epsilon: float, cocycles: list[np.ndarray]) -> np.ndarray:
    """Steps (loops, 2) that close one independent loop each, shortest first.

    A step and the way back through the tree make a cycle; the cocycles, summed along it mod 2, say which loops it
    goes around. Steps are taken while they go around something new.
    """
    n, k = len(x), len(cocycles)
    marks = np.zeros((k, n, n), dtype=bool)
    for mark, edges in zip(marks, cocycles):
        mark[edges[:, 0], edges[:, 1]] = mark[edges[:, 1], edges[:, 0]] = True
    height = _heights(marks, tree, n)
    i, j = np.triu_indices(n, 1)
    steps = np.linalg.norm(x[i] - x[j], axis=1)
    order = np.argsort(steps, kind="stable")
    order = order[steps[order] <= epsilon]
    i, j = i[order], j[order]
    around = height[:, i] ^ height[:, j] ^ marks[:, i, j]  # (k, steps)
    taken: list[int] = []
    rows: dict[int, int] = {}  # leading bit -> reduced row over {0, 1}
    for step in np.flatnonzero(around.any(axis=0)):
        row = sum(1 << bit for bit in range(k) if around[bit, step])
        while row and (lead := row.bit_length()) in rows:
            row ^= rows[lead]
        if row:
            rows[row.bit_length()] = row
            taken.append(int(step))
        if len(taken) == k:
            break
    return np.stack([i[taken], j[taken]], axis=1).astype(int).reshape(-1, 2)


def _heights(marks: np.ndarray, tree: np.ndarray, n: int) -> np.ndarray:
    """Cocycles summed mod 2 along the tree from the root of each piece: (k, n)."""
    graph = csr_matrix((np.ones(len(tree)), (tree[:, 0], tree[:, 1])), shape=(n, n))
    height, seen = np.zeros((len(marks), n), dtype=bool), np.zeros(n, dtype=bool)
    for root in range(n):
        if seen[root]:
            continue
        order, before = breadth_first_order(graph, root, directed=False)
        seen[order] = True
        for node in order[1:]:
            height[:, node] = height[:, before[node]] ^ marks[:, before[node], node]
    return height


def _without_hairs(x: np.ndarray, edges: np.ndarray, shortest: float) -> np.ndarray:
    """Edges without the branches from an end to a fork that are shorter than this, shortest cut first."""
    near: list[set[int]] = [set() for _ in x]
    for i, j in edges.tolist():
        near[i].add(j)
        near[j].add(i)
    while True:
        hairs = [_hair(x, near, end) for end in range(len(x)) if len(near[end]) == 1]
        length, way = min((hair for hair in hairs if len(near[hair[1][-1]]) >= 3), default=(np.inf, []))
        if length >= shortest:
            break
        for i, j in zip(way[:-1], way[1:]):
            near[i].discard(j)
            near[j].discard(i)
    return np.array([(i, j) for i in range(len(x)) for j in sorted(near[i]) if i < j], dtype=int).reshape(-1, 2)


def _hair(x: np.ndarray, near: list[set[int]], end: int) -> tuple[float, list[int]]:
    """Length and nodes of the way from an end to the next fork, or to the other end."""
    way, length = [end, next(iter(near[end]))], 0.0
    while len(near[way[-1]]) == 2:
        way.append(next(iter(near[way[-1]] - {way[-2]})))
    length = float(_lengths(x, np.stack([way[:-1], way[1:]], axis=1)).sum())
    return length, way


def _lengths(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[edges[:, 0]] - x[edges[:, 1]], axis=1)
