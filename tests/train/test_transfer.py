"""init_from: a training that starts from the weights of another run."""

import pytest
import torch

import sundog
from sundog.errors import OptionError, RunError
from sundog.simulate.densities import TwoMoons

SMALL = {"hidden": (16,), "layers": 1}
DATA = TwoMoons().sample(300, seed=0)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin")
    return sundog.fit("flow", DATA, plan=sundog.Plan(steps=30, batch=64), out=folder, **SMALL), folder


def test_no_steps_keep_the_weights(origin):
    run, folder = origin
    for start in (run, folder, str(folder)):
        again = sundog.fit("flow", DATA, plan=sundog.Plan(steps=0, seed=5), init_from=start, **SMALL)
        assert torch.equal(again.sample(20, seed=1).values, run.sample(20, seed=1).values)
        assert again.provenance["init_from"] == run.identity
    fresh = sundog.fit("flow", DATA, plan=sundog.Plan(steps=0, seed=5), **SMALL)
    assert not torch.equal(fresh.sample(20, seed=1).values, run.sample(20, seed=1).values)


def test_the_origin_is_left_alone_and_is_part_of_the_identity(origin, tmp_path):
    run, _ = origin
    before = run.sample(20, seed=1).values
    plan = sundog.Plan(steps=3, batch=64)
    again = sundog.fit("flow", DATA, plan=plan, init_from=run, out=tmp_path, **SMALL)
    assert torch.equal(run.sample(20, seed=1).values, before)
    assert not torch.equal(again.sample(20, seed=1).values, before)
    with pytest.raises(RunError, match="another model, data or plan"):
        sundog.fit("flow", DATA, plan=plan, out=tmp_path, **SMALL)


@pytest.mark.parametrize(("family", "options"), [("flow", {"hidden": (8,), "layers": 1}), ("vae", {"hidden": (16,)})])
def test_other_networks_are_refused(origin, family, options):
    with pytest.raises(OptionError, match="cannot start from this run"):
        sundog.fit(family, DATA, plan=sundog.Plan(steps=1), init_from=origin[0], **options)
