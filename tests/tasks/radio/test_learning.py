"""The settings that prepared radio galaxies are learned with."""

import pytest
import torch

import sundog
from sundog.data.scaling import Chain, Standard
from sundog.tasks.radio import learn

FEW = {"training_steps": 2, "parameters": 2e4, "sampling_steps": 4}


def images(unit, told):
    g = torch.Generator().manual_seed(0)
    context = torch.rand(80, 1, generator=g) if told else None
    return sundog.Dataset.from_arrays(torch.rand(80, 16, 16, generator=g), context, units=unit,
                                      context_names=["log10_las"] if told else None, held_out_fraction=0.0)


@pytest.mark.parametrize(("unit", "told", "skip", "scaling"), [
    ("of the peak", True, "conditional", Standard), ("mJy/beam", True, "conditional", Chain),
    ("of the peak", False, "covariance", Chain)])
def test_the_skip_follows_a_context_where_there_is_one(unit, told, skip, scaling):
    data = images(unit, told)
    run = learn(data, **FEW)
    assert run.model.skip == skip
    assert type(run.scaling) is scaling
    fakes = run.sample(3, context=data.context[:3] if told else None, seed=1)
    assert torch.isfinite(fakes.values).all()


def test_another_skip_can_be_asked_for():
    run = learn(images("of the peak", True), skip="edm", **FEW)
    assert run.model.skip == "edm"
    assert type(run.scaling) is Chain
