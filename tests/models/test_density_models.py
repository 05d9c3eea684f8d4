"""Flows and flow matching against a law with a known density."""

import math

import pytest
import torch

import sundog
from sundog import Plan
from sundog.errors import OptionError, ShapeError, SundogError
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
    "spline": ("flow", {"layers": 2, "hidden": (32, 32)}, Plan(steps=500, batch=512)),
    "affine": ("flow", {"transform": "affine", "layers": 3, "hidden": (32, 32)}, Plan(steps=600, batch=512)),
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
    # 4 sigma of the sample plus 3 % of a standard deviation for a fit on 14,400 rows.
    assert ((z.mean(0) - expected).abs() < 4 / math.sqrt(n) + 0.03).all()
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
    with pytest.raises(ShapeError, match="every column would become context"):
        run.sample(400, context=flat)
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
    ({"dataset": torch.zeros(50, 2)}, "fit needs a Dataset: got Tensor"),
    ({"plan": {"steps": 3}}, "the plan is not a Plan: got dict"),
    ({"layers": -1}, "layers out of range: got -1, expected a whole number >= 1"),
])
def test_wrong_arguments_are_named(words, message):
    arguments = {"dataset": conditional_gaussian(100, 0), **words}
    with pytest.raises(SundogError, match=message):
        sundog.fit("flow", **arguments)


def test_untrained_matching_of_images_keeps_the_normal_law() -> None:
    """A U-Net that returns zero stands still: images stay standard normal, and the density is theirs."""
    model = FlowMatching((6, 5), parameters=3e4, steps=2)
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum((1, 2))
    with torch.no_grad():
        found = model.log_prob(x, None, steps=2)
    torch.testing.assert_close(found, expected)
    assert (found - expected.flip(0)).abs().max() > 0.1
