"""Outputs learned in parts, and inputs as formulas."""

import math

import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError
from sundog.random import stream

F64 = torch.float64


def uniform(n, *purpose):
    return 0.1 + 0.9 * torch.rand(n, 2, generator=stream(0, *purpose), dtype=F64)


def bumps(c):
    """Two channels: ten numbers that bend with the first input beside 290 that go with both, (n, 2, 300)."""
    x = torch.arange(300, dtype=F64)
    wide = torch.sin(x / 40 + 2 * c[:, 1:]) * c[:, :1]
    bump = torch.log(c[:, :1]) * torch.exp(-(((x - 5) / 2) ** 2))
    return torch.stack([torch.where(x < 10, bump + c[:, 1:], wide), 1 + wide**2], 1)


def runs(n, *purpose):
    c = uniform(n, *purpose)
    return Dataset.from_arrays(bumps(c), c, held_out_fraction=0, exact=True, context_names=["ln A", "tau"])


def test_few_numbers_are_heard_when_learned_on_their_own():
    data, new = runs(16, "cut"), uniform(100, "new")

    def error(**options):
        return float((sundog.fit("pod", data, branch="gp", **options).predict(new).mean - bumps(new))[:, 0, :10].std())

    assert error(cuts=[10]) < 0.5 * error()


def test_parts_join_where_they_were_cut_and_draw_what_they_predict(tmp_path):
    data, new = runs(20, "join"), uniform(3, "new")
    run = sundog.fit("pod", data, degree=2, cuts=[10, 100], out=tmp_path / "run")
    mean, std = run.predict(new)
    assert torch.equal(mean, sundog.load_run(tmp_path / "run").predict(new).mean)
    for channel, places in ((0, slice(0, 10)), (1, slice(10, 100)), (1, slice(100, 300))):
        alone = Dataset.from_arrays(data.values[:, channel, places], data.context, held_out_fraction=0, exact=True)
        for a, b in zip((mean, std), sundog.fit("pod", alone, degree=2).predict(new)):
            assert torch.allclose(a[:, channel, places], b, rtol=1e-9, atol=1e-12)
    drawn = run.sample(4000, context=new[0]).values.double()
    assert float((drawn.std(0) / std[0] - 1).abs().max()) < 5 / math.sqrt(2 * 4000)
    assert bool(run.predict([[9.0, 0.5]]).outside)


def test_a_warp_is_kept_where_it_helps_alone():
    c, new = uniform(30, "warp"), uniform(60, "new")
    x = torch.arange(300, dtype=F64) * torch.exp(0.1 * c[:, :1])
    still = 1 + torch.cos(torch.arange(300, dtype=F64) / 5) * c[:, 1:] ** 2
    made = Dataset.from_arrays(torch.stack([torch.cos(0.2 * x), still], 1), c, held_out_fraction=0, exact=True)
    run = sundog.fit("pod", made, degree=2, warp=True, cuts=[])
    assert [len(part.warped) > 0 for part in run.model.parts] == [True, False]
    wanted = torch.cos(0.2 * torch.arange(300, dtype=F64) * torch.exp(0.1 * new[:, :1]))
    assert float((run.predict(new).mean[:, 0] - wanted)[:, :250].square().mean().sqrt()) < 0.01


def test_formulas_of_inputs_make_a_law_linear(tmp_path):
    c, new = uniform(30, "formula"), uniform(50, "new")

    def law(c):
        return torch.stack([c[:, 0] - 2 * c[:, 1], c[:, 1].log(), c[:, 1].log() + c[:, 0]], 1)

    data = Dataset.from_arrays(law(c), c, held_out_fraction=0, exact=True, context_names=["ln A", "tau"])
    formulas = {"ln A": "ln A - 2 * tau", "tau": "log(tau)", "beside": "ln A"}
    run = sundog.fit("pod", data, degree=1, reparametrise=formulas, out=tmp_path / "run")
    again = sundog.load_run(tmp_path / "run")
    assert float((again.predict(new).mean - law(new)).abs().max()) < 1e-8
    assert float((sundog.fit("pod", data, degree=1).predict(new).mean - law(new)).abs().max()) > 0.1
    assert again.sample(5, context=new[:5]).context.shape == (5, 2)
    function = {"ln A": lambda given: given["ln A"] - 2 * given["tau"], "tau": "log(tau)", "beside": "ln A"}
    found = sundog.fit("pod", data, degree=1, reparametrise=function).predict(new).mean
    assert torch.allclose(found, again.predict(new).mean, atol=1e-10)
    with pytest.raises(OptionError, match="cannot be kept"):
        sundog.fit("pod", data, reparametrise=function, out=tmp_path / "other")
    with pytest.raises(DataError, match="no number everywhere"):
        run.predict([[0.5, -1.0]])


@pytest.mark.parametrize(("options", "words"), [
    ({"reparametrise": {"tau": "lgo(tau)"}}, "holds no formula"),
    ({"reparametrise": {"tau": "__import__('os')"}}, "holds no formula"),
    ({"reparametrise": {"ln A": None, "tau": None}}, "leaves no input"),
    ({"cuts": [300]}, "do not part"), ({"cuts": [20, 10]}, "do not part"),
])
def test_what_cannot_be_is_named(options, words):
    with pytest.raises(OptionError, match=words):
        sundog.fit("pod", runs(12, "bad"), **options)
