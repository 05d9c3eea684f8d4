"""Wasserstein GAN: penalties in closed form, the critic's optimum, images, and the ring of eight."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import sundog
from sundog.errors import OptionError, ShapeError
from sundog.models.base import Batch, Noise
from sundog.models.gan import WassersteinGAN, gradient_penalty, slopes
from sundog.simulate.densities import GaussianMixture

IMAGES = {
    "plain": {"shape": (8, 8)},
    "group, nearest, bound": {"shape": (2, 16, 16), "normalisation": "group", "upsampling": "nearest", "bound": 5.0},
    "conditional": {"shape": (1, 8, 8), "context_dim": 2, "penalty": "one-sided"},
    "norm": {"shape": (8, 8), "penalty": "norm"},
    "batch": {"shape": (8, 8), "normalisation": "batch", "initial": "dcgan", "lazy": 2},
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(shape, context_dim=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WassersteinGAN(shape, context_dim, **options)


class TestPenalty:
    real = torch.randn(50, 3, generator=seeded(1), dtype=torch.float64)
    fake = torch.randn(50, 3, generator=seeded(2), dtype=torch.float64)

    @pytest.mark.parametrize("slope", [0.3, 1.0, 2.5])
    def test_linear_critic(self, slope):
        """|grad (w.x + b)| = |w| everywhere."""
        w = slope * torch.tensor([2.0, -1.0, 2.0]).double() / 3
        law = {"two-sided": (slope - 1) ** 2, "one-sided": max(0.0, slope - 1) ** 2, "norm": slope}
        for kind, value in law.items():
            for generator in (None, seeded()):
                found = gradient_penalty(lambda x: x @ w + 7, self.real, self.fake, kind, generator)
                assert float(found) == pytest.approx(value, abs=1e-12)

    @pytest.mark.parametrize("generator", [None, seeded(3)])
    def test_points_lie_evenly_between_real_and_fake(self, generator):
        """D(y) = y^2 / 2 has slope |y|; from fake 0 to real a: E (u a - 1)^2 = a^2 / 3 - a + 1."""
        a, n = 2.0, 20_000
        real = torch.full((n, 1), a, dtype=torch.float64)
        found = float(gradient_penalty(lambda y: y.square() / 2, real, 0 * real, generator=generator).detach())
        value, fourth = a**2 / 3 - a + 1, ((a - 1) ** 5 + 1) / (5 * a)
        error = math.sqrt((fourth - value**2) / n)
        assert abs(found - value) < 4 * error
        assert abs(found - (a - 1) ** 2) > 4 * error  # the slope at the real rows alone
        assert abs(found - 1) > 4 * error  # and at the fake rows alone

    def test_gradient_by_the_parameters_of_the_critic(self):
        """d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|, also where gradients are switched off."""
        w = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(gradient_penalty(lambda x: x @ w, self.real, self.fake), w)
        torch.testing.assert_close(gradient, 8 * w.detach() / 5)
        with torch.no_grad():
            assert float(gradient_penalty(lambda x: x @ w, self.real, self.fake)) == pytest.approx(16)

    def test_flat_critic_has_a_finite_gradient(self):
        w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(gradient_penalty(lambda x: x @ w, self.real, self.fake), w)
        assert torch.isfinite(gradient).all()

    def test_bad_input(self):
        with pytest.raises(OptionError, match="two-sided"):
            gradient_penalty(torch.sum, self.real, self.fake, "three-sided")
        with pytest.raises(ShapeError, match="as many"):
            gradient_penalty(torch.sum, self.real, self.fake[:9])


def noise(n, seed=0):
    return Noise(seeded(seed), n, slice(0, n))


@pytest.mark.parametrize("weight", [10.0, 0.5])
def test_best_critic_of_two_shifted_normals(weight):
    """Data N(d, 1) along one of two axes, fakes N(0, 1): the best critic is s y along it, and its loss

    min_s lambda (s - 1)^2 - s d = -d - d^2 / (4 lambda).
    """
    d, n = 2.0, 20_000
    model = make((2,), latent=2, hidden=(16,), penalty_weight=weight)
    model.generator = nn.Identity()
    data = torch.randn(n, 2, generator=seeded(1)) + torch.tensor([d, 0.0])
    start = float(model.critic_loss(Batch(data), noise(n)).detach())
    optimiser = torch.optim.Adam(model.critic.parameters(), lr=1e-2)
    for step in range(300):
        loss = model.critic_loss(Batch(data[512 * (step % 39) :][:512]), noise(512, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    best = -d - d**2 / (4 * weight)
    error = (1 + d / (2 * weight)) * math.sqrt(2 / n)
    found = float(model.critic_loss(Batch(data), noise(n, 1000)).detach())
    assert abs(found - best) < 4 * error
    assert abs(start - best) > 4 * error


@pytest.mark.parametrize("name", IMAGES)
class TestImages:
    def make(self, name, n=6):
        model = make(**IMAGES[name], latent=5, width=3)
        x = torch.randn(n, *model.shape, generator=seeded(2))
        context = torch.randn(n, 2, generator=seeded(3)) if "context_dim" in IMAGES[name] else None
        return model, x, context

    def test_gradients_reach_every_parameter_of_their_own_network(self, name):
        model, x, context = self.make(name)
        owned = [len(objective.parameters) for objective in model.objectives()]
        assert sum(owned) == len(list(model.parameters()))
        for objective in model.objectives():
            loss = objective.loss(Batch(x, context), noise(len(x)))
            for gradient in torch.autograd.grad(loss, list(objective.parameters)):
                assert torch.isfinite(gradient).all()
                assert gradient.abs().max() > 0

    def test_rows_do_not_see_each_other(self, name):
        model, x, context = self.make(name)
        part = None if context is None else context[:2]
        torch.testing.assert_close(model.criticise(x, context)[:2], model.criticise(x[:2], part))
        fakes = model.sample(len(x), context, seeded())
        assert fakes.shape == x.shape
        if context is not None:  # both networks read the context
            other = context.flip(0)
            assert (model.sample(len(x), other, seeded()) - fakes).abs().max() > 1e-3
            assert (model.criticise(x, other) - model.criticise(x, context)).abs().max() > 1e-3

    def test_trains_and_comes_back_from_disk(self, name, tmp_path):
        model, x, _ = self.make(name, n=40)
        context = x.flatten(1)[:, :2] ** 2 if model.context_dim else None
        options = {k: v for k, v in IMAGES[name].items() if k not in ("shape", "context_dim")}
        run = sundog.fit("gan", sundog.Dataset.from_arrays(x, context), plan=sundog.Plan(steps=2, batch=8), latent=5,
                         width=3, critic_steps=2, **options)
        run.save(tmp_path / "run")
        assert torch.equal(run.sample(3, seed=1).values, sundog.load_run(tmp_path / "run").sample(3, seed=1).values)


class TestPublishedPreset:
    def count(self, net):
        return sum(p.numel() for p in net.parameters())

    def make(self, shape, **options):
        with torch.device("meta"):  # no memory, no time for 26 million random weights
            return WassersteinGAN(shape, preset="mmdl", **options)

    def test_parameters_of_the_published_layers(self):
        model = self.make((5, 128, 128))
        assert self.count(model.critic) == 11_164_609 and self.count(model.generator) == 15_361_871
        assert self.count(self.make((1, 128, 128)).critic) == 11_164_609 - 4 * 64 * 16  # negative control
        assert model.config()["penalty_weight"] == 10 and model.config()["betas"] == [0.5, 0.9]

    def test_any_power_of_two_and_own_settings(self):
        model = self.make((3, 32, 32), width=8, latent=20)
        assert model.grid == (3, 32, 32) and model.config()["bound"] == 15.0
        assert model.config()["width"] == 8 and model.latent == 20 and model.default_batch == 32

    def test_initial_weights_and_bound(self):
        model = make((2, 32, 32), preset="mmdl", width=16, latent=32)
        for net in (model.generator, model.critic):
            for layer in net.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    n = layer.weight.numel()
                    assert abs(float(layer.weight.std().detach()) - 0.02) < 4 * 0.02 / math.sqrt(2 * n)
        model.generator.layers[-2].weight.data += 1000.0
        assert float(model.sample(4, None, seeded()).detach().abs().max()) <= 15.0


def test_batch_statistics_at_sampling_are_those_of_a_fixed_reference():
    """A fake depends on its own z alone, whatever was trained on or drawn before."""
    model = make((8, 8), normalisation="batch", width=4, latent=6)
    one = model.sample(64, None, seeded(1)).detach()
    model.critic_loss(Batch(torch.randn(16, 8, 8, generator=seeded(2))), noise(16))  # sees other batches
    assert model.generator.training
    torch.testing.assert_close(model.sample(64, None, seeded(1)).detach(), one)
    z = model.row_noise(64, seeded(1)).normal(6)
    own = model.generate(z, None).detach()  # statistics of this very batch: close, not equal
    assert float((own - one).abs().max()) > 1e-4
    model.generator.eval()
    own = model.generate(z[:3], None).detach()
    model.generator.train()
    assert float((own - one[:3]).abs().max()) > 1e-4  # the last batch was another one
    model.sample(2, None, seeded(3))
    model.generator.eval()
    torch.testing.assert_close(model.generate(z[:3], None).detach(), one[:3])


def test_lazy_penalty_is_that_of_every_second_row():
    model = make((3,), latent=4, hidden=(16,))
    x = 3 * torch.randn(10, 3, generator=seeded(5))
    whole = float(model.critic_loss(Batch(x), noise(10)).detach())
    model.options = replace(model.options, lazy=2)
    lazy = float(model.critic_loss(Batch(x), noise(10)).detach())
    n = noise(10)
    fake = model.generate(n.normal(4), None).detach()
    gap = float((model.criticise(fake, None).mean() - model.criticise(x, None).mean()).detach())
    penalty = (slopes(lambda y: model.criticise(y, None), x, fake, n.uniform(1)) - 1).square().detach()
    assert lazy == pytest.approx(gap + model.options.penalty_weight * float(penalty[::2].mean()), abs=1e-6)
    assert whole == pytest.approx(gap + model.options.penalty_weight * float(penalty.mean()), abs=1e-6)
    assert lazy != pytest.approx(whole, abs=1e-4)


def test_score_prefers_the_law_to_a_collapsed_generator():
    model = make((2,), latent=2)
    x = torch.randn(1000, 2, generator=seeded(4))
    model.generator = nn.Identity()
    right = float(model.score(x, None))
    model.generator = nn.Threshold(1e9, 0.0)  # every fake the same point
    assert right < 0.02 < 0.5 < float(model.score(x, None))


def test_rows_of_weight_zero_do_not_move_the_critic():
    model = make((2,), latent=2, hidden=(8,))
    x = torch.randn(8, 2, generator=seeded(5))
    weights = torch.tensor([2.0, 0.0]).repeat(4)
    far = torch.where(weights[:, None] > 0, x, x + 100)

    def gap(rows, w):  # without the penalty, which knows no weights
        model.options = replace(model.options, penalty_weight=0.0)
        return float(model.critic_loss(Batch(rows, None, w), noise(8)).detach())

    assert gap(x, weights) == pytest.approx(gap(far, weights))
    assert gap(x, None) != pytest.approx(gap(far, None))


@pytest.mark.parametrize("options", [
    {"shape": (8, 16)},
    {"shape": (12, 12)},
    {"shape": (2, 2, 8, 8)},
    {"shape": (2,), "hidden": ()},
    {"shape": (2,), "penalty": "spectral"},
    {"shape": (2,), "penalty_weight": 0.0},
    {"shape": (2,), "critic_steps": 0},
    {"shape": (2,), "lazy": 0},
    {"shape": (2,), "preset": "stylegan"},
    {"shape": (8, 8), "initial": "zero"},
    {"shape": (8, 8), "context_dim": 1, "normalisation": "batch"},
])
def test_impossible_settings_are_named(options):
    with pytest.raises(OptionError, match="expected"):
        make(**options)


@pytest.mark.slow
def test_ring_of_eight_keeps_all_its_modes():
    """After 1000 generator steps 8 of 8 modes hold fakes and 60 % lie within 4 sigma; a filled circle has half."""
    sigma, n = 0.1, 10_000
    law = GaussianMixture.ring(scale=sigma)
    run = sundog.fit("gan", law.sample(20_000, seed=0), plan=sundog.Plan(steps=1000))

    def near(x):
        distance, nearest = torch.cdist(x.double(), law.means).min(1)
        inside = distance < 4 * sigma
        return float(inside.double().mean()), torch.bincount(nearest[inside], minlength=8) / n

    share, weights = near(run.sample(n, seed=1).values)
    assert share > 0.6
    assert (weights > 0.02).all()
    angle = 2 * math.pi * torch.rand(n, generator=seeded(1))
    filled = 2 * torch.stack([angle.cos(), angle.sin()], 1) + sigma * torch.randn(n, 2, generator=seeded(2))
    assert near(filled)[0] < 0.56
