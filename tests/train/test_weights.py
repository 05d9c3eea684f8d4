"""Weights reach every place that sees rows: score, validation split, prepare, contexts drawn."""

import math

import pytest
import torch

import sundog
from sundog import Dataset, Plan
from sundog.models.base import Batch, Model, Objective, as_often_as_weighed
from sundog.train import fit as fitting
from sundog.train.engine import train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def with_ghosts(weight, n=4000):
    """Two narrow hills at -2 and 2 along the first axis, and as many rows of almost no weight between them."""
    x = 0.3 * torch.randn(2 * n, 2, generator=seeded())
    x[:n, 0] += 4 * (torch.arange(n) % 2) - 2
    x[n:, 0] *= 2
    weights = torch.cat([torch.ones(n), torch.full((n,), weight)])
    rows = torch.randperm(2 * n, generator=seeded(1))
    return Dataset.from_arrays(x[rows], weights=weights[rows], held_out_fraction=0.0)


def share_between(fakes):
    return float((fakes.values[:, 0].abs() < 0.8).float().mean())


@pytest.mark.slow
def test_rows_of_almost_no_weight_do_not_choose_the_state():
    """Truth has 6e-5 between the hills; a score without weights keeps an early state that still fills the gap."""
    plan = Plan(steps=600, batch=512)
    run = sundog.fit("flow", with_ghosts(1e-6), plan=plan, layers=2, hidden=(32, 32))
    assert run.history.best_step > 150  # without weights: 30
    assert share_between(run.sample(5000, seed=1)) < 0.02
    control = sundog.fit("flow", with_ghosts(1.0), plan=plan, layers=2, hidden=(32, 32))
    assert share_between(control.sample(5000, seed=1)) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("family", "options"), [("diffusion", {"hidden": (64, 64)}),
                                                 ("diffusion", {"hidden": (64, 64), "skip": "covariance"}),
                                                 ("flow-matching", {"hidden": (64, 64)})])
def test_weighted_rows_give_the_weighted_law(family, options):
    """A uniform on (-2, 2) weighted by exp(3 x): mean of x is 2 / tanh(6) - 1/3."""
    x = 4 * torch.rand(6000, 1, generator=seeded()) - 2
    data = Dataset.from_arrays(x, weights=(3 * x[:, 0]).exp(), held_out_fraction=0.0)
    run = sundog.fit(family, data, plan=Plan(steps=800, batch=512), **options)
    fakes = run.sample(5000, seed=1).values
    truth = 2 / math.tanh(6) - 1 / 3
    assert abs(float(fakes.mean()) - truth) < 0.08
    assert abs(float(x.mean()) - truth) > 1  # the law without weights is far


def test_rows_are_shown_as_often_as_they_weigh():
    weights = torch.rand(1000, generator=seeded()) ** 4
    counts = torch.bincount(as_often_as_weighed(weights, 1000), minlength=1000)
    assert bool(((counts - 1000 * weights / weights.sum()).abs() < 1 + 1e-3).all())
    whole = Batch(torch.arange(5.0)[:, None], None, torch.ones(5))
    assert torch.equal(whole.of_equal_weight().x, whole.x)  # equal weights: the rows themselves
    assert torch.equal(Batch(whole.x).of_equal_weight(3).x, whole.x[:3])


def test_the_score_of_a_heavy_row_counts_as_often_as_it_weighs():
    """The score is the mean of x: of weighted rows, the weighted mean."""
    seen = []

    class Spy(Model):
        family = "spy"

        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.zeros(1))

        def objectives(self):
            return [Objective("nothing", [self.a], lambda batch, noise: self.a.square().sum())]

        def draw(self, noise, context):
            return self.a.expand(noise.n, 1)

        def score(self, x, context):
            seen.append(float(x.mean()))
            return x.mean()

        def config(self):
            return {}

    x = torch.randn(3000, 1, generator=seeded())
    weights = (x[:, 0] / 2).exp()
    wanted = float((weights * x[:, 0]).sum() / weights.sum())
    history = train(Spy(), Batch(x), Batch(x, None, weights), Plan(steps=2, batch=10))
    assert abs(history.scores[-1] - wanted) < 4 / 3000**0.5
    assert abs(float(x.mean()) - wanted) > 4 / 3000**0.5  # the mean without weights would be seen


def test_validation_gets_its_share_of_the_weight():
    """20 rows of 2000 carry all weight: a tenth of them validates, whatever the seed."""
    weights = torch.full((2000,), 1e-9)
    weights[:20] = 1.0
    for seed in range(20):
        rows, held = fitting._parted(2000, 200, weights, seed)
        assert sorted([*rows.tolist(), *held.tolist()]) == list(range(2000))
        assert float(weights[held].sum()) == pytest.approx(2.0, abs=0.01)
    random = [float(weights[fitting._parted(2000, 200, None, seed)[1]].sum()) for seed in range(20)]
    assert min(random) < 0.5  # negative control: by chance alone some seed has none


def test_rows_without_weight_are_no_rows():
    x = torch.randn(100, 2, generator=seeded())
    weights = torch.zeros(100)
    weights[:12] = 1.0
    data = Dataset.from_arrays(x, weights=weights, held_out_fraction=0.0)
    with pytest.raises(sundog.SundogError, match="too few rows to train on: got 12"):
        sundog.fit("flow", data, plan=Plan(steps=1))


def test_contexts_are_drawn_as_often_as_they_weigh():
    c = torch.tensor([0.0, 1.0]).repeat(200)
    data = Dataset.from_arrays(torch.randn(400, 1, generator=seeded()), c, weights=0.02 + 3 * c, held_out_fraction=0.0)
    run = sundog.fit("vae", data, plan=Plan(steps=1), hidden=(8,))
    assert float(run.sample(500, seed=1).context.mean()) > 0.98
