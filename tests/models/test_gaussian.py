"""The exact Gaussian denoiser against dense linear algebra, quadrature and a fine ODE solution."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from sundog.errors import DataError
from sundog.models.gaussian import law as gaussian
from sundog.models.gaussian.law import GaussianDenoiser, Isotropic, Principal, Spectral
from sundog.solve.samplers import dpm_solver_2m, heun, noise_levels


def rows(n=200, d=6, seed=0):
    """Correlated vectors with a mean."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + 3


def images(n=60):
    """Maps of 4 x 5: white noise, and a slope down that differs between them."""
    g = torch.Generator().manual_seed(2)
    slope = 2 * torch.randn(n, 1, 1, 1, generator=g, dtype=torch.float64)
    return torch.randn(n, 1, 4, 5, generator=g, dtype=torch.float64) + slope * torch.arange(4).double()[:, None]


def fitted(covariance, x):
    return GaussianDenoiser(torch.zeros(x.shape[1:]), covariance).double().fit(x)


def dense(x, sigma, mean, c):
    return mean + (x - mean) @ torch.linalg.solve(c + sigma**2 * torch.eye(len(c)).double(), c)


def cases():
    x = rows()
    maps = x[:, :4].reshape(50, 1, 4, 4)
    return {"isotropic": fitted(Isotropic((6,)), x), "principal": fitted(Principal((6,)), x),
            "part": fitted(Principal((6,), 2), x),
            "cosines": fitted(Principal((1, 4, 5), 6), images()),
            "spectral": fitted(Spectral((1, 4, 4)), maps),
            "odd": fitted(Spectral((1, 3, 5)), torch.randn(9, 1, 3, 5, dtype=torch.float64))}


def matrix(denoiser):
    """C written out, column by column."""
    d = denoiser.mean.numel()
    unit = torch.eye(d, dtype=torch.float64).reshape(d, *denoiser.mean.shape)
    return denoiser.covariance.filtered(unit, denoiser.covariance.spectrum()[0][None]).reshape(d, d)


def test_principal_components_are_the_sample_covariance():
    x = rows()
    assert torch.allclose(matrix(fitted(Principal((6,)), x)), torch.cov(x.T, correction=0), rtol=1e-6)


def test_a_part_is_turned_and_the_rest_keeps_its_own_variances():
    x = rows()
    c, full = matrix(fitted(Principal((6,), 2), x)), torch.cov(x.T, correction=0)
    loud = full.diag().argsort(descending=True)[:2]
    wanted = torch.diag(full.diag())
    wanted[loud[:, None], loud] = full[loud[:, None], loud]
    assert torch.allclose(c, wanted, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(c, full, rtol=0.1, atol=0.1)


def test_images_are_diagonal_in_cosine_modes_but_for_the_loudest():
    x = images() @ torch.linspace(0.1, 2, 5).double().diag()
    c = matrix(fitted(Principal((1, 4, 5), 6), x))
    modes = dctn((x - x.mean(0)).numpy(), axes=(-2, -1), norm="ortho").reshape(len(x), 20)
    full = modes.T @ modes / len(x)
    loud = np.argsort(-full.diagonal())[:6]
    wanted = np.diag(full.diagonal())
    wanted[np.ix_(loud, loud)] = full[np.ix_(loud, loud)]
    cosines = dctn(np.eye(20).reshape(20, 4, 5), axes=(-2, -1), norm="ortho").reshape(20, 20)
    assert np.allclose(cosines.T @ c.numpy() @ cosines, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", cases())
class TestEveryForm:
    def x(self, denoiser, n=7):
        g = torch.Generator().manual_seed(5)
        return denoiser.mean + 3 * torch.randn(n, *denoiser.mean.shape, generator=g, dtype=torch.float64)

    def test_posterior_mean(self, name):
        denoiser = cases()[name]
        x, c = self.x(denoiser), matrix(denoiser)
        for sigma in (0.01, 1.0, 50.0):
            exact = dense(x.flatten(1), sigma, denoiser.mean.flatten(), c).reshape(x.shape)
            assert torch.allclose(denoiser(x, torch.tensor(sigma)), exact, rtol=1e-8, atol=1e-8)

    def test_one_sigma_per_row(self, name):
        denoiser = cases()[name]
        x, sigma = self.x(denoiser), torch.logspace(-2, 2, 7)
        one_by_one = torch.cat([denoiser(x[i : i + 1], sigma[i]) for i in range(7)])
        assert torch.allclose(denoiser(x, sigma), one_by_one)

    def test_error_is_what_the_trace_says(self, name):
        denoiser = cases()[name]
        c = matrix(denoiser)
        left = torch.linalg.inv(torch.linalg.inv(c) + torch.eye(len(c)).double() / 4)
        assert math.isclose(float(denoiser.error(torch.tensor(2.0))), math.sqrt(left.trace() / len(c)), rel_tol=1e-6)

    def test_the_flow_is_the_one_of_the_equation(self, name):
        denoiser = cases()[name]
        x = 5 * self.x(denoiser)
        fine = heun(denoiser, x, noise_levels(800, sigma_min=0.001, sigma_max=5.0))
        one_step = denoiser.carried(x, 5.0, 0.0)
        assert torch.allclose(one_step, fine, rtol=2e-3, atol=2e-3)
        few = dpm_solver_2m(denoiser, x, noise_levels(2, sigma_min=0.001, sigma_max=5.0), around=denoiser)
        assert torch.allclose(few, one_step, rtol=1e-9, atol=1e-9)

    def test_samples_have_mean_and_covariance(self, name):
        denoiser, n = cases()[name], 20_000
        x = denoiser.sample(n, torch.Generator().manual_seed(3), sigma=0.5).flatten(1)
        c = matrix(denoiser) + 0.25 * torch.eye(x.shape[1]).double()
        assert ((x.mean(0) - denoiser.mean.flatten()).abs() < 4.5 * (c.diag() / n).sqrt()).all()
        spread = ((c.diag()[:, None] * c.diag() + c**2) / n).sqrt()
        assert ((torch.cov(x.T) - c).abs() < 4.5 * spread).all()
        assert ((torch.cov(x.T) - 1.2 * c).abs() > 4.5 * spread).any()  # 20 % too much is seen


def falling(n=6000, seed=6):
    """Vectors given c in [-1, 1]: mean (c, 0, 0), standard deviations (1, e^c, e^(8 c)): seven decades in amplitude."""
    g = torch.Generator().manual_seed(seed)
    c = 2 * torch.rand(n, 1, generator=g, dtype=torch.float64) - 1
    return torch.randn(n, 3, generator=g, dtype=torch.float64) * scatter(c) + c * torch.eye(3).double()[0], c


def scatter(c):
    return torch.cat([torch.ones_like(c), c.exp(), (8 * c).exp()], 1)


class TestByContext:
    """Mean and variances that follow a context."""

    def fitted(self, covariance, x=None, c=None):
        x, c = falling() if x is None else (x, c)
        return GaussianDenoiser(torch.zeros(x.shape[1:]), covariance, c.shape[1]).double().fit(x, c)

    def test_mean_and_variances_are_those_of_the_context(self):
        """375 rows to a place: 5 % of the mean and 4 % of the scatter to one sigma, and some blur between places."""
        denoiser = self.fitted(Principal((3,), 1))
        c = torch.linspace(-0.8, 0.8, 9).double()[:, None]
        mean, variances = denoiser.by_context(c)
        assert ((mean - c * torch.eye(3).double()[0]).abs() < 4.5 * scatter(c) / 375**0.5).all()
        order = denoiser.covariance.order
        assert ((variances.sqrt() / scatter(c)[:, order]).log().abs() < 4.5 * (0.5 / 375) ** 0.5).all()
        pooled = denoiser.covariance.spectrum()[0].sqrt()
        assert (pooled / scatter(c)[:, order]).max() > 1000  # what one variance for all would be off by

    def test_at_the_ends_steep_variances_are_blurred(self):
        """A place has no neighbour beyond them: e^(8 c) is too loud below and too quiet above, by less than 2."""
        denoiser = self.fitted(Principal((3,), 1))
        c = torch.tensor([[-1.0], [1.0]]).double()
        off = denoiser.by_context(c)[1].sqrt()[:, 0] / scatter(c)[:, 2]  # the loudest direction
        assert 1.1 < off[0] < 2
        assert 0.5 < off[1] < 0.9

    def test_posterior_mean_row_by_row(self):
        denoiser = self.fitted(Principal((3,), 1))
        x, c = falling(50, seed=7)
        mean, variances = denoiser.by_context(c)
        order = denoiser.covariance.order
        v = torch.empty_like(variances)
        v[:, order] = variances
        expected = mean + v / (v + 0.25) * (x - mean)
        assert torch.allclose(denoiser.given(c)(x, torch.tensor(0.5)), expected)
        few = dpm_solver_2m(denoiser.given(c), x, noise_levels(3, sigma_min=0.01, sigma_max=5.0),
                            around=denoiser.given(c))
        exact = mean + (v / (v + 25)).sqrt() * (x - mean)
        assert torch.allclose(few, exact, rtol=1e-6, atol=1e-6)

    def test_hidden_contexts_get_the_law_of_all_data(self):
        denoiser = self.fitted(Principal((3,)))
        x, c = falling(6, seed=8)
        known = torch.tensor([0.0, 1, 0, 1, 1, 0])[:, None]
        both = denoiser.given(c, known)(x, torch.tensor(0.5))
        hidden = known[:, 0] == 0
        assert torch.allclose(both[hidden], denoiser(x, torch.tensor(0.5))[hidden])
        assert torch.allclose(both[~hidden], denoiser.given(c)(x, torch.tensor(0.5))[~hidden])
        assert not torch.allclose(both[hidden], denoiser.given(c)(x, torch.tensor(0.5))[hidden], rtol=0.01)

    def test_fields_have_one_level_and_a_spectrum_for_each_context(self):
        g = torch.Generator().manual_seed(2)
        c = 2 * torch.rand(3000, 1, generator=g, dtype=torch.float64) - 1
        white = torch.randn(3000, 1, 6, 6, generator=g, dtype=torch.float64)
        x = c[..., None, None] + c.exp()[..., None, None] * white
        mean, power = self.fitted(Spectral((1, 6, 6)), x, c).by_context(torch.tensor([[-0.7], [0.7]]).double())
        assert (mean - mean[:, :, :1, :1]).abs().max() == 0
        # 190 maps to a place, each with 36 pixels; contexts within a place differ by 0.1.
        assert torch.allclose(mean[:, 0, 0, 0], torch.tensor([-0.7, 0.7]).double(), atol=0.1)
        assert torch.allclose(power[:, 1:].mean(1), torch.tensor([-1.4, 1.4]).double().exp(), rtol=0.15)
        mean, _ = self.fitted(Isotropic((6,)), x[:, 0, 0], c).by_context(torch.tensor([[-0.7], [0.7]]).double())
        assert (mean - mean[:, :1]).abs().max() == 0
        assert torch.allclose(mean[:, 0], torch.tensor([-0.7, 0.7]).double(), atol=0.2)

    def test_two_classes_have_the_moments_of_their_rows(self):
        g = torch.Generator().manual_seed(1)
        c = (torch.rand(900, 1, generator=g) < 0.4).double()
        x = (1 + 2 * c) * torch.randn(900, 2, generator=g, dtype=torch.float64) + 3 * c
        mean, variances = self.fitted(Principal((2,), 1), x, c).by_context(torch.tensor([[0.0], [1.0]]).double())
        for i in range(2):
            own = x[c[:, 0] == i]
            assert torch.allclose(mean[i], own.mean(0), rtol=1e-6)
            assert torch.allclose(variances[i].sum(), own.var(0, correction=0).sum(), rtol=1e-6)

    @pytest.mark.parametrize("turns", [1, 3])
    def test_images_in_several_positions_keep_their_contexts(self, turns):
        """Copies one after the other: the law of the copies with their contexts beside them."""
        x, c = falling(400)
        copies = torch.cat([x * (i + 1) for i in range(turns)])
        found = self.fitted(Principal((3,), 1), copies, c)
        wanted = self.fitted(Principal((3,), 1), copies, c.repeat(turns, 1))
        scrambled = self.fitted(Principal((3,), 1), copies, c.repeat_interleave(turns, 0))
        at = torch.linspace(-0.5, 0.5, 3).double()[:, None]
        closest = {name: (law.by_context(at)[1].log() - found.by_context(at)[1].log()).abs().max()
                   for name, law in (("wanted", wanted), ("scrambled", scrambled))}
        assert closest["wanted"] < 0.5  # their places differ, a hundred rows and more to each
        assert bool(closest["scrambled"] > 2) is (turns > 1)

    def test_rare_contexts_borrow_the_law_of_their_neighbours(self):
        """A place with a handful of rows would be those rows: all of its variances 0, and every loss NaN."""
        g = torch.Generator().manual_seed(0)
        c = torch.exp(1.5 * torch.randn(2000, 1, generator=g, dtype=torch.float64))
        c[0] = 3000.0
        law = self.fitted(Principal((2,), 1), torch.randn(2000, 2, generator=g, dtype=torch.float64), c)
        mean, variances = law.by_context(c)
        assert ((variances > 0.3) & (variances < 3)).all()
        assert mean.abs().max() < 1
        a_class = (torch.arange(400) == 7).double()[:, None]  # one row of its own
        law = self.fitted(Principal((2,), 1), torch.randn(400, 2, generator=g, dtype=torch.float64), a_class)
        assert ((law.by_context(a_class)[1] > 0.5) & (law.by_context(a_class)[1] < 2)).all()

    def test_the_density_has_a_gradient_in_the_context(self):
        denoiser = self.fitted(Principal((3,), 1), *falling(200))  # six places of sixteen are in use
        x, c = falling(5, seed=9)
        c.requires_grad_()
        (slope,) = torch.autograd.grad(denoiser.given(c).log_prob(x).sum(), c)
        step = torch.full_like(c, 1e-5)
        numeric = (denoiser.given(c + step).log_prob(x) - denoiser.given(c - step).log_prob(x)) / 2e-5
        assert torch.allclose(slope[:, 0], numeric, rtol=1e-3, atol=1e-3)

    def test_rows_without_context_are_named(self):
        with pytest.raises(DataError, match="follows a context"):
            GaussianDenoiser(torch.zeros(3), Principal((3,)), 1).double().fit(falling()[0])


def test_what_the_rest_of_the_denoiser_adds():
    """The closed form of the integral against quadrature, and its limit without covariance."""
    v, sigma, after = torch.tensor([0.0, 1e-6, 0.3, 40.0]).double(), 2.0, 0.5
    u = torch.linspace(after, sigma, 20_001, dtype=torch.float64)
    numeric = torch.trapezoid(((v[:, None] + after**2) / (v[:, None] + u**2)).sqrt() / u, u)
    assert torch.allclose(gaussian._push(v, sigma, after), numeric, rtol=1e-6)
    assert math.isclose(gaussian._push(v, sigma, after)[0], 1 - after / sigma, rel_tol=1e-6)


def test_around_nothing_is_the_plain_solver():
    """With a vanishing covariance the integrator is DPM-Solver++(2M) as published."""
    nothing = GaussianDenoiser(torch.zeros(1).double(), 0.0).double()
    x, levels = torch.linspace(-40, 40, 9).double()[:, None], noise_levels(12, sigma_min=0.01, sigma_max=20.0)

    def two_points(x, sigma):
        return torch.tanh(x / sigma**2)

    assert torch.allclose(dpm_solver_2m(two_points, x, levels, around=nothing), dpm_solver_2m(two_points, x, levels))


def test_around_a_wrong_gaussian_the_solver_is_still_of_order_two():
    half = GaussianDenoiser(torch.zeros(1).double(), 0.5).double()
    x = torch.linspace(-3, 3, 7).double()[:, None] * 20

    def mixture(x, sigma):  # normal of width 0.2 around +1 and -1
        total = 0.04 + sigma**2
        return (0.04 * x + sigma**2 * torch.tanh(x / total)) / total

    fine = heun(mixture, x, noise_levels(3000, sigma_min=1e-3, sigma_max=20.0))
    errors = [(dpm_solver_2m(mixture, x, noise_levels(n, sigma_min=1e-3, sigma_max=20.0), around=half) - fine)
              .square().mean().sqrt() for n in (50, 100, 200)]
    assert all(1.6 < math.log2(a / b) < 2.6 for a, b in zip(errors, errors[1:]))


def test_few_rows_give_few_components_and_global_numbers_stay():
    state = torch.get_rng_state()
    denoiser = fitted(Principal((6,)), rows(n=9))
    covariance = denoiser.covariance
    assert torch.equal(covariance.axes[2:], torch.eye(6).double()[2:])  # a quarter of nine rows: two are turned
    assert not torch.allclose(covariance.axes[:2, :2].abs(), torch.eye(2).double())
    assert torch.allclose(matrix(denoiser).diag(), rows(n=9).var(0, correction=0))
    assert torch.equal(state, torch.get_rng_state())


def test_autocast_does_not_round_the_linear_part():
    denoiser = fitted(Principal((6,)), rows()).float()
    x = rows(5).float()
    with torch.autocast("cpu", torch.bfloat16):
        low = denoiser(x, torch.tensor(1.0))
    assert torch.equal(low, denoiser(x, torch.tensor(1.0)))


def test_rows_that_are_all_the_same_are_named():
    with pytest.raises(DataError, match="nothing to learn"):
        fitted(Principal((4,)), torch.ones(30, 4).double())
