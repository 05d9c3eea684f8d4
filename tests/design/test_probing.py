"""Probing order: closed forms, every order tried for few candidates, groups, adaptivity, bad input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from sundog.design import expected_probes, graph_scenarios, next_probe, probing_order
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError


def correlated(seed: int, n: int = 7, count: int = 60) -> np.ndarray:
    """Successes that share two hidden causes."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(count, 2)) @ rng.normal(size=(2, n)) * 1.5 + rng.normal(size=(count, n)) * 0.4
    return field > rng.normal(size=n) * 0.5 + 0.8


def best(scenarios: np.ndarray, k=1, groups=None) -> float:
    return min(expected_probes(scenarios, order, k, groups) for order in permutations(range(scenarios.shape[1])))


def by_marginals(scenarios: np.ndarray) -> np.ndarray:
    return np.argsort(-scenarios.mean(axis=0), kind="stable")


def test_expected_probes_by_hand() -> None:
    scenarios = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert expected_probes(scenarios, [0, 1, 2]) == (1 + 3 + 3) / 3
    assert expected_probes(scenarios, [2, 0, 1], k=2) == (2 + 3 + 3) / 3
    assert expected_probes(scenarios, [0, 2, 1], groups=[0, 0, 1]) == (2 + 3 + 3) / 3


def test_independent_candidates_go_by_chance() -> None:
    p = np.array([0.2, 0.7, 0.4, 0.55])
    rows = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(bool)
    counts = np.rint(1e4 * np.where(rows, p, 1 - p).prod(axis=1)).astype(int)
    scenarios = np.repeat(rows, counts, axis=0)
    order = probing_order(scenarios)
    assert order.tolist() == [1, 3, 2, 0]
    cost = sum(np.prod(1 - p[order[:i]]) for i in range(4))
    assert np.isclose(expected_probes(scenarios, order), cost, rtol=1e-3)


def test_a_twin_comes_last() -> None:
    scenarios = correlated(3)
    order = probing_order(np.c_[scenarios, scenarios[:, :1]]).tolist()
    useful = [i for i in range(1, 7) if (scenarios[:, i] & ~scenarios[:, 0]).any()]
    first, second = sorted((order.index(0), order.index(7)))
    assert second > first + 1 or not useful
    assert probing_order(np.repeat(scenarios[:, :1], 4, axis=1)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_within_four_times_the_best_of_all_orders(k: int) -> None:
    ratios = []
    for seed in range(6):
        scenarios = correlated(seed, n=6)
        ratios.append(expected_probes(scenarios, probing_order(scenarios, k), k) / best(scenarios, k))
    assert min(ratios) >= 1 and max(ratios) < 4


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3])
def test_within_four_times_the_best_of_eight(k: int) -> None:
    scenarios = correlated(1, n=8, count=30)
    assert expected_probes(scenarios, probing_order(scenarios, k), k) < 4 * best(scenarios, k)


def test_better_than_the_order_of_chances_where_successes_hang_together() -> None:
    greedy, marginal = (np.array([expected_probes(x, order(x)) for x in map(correlated, range(40))])
                        for order in (probing_order, by_marginals))
    assert greedy.mean() < marginal.mean() and (greedy <= marginal + 1e-12).mean() > 0.8
    block = np.repeat([[1, 1, 1, 1, 0], [0, 0, 0, 0, 1]], [3, 2], axis=0)
    assert expected_probes(block, probing_order(block)) == 1.4
    assert expected_probes(block, by_marginals(block)) == (3 + 2 * 5) / 5


def test_groups_each_want_theirs() -> None:
    groups = np.array(["a", "a", "a", "b", "b", "b"])
    for seed in range(4):
        scenarios = correlated(seed, n=6)
        for k in (1, {"a": 2, "b": 1}, {"a": 0, "b": 1}):
            order = probing_order(scenarios, k, groups)
            assert sorted(order) == list(range(6))
            assert expected_probes(scenarios, order, k, groups) < 4 * best(scenarios, k, groups)
    assert probing_order(scenarios, {"a": 0, "b": 1}, groups)[0] >= 3


def adaptive(scenarios: np.ndarray, truth: np.ndarray, k: int) -> int:
    outcomes: dict[int, bool] = {}
    while (i := next_probe(scenarios, outcomes, k)) is not None:
        outcomes[i] = bool(truth[i])
    return len(outcomes)


def test_adaptive_probing_of_a_graph_uses_what_it_saw() -> None:
    star = [(0, i) for i in range(1, 5)] + [(5, i) for i in range(6, 10)]  # two hubs
    scenarios = graph_scenarios(star, [0.4, *[0.05] * 4, 0.4, *[0.05] * 4], 1500, seed=0)
    truths = graph_scenarios(star, [0.4, *[0.05] * 4, 0.4, *[0.05] * 4], 300, seed=1)
    fixed = expected_probes(truths, probing_order(scenarios, 3), 3)
    assert np.mean([adaptive(scenarios, truth, 3) for truth in truths]) < 0.95 * fixed


def test_graph_scenarios_have_the_chances_of_their_ends() -> None:
    drawn = graph_scenarios([(0, 1), (1, 2)], [0.5, 0.2, 0.0], 20_000, seed=0).mean(axis=0)
    assert np.allclose(drawn, [0.6, 0.2], atol=4 * np.sqrt(0.25 / 20_000))


def test_outcomes_that_no_scenario_holds() -> None:
    scenarios = np.array([[1, 0, 1], [0, 1, 1]])
    assert next_probe(scenarios, {0: False, 1: False}) == 2
    assert next_probe(scenarios, {2: True}) is None


X = correlated(0)
BAD = {
    "table": (lambda: probing_order([1, 0]), ShapeError, "no table"),
    "numbers": (lambda: probing_order([[0.5, 1.0]]), DataError, "not 0 or 1"),
    "NaN": (lambda: probing_order([[np.nan, 1.0]]), DataError, "not 0 or 1"),
    "k": (lambda: probing_order(X, 0), OptionError, "k out of range"),
    "many": (lambda: probing_order(X, 8), SampleSizeError, "more successes wanted"),
    "groups": (lambda: probing_order(X, 1, [0, 1]), OptionError, "groups do not fit"),
    "mapping": (lambda: probing_order(X, {"c": 1}, list("aabbaab")), OptionError, "k of other groups"),
    "order": (lambda: expected_probes(X, [0, 0, 1]), ShapeError, "no order"),
    "outcome": (lambda: next_probe(X, {9: True}), OptionError, "unknown candidates"),
    "edges": (lambda: graph_scenarios([(0, 5)], [0.1], 10, 0), ShapeError, "edges do not fit"),
    "chance": (lambda: graph_scenarios([(0, 1)], [0.1, 2], 10, 0), OptionError, "chances out of range"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
