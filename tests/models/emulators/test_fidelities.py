"""Two fidelities: a pendulum solved in 800 steps is dear, in 160 it is cheap and wrong by half a per cent."""

import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.random import stream

F64 = torch.float64


def pendulum(c, steps):
    """Angle at 20 times of a pendulum of frequency 1 + c_0 / 2, released at 0.5 + c_1: Euler and Cromer."""
    angle, speed, out = 0.5 + c[:, 1], torch.zeros(len(c), dtype=F64), []
    dt = 6.0 / steps
    for i in range(steps):
        speed = speed - dt * (1 + c[:, 0] / 2) ** 2 * angle.sin() - dt * 0.1 * speed
        angle = angle + dt * speed
        if (i + 1) % (steps // 20) == 0:
            out.append(angle)
    return torch.stack(out, 1)


def runs(c, steps):
    return Dataset.from_arrays(pendulum(c, steps), c, held_out_fraction=0, exact=True, context_names=["w", "a"])


def inputs(n, *purpose):
    return torch.rand(n, 2, generator=stream(0, *purpose), dtype=F64)


def test_three_dear_runs_and_cheap_ones_beat_eleven_dear():
    new = inputs(200, "new")
    truth = pendulum(new, 800)
    for seed in range(2):
        dear, cheap = inputs(11, "dear", seed), runs(inputs(40, "cheap", seed), 160)

        def error(data, **options):
            return float((sundog.fit("pod", data, **options).predict(new).mean - truth).square().mean().sqrt())

        two = error(runs(dear[:3], 800), low_fidelity=cheap)
        assert two < error(runs(dear, 800))
        assert two < 0.7 * error(cheap)  # the correction, not the cheap runs alone


def test_a_wrong_cheap_simulator_is_given_no_say():
    dear, new = inputs(20, "dear"), inputs(100, "new")
    noise = Dataset.from_arrays(torch.randn(60, 20, generator=stream(0, "noise"), dtype=F64), inputs(60, "cheap"),
                                held_out_fraction=0, exact=True, context_names=["w", "a"])
    alone, with_noise = (float((sundog.fit("pod", runs(dear, 800), **options).predict(new).mean
                                - pendulum(new, 800)).square().mean().sqrt())
                         for options in ({}, {"low_fidelity": noise}))
    assert with_noise < 3 * alone


def test_runs_of_little_weight_have_little_say():
    """Cheap runs of weight 0 are left out (they ended in a LinAlgError); a wild dear run does not move the factor."""
    dear, cheap = inputs(12, "dear"), inputs(40, "cheap")
    y, low, w, v = pendulum(dear, 800), pendulum(cheap, 160), torch.ones(12, dtype=F64), torch.ones(40, dtype=F64)
    y[3], low[3], w[3], v[3] = -30 * y[3], 1e3, 1e-12, 0

    def factor(rest, few):
        made = (Dataset.from_arrays(values[kept], c[kept], weights=weights[kept], held_out_fraction=0, exact=True)
                for values, c, weights, kept in ((y, dear, w, rest), (low, cheap, v, few)))
        return float(sundog.fit("pod", next(made), low_fidelity=next(made), degree=1).model.rho)

    assert factor(w > 0, v >= 0) == pytest.approx(factor(w > 0.5, v > 0), rel=1e-6)


def test_it_is_kept_and_draws_what_it_predicts(tmp_path):
    cheap = runs(inputs(40, "cheap"), 160)
    run = sundog.fit("pod", runs(inputs(5, "dear"), 800), low_fidelity=cheap, out=tmp_path / "run")
    mean, std = run.predict([[0.4, 0.6]])
    for a, b in zip((mean, std), sundog.load_run(tmp_path / "run").predict([[0.4, 0.6]])):
        assert torch.allclose(a, b, rtol=1e-9)
    drawn = run.sample(8000, context=[0.4, 0.6]).values
    assert torch.allclose(drawn.std(0), std[0], rtol=0.06)
    assert not bool(run.predict([[0.4, 0.6]]).outside)  # within the cheap box, outside that of five dear runs perhaps


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="low fidelity"):
        sundog.fit("pod", runs(inputs(12, "dear"), 800), low_fidelity=Dataset.from_arrays(inputs(12, "x")))
    with pytest.raises(OptionError, match="low_fidelity"):
        sundog.fit("deeponet", runs(inputs(30, "dear"), 800), low_fidelity=runs(inputs(12, "x"), 160))
