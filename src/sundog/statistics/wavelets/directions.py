"""Directions of three-dimensional wavelets: the six axes of an icosahedron, and its rotations as permutations of them.

Any two of the six axes enclose the same angle, arctan 2: no other six lines in space do. Rotations of the icosahedron
reach every ordered pair of different axes from every other, and the triples fall into two classes, by the sign of
(n1.n2)(n2.n3)(n3.n1). Averages over the group are therefore short.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def icosahedral_axes() -> np.ndarray:
    """Return the six unit vectors (6, 3) along z, y, x of the array axes, one per pair of opposite vertices.

    Example
    -------
    >>> n = icosahedral_axes()
    >>> np.round(abs(n @ n.T)[0], 3).tolist()
    [1.0, 0.447, 0.447, 0.447, 0.447, 0.447]
    """
    golden = (1 + math.sqrt(5)) / 2
    axes = [(0, 1, golden), (0, -1, golden), (1, golden, 0), (-1, golden, 0), (golden, 0, 1), (golden, 0, -1)]
    return np.array(axes) / math.sqrt(1 + golden**2)


@lru_cache(maxsize=1)
def axis_turns() -> np.ndarray:
    """Return what the 60 rotations of the icosahedron do to its axes: (60, 6), axis a goes to axis ``turns[g, a]``.

    Example
    -------
    >>> axis_turns().shape, bool((np.sort(axis_turns(), 1) == np.arange(6)).all())
    ((60, 6), True)
    """
    axes = icosahedral_axes()
    makers = [_permutation(_rotation(axes[i], 2 * math.pi / 5), axes) for i in (0, 1)]
    found = {tuple(range(6))}
    fresh = set(found)
    while fresh:
        fresh = {tuple(maker[a] for a in turn) for turn in fresh for maker in makers} - found
        found |= fresh
    return np.array(sorted(found))


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _permutation(rotation: np.ndarray, axes: np.ndarray) -> list[int]:
    return [int(i) for i in np.abs(axes @ rotation @ axes.T).argmax(0)]


def first_of_orbit(triples: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return for each row of axes (m, c), -1 for none, the first row in order that a turn makes of it.

    Example
    -------
    >>> first_of_orbit(np.array([[3, 3], [4, 1]]), axis_turns()).tolist()
    [[0, 0], [0, 1]]
    """
    size = turns.shape[1] + 1
    padded = np.concatenate([turns, np.full((len(turns), 1), -1)], 1)  # entry -1 stays -1
    moved = padded[:, triples]  # (g, m, c)
    weights = size ** np.arange(triples.shape[1])[::-1]
    best = ((moved + 1) * weights).sum(-1).argmin(0)
    return moved[best, np.arange(len(triples))]
