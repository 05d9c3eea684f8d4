"""Diffusion: what is exact must be exact, what is learned must beat the Gaussian it starts from."""

import json
import math

import pytest
import torch

import sundog
from sundog.errors import DataError, OptionError
from sundog.models import symmetry
from sundog.models.base import AT_ONCE, Batch, Noise
from sundog.models.diffusion import Diffusion, GaussianDenoiser, NoiseRange
from sundog.models.families import build
from sundog.models.gaussian.law import Isotropic, Principal
from sundog.simulate.fields import gaussian_field
from sundog.statistics.maps.spectra import power_spectrum

TINY = {"parameters": 2e4, "sampling_steps": 6}
IMAGES = {
    "edm": {"shape": (9, 8), **TINY},
    "covariance": {"shape": (9, 8), "skip": "covariance", **TINY},
    "stationary": {"shape": (2, 8, 8), "skip": "covariance", "periodic": True, "symmetry": "dihedral", **TINY},
    "conditional": {"shape": (8, 8), "context_dim": 2, "symmetry": "dihedral", **TINY},
    "given": {"shape": (8, 8), "context_dim": 2, "skip": "conditional", "symmetry": "dihedral", **TINY},
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(awake=True, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Diffusion(**options)
    if awake:  # a network that starts at zero hides what it ignores
        g = seeded(1)
        for p in model.parameters():
            p.data += 0.1 * torch.randn(p.shape, generator=g)
    return model


def prepared(name, awake=True, n=40):
    model = make(awake, **IMAGES[name])
    n = max(n, 160) if model.skip == "conditional" else n  # five places of contexts
    x = torch.randn(n, *model.shape, generator=seeded(2)).cumsum(-1)
    c = torch.randn(n, 2, generator=seeded(3)) if model.context_dim else None
    model.prepare(x, c)
    return model, x, c


@pytest.mark.parametrize("name", IMAGES)
class TestImages:
    """The contract of every family, on images."""

    def test_gradients_reach_every_parameter(self, name):
        model, x, c = prepared(name)
        (objective,) = model.objectives()
        loss = objective.loss(Batch(x, c), Noise(seeded(), len(x), slice(0, len(x))))
        for gradient in torch.autograd.grad(loss, list(objective.parameters)):
            assert torch.isfinite(gradient).all()
            assert gradient.abs().max() > 0

    def test_a_saved_model_draws_and_scores_the_same(self, name):
        model, x, c = prepared(name)
        config = json.loads(json.dumps(model.config()))
        twin = build(model.family, tuple(config.pop("shape")), config.pop("context_dim"), config)
        twin.load_state_dict(model.state_dict())
        given = None if c is None else c[:3]
        first, second, other = (m.sample(3, given, seeded(s)) for m, s in ((model, 5), (twin, 5), (model, 6)))
        assert first.shape == (3, *model.shape)
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
        assert torch.equal(model.score(x, c), twin.score(x, c))

    def test_samples_do_not_depend_on_how_many_are_drawn_at_once(self, name, monkeypatch):
        model, _, c = prepared(name)
        given = None if c is None else c[:5]
        with torch.no_grad():
            whole = model.sample(5, given, seeded())
            monkeypatch.setitem(AT_ONCE, "cpu", 2 * 144)
            assert torch.allclose(model.sample(5, given, seeded()), whole, rtol=1e-3, atol=1e-3 * whole.std())

    def test_untrained_it_is_the_gaussian_denoiser(self, name):
        model, x, c = prepared(name, awake=False)
        z, law = x.reshape(-1, *model.grid), model.gaussian if c is None else model.gaussian.given(c)
        for sigma in (0.01, 1.0, 30.0):
            assert torch.equal(model.denoise(x, sigma, c).reshape(z.shape), law(z, torch.tensor(sigma)))

    def test_bf16_trains_on_the_same_loss(self, name):
        model, x, c = prepared(name)
        losses = []
        for low in (False, True):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
                losses.append(float(model.loss(Batch(x, c), Noise(seeded(), len(x), slice(0, len(x))))))
        assert math.isclose(*losses, rel_tol=0.05)
        assert losses[0] != losses[1]


# -- formulas ----------------------------------------------------------------------------------------------------


def test_edm_is_karras_et_al_table_1():
    model, _, _ = prepared("edm")
    x, sigma = 3 * torch.randn(4, 1, 9, 8, generator=seeded()), torch.tensor([0.01, 0.3, 2.0, 90.0])
    m, s, d = model.gaussian.mean, sigma[:, None, None, None], float(model.sigma_data)
    c_skip, c_out = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt()
    f = model.network((x - m) / (s**2 + d**2).sqrt(), (sigma.log() / 4)[:, None], None)
    expected = m + c_skip * (x - m) + c_out * f
    assert torch.allclose(model.denoise(x.reshape(4, 9, 8), sigma).reshape(x.shape), expected, rtol=1e-4, atol=1e-4)


def test_targets_of_the_network_have_unit_variance_at_every_level():
    """An untrained network has loss 1: r(sigma) is the error of the linear denoiser, whatever the noise."""
    for name in ("edm", "covariance", "stationary", "given"):
        model, x, c = prepared(name, awake=False, n=400)
        for level in (-3.0, 0.0, 3.0):
            model.p_mean.fill_(level)
            model.p_std.zero_()
            with torch.no_grad():
                loss = float(model.loss(Batch(x, c), Noise(seeded(), len(x), slice(0, len(x)))))
            assert abs(loss - 1) < 0.12, (name, level)


def test_white_data_get_the_levels_of_edm():
    """With sigma_data = 0.5 the rules give ln sigma ~ N(-1.2, 1.2^2) and sigma_min = 0.002, as published."""
    white = Isotropic((8, 8))
    white.variance.fill_(0.25)
    levels = NoiseRange.of(white, 40.0)
    assert math.isclose(levels.p_mean, -1.2, abs_tol=0.01)
    assert math.isclose(levels.p_std, 1.2)
    assert math.isclose(levels.sigma_min, 0.002)
    assert math.isclose(levels.sigma_max, 20.0)


@pytest.mark.parametrize(("share", "moved"), [(0.05, False), (0.2, True)])
def test_sigma_min_is_set_by_the_quietest_tenth(share, moved):
    """Modes of a hundredth of the standard deviation: few of them leave sigma_min alone, a fifth sets it."""
    covariance = Principal((100,))
    covariance.variances[int(100 * (1 - share)):] = 0.01**2
    levels = NoiseRange.of(covariance, 5.0)
    expected = 0.1 * 0.01 if moved else 4e-3 * levels.sigma_data
    assert math.isclose(levels.sigma_min, expected, rel_tol=1e-5)


def test_levels_follow_the_data_and_their_unit():
    maps = gaussian_field(200, 16, -3.0, seed=0).values
    ranges = []
    for unit in (1.0, 1000.0):
        model = Diffusion((16, 16), periodic=True, **TINY)
        model.prepare(unit * maps, None)
        ranges.append([float(getattr(model, name)) for name in ("sigma_data", "sigma_min", "sigma_max")])
        # The largest mode of a red spectrum exceeds the scatter of the pixels.
        assert model.sigma_max > 40 * unit * maps.std()
        assert model.p_std > 1.2
    assert torch.allclose(torch.tensor(ranges[1]), 1000 * torch.tensor(ranges[0]), rtol=1e-3)
    assert math.isclose(ranges[0][0], float(maps.std()), rel_tol=0.01)


def test_the_score_function_is_the_gradient_of_the_log_density():
    model = make(awake=False, shape=(3,), skip="covariance")
    x = torch.randn(500, 3, generator=seeded()) @ torch.tensor([[1.0, 0.5, 0], [0, 1.0, 0], [0, 0, 2.0]])
    model.prepare(x, None)
    noisy, sigma = x[:10], 0.7
    law = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0) + sigma**2 * torch.eye(3))
    point = noisy.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(point).sum(), point)
    assert torch.allclose(model.score_function(noisy, sigma), gradient, atol=1e-3)


# -- truth: Gaussian fields --------------------------------------------------------------------------------------


def spectrum_misses(model, n, steps):
    """How far each P(k) of n samples is from the fitted one: (difference / P, standard error / P)."""
    with torch.no_grad():
        found = power_spectrum(model.sample(n, None, seeded(7), steps=steps).double())
    # A map with exactly the fitted power in every mode.
    amplitude = model.gaussian.covariance.power[0].double().sqrt()
    exact = power_spectrum(torch.fft.irfft2(amplitude, s=model.shape) * model.shape[0])
    return found.power.mean(0) / exact.power - 1, (2 / (found.modes * n)).sqrt()


def red(n=400, side=16):
    return gaussian_field(n, side, -3.0, seed=0).values


def test_untrained_it_draws_gaussian_fields_with_the_fitted_spectrum():
    """1200 samples: every P(k) within 3 % + 2 sigma, with as few as four noise levels."""
    model = make(awake=False, shape=(16, 16), skip="covariance", periodic=True, parameters=1e4)
    model.prepare(red(), None)
    off, error = spectrum_misses(model, 1200, steps=4)
    assert (off.abs() < 0.03 + 2 * error).all()
    assert (error < 0.03).all()


def test_the_plain_sampler_would_miss_it():
    """The negative control: the same exact denoiser without the exact flow, at the same four levels."""
    model = make(awake=False, shape=(16, 16), skip="covariance", periodic=True, parameters=1e4, sampler="euler")
    model.prepare(red(), None)
    off, error = spectrum_misses(model, 300, steps=4)
    assert (off.abs() > 0.03 + 2 * error).any()


# -- context and guidance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conditional", "given"])
def test_guidance_zero_is_unconditional_and_one_conditional(name):
    model, x, c = prepared(name)
    with torch.no_grad():
        none, given = model.denoise(x, 0.5), model.denoise(x, 0.5, c)
        assert not torch.allclose(none, given)
        assert torch.equal(model.denoise(x, 0.5, c, guidance=0), none)
        assert torch.equal(model.denoise(x, 0.5, c, guidance=1), given)
        assert torch.allclose(model.denoise(x, 0.5, c, guidance=3), none + 3 * (given - none), atol=1e-4)
        samples = [model.sample(4, *args, seeded(), guidance=w) for *args, w in
                   ((None, None), (c[:4], 0.0), (c[:4], 1.0), (c[:4], None), (c[:4], 2.0))]
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[2], samples[3])
    assert len({float(s.sum()) for s in samples}) == 3


def test_the_network_is_told_that_there_is_no_context():
    """Context 0 is not the absence of a context."""
    model, x, c = prepared("conditional")
    with torch.no_grad():
        assert not torch.allclose(model.denoise(x, 0.5, torch.zeros_like(c)), model.denoise(x, 0.5), atol=1e-4)


def widening(n=4000, seed=4):
    """Images whose brightness and scatter follow a number c: mean c, standard deviation e^(c / 2)."""
    c = 2 * torch.rand(n, 1, generator=seeded(seed)) - 1
    return c[..., None] + torch.exp(c / 2)[..., None] * torch.randn(n, 6, 6, generator=seeded(seed + 1)), c


@pytest.mark.parametrize(("skip", "follows"), [("conditional", True), ("covariance", False)])
def test_untrained_it_draws_the_gaussian_of_the_context(skip, follows):
    """Mean within 0.06 and scatter within 6 %; with one law for all (the control) neither follows.

    250 images of 36 pixels to a place know both to 1 %; contexts within a place differ by 0.12, where the law bends.
    """
    model = make(awake=False, shape=(6, 6), context_dim=1, skip=skip, parameters=1e4, sampling_steps=4)
    model.prepare(*widening())
    for c in (-0.7, 0.6):
        with torch.no_grad():
            x = model.sample(1000, torch.full((1000, 1), c), seeded())
        assert (abs(float(x.mean()) - c) < 0.06) is follows, (c, float(x.mean()))
        assert (abs(float(x.std()) / math.exp(c / 2) - 1) < 0.06) is follows, (c, float(x.std()))


def test_the_loudest_context_is_within_reach():
    """sigma_max is 5 times the loudest direction of all data, or 3 times that of a context that is rarely met."""
    c = 2 * torch.rand(3000, 1, generator=seeded()) - 1
    x = torch.exp(6 * c) * torch.randn(3000, 3, generator=seeded(1))
    model = make(shape=(3,), context_dim=1, skip="conditional", hidden=(8,))
    model.prepare(x, c)
    loudest = model.gaussian.by_context(c)[1].max().sqrt()
    assert model.sigma_max > 2.9 * loudest
    assert 5 * model.gaussian.covariance.spectrum()[0].max().sqrt() < 2.9 * loudest  # the rule alone would not do


@torch.no_grad()
def test_density_given_a_context():
    """Untrained, the density of the fitted law of that context, smoothed by sigma_min; not that of all data."""
    model = make(awake=False, shape=(3,), context_dim=1, skip="conditional", hidden=(8,))
    x, c = widening()
    model.prepare(x[:, 0, :3], c)
    rows, at = x[:50, 0, :3], c[:50]
    found = model.log_prob(rows, at)
    assert (found - model.gaussian.given(at).log_prob(rows, float(model.sigma_min))).abs().max() < 1e-3
    assert (found - model.gaussian.log_prob(rows, float(model.sigma_min))).abs().mean() > 0.3
    exact = torch.distributions.Normal(at, torch.exp(at / 2)).log_prob(rows).sum(1)
    # A mean and a variance of 250 rows, 0.06 and 0.09 of the scatter, in three entries: 0.1 on average.
    assert (found - exact).abs().mean() < 0.2


# -- details -----------------------------------------------------------------------------------------------------


def test_dihedral_images_are_eight_and_keep_their_pixels():
    x = torch.arange(9.0).reshape(1, 1, 3, 3).expand(8, 1, 3, 3)
    turned = symmetry.turned(x, torch.arange(8))
    assert len({tuple(image.flatten().tolist()) for image in turned}) == 8
    assert torch.equal(turned.flatten(1).sort(1).values, x.flatten(1))
    assert torch.equal(turned[0], x[0])
    flat = torch.arange(6.0).reshape(1, 1, 2, 3).expand(4, 1, 2, 3)
    assert len({tuple(i.flatten().tolist()) for i in symmetry.turned(flat, torch.arange(4))}) == 4


def test_the_symmetry_enters_the_covariance():
    model = make(shape=(8, 8), skip="covariance", symmetry="dihedral", **TINY)
    model.prepare(torch.randn(60, 8, 8, generator=seeded()).cumsum(-1).cumsum(-2), None)
    mean = model.gaussian.mean[0]
    assert torch.allclose(mean, mean.flip(0), atol=1e-5)
    assert torch.allclose(mean, mean.T, atol=1e-5)


@pytest.mark.parametrize("bad", [{"skip": "none"}, {"sampler": "rk4"}, {"symmetry": "mirror"}, {"shape": (1, 2, 3, 4)},
                                 {"shape": (3,), "periodic": True}, {"skip": "conditional"}, {"sampling_steps": 1},
                                 {"context_dropout": 1.0}])
def test_impossible_options_are_named(bad):
    with pytest.raises(OptionError):
        Diffusion(**{"shape": (8, 8), **TINY, **bad})


def test_images_that_are_all_the_same_are_named():
    with pytest.raises(DataError, match="nothing to learn"):
        Diffusion((8, 8), **TINY).prepare(torch.zeros(30, 8, 8), None)


def test_it_goes_through_fit_and_comes_back_from_disk(tmp_path):
    maps = sundog.simulate.fields.lognormal_field(60, 8, -2.0, seed=0, unit="K")
    run = sundog.fit("diffusion", maps, plan=sundog.Plan(steps=3, batch=8), periodic=True, **TINY)
    fakes = run.sample(4, seed=1)
    assert (fakes.values.shape, fakes.units) == ((4, 8, 8), ("K",))
    run.save(tmp_path)
    assert torch.equal(sundog.load_run(tmp_path).sample(4, seed=1).values, fakes.values)


# -- learning ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_points_are_learned_given_which():
    """Vectors: noise around -1 or +1, told by the context which; guidance 0 draws both alike."""
    sign = (torch.rand(2000, 1, generator=seeded()) < 0.5).float() * 2 - 1
    x = sign * torch.ones(2000, 2) + 0.1 * torch.randn(2000, 2, generator=seeded(1))
    data = sundog.Dataset.from_arrays(x, sign, context_names=["sign"])
    run = sundog.fit("diffusion", data, plan=sundog.Plan(steps=800, batch=256))
    told = run.sample(400, context=[[1.0]], seed=1).values
    assert (told - 1).abs().mean() < 0.12  # 0.08 for the truth
    run.model.guidance = 0.0
    untold = run.sample(400, context=[[1.0]], seed=1).values[:, 0]
    assert abs(float((untold > 0).float().mean()) - 0.5) < 0.15


@pytest.mark.slow
def test_digits_beat_the_gaussian_in_the_judge():
    """Half a minute of one core; a Gaussian with the same mean and covariance is told apart at a glance."""
    from sklearn.datasets import load_digits

    images, _ = load_digits(return_X_y=True)
    data = sundog.Dataset.from_arrays(images.reshape(-1, 8, 8), held_out_fraction=0.4)
    run = sundog.fit("diffusion", data, plan=sundog.Plan(steps=1500, batch=64), skip="covariance", parameters=1e5)
    train = data.train.values
    gauss = GaussianDenoiser(torch.zeros(8, 8), Principal((8, 8))).fit(train)
    rival = sundog.Dataset.from_arrays(gauss.sample(350, seeded()))
    ours, theirs = ({row.name: row.value for row in sundog.judge(data.held_out, fakes, splits=6,
                     statistics=["classifier", "frechet"]).rows} for fakes in (run.sample(350, seed=1), rival))
    assert ours["classifier AUC"] < 0.8 < 0.98 < theirs["classifier AUC"]
    assert ours["Fréchet distance"] < 0.15 * theirs["Fréchet distance"]


@pytest.mark.slow
@torch.no_grad()
def test_density_of_an_untrained_network_is_the_gaussian_of_the_data() -> None:
    """Vectors with correlations, and periodic maps: log N(x; m, C + sigma_min^2), whatever the solver's path."""
    g = torch.Generator().manual_seed(0)
    root = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.3, 0.0], [0.0, 0.1, 0.05]])
    x = 1.0 + torch.randn(4000, 3, generator=g) @ root.T
    model = Diffusion((3,), skip="covariance", hidden=(8,))
    model.prepare(x, None)
    covariance = torch.cov(x.T, correction=0) + model.sigma_min**2 * torch.eye(3)
    law = torch.distributions.MultivariateNormal(x.mean(0), covariance)
    found = model.log_prob(x[:50], None)
    torch.testing.assert_close(found, law.log_prob(x[:50]), atol=0.02, rtol=0)
    assert (found - law.log_prob(x[50:100])).abs().max() > 1

    maps = torch.randn(500, 6, 8, generator=g) * 3
    images = Diffusion((6, 8), skip="covariance", periodic=True, parameters=3e4)
    images.prepare(maps, None)
    expected = images.gaussian.log_prob(maps[:5, None], float(images.sigma_min))
    torch.testing.assert_close(images.log_prob(maps[:5], None, steps=12), expected, atol=0.1, rtol=1e-3)


@torch.no_grad()
def test_log_density_of_the_exact_denoiser() -> None:
    """Isotropic skip, white data: d ln N(0, 1), by hand."""
    law = GaussianDenoiser(torch.zeros(5), 4.0)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0.0, 5.0**0.5).log_prob(x).sum(1)
    torch.testing.assert_close(law.log_prob(x, 1.0), expected)
    assert float(law.trace(2.0)) == pytest.approx(5 * 4 / 8)


def test_learned_uncertainty_finds_the_error_of_each_noise_level() -> None:
    """With the network held at zero the loss is chi^2 / d of mean 1 at every level: e^u goes to 1 from anywhere."""
    model = Diffusion((4,), skip="covariance", hidden=(8,), uncertainty=True)
    x = torch.randn(512, 4, generator=torch.Generator().manual_seed(0))
    model.prepare(x, None)
    assert model.uncertainty is not None
    torch.nn.init.constant_(model.uncertainty.linear.bias, 1.5)
    optimiser = torch.optim.Adam(model.uncertainty.parameters(), lr=0.05)
    for step in range(150):
        noise = Noise(torch.Generator().manual_seed(step), 512, slice(0, 512))
        optimiser.zero_grad()
        model.loss(Batch(x), noise).backward()
        optimiser.step()
    levels = torch.exp(torch.linspace(-1, 1, 5) * float(model.p_std) + float(model.p_mean))
    assert model.uncertainty(levels).abs().max() < 0.25


def test_noise_levels_and_weights_can_be_chosen() -> None:
    """ln(sigma / sigma_data) has the mean and scatter asked for; EDM's weight is r^2 / c_out^2 of the residual's."""
    x = 3 * torch.randn(400, 4, generator=seeded())
    model = Diffusion((4,), skip="covariance", hidden=(8,), noise=(0.7, 1.5), weight="edm")
    model.prepare(x, None)
    assert float(model.p_mean) == pytest.approx(math.log(float(model.sigma_data)) + 0.7, abs=1e-5)
    assert float(model.p_std) == 1.5
    plain = Diffusion((4,), skip="edm", hidden=(8,), weight="edm")
    same = Diffusion((4,), skip="edm", hidden=(8,))
    for other in (plain, same):
        other.prepare(x, None)
    losses = [other.loss(Batch(x), Noise(seeded(), 400, slice(0, 400))) for other in (plain, same)]
    torch.testing.assert_close(*losses)  # with EDM's skip the two are one
    with pytest.raises(OptionError, match="noise levels"):
        Diffusion((4,), noise=(0.0, -1.0))
