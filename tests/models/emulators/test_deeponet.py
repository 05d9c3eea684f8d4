"""DeepONet: places of the output, errors on validation rows, the antiderivative of the paper."""

import math

import pytest
import torch

import sundog
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.models.families import build
from sundog.random import stream


def waves(n, points=24):
    """Amplitude and phase to a wave."""
    c = torch.rand(n, 2, generator=stream(0, "waves", n))
    t = torch.arange(points) / points
    return c, (0.5 + c[:, :1]) * torch.sin(math.tau * (t + 0.3 * c[:, 1:]))


def test_it_learns_and_knows_its_error():
    c, y = waves(300)
    run = sundog.fit("deeponet", Dataset.from_arrays(y, c, held_out_fraction=0), plan=sundog.Plan(steps=400))
    new, truth = waves(200)
    mean, std = run.predict(new)
    error = (mean - truth).square().mean().sqrt()
    assert float(error) < 0.1 * float(truth.std())
    assert float(std.square().mean().sqrt() / error) == pytest.approx(1, abs=0.5)  # 30 validation rows
    assert run.predict([[0.5, 4.0]]).outside.tolist() == [True]


def test_it_answers_at_unseen_places():
    c, y = waves(300)
    run = sundog.fit("deeponet", Dataset.from_arrays(y[:, ::2], c), plan=sundog.Plan(steps=800), periodic=True)
    told = run._standard_context(c)
    between, ends = (run.model.at(told, places).detach()
                     for places in (torch.arange(1, 24, 2)[:, None] / 24, torch.tensor([[0.0], [1.0]])))
    assert float((between - y[:, 1::2]).square().mean().sqrt()) < 0.15 * float(y.std())
    assert torch.allclose(ends[:, 0], ends[:, 1], atol=1e-5)


def test_a_periodic_trunk_needs_harmonics():
    with pytest.raises(OptionError, match="harmonics"):
        build("deeponet", (8,), 2, {"periodic": True, "harmonics": 0})


@pytest.mark.slow
def test_the_antiderivative():
    """Inputs from a Gaussian process of length 0.2 at 100 sensors (Lu et al. 2021, section 4.1); mean square error."""
    x = torch.linspace(0, 1, 100, dtype=torch.float64)
    e, v = torch.linalg.eigh(torch.exp(-((x[:, None] - x) ** 2) / 0.08))
    u = torch.randn(1300, 100, generator=stream(0, "operator"), dtype=torch.float64) * e.clamp(min=0).sqrt() @ v.T
    s = torch.cat([u.new_zeros(1300, 1), torch.cumulative_trapezoid(u, dx=1 / 99)], 1)
    runs = Dataset.from_arrays(s[:1000], u[:1000], held_out_fraction=0)
    run = sundog.fit("deeponet", runs, plan=sundog.Plan(steps=2000))
    error = (run.predict(u[1000:]).mean - s[1000:]).square().mean()
    assert float(error) < 1e-4
    assert float((run.predict(u[1000:].flip(0)).mean - s[1000:]).square().mean()) > 1e-2
