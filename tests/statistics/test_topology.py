"""Topology: known pieces and loops of curves, where the straight distance is wrong, equivariance, bad input."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.topology import (
    epsilon_from_tree,
    epsilon_path_metric,
    reconstruct_graph,
    rips_betti,
    rips_shadow,
)
from sundog.statistics.topology.rips import maximal_cliques

pytest.importorskip("ripser")
pytest.importorskip("shapely")


def circle(n: int = 90, low: float = 0, high: float = 2 * np.pi) -> np.ndarray:
    t = np.linspace(low, high, n, endpoint=high < 2 * np.pi)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def line(a, b, n: int) -> np.ndarray:
    return np.asarray(a) + np.linspace(0, 1, n)[:, None] * (np.asarray(b) - np.asarray(a))


def eight(n: int = 120) -> np.ndarray:
    """Gerono's figure eight, which crosses itself at a right angle."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False) + 0.01
    return np.stack([np.sin(t), np.sin(t) * np.cos(t)], axis=1)


ARC = circle(90, 0.12, 2 * np.pi - 0.12)  # a C whose gap is 0.24 wide
# Curve -> points, loops, branch points, ends, length.
CURVES = {
    "circle": (circle(), 1, 0, 0, 2 * np.pi),
    "figure eight": (eight(), 2, 1, 0, 6.0972),
    "theta": (np.r_[circle(), line([-1, 0], [1, 0], 31)[1:-1]], 2, 2, 0, 2 * np.pi + 2),
    "tree": (np.r_[line([0, 0], [0, 1], 20), line([0, 0], [1, -1], 25)[1:], line([0, 0], [-1, -1], 25)[1:]],
             0, 1, 3, 1 + 2 * np.sqrt(2)),
    "C": (ARC, 0, 0, 2, 2 * np.pi - 0.24),
    "two rings": (np.concatenate([circle(), circle() + np.array([9, 0])]), 2, 0, 0, 4 * np.pi),
}
EPSILON, SCALE = 0.15, 0.25


def noisy(points: np.ndarray, size: float, seed: int = 0) -> np.ndarray:
    """The points moved by at most this, in every direction."""
    rng = np.random.default_rng(seed)
    step = rng.normal(size=points.shape)
    return points + size * rng.uniform(size=(len(points), 1)) * step / np.linalg.norm(step, axis=1, keepdims=True)


@pytest.mark.parametrize("name", CURVES)
def test_pieces_and_loops(name: str) -> None:
    points, loops, _, _, _ = CURVES[name]
    pieces = 2 if name == "two rings" else 1
    d = epsilon_path_metric(points, EPSILON)
    assert rips_betti(d, SCALE) == (pieces, loops)
    shadow = rips_shadow(points, d, SCALE)
    assert (shadow.pieces, shadow.holes) == (pieces, loops)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("seed", range(3))
def test_scatter_of_a_quarter_of_epsilon_changes_nothing(name: str, seed: int) -> None:
    points = noisy(CURVES[name][0], EPSILON / 4, seed)
    assert rips_betti(epsilon_path_metric(points, EPSILON), 2 * EPSILON)[1] == CURVES[name][1]


def test_straight_distances_close_the_c_and_path_distances_do_not() -> None:
    straight = epsilon_path_metric(ARC, np.inf)
    assert rips_betti(straight, 0.3) == (1, 1)
    assert rips_shadow(ARC, straight, 0.3).holes == 1
    path = epsilon_path_metric(ARC, 0.18)
    assert rips_betti(path, 0.3) == (1, 0)
    assert rips_shadow(ARC, path, 0.3).holes == 0


@pytest.mark.parametrize("name", CURVES)
def test_reconstruct_graph(name: str) -> None:
    points, loops, branches, ends, length = CURVES[name]
    graph = reconstruct_graph(points)
    assert (graph.loops, graph.branch_points, graph.ends) == (loops, branches, ends)
    assert graph.pieces == (2 if name == "two rings" else 1)
    assert abs(graph.length - length) < 0.01 * length
    assert "minimum spanning tree" in graph.reason


def test_hairs_of_scatter_are_cut() -> None:
    rng = np.random.default_rng(0)
    points = noisy(circle(250), 0.05, 1)
    graph = reconstruct_graph(points[rng.permutation(250)], epsilon=0.2)
    assert (graph.loops, graph.branch_points, graph.ends) == (1, 0, 0)
    assert graph.length > 2 * np.pi  # the zigzag, as the docstring says


def test_infinite_steps_are_straight_and_paths_are_never_shorter() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    straight = np.linalg.norm(x[:, None] - x, axis=2)
    assert np.allclose(epsilon_path_metric(x, np.inf), straight)
    assert np.allclose(epsilon_path_metric(x, 100), straight)
    path = epsilon_path_metric(x, 1.0)
    assert (path >= straight - 1e-12).all() and (path > straight + 0.1).any()


def test_rotation_shift_and_unit_change_nothing() -> None:
    points = noisy(CURVES["theta"][0], 0.01)
    c, s = np.cos(0.7), np.sin(0.7)
    moved = 13 * points @ np.array([[c, -s], [s, c]]) + [5, -8]
    one, two = reconstruct_graph(points), reconstruct_graph(moved)
    assert (one.loops, one.branch_points, one.ends) == (two.loops, two.branch_points, two.ends) == (2, 2, 0)
    assert np.isclose(two.length, 13 * one.length) and np.isclose(two.epsilon, 13 * one.epsilon)
    a, b = (rips_shadow(x, epsilon_path_metric(x, e), 1.5 * e) for x, e in ((points, one.epsilon),
                                                                            (moved, two.epsilon)))
    assert (a.holes, a.pieces) == (b.holes, b.pieces) and np.isclose(b.area, 169 * a.area)


def test_a_narrow_fork_stays_open() -> None:
    fork = np.r_[line([0, 0], [2, 0.7], 50), line([0, 0], [2, -0.7], 50)[1:]]
    graph = reconstruct_graph(fork, epsilon=0.06)
    assert (graph.loops, graph.ends, graph.pieces) == (0, 2, 1)
    shadow = rips_shadow(fork, epsilon_path_metric(fork, 0.06), 0.09)
    assert shadow.holes == 0 and shadow.area < 0.01 * 1.4  # of the triangle between the two lines


def test_filament_in_three_dimensions() -> None:
    t = np.linspace(0, 4 * np.pi, 200)
    graph = reconstruct_graph(np.stack([np.cos(t), np.sin(t), 0.3 * t], axis=1))
    assert (graph.loops, graph.branch_points, graph.ends) == (0, 0, 2)
    assert np.isclose(graph.length, 4 * np.pi * np.sqrt(1 + 0.3**2), rtol=1e-3)


def test_maximal_cliques_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        joined = rng.uniform(size=(9, 9)) < 0.5
        joined = joined | joined.T | np.eye(9, dtype=bool)
        sets = [[i for i in range(9) if bits >> i & 1] for bits in range(1, 512)]
        cliques = [set(s) for s in sets if joined[np.ix_(s, s)].all()]
        assert sorted(maximal_cliques(joined)) == sorted(sorted(s) for s in cliques if not any(s < t for t in cliques))


def test_shadow_of_250_points_is_quick() -> None:
    points = noisy(circle(250), 0.05)
    d = epsilon_path_metric(points, 0.15)
    start = time.process_time()
    assert rips_shadow(points, d, 0.3).holes == 1
    assert time.process_time() - start < 2


def test_epsilon_says_why() -> None:
    epsilon, reason = epsilon_from_tree(CURVES["two rings"][0])
    assert epsilon < 0.2 and "1 longer step (7) parts pieces" in reason
    twins = np.repeat(circle(40), 2, axis=0)
    assert reconstruct_graph(twins).loops == 1


BAD = {
    "few": (lambda: reconstruct_graph(np.zeros((2, 2))), SampleSizeError, "too few points: got 2, expected 3"),
    "NaN": (lambda: epsilon_path_metric([[0, 0], [1, np.nan], [1, 1]], 1), DataError, "first 1"),
    "flat": (lambda: epsilon_path_metric(np.zeros(5), 1), ShapeError, "no table"),
    "epsilon": (lambda: epsilon_path_metric(ARC, 0), OptionError, "epsilon"),
    "place": (lambda: epsilon_from_tree(np.zeros((5, 2))), DataError, "one place"),
    "scale": (lambda: reconstruct_graph(ARC, 0.2, 0.1), OptionError, "scale below epsilon"),
    "square": (lambda: rips_betti(ARC, 1), ShapeError, "no square"),
    "distances": (lambda: rips_betti(-np.eye(4), 1), DataError, "no distances"),
    "space": (lambda: rips_shadow(np.eye(3), np.eye(3), 1), ShapeError, "project"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
