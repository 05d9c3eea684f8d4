"""fit: what it says about data it cannot use."""

from __future__ import annotations

import numpy as np
import pytest

from sundog.data.dataset import Dataset
from sundog.data.scaling import Identity
from sundog.errors import DataError, OptionError, RunError
from sundog.simulate.densities import TwoMoons
from sundog.train.fit import _standardised, fit
from sundog.train.plan import Plan


def test_a_context_of_one_value_is_said_to_condition_nothing():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.normal(size=(50, 2)), context=np.full(50, 3.0), context_names=("m",))
    with pytest.raises(DataError, match=r"the context m is constant.*conditions nothing"):
        fit("flow", data, plan=Plan(steps=2))


def test_rows_are_trained_on_or_validated_on_never_both():
    x, weights = np.arange(200.0)[:, None] + [[0.0, 0.5]], np.where(np.arange(200) < 100, 1.0, 3.0)
    for given in (None, weights):
        plan = Plan(steps=2, validation_fraction=0.2, precision="float64")
        data = Dataset.from_arrays(x, weights=given, held_out_fraction=0.0)
        seen, held = _standardised(data, Identity(), None, plan)
        assert held is not None and (len(seen.x), len(held.x)) == (160, 40)
        both = np.concatenate([seen.x[:, 0].numpy(), held.x[:, 0].numpy()])
        assert np.array_equal(np.sort(both), np.arange(200.0))
        if given is not None:
            assert seen.weights is not None and held.weights is not None
            told = np.concatenate([seen.weights.numpy(), held.weights.numpy()])
            assert np.allclose(told, weights[both.astype(int)] / 2), "each row keeps its weight, scaled to mean one"
    assert _standardised(data, Identity(), None, Plan(steps=2, validation_fraction=0.0))[1] is None


def test_the_folder_of_another_run_is_refused_whichever_came_first(tmp_path):
    data = Dataset.from_arrays(np.random.default_rng(0).normal(size=(60, 2)))
    for seed, other in ((0, 1), (1, 0)):
        place = tmp_path / str(seed)
        run = fit("flow", data, plan=Plan(steps=2), seed=seed, out=place, layers=1, hidden=(4,))
        again = fit("flow", data, plan=Plan(steps=2), seed=seed, out=place, layers=1, hidden=(4,))
        assert (again.log_prob(data) == run.log_prob(data)).all()
        with pytest.raises(RunError, match="another model, data or plan"):
            fit("flow", data, plan=Plan(steps=2), seed=other, out=place, layers=1, hidden=(4,))


@pytest.mark.parametrize(("plan", "own"), [(Plan(steps=30), "steps=30"), (Plan(seconds=2.5), "seconds=2.5")])
def test_two_budgets_are_refused(plan, own):
    """`steps` was the sampler's once: beside a plan it would quietly train 25 steps."""
    data = Dataset.from_arrays(np.random.default_rng(0).normal(size=(60, 2)))
    with pytest.raises(OptionError, match=rf"got steps=25 beside a plan with {own}, .*sampling_steps"):
        fit("flow-matching", data, plan=plan, steps=25)
    assert fit("flow", data, plan=Plan(batch=16), steps=3, layers=1, hidden=(4,)).plan.steps == 3


def test_without_a_folder_nothing_is_kept_on_the_way():
    run = fit("flow", TwoMoons().sample(200, seed=0), plan=Plan(steps=4, checkpoint_seconds=1e-9), layers=1)
    assert run.history.steps[-1] == 4
