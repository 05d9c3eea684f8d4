"""The worked elliptic equation: rate of the descent, error of the network, and what fails."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[3] / "benchmarks" / "elliptic.py"))


def test_the_descent_is_geometric_and_needs_its_preconditioner():
    errors = SCRIPT["descent"](1.0, 1.0, 12)
    assert errors[-1] < 1e-8
    assert all(b / a < 0.05 for a, b in zip(errors, errors[1:]) if b > 1e-12)
    assert SCRIPT["descent"](1e-4, float("inf"), 12)[-1] > 0.9


@pytest.mark.slow
def test_the_network_finds_the_minimum():
    error, barron, _ = SCRIPT["ritz"](seed=0, units=8)
    assert error < 0.02
    assert barron > 1
