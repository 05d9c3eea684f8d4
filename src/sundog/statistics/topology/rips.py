"""Vietoris-Rips complexes at one scale: pieces, loops, and the shadow in the plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sundog.checks import optional, positive
from sundog.errors import DataError, ShapeError
from sundog.statistics.topology.metric import positions


@dataclass(frozen=True)
class Shadow:
    """Union of the convex hulls of all simplices, in the plane.

    Attributes
    ----------
    pieces, holes : how many
    area : square of the unit of the points
    shape : shapely geometry, to draw
    """

    pieces: int
    holes: int
    area: float
    shape: Any


def rips_betti(distances: Any, scale: float) -> tuple[int, int]:
    """Pieces and independent loops, (b0, b1), of the Rips complex: all sets of points with mutual distances <= scale.

    Parameters
    ----------
    distances : (n, n) symmetric, inf allowed: Euclidean, or of `epsilon_path_metric`
    scale : in the unit of the distances

    Raises
    ------
    ShapeError : not square. DataError : NaN, negative or not symmetric. MissingExtraError : ripser.

    Example
    -------
    >>> t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    >>> ring = np.stack([np.cos(t), np.sin(t)], axis=1)
    >>> from sundog.statistics.topology import epsilon_path_metric
    >>> rips_betti(epsilon_path_metric(ring, 0.4), 0.5)
    (1, 1)
    """
    pieces, loops = essential(matrix(distances), positive(scale, "scale"))
    return pieces, len(loops)


def essential(d: np.ndarray, scale: float) -> tuple[int, list[np.ndarray]]:
    """Pieces, and one cocycle over {0, 1} for each loop that is open at the scale: its edges (k, 2)."""
    far = np.nextafter(np.float32(scale), np.float32(np.inf)) * 2
    # ripser works in float32: distances equal to the scale must not fall out by rounding.
    d = np.where(d <= scale, np.minimum(d.astype(np.float32), np.float32(scale)), far)
    found = optional("ripser", "topology").ripser(d, maxdim=1, thresh=float(np.float32(scale)), distance_matrix=True,
                                                  do_cocycles=True)
    pieces = int(np.isinf(found["dgms"][0][:, 1]).sum())
    open_still = np.isinf(found["dgms"][1][:, 1])
    return pieces, [cocycle[:, :2] for cocycle, lives in zip(found["cocycles"][1], open_still) if lives]


def rips_shadow(points: Any, distances: Any, scale: float) -> Shadow:
    """Shadow of the Rips complex of these distances: pieces and holes seen in the plane.

    Convex hulls of the maximal cliques alone; every other simplex lies inside one of these.

    Parameters
    ----------
    points : (n, 2) positions
    distances : (n, n) as in `rips_betti`

    Raises
    ------
    ShapeError : points not in the plane, or distances of another number of points. MissingExtraError : shapely.
    DataError, SampleSizeError : as `rips_betti` and `epsilon_path_metric`.

    Source: arXiv:2506.01603 (the shadow of the complex on the path metric).

    Example
    -------
    >>> t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    >>> ring = np.stack([np.cos(t), np.sin(t)], axis=1)
    >>> from sundog.statistics.topology import epsilon_path_metric
    >>> shadow = rips_shadow(ring, epsilon_path_metric(ring, 0.4), 0.8)
    >>> shadow.pieces, shadow.holes
    (1, 1)
    """
    x, d, scale = positions(points), matrix(distances), positive(scale, "scale")
    if x.shape[1] != 2 or len(d) != len(x):
        raise ShapeError("points and distances do not fit", got=f"points {x.shape}, distances {d.shape}",
                         expected="(n, 2) and (n, n)", do="project the points to a plane, and measure these")
    shapely = optional("shapely", "topology")
    hulls = [shapely.MultiPoint(x[clique]).convex_hull for clique in maximal_cliques(d <= scale)]
    union = shapely.union_all(hulls)
    # Segments close loops too: a hair of width makes holes of them.
    thick = union.buffer(1e-6 * scale, quad_segs=1)
    parts = list(getattr(thick, "geoms", [thick]))
    return Shadow(len(parts), sum(len(part.interiors) for part in parts), float(union.area), union)


def maximal_cliques(joined: np.ndarray) -> Iterator[list[int]]:
    """All sets of points joined two by two that no further point can join. Source: Bron, Kerbosch (1973), with pivot.

    Example
    -------
    >>> sorted(maximal_cliques(np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]], dtype=bool)))
    [[0, 1, 2], [2, 3]]
    """
    n = len(joined)
    near = [sum(1 << int(j) for j in np.flatnonzero(joined[i]) if j != i) for i in range(n)]  # sets as bits
    stack: list[tuple[int, int, int]] = [(0, (1 << n) - 1, 0)]
    while stack:
        clique, may, done = stack.pop()
        if not may and not done:
            yield list(_members(clique))
            continue
        pivot = max(_members(may | done), key=lambda v: (may & near[v]).bit_count())
        for v in _members(may & ~near[pivot]):
            stack.append((clique | 1 << v, may & near[v], done & near[v]))
            may &= ~(1 << v)
            done |= 1 << v


def _members(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def matrix(distances: Any) -> np.ndarray:
    """The distances as (n, n) float64, checked."""
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or not d.size:
        raise ShapeError("distances are no square", got=f"shape {d.shape}", expected="(n, n)",
                         do="pass epsilon_path_metric(points, epsilon)")
    if np.isnan(d).any() or (d < 0).any() or not np.allclose(d, d.T):
        raise DataError("these are no distances", got="NaN, negative or asymmetric entries",
                        expected="a symmetric matrix of numbers from 0 to inf", do="pass epsilon_path_metric(points, "
                        "epsilon)")
    return d
