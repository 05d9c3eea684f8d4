"""Private training: the noise is what the accountant says, neighbours move a sum by at most the clip, attacks fail."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import sundog
from sundog import Dataset, Plan, fit, load_run
from sundog.errors import OptionError
from sundog.models.base import Batch, Noise, Objective
from sundog.models.diffusion import Diffusion
from sundog.models.matching import FlowMatching
from sundog.train.engine import train
from sundog.train.privacy import Mechanism, Privacy, PrivateGradient, SpiderBoost, clipped_sum, private_scaling

dp = pytest.importorskip("dp_accounting")


def rows(n, seed=0, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def noise_of(n, seed=0):
    return Noise(torch.Generator().manual_seed(seed), n, slice(None))


def matching(d=3):
    torch.manual_seed(0)
    return FlowMatching((d,), hidden=(8,))


def diffusion(shape, **options):
    torch.manual_seed(0)
    return Diffusion(shape, **options)


@pytest.mark.parametrize("model", [
    matching(), diffusion((3,), hidden=(8,)), diffusion((1, 16), parameters=3e4),
    diffusion((1, 16), network="transformer", parameters=3e3), diffusion((8, 8), symmetry="dihedral", parameters=3e4)])
def test_without_noise_and_clip_the_gradient_is_that_of_plain_training(model):
    x = rows(40, d=math.prod(model.shape)).reshape(40, *model.shape)
    for p in model.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))  # last layers are 0
    objective = model.objectives()[0]
    plain = torch.autograd.grad(objective.loss(Batch(x), noise_of(40)), list(objective.parameters))
    private = PrivateGradient(Mechanism(Privacy(epsilon=1, delta=1e-5, clip=1e9), 0.0, 1.0, 1))
    ours = private(model, objective, Batch(x), noise_of(40), 40)
    for a, b in zip(ours, plain):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_diffusion_learns_what_it_has_not_looked_at_before():
    """Means 50 and -2, widths 4 and 0.1, correlation 0.9, from noisy gradients and noisy histograms alone."""
    law = rows(4000, 1, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.436]])
    plan = Plan(steps=60, batch=400, ema=0.9, learning_rate=1e-2, privacy=Privacy(epsilon=8, delta=1e-4, clip=3))
    run = fit("diffusion", law * torch.tensor([4.0, 0.1]) + torch.tensor([50.0, -2.0]), plan=plan, hidden=(32,))
    fake = run.sample(2000, seed=1).values
    assert fake.mean(0).tolist() == [pytest.approx(50, abs=1), pytest.approx(-2, abs=0.025)]
    assert fake.std(0).tolist() == [pytest.approx(4, rel=0.3), pytest.approx(0.1, rel=0.3)]
    assert float(torch.corrcoef(fake.mT)[0, 1]) > 0.6


def test_a_row_more_moves_the_sum_by_at_most_the_clip_and_an_outlier_by_no_more():
    model, clip = matching(), 0.7
    x = torch.cat([rows(20), 1e4 * rows(1, 9)])
    objective = model.objectives()[0]
    with_it = clipped_sum(model, objective, Batch(x), noise_of(21), clip)
    # The numbers of the other rows stay: of the first call of each kind the first 20.
    class Same(Noise):
        def normal(self, *shape):
            return noise_of(21).normal(*shape)[:20]
        def uniform(self, *shape):
            generator = noise_of(21)
            generator.normal(3)
            return generator.uniform(*shape)[:20]
    without = clipped_sum(model, objective, Batch(x[:20]), Same(torch.Generator(), 20, slice(None)), clip)
    moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(with_it, without)))
    assert 0.5 * clip < moved <= clip * 1.001


def test_noise_has_the_width_of_the_multiplier():
    model = matching()
    objective = model.objectives()[0]
    private = PrivateGradient(Mechanism(Privacy(epsilon=1, delta=1e-5, clip=2.0), 3.0, 0.5, 1))
    empty = torch.zeros(0, 3)
    steps = [private(model, objective, Batch(empty), noise_of(0), 100) for _ in range(30)]
    g = torch.cat([part.flatten() for step in steps for part in step])
    assert float(g.std()) == pytest.approx(3.0 * 2.0 / 50, rel=4 / math.sqrt(2 * len(g)))
    taken = [len(private.rows(1000)) for _ in range(50)]
    assert np.mean(taken) == pytest.approx(500, abs=4 * math.sqrt(250 / 50))


def test_epsilon_is_that_of_dp_accounting_and_monotone():
    def spent(noise, steps):
        return Mechanism(Privacy(epsilon=1, delta=1e-5, clip=1), noise, 0.05, steps).epsilon()

    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.05, dp.GaussianDpEvent(1.5)), 200)
    assert spent(1.5, 200) == pytest.approx(dp.rdp.RdpAccountant().compose(event).get_epsilon(1e-5), rel=0.01)
    tight = dp.pld.PLDAccountant().compose(event).get_epsilon(1e-5)
    assert tight <= spent(1.5, 200) < 1.2 * tight
    assert spent(1.5, 100) < spent(1.5, 200) < spent(1.5, 400) and spent(3.0, 200) < spent(1.5, 200)
    found = Mechanism.affordable(Privacy(epsilon=1, delta=1e-5, clip=1), 0.05, 200, scaled=True)
    assert 0.98 < found.epsilon() <= 1.0 and found.histograms > 0
    alone = Mechanism(found.privacy, found.noise, found.rate, found.steps)
    assert alone.epsilon() < found.epsilon()  # the scaling counts


def test_one_gaussian_step_agrees_with_the_analytic_mechanism():
    """delta = P(Z < 1/(2s) - e s) - e^e P(Z < -1/(2s) - e s), s the noise (Balle & Wang 2018), below Rényi's bound."""
    normal = torch.distributions.Normal(0.0, 1.0)
    s, e = 4.0, Mechanism(Privacy(epsilon=1, delta=1e-5, clip=1), 4.0, 1.0, 1).epsilon()
    delta = normal.cdf(torch.tensor(0.5 / s - e * s).double()) - math.exp(e) * normal.cdf(
        torch.tensor(-0.5 / s - e * s).double())
    assert 1e-6 < float(delta) <= 1e-5


def test_a_private_run_says_so_and_tells_of_no_row(tmp_path):
    plan = Plan(steps=10, batch=100, privacy=Privacy(epsilon=2, delta=1e-4, clip=1.0))
    run = fit("flow-matching", Dataset.from_arrays(rows(1000) * 3 + 5), plan=plan, hidden=(8,), out=tmp_path / "run")
    facts = load_run(tmp_path / "run").provenance
    assert 1.9 < facts["privacy"]["epsilon"] <= 2 and facts["privacy"]["scaling_noise_multiplier"] > 0
    assert "fingerprint" not in facts["data"] and "private: epsilon 2" in repr(run)
    assert all(math.isnan(x) for x in [*run.history.losses["flow matching"], *run.history.scores])
    assert run.plan.validation_fraction == 0
    fakes = run.sample(60)
    assert fakes.provenance["privacy"]["delta"] == 1e-4
    verdict = sundog.judge(rows(60), Dataset.from_arrays(fakes.values, names=("x0", "x1", "x2"),
                                                         provenance=fakes.provenance), statistics="deciding")
    assert any("private training: epsilon 2" in note for note in verdict.notes)


def test_the_private_scaling_finds_mean_and_width_and_refuses_what_it_cannot_see():
    x = rows(4000) * torch.tensor([1.0, 20.0, 0.001]) + torch.tensor([0.0, 500.0, 0.003])
    found = private_scaling(x, 8.0, np.random.default_rng(0))
    for i in range(3):
        width = float(x[:, i].std())
        assert abs(found.mean[i] - float(x[:, i].mean())) < width and 0.5 < found.std[i] / width < 2.5
    images = private_scaling(rows(400, 1, 64).view(400, 8, 8), 8.0, np.random.default_rng(0))
    assert len(images.std) == 1 and 0.5 < images.std[0] < 2
    with pytest.raises(sundog.errors.DataError, match="no scale stands out"):
        private_scaling(rows(30), 100.0, np.random.default_rng(0))


@pytest.mark.parametrize(("settings", "said"), [
    ({"epsilon": 0, "delta": 1e-5, "clip": 1}, "'epsilon'"), ({"epsilon": -1, "delta": 1e-5, "clip": 1}, "'epsilon'"),
    ({"epsilon": 1, "delta": 0, "clip": 1}, "'delta'"), ({"epsilon": 1, "delta": 1.5, "clip": 1}, "'delta'"),
    ({"epsilon": 1, "delta": 1e-5}, "'clip'"), ({"epsilon": math.inf, "delta": 1e-5, "clip": 1}, "'epsilon'"),
    ({"epsilon": 1, "delta": 1e-5, "clip": 1, "noise": 0}, "'noise'")])
def test_wrong_settings_are_named(settings, said):
    with pytest.raises(OptionError, match=said):
        Privacy(**settings)
    with pytest.raises(OptionError):
        Plan(privacy=settings)


@pytest.mark.parametrize(("family", "data", "more", "said"), [
    ("gan", rows(100), {}, "'gan', which has 2 losses"),
    ("diffusion", rows(100), {"skip": "covariance"}, "looks at all rows"),
    ("flow", Dataset.from_arrays(rows(100), names=("a", "b", "c")).with_context("c"), {}, "context"),
    ("flow", Dataset.from_arrays(rows(100), weights=torch.rand(100) + 0.5), {}, "weights"),
    ("flow", rows(100), {"scaling": "logit"}, "fitted to rows"), ("flow", rows(100), {"kinds": "continuous"}, "kinds")])
def test_what_would_tell_of_rows_is_refused(family, data, more, said):
    plan = Plan(steps=3, batch=20, privacy=Privacy(epsilon=1, delta=1e-5, clip=1))
    with pytest.raises(OptionError, match=said):
        fit(family, data, plan=plan, **more)


def test_losses_that_couple_rows_and_plans_without_noise_are_refused():
    class Coupled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def loss(self, batch, noise):
            return (batch.x * self.w).std(0, correction=0).sum()

    model = Coupled()
    with pytest.raises(OptionError, match="mean over rows"):
        clipped_sum(model, Objective("spread", [model.w], model.loss), Batch(rows(20)), noise_of(20), 1.0)
    model = matching()
    with pytest.raises(OptionError, match="belong together"):
        train(model, Batch(rows(40)), None, Plan(steps=2, privacy=Privacy(epsilon=1, delta=1e-5, clip=1)))


def auc(members, others):
    return float((members[:, None] > others[None]).double().mean())


@pytest.mark.slow
def test_membership_attacks_succeed_without_privacy_and_fall_to_chance_with_it():
    """Loss threshold and nearest fake: 60 rows in 10 columns learned by heart, then with epsilon = 1."""
    members, others = rows(60, 1, 10), rows(400, 2, 10)
    data = Dataset.from_arrays(members, held_out_fraction=0)
    plan = Plan(steps=600, batch=60, validation_fraction=0, ema=0.9, learning_rate=3e-3)
    found = {}
    for word, privacy in (("plain", None), ("private", Privacy(epsilon=1, delta=1e-3, clip=1.0))):
        run = fit("flow", data, plan=plan.with_(privacy=privacy), scaling="identity", layers=2, hidden=(128, 128))
        losses = [run.log_prob(Dataset.from_arrays(x)) for x in (members, others)]
        fakes = run.sample(4000, seed=3).values
        near = [-torch.cdist(x, fakes).amin(1) for x in (members, others)]
        found[word] = auc(*losses), auc(*near)
    error = math.sqrt((1 / 60 + 1 / 400) / 12)
    assert found["plain"][0] > 0.9 and found["plain"][1] > 0.5 + 4 * error, found
    assert all(abs(value - 0.5) < 4 * error for value in found["private"]), found


def rows_and_gradients(n=200, d=4):
    """Robust regression: loss of a row 1 - exp(-(x w - y)^2 / 2) + 0.05 |w|^2 on |x| <= 1."""
    x = torch.nn.functional.normalize(rows(n, 5, d), dim=1).double()
    y = x @ torch.ones(d, dtype=torch.float64)

    def gradients(w, some):
        r = x[some] @ w - y[some]
        return (r * torch.exp(-r.square() / 2))[:, None] * x[some] + 0.1 * w

    return gradients, n


def test_spider_boost_has_its_exact_noise_and_descends_without_it():
    gradients, n = rows_and_gradients()
    start = torch.zeros(4, dtype=torch.float64)
    free = SpiderBoost(1.0, 1.1, 60, 5, n, n, 0.0)
    everything = torch.arange(n)
    last = free(gradients, start, n, np.random.default_rng(3))
    assert float(gradients(last, everything).mean(0).norm()) < 0.5 * float(gradients(start, everything).mean(0).norm())
    once = SpiderBoost(1.0, 1.1, 1, 1, n, n, 0.0)(gradients, start, n, np.random.default_rng(0))
    torch.testing.assert_close(once, start - gradients(start, everything).mean(0) / 2.2)
    noisy = SpiderBoost(2.0, 3.0, 10, 5, 100, 50, 4.0)
    assert noisy.noise(None) == 4 * 2 / 100 and noisy.noise(0.01) == pytest.approx(4 * 3 / 50 * 0.01)
    assert noisy.noise(100.0) == 2 * 4 * 2 / 50


def test_spider_boost_spends_what_dp_accounting_says():
    budget = Privacy(epsilon=1, delta=1e-5, clip=1)
    found = SpiderBoost.affordable(budget, 2000, slope=1, curvature=1, steps=40, phase=8, batch=500, small_batch=100)
    parts = [dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(found.multiplier)), count)
             for rate, count in ((0.25, 5), (0.05, 35))]
    spent = dp.rdp.RdpAccountant().compose(dp.ComposedDpEvent(parts)).get_epsilon(1e-5)
    assert spent == pytest.approx(1.0, rel=0.01) and spent <= 1
    twice = SpiderBoost.affordable(budget, 2000, slope=1, curvature=1, steps=80, phase=8, batch=500, small_batch=100)
    assert twice.multiplier > found.multiplier


def test_spider_boost_refuses_batches_and_steps_that_are_none():
    budget = Privacy(epsilon=1, delta=1e-5, clip=1)
    for change in ({"steps": 0}, {"batch": 0}, {"small_batch": -5}):
        with pytest.raises(OptionError, match=f"{next(iter(change))} out of range"):
            SpiderBoost.affordable(budget, 100, slope=1, curvature=1,
                                   **{"steps": 5, "phase": 2, "batch": 10, "small_batch": 5, **change})
