"""Closed forms of emulators: a law that a program holds is found, one that none holds is said to be missed."""

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import DataError, OptionError, ShapeError
from sundog.tasks.closed_forms import closed_forms


def emulated(law, inputs=2, runs=60):
    c = torch.rand(runs, inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + 10
    data = sundog.Dataset.from_arrays(law(c), c, context_names=[f"c{i}" for i in range(inputs)], held_out_fraction=0)
    return sundog.fit("pod", data, degree=2)


def off(found, run, law, rows=300):
    """Root mean square difference from the emulator and the spread of the law, at inputs of its own."""
    generator = torch.Generator().manual_seed(1)
    c = 10.1 + 3.8 * torch.rand(rows, len(found.inputs), generator=generator, dtype=torch.float64)
    mean, y = run.predict(c).mean.double().numpy(), law(c).numpy()
    return float(np.sqrt((((found(c) - mean) / y.std(0)) ** 2).mean()))


def test_a_product_is_found_and_the_error_said_is_the_error_made():
    def law(c):
        return torch.cat([c.prod(1, True), 3 * c[:, :1] - 2 * c[:, 1:]], 1)

    run = emulated(law)
    found = closed_forms(run, operations=5, trials=600)
    assert found.shape == (2,) and found.modes.shape == (2, 2) and all(p.operations <= 5 for p in found.programs)
    assert found.error < 0.05
    assert off(found, run, law) == pytest.approx(found.error, rel=0.3)
    assert "c0 - 10" in str(found) and "y1 = " in str(found)


def test_long_outputs_have_a_formula_for_each_amplitude():
    axis = torch.linspace(-1, 1, 30)

    def law(c):  # two modes, rank 2
        return c[:, :1] * axis + (c[:, :1] * c[:, 1:]) * axis.square()

    run = emulated(law)
    found = closed_forms(run, operations=5, trials=400)
    assert len(found.programs) == 2 and found([[11, 12.0]]).shape == (1, 30)
    assert off(found, run, law) == pytest.approx(found.error, rel=0.3)
    assert found.error < 0.1


def test_what_no_short_formula_holds_is_said_to_be_missed():
    def law(c):
        return torch.sin(6 * c)

    run = sundog.fit("pod", sundog.Dataset.from_arrays(law(x := torch.linspace(10, 14, 60)[:, None].double()), x,
                                                       held_out_fraction=0), branch="gp")
    found = closed_forms(run, operations=3, trials=200)
    assert found.error > 0.5 and found.own < 0.1


def test_what_is_no_emulator_is_refused():
    run = sundog.fit("flow", torch.randn(200, 2), steps=1, hidden=(4,), layers=1)
    with pytest.raises(OptionError, match="family 'flow'"):
        closed_forms(run)
    run = emulated(lambda c: c.sum(1, True))
    with pytest.raises(ShapeError, match="c0, c1"):
        closed_forms(run, operations=2, trials=50)([[1.0]])
    with pytest.raises(OptionError, match="modes"):
        closed_forms(run, modes=0)
    with pytest.raises(DataError, match="never changes"):
        closed_forms(emulated(lambda c: torch.cat([0 * c[:, :1] + 3, 0 * c[:, :1]], 1)))
