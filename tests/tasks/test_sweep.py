"""A sweep ranks settings whose order is known, says when it cannot tell, and does not repeat finished trainings."""

import pytest

import sundog
from sundog import Plan
from sundog.errors import DataError, OptionError
from sundog.simulate.densities import TwoMoons
from sundog.tasks.sweep import Sweep, SweepRow, sweep

MOONS = TwoMoons().sample(1500, seed=0)
FLOW = {"layers": 2, "hidden": (16, 16), "plan": Plan(steps=60, batch=256)}


@pytest.mark.slow
def test_a_setting_that_cripples_comes_last(tmp_path):
    """A learning rate of 1e-7 leaves the flow where it started; other real rows are better than any fake."""
    found = sweep("flow", MOONS, "learning_rate", (1e-7, 5e-3), seeds=2, out=tmp_path, **FLOW)
    assert found.best.value == 5e-3 and found.ties == (5e-3,)
    # The floor is itself a draw: 300 rows against 300.
    assert found.floor < 0.2 * found.rows[0].mean and found.best.mean < 0.2 * found.rows[0].mean
    assert "<- best" in str(found).splitlines()[2] and "other real rows" in str(found)
    again = sweep("flow", MOONS, "learning_rate", (1e-7, 5e-3), seeds=2, out=tmp_path, **FLOW)
    assert [row.scores for row in again.rows] == [row.scores for row in found.rows]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"learning_rate-{v}-{s}" for v in (1e-7, 5e-3)
                                                                for s in range(2))


def test_ties():
    rows = (SweepRow(1, (1.0, 1.2), (), 0.0), SweepRow(2, (1.1, 1.15), (), 0.0), SweepRow(3, (2.0, 2.05), (), 0.0))
    found = Sweep("x", rows, 0.5)
    assert found.best.value == 1 and found.ties == (1, 2)
    assert rows[0].error == pytest.approx(0.1) and SweepRow(1, (1.0,), (), 0.0).error == float("inf")


def test_own_score_and_bad_input():
    found = sweep("flow", MOONS, "learning_rate", (1e-3,), seeds=1, score=lambda real, fake: float(len(fake)),
                  layers=1, hidden=(4,), plan=Plan(steps=1))
    assert found.rows[0].scores == (float(len(MOONS.held_out)),)
    with pytest.raises(OptionError, match="nothing to sweep"):
        sweep("flow", MOONS, "learning_rate", ())
    whole = sundog.Dataset.from_arrays(MOONS.values, held_out_fraction=0.0)
    with pytest.raises(DataError, match="held out"):
        sweep("flow", whole, "learning_rate", (1e-3,))
