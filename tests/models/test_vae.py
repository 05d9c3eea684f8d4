"""VAE: on linear-Gaussian data it is probabilistic PCA, whose likelihood is known in closed form."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

import sundog
from sundog.errors import OptionError, SampleSizeError
from sundog.models.base import Batch, Noise
from sundog.models.vae import VAE

IMAGES = {
    "plain": {"shape": (8, 8)},
    "conditional": {"shape": (2, 16, 16), "context_dim": 2, "normalisation": "group", "upsampling": "nearest"},
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(shape, context_dim=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE(shape, context_dim, **options)


class LinearGaussian:
    """x = mu + W z + s e with z (n, 2), x (n, 5); the law of probabilistic PCA (Tipping & Bishop 1999, eq. 3-8)."""

    # Orthogonal columns: the posterior covariance s^2 (W^T W + s^2)^-1 is then diagonal, as the encoder's is.
    w = torch.tensor([[1.5, 0.4], [1.0, -0.9], [0.5, 0.6], [0.0, 0.0], [0.0, 0.0]]).double()
    mu = torch.tensor([0.3, -0.2, 0.1, 0.0, 0.5]).double()
    s2 = 0.25

    def rows(self, n, seed=0):
        z, e = (torch.randn(n, k, generator=seeded(seed + i), dtype=torch.float64) for i, k in ((0, 2), (1000, 5)))
        return self.mu + z @ self.w.T + math.sqrt(self.s2) * e

    def law(self):
        c = self.w @ self.w.T + self.s2 * torch.eye(5)
        return torch.distributions.MultivariateNormal(self.mu, c)

    def best(self, **options):
        """The VAE with the exact decoder and the exact posterior."""
        model = make((5,), latent=2, hidden=(), decoder_variance=self.s2, **options).double()
        m = self.w.T @ self.w + self.s2 * torch.eye(2)
        guess = torch.linalg.solve(m, self.w.T)
        set_linear(model.decoder, self.w, self.mu)
        spread = (self.s2 / m.diagonal()).log()
        set_linear(model.encoder, torch.cat([guess, torch.zeros(2, 5)]), torch.cat([-guess @ self.mu, spread]))
        return model


def set_linear(net, weight, bias):
    net[0].weight.data, net[0].bias.data = weight.clone(), bias.clone()


def best_pca(x, k):
    """Largest mean log-likelihood of probabilistic PCA with k components (Tipping & Bishop 1999, eq. 4, 7, 8)."""
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    d, rest = len(values), values[k:].mean()
    return float(-0.5 * (d * math.log(2 * math.pi) + values[:k].log().sum() + (d - k) * rest.log() + d))


class TestProbabilisticPCA:
    truth = LinearGaussian()

    def test_exact_posterior_gives_the_exact_likelihood(self):
        """p(x, z) / q(z|x) = p(x) for every z, so a single draw is exact."""
        assert float((self.truth.w[:, 0] * self.truth.w[:, 1]).sum().abs()) < 1e-6
        x, model = self.truth.rows(200), self.truth.best()
        for draws in (1, 5):
            found = model.log_likelihood(x, None, seeded(7), draws=draws)
            torch.testing.assert_close(found, self.truth.law().log_prob(x))

    def test_elbo_of_the_exact_posterior_is_the_likelihood_on_average(self):
        x, model = self.truth.rows(20_000), self.truth.best()
        e = torch.randn(20_000, 2, generator=seeded(8), dtype=torch.float64)
        off = (model.elbo(x, None, e) - self.truth.law().log_prob(x)).detach()
        error = float(off.std() / math.sqrt(len(x)))
        assert abs(float(off.mean())) < 4 * error < 0.05

    def test_a_wrong_posterior_costs_its_divergence(self):
        """Shifting the guess by b lowers the ELBO by KL(q|p(z|x)) = sum b^2 / (2 v); importance weights win it back."""
        x, model = self.truth.rows(4000), self.truth.best()
        b = 0.3
        model.encoder[0].bias.data[:2] += b
        variance = model.encoder[0].bias.data[2:].exp()
        e = torch.randn(4000, 2, generator=seeded(8), dtype=torch.float64)
        exact = self.truth.law().log_prob(x)
        off = (model.elbo(x, None, e) - exact).detach()
        cost = float((b**2 / (2 * variance)).sum())
        error = float(off.std() / math.sqrt(len(x)))
        assert abs(float(off.mean()) + cost) < 4 * error < cost
        with torch.no_grad():
            weighted = [model.log_likelihood(x, None, seeded(9), draws=k) for k in (1, 10, 200)]
        gaps = [abs(float((found - exact).mean())) for found in weighted]
        assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]

    def test_beta_weighs_the_divergence_from_the_prior(self):
        x, e = self.truth.rows(50), torch.zeros(50, 2, dtype=torch.float64)
        one, two, none = (self.truth.best(beta=beta).elbo(x, None, e) for beta in (1.0, 2.0, 0.0))
        mean, log_variance = self.truth.best().encode(x, None)
        q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        p = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
        kl = torch.distributions.kl_divergence(q, p).sum(1)
        torch.testing.assert_close(none - one, kl)
        torch.testing.assert_close(one - two, kl)

    def test_samples_have_the_covariance_of_the_law(self):
        n = 20_000
        x = self.truth.best().sample(n, None, seeded(3)).detach()
        c = self.truth.law().covariance_matrix
        error = torch.sqrt((c.diagonal()[:, None] * c.diagonal() + c.square()) / n)
        assert ((torch.cov(x.T) - c).abs() < 4.5 * error).all()
        assert ((torch.cov(x.T) - self.truth.w @ self.truth.w.T).abs() > 4.5 * error).any()  # without the noise

    def test_training_reaches_the_best_likelihood_of_pca(self):
        """Lucas et al. 2019: the optimal ELBO of a linear VAE is the likelihood of PCA."""
        x = self.truth.rows(4000).float()
        model = make((5,), latent=2, hidden=())
        optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
        steps = 800
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, steps)
        for step in range(steps):
            rows = x[500 * (step % 8) :][:500]
            loss = model.loss(Batch(rows), Noise(seeded(step), 500, slice(0, 500)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            e = torch.randn(10, 4000, 2, generator=seeded(1))
            elbo = torch.stack([model.elbo(x, None, part) for part in e]).mean(0)
        best = best_pca(x.double(), 2)
        noise = float(elbo.std()) / math.sqrt(len(x) * 10)  # of the draws; the rows are the same
        assert best - 0.02 < float(elbo.mean()) < best + 4 * noise
        assert best_pca(x.double(), 1) < best - 0.1  # one code fewer would be seen
        assert float(model.log_variance.detach().exp()) == pytest.approx(self.truth.s2, rel=0.05)
        assert model.active_units(x, None) == 2


def test_collapse_is_seen():
    """A code that the encoder does not set is not counted."""
    model = LinearGaussian().best()
    x = LinearGaussian().rows(500)
    assert model.active_units(x, None) == 2
    model.encoder[0].weight.data[1] = 0
    assert model.activity(x, None)[1] < 1e-12
    assert model.active_units(x, None) == 1
    with pytest.raises(SampleSizeError, match="at least 2"):
        model.activity(x[:1], None)


@pytest.mark.slow
@pytest.mark.parametrize(("variance", "count"), [(0.3, 2), (2.5, 1), (5.0, 0)])
def test_training_switches_a_code_off_below_the_decoder_variance(variance, count):
    """A linear VAE of fixed s^2 uses as many codes as the covariance has eigenvalues above s^2 (Lucas et al. 2019)."""
    truth = LinearGaussian()
    eigenvalues = torch.linalg.eigvalsh(truth.law().covariance_matrix)
    assert int((eigenvalues > variance).sum()) == count  # 3.75, 1.58 and three times 0.25
    data = sundog.Dataset.from_arrays(truth.rows(4000).float())
    run = sundog.fit("vae", data, plan=sundog.Plan(steps=2000, learning_rate=1e-2), scaling="identity", latent=4,
                     hidden=(), decoder_variance=variance)
    assert run.model.active_units(data.values, None) == count


@pytest.mark.parametrize("name", IMAGES)
class TestImages:
    def make(self, name, n=6):
        model = make(**IMAGES[name], latent=5, width=3)
        x = torch.randn(n, *model.shape, generator=seeded(2))
        return model, x, torch.randn(n, 2, generator=seeded(3)) if "context_dim" in IMAGES[name] else None

    def test_gradients_reach_every_parameter(self, name):
        model, x, context = self.make(name)
        (objective,) = model.objectives()
        assert len(objective.parameters) == len(list(model.parameters()))
        loss = objective.loss(Batch(x, context), Noise(seeded(), len(x), slice(0, len(x))))
        for gradient in torch.autograd.grad(loss, list(objective.parameters)):
            assert torch.isfinite(gradient).all()
            assert gradient.abs().max() > 0

    def test_context_and_shape(self, name):
        model, x, context = self.make(name)
        fakes = model.sample(len(x), context, seeded())
        assert fakes.shape == x.shape
        assert model.log_likelihood(x, context, seeded(), draws=2).shape == (len(x),)
        if context is not None:
            other = context.flip(0)
            assert (model.sample(len(x), other, seeded()) - fakes).abs().max() > 1e-3
            assert (model.encode(x, other)[0] - model.encode(x, context)[0]).abs().max() > 1e-4


def digits():
    """1797 digits of 8 x 8 pixels in two parts, and the mean log-likelihood of the second under 32 linear codes."""
    x = torch.from_numpy(load_digits().images).float()[torch.randperm(1797, generator=seeded())]
    train, rest = x[:1438], x[1438:]
    scaled = [(part.double().flatten(1) - train.mean()) / train.std() for part in (train, rest)]
    values, vectors = torch.linalg.eigh(scaled[0].T.cov())
    noise = values[:-32].mean()
    w = vectors[:, -32:] * (values[-32:] - noise).sqrt()
    law = torch.distributions.LowRankMultivariateNormal(scaled[0].mean(0), w, noise.expand(64).clone())
    return train, rest, law.log_prob(scaled[1])


@pytest.mark.slow
def test_digits_are_learned_better_than_by_linear_codes():
    """By 10 nats in 10 CPU s with the defaults; one tenth of the steps is under-trained and does not reach them."""
    train, rest, linear = digits()
    gains = {}
    for steps in (None, 200):
        run = sundog.fit("vae", sundog.Dataset.from_arrays(train, held_out_fraction=0.0), plan=sundog.Plan(steps=steps))
        with torch.no_grad():
            found = run.model.log_likelihood(run.scaling.forward(rest), None, seeded(), draws=64)
        gains[steps] = found.double() - linear
    assert gains[None].mean() > 4 * gains[None].std() / math.sqrt(len(rest))
    assert gains[200].mean() < 0


def test_fixed_variance_is_not_trained():
    model = make((3,), decoder_variance=0.5, hidden=(8,))
    (objective,) = model.objectives()
    assert all(p is not model.slow_log_variance for p in objective.parameters)
    assert float(model.log_variance.exp()) == pytest.approx(0.5)
    assert any(p is m.slow_log_variance for m in [make((3,), hidden=(8,))] for p in m.objectives()[0].parameters)


def test_learned_variance_keeps_up_with_the_error_of_the_decoder():
    """Given the maps, the best s^2 is the mean squared error; at Adam's pace of 1e-3 it would be above exp(-0.3)."""
    x = LinearGaussian().rows(2000).float() * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1])
    run = sundog.fit("vae", sundog.Dataset.from_arrays(x), plan=sundog.Plan(steps=300, batch=256, ema=0.9),
                     scaling="identity", latent=2, hidden=(32,))
    with torch.no_grad():
        mean, log_variance = run.model.encode(x, None)
        z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=seeded())
        error = float((x - run.model.decode(z, None)).square().mean())
    assert float(run.model.log_variance.detach().exp()) == pytest.approx(error, rel=0.15)
    assert error < 0.6  # below what the slow pace could have reached


@pytest.mark.parametrize("options", [
    {"shape": (8, 16)},
    {"shape": (12, 12)},
    {"shape": (2,), "beta": -1.0},
    {"shape": (2,), "decoder_variance": 0.0},
    {"shape": (2,), "decoder_variance": "fitted"},
    {"shape": (8, 8), "hidden": (32,)},
    {"shape": (2,), "width": 8},
])
def test_impossible_settings_are_named(options):
    with pytest.raises(OptionError, match="expected"):
        make(**options)


def test_no_draws_is_an_error():
    with pytest.raises(OptionError, match="draws out of range: got 0"):
        make((2,), hidden=(4,)).log_likelihood(torch.zeros(1, 2), None, seeded(), draws=0)
