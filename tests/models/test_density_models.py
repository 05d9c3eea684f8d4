"""Flows and flow matching against a law with a known density."""

import math

import pytest
import torch

import sundog
from sundog import Plan
from sundog.errors import OptionError, ShapeError, SundogError
from sundog.models.diffusion import Diffusion
from sundog.models.matching import FlowMatching

COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])


def conditional_gaussian(n, seed):
    """x | m ~ N((m, -m, 0) + shift, COVARIANCE) in units 10 and 0.1 times the standard ones, m ~ U(-1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    m = torch.rand(n, 1, generator=generator) * 2 - 1
    noise = torch.randn(n, 3, generator=generator) @ torch.linalg.cholesky(COVARIANCE).T
    x = noise + m * torch.tensor([[1.0, -1.0, 0.0]])
    scale = torch.tensor([10.0, 0.1, 1.0])
    return sundog.Dataset.from_arrays(x * scale + 5, context=m, names=["a", "b", "c"], context_names=["m"])


def true_log_prob(data):
    scale = torch.tensor([10.0, 0.1, 1.0])
    x = (data.values - 5) / scale - data.context * torch.tensor([[1.0, -1.0, 0.0]])
    law = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), COVARIANCE.double())
    return law.log_prob(x.double()) - scale.log().sum()


FITS = {
    "spline": ("flow", {"transform": "spline", "layers": 2, "hidden": (32, 32)}, Plan(steps=500, batch=512)),
    "affine": ("flow", {"transform": "affine", "layers": 3, "hidden": (32, 32)}, Plan(steps=600, batch=512)),
    "mixed": ("flow", {"hidden": (32, 32)}, Plan(steps=500, batch=512)),
    "matching": ("flow-matching", {"hidden": (64, 64)}, Plan(steps=1500, batch=512)),
}


@pytest.fixture(scope="module", params=FITS)
def fitted(request):
    family, options, plan = FITS[request.param]
    return sundog.fit(family, conditional_gaussian(20_000, 0), plan=plan, **options)


@pytest.mark.slow
def test_density_is_the_true_one(fitted):
    """Mean log-ratio is minus the KL divergence: at most 0.02 nat, and the density integrates to one."""
    test = conditional_gaussian(20_000, 1)
    ratio = true_log_prob(test) - fitted.log_prob(test)
    assert -4 * ratio.std() / math.sqrt(len(ratio)) < ratio.mean() < 0.02
    assert ratio.std() < 0.25


@pytest.mark.slow
def test_negative_control_wrong_context_is_seen(fitted):
    test = conditional_gaussian(20_000, 1)
    shuffled = sundog.Dataset.from_arrays(test.values, test.context.flip(0), test.names, context_names=["m"])
    assert (true_log_prob(test) - fitted.log_prob(shuffled)).mean() > 0.2


@pytest.mark.slow
def test_samples_have_the_true_moments_at_a_fixed_context(fitted):
    n = 20_000
    x = fitted.sample(n, context=0.5, seed=1).values
    z = (x - 5) / torch.tensor([10.0, 0.1, 1.0])
    expected = torch.tensor([0.5, -0.5, 0.0])
    # 4 sigma of the sample, and 3 of the fit: over data sets and seeds the mean scatters by 0.03 standard deviations.
    assert ((z.mean(0) - expected).abs() < 4 / math.sqrt(n) + 0.09).all()
    assert ((z.mean(0) + expected).abs() > 0.5)[:2].all()  # another context would be seen
    assert ((z.T.cov() - COVARIANCE).abs() < 0.06).all()


@pytest.mark.slow
def test_contexts_are_drawn_from_training_when_none_is_given(fitted):
    fakes = fitted.sample(2000, seed=0)
    assert set(fakes.context.flatten().tolist()) <= set(fitted.contexts.flatten().tolist())


def test_wrong_questions_get_clear_errors():
    data = conditional_gaussian(200, 0)
    run = sundog.fit("flow", data, plan=Plan(steps=1), layers=1, hidden=(8,))
    with pytest.raises(ShapeError, match=r"context does not fit the run: got shape \(5, 3\).*m"):
        run.sample(5, context=torch.zeros(5, 3))
    with pytest.raises(ShapeError, match="columns do not fit the run: got x, b, c, m"):
        run.log_prob(sundog.Dataset.from_arrays(data.values, data.context, ["x", "b", "c"], context_names=["m"]))
    with pytest.raises(ShapeError, match="units do not fit"):
        run.log_prob(sundog.Dataset.from_arrays(data.values, data.context, data.names, "GeV", context_names=["m"]))
    with pytest.raises(OptionError, match=r"unknown family: got 'flwo'.*did you mean flow"):
        sundog.fit("flwo", data)
    with pytest.raises(OptionError, match="does not take these options"):
        sundog.fit("flow", data, colour="red")
    with pytest.raises(OptionError, match="draws vectors"):
        sundog.fit("flow", sundog.Dataset.from_arrays(torch.randn(30, 8, 8)))
    free = sundog.fit("flow", sundog.Dataset.from_arrays(data.values), plan=Plan(steps=1), layers=1, hidden=(8,))
    with pytest.raises(ShapeError, match="takes no context"):
        free.sample(5, context=1.0)


def test_context_inside_the_values_is_moved_for_log_prob():
    data = conditional_gaussian(300, 0)
    flat = sundog.Dataset.from_arrays(torch.cat([data.values, data.context], 1), names=["a", "b", "c", "m"])
    run = sundog.fit("flow", flat, context="m", plan=Plan(steps=1), layers=1, hidden=(8,))
    assert torch.equal(run.log_prob(flat), run.log_prob(flat.with_context("m")))


def test_what_has_no_density_has_no_log_prob():
    assert not hasattr(sundog.Run, "log_prob")
    assert hasattr(sundog.DensityRun, "log_prob")


@pytest.mark.parametrize("family", ["flow", "flow-matching"])
def test_fresh_data_of_an_unbounded_law_have_a_density(family):
    """The default scaling finds no edge in a mixture of Gaussians, so no fresh row has density zero."""
    law = sundog.simulate.densities.GaussianMixture.isotropic([[-2.0, 0.0], [2.0, 0.0]], 0.5)
    run = sundog.fit(family, law.sample(4000, seed=0), plan=Plan(steps=20, batch=256), hidden=(16,))
    assert torch.isfinite(run.log_prob(law.sample(4000, seed=9))).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_one_feature_without_context_is_learned(seed):
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(seed))
    run = sundog.fit("flow", sundog.Dataset.from_arrays(x), plan=Plan(steps=300), seed=seed)
    fresh = torch.randn(5000, 1, generator=torch.Generator().manual_seed(50))
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(fresh).sum(1)
    assert (truth - run.log_prob(sundog.Dataset.from_arrays(fresh))).mean() < 0.05
    assert abs(float(run.sample(5000, seed=1).values.std()) - 1) < 0.08


def test_context_columns_are_found_by_name_and_checked_for_units():
    generator = torch.Generator().manual_seed(0)
    m = torch.rand(400, 2, generator=generator)
    data = sundog.Dataset.from_arrays(m[:, :1] + m[:, 1:], m, ["x"], context_names=["m1", "m2"], context_units="TeV")
    run = sundog.fit("flow", data, plan=Plan(steps=1), layers=1, hidden=(8,))
    turned = sundog.Dataset.from_arrays(data.values, m.flip(1), ["x"], context_names=["m2", "m1"], context_units="TeV")
    assert torch.equal(run.sample(400, context=turned).context, m)
    flat = sundog.Dataset.from_arrays(m, names=["m1", "m2"], units="TeV")
    assert torch.equal(run.sample(400, context=flat).context, m)  # a table of nothing else
    with pytest.raises(ShapeError, match="units of the context do not fit the run: got GeV, GeV"):
        run.sample(400, context=sundog.Dataset.from_arrays(data.values, m, ["x"], context_names=["m1", "m2"],
                                                           context_units="GeV"))
    with pytest.raises(ShapeError, match="lacks context columns"):
        run.sample(400, context=data[:400].__class__.from_arrays(m, m, ["a", "b"], context_names=["q", "m2"]))
    with pytest.raises(ShapeError, match="not an array of numbers"):
        run.sample(4, context="heavy")
    with pytest.raises(OptionError, match="cannot sample"):
        run.sample(2.5)


def test_contexts_are_drawn_as_often_as_their_weights_say():
    m = torch.cat([torch.zeros(500), torch.ones(500)])
    x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    data = sundog.Dataset.from_arrays(x, m, weights=torch.where(m == 0, 0.01, 1.0))
    drawn = sundog.fit("flow", data, plan=Plan(steps=1), layers=1, hidden=(8,)).sample(4000).context
    truth = 1.0 / 1.01
    assert abs(float(drawn.mean()) - truth) < 4 * (truth * (1 - truth) * (1 / 800 + 1 / 4000)) ** 0.5


def test_a_context_that_is_there_already_stays():
    data = conditional_gaussian(100, 0)
    assert data.with_context("m") is data


@pytest.mark.parametrize(("words", "message"), [
    ({"plan": {"steps": 3}}, "the plan is not a Plan: got dict"),
    ({"layers": -1}, "layers out of range: got -1, expected a whole number >= 1"),
])
def test_wrong_arguments_are_named(words, message):
    arguments = {"dataset": conditional_gaussian(100, 0), **words}
    with pytest.raises(SundogError, match=message):
        sundog.fit("flow", **arguments)


def test_untrained_matching_of_images_keeps_the_normal_law() -> None:
    """A U-Net that returns zero stands still: images stay standard normal, and the density is theirs."""
    model = FlowMatching((6, 5), parameters=3e4, sampling_steps=2)
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum((1, 2))
    with torch.no_grad():
        found = model.log_prob(x, None, steps=2)
    torch.testing.assert_close(found, expected)
    assert (found - expected.flip(0)).abs().max() > 0.1


class GaussianVelocity(torch.nn.Module):
    """What flow matching learns of N(mu, C): v = mu + (t C - r (1 - r t)) S_t^-1 (x - t mu), r = 1 - sigma_min.

    S_t = (1 - r t)^2 + t^2 C is the covariance on the way; the flow ends in N(mu, C + sigma_min^2).
    """

    def __init__(self, mu, c, sigma_min):
        super().__init__()
        self.mu, self.c, self.r = mu, c, 1 - sigma_min

    def forward(self, x, t, context):
        t, one = float(t.flatten()[0]), torch.eye(len(self.mu)).to(self.c)
        on_the_way = (1 - self.r * t) ** 2 * one + t**2 * self.c
        turn = (t * self.c - self.r * (1 - self.r * t) * one) @ torch.linalg.inv(on_the_way)
        return self.mu + (x - t * self.mu) @ turn.T


def gaussian_matching(trace, stretch=1.0, d=20):
    """Flow matching with the field of a Gaussian, its variances ``stretch`` times too large, and the right law."""
    place = torch.arange(d, dtype=torch.float64)
    mu, c = 0.1 * place, 0.5 ** (place[:, None] - place).abs() * (1 + 0.05 * place)
    c = (c + c.T) / 2
    model = FlowMatching((d,), hidden=(8,), trace=trace, sigma_min=0.1).double()
    model.velocity = GaussianVelocity(mu, stretch * c, 0.1)
    return model, torch.distributions.MultivariateNormal(mu, c + 0.01 * torch.eye(d))


def test_exact_trace_gives_the_gaussian_law():
    model, law = gaussian_matching("auto")  # 20 columns are few enough
    torch.manual_seed(0)
    x = law.sample((50,))
    found, error = model.log_prob_and_error(x, None, steps=40)
    torch.testing.assert_close(found, law.log_prob(x), atol=1e-4, rtol=0)
    assert not error.any()


def test_probed_trace_is_the_gaussian_law_within_its_error():
    """Off-diagonal terms of the Jacobian are the error of a probe; 64 probes tell it to 9 %."""
    model, law = gaussian_matching("hutchinson")
    torch.manual_seed(0)
    x = law.sample((50,))
    found, error = model.log_prob_and_error(x, None, steps=40, probes=64)
    assert ((found - law.log_prob(x)).abs() < 4 * error).all()
    assert 0.01 < float(error.max()) < 1
    few = model.log_prob_and_error(x, None, steps=40, probes=16)[1]
    assert 1.2 < float(few.mean() / error.mean()) < 3.6  # sqrt(4) = 2, the spread of 16 numbers known to 18 %
    wrong, error = gaussian_matching("hutchinson", stretch=4.0)[0].log_prob_and_error(x, None, steps=40, probes=64)
    assert ((wrong - law.log_prob(x)).mean().abs() > 8 * error).all()


def shaken(model):
    """The model with every weight moved, so that its field is far from trivial."""
    generator = torch.Generator().manual_seed(3)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return model


@pytest.mark.parametrize(("family", "shape", "options"), [
    (FlowMatching, (20,), {"hidden": (32,), "trace": "hutchinson"}),
    (FlowMatching, (5, 6), {"parameters": 3e4}),
    (Diffusion, (80,), {"hidden": (32,)}),
    (Diffusion, (6, 5), {"skip": "covariance", "parameters": 3e4}),
])
def test_log_prob_is_a_function_of_the_row(family, shape, options):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, *shape, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = family(shape, **options)
    model.prepare(torch.randn(200, *shape, generator=generator), None)
    model, x[1:4] = shaken(model), x[0].clone()
    turn = torch.randperm(7, generator=generator)
    with torch.no_grad():
        found, error = model.log_prob_and_error(x, None, steps=2)
        turned = model.log_prob_and_error(x[turn], None, steps=2)
        alone = model.log_prob(x[:1], None, steps=2)
    torch.testing.assert_close(found[:4], alone.expand(4), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(turned, (found[turn], error[turn]), rtol=1e-4, atol=1e-4)
    assert (error > 1e-3).all()
    assert (found[4:] - found[0]).abs().min() > 1e-2


@pytest.mark.parametrize("skip", ["edm", "covariance"])
def test_probes_agree_with_the_exact_trace_of_a_diffusion(skip):
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Diffusion((12,), skip=skip, hidden=(32,)).double()
    model.prepare(x, None)
    shaken(model)
    with torch.no_grad():
        exact, none = model.log_prob_and_error(x, None, steps=5)
        model.exact = False
        found, error = model.log_prob_and_error(x, None, steps=5, probes=64)
    assert not none.any()
    assert ((found - exact).abs() < 4.5 * error).all()
    assert (found - exact).abs().max() > 1e-3


def test_one_probe_has_no_error_and_is_refused():
    with pytest.raises(OptionError, match="probes out of range"):
        FlowMatching((3,), trace="hutchinson", hidden=(4,)).log_prob(torch.zeros(2, 3), None, probes=1)


def test_a_run_tells_the_error_of_its_density():
    x = torch.randn(60, 70, generator=torch.Generator().manual_seed(0))
    data = sundog.Dataset.from_arrays(x, held_out_fraction=0.0)
    probed = sundog.fit("flow-matching", data, plan=Plan(steps=2, batch=32), hidden=(16,))
    log_p, error = probed.log_prob_and_error(data)
    assert torch.equal(probed.log_prob(data), log_p)
    assert error.shape == (60,)
    assert (error > 0).all()
    two = sundog.Dataset.from_arrays(x[:, :2])
    exact = sundog.fit("flow", two, plan=Plan(steps=2), layers=1, hidden=(8,))
    assert not exact.log_prob_and_error(two)[1].any()
