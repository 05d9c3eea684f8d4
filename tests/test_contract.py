"""What every family promises, whatever it is. A new family adds one line to CASES."""

import json

import pytest
import torch

import sundog
from sundog.models.base import AT_ONCE, Batch, Density, Noise, RowNoise
from sundog.models.families import FAMILIES, build
from sundog.models.microcanonical.family import POINTS

CASES = {
    "deeponet": ("deeponet", (3,), {"hidden": (16,), "terms": 4}),
    "deeponet-images": ("deeponet", (8, 8), {"hidden": (16,), "terms": 4}),
    "diffusion": ("diffusion", (3,), {"skip": "covariance", "hidden": (16, 16)}),
    "diffusion-edm": ("diffusion", (3,), {"hidden": (16, 16), "uncertainty": True, "noise": (0.0, 1.0),
                                             "weight": "edm"}),
    "flow-spline": ("flow", (3,), {"layers": 2, "hidden": (16,)}),
    "flow-affine": ("flow", (3,), {"transform": "affine", "layers": 2, "hidden": (16,)}),
    "flow-matching": ("flow-matching", (3,), {"hidden": (16, 16)}),
    "flow-matching-residual": ("flow-matching", (3,), {"network": "residual", "hidden": (16, 16)}),
    "flow-matching-hutchinson": ("flow-matching", (3,), {"hidden": (16, 16), "trace": "hutchinson"}),
    "flow-matching-images": ("flow-matching", (8, 8), {"parameters": 3e4, "sampling_steps": 3}),
    "gan": ("gan", (3,), {"hidden": (16, 16), "critic_steps": 2}),
    "mixture-vae": ("mixture-vae", (3,), {"hidden": (16,), "latent": 2}),
    "ntk": ("ntk", (3,), {}),
    "pod": ("pod", (3,), {}),
    "pod-images": ("pod", (8, 8), {"degree": 1}),
    "random-features": ("random-features", (3,), {"units": 30}),
    "scattering": ("scattering", (16, 16), {"iterations": 3}),
    "scattering-together": ("scattering", (16, 16), {"iterations": 3, "mean_field": 5}),
    "sde": ("sde", (1, 34), {"terms": 3, "hidden": (8,)}),
    "sets": ("sets", (3, 1, 6), {"parameters": 5e3, "sampling_steps": 4}),
    "translate": ("translate", (2, 16, 16), {"parameters": 3e4}),
    "translate-gan": ("translate", (2, 16, 16), {"parameters": 3e4, "method": "gan", "width": 2, "critic_steps": 1}),
    "refine": ("refine", (2, 16, 16), {"parameters": 3e4, "width": 2, "critic_steps": 1, "bound": 15.0}),
    "vae": ("vae", (3,), {"hidden": (16, 16), "latent": 2}),
}
NEEDS_CONTEXT = {"deeponet", "ntk", "pod", "random-features"}
WITHOUT_CONTEXT = {"mixture-vae", "refine", "scattering", "sde", "sets", "translate"}


def make(case, context_dim=0):
    family, shape, options = CASES[case]
    if context_dim and family in WITHOUT_CONTEXT:
        pytest.skip("takes no context")
    if not context_dim and family in NEEDS_CONTEXT:
        pytest.skip("emulates a simulator, whose input is the context")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(family, shape, context_dim, options)
    model.prepare(*TestFamily().rows(case, context_dim))
    return model


def wiggle(model):
    """Give every parameter a value: networks that start at zero hide dead gradients."""
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator)
    return model


def test_every_family_has_a_case():
    assert {family for family, _, _ in CASES.values()} == set(FAMILIES)


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("case", CASES)
class TestFamily:
    def rows(self, case, context_dim, n=64):
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(n, *CASES[case][1], generator=generator)
        return x, torch.randn(n, context_dim, generator=generator) if context_dim else None

    def test_gradients_reach_every_parameter(self, case, context_dim):
        model = wiggle(make(case, context_dim))
        x, c = self.rows(case, context_dim)
        for objective in model.objectives():
            loss = objective.loss(Batch(x, c), Noise(torch.Generator().manual_seed(0), 64, slice(0, 64)))
            gradients = torch.autograd.grad(loss, list(objective.parameters), allow_unused=True)
            for gradient in gradients:
                assert gradient is not None
                assert torch.isfinite(gradient).all()
                assert gradient.abs().max() > 0

    def test_same_seed_same_sample(self, case, context_dim):
        model = wiggle(make(case, context_dim))
        _, c = self.rows(case, context_dim)
        n = 4 if c is None else 64
        draw = [model.sample(n, c, torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
        assert draw[0].shape == (n, *CASES[case][1])
        assert torch.equal(draw[0], draw[1])
        assert not torch.equal(draw[0], draw[2])

    def test_score_has_no_hidden_randomness(self, case, context_dim):
        model = wiggle(make(case, context_dim))
        x, c = self.rows(case, context_dim)
        assert torch.equal(model.score(x, c), model.score(x, c))

    def test_config_rebuilds_the_model(self, case, context_dim):
        model = wiggle(make(case, context_dim))
        config = json.loads(json.dumps(model.config()))
        twin = build(model.family, tuple(config.pop("shape")), config.pop("context_dim"), config)
        twin.load_state_dict(model.state_dict())
        x, c = self.rows(case, context_dim)
        assert torch.equal(model.score(x, c), twin.score(x, c))

    @pytest.mark.slow
    def test_log_prob_is_the_density_of_what_is_sampled(self, case, context_dim):
        """KL is zero: the mean log-density ratio of the model to itself, seen through a histogram of one projection.

        E[exp(-log p)] over samples inside a box is the volume of the box (importance sampling of 1).
        """
        model = wiggle(make(case, context_dim))
        if not isinstance(model, Density) or getattr(model, "exact", True) is False:
            pytest.skip("no exact density")
        n = 40_000
        c = None if context_dim == 0 else torch.full((n, context_dim), 0.3)
        with torch.no_grad():
            x = model.sample(n, c, torch.Generator().manual_seed(3))
            inside = (x - x.median(0).values).abs().amax(1) < 0.8
            weight = torch.where(inside, (-model.log_prob(x, c)).exp(), torch.zeros(n))
        volume, error = weight.mean(), weight.std() / n**0.5
        assert abs(volume - 1.6**3) < 4 * error
        assert abs(1.1 * volume - 1.6**3) > 4 * error  # a density wrong by 10 % is seen


@pytest.mark.parametrize("case", CASES)
def test_save_and_load_give_the_same_numbers(case, tmp_path):
    family, shape, options = CASES[case]
    x = torch.randn(200, *shape, generator=torch.Generator().manual_seed(0))
    context = None if family in WITHOUT_CONTEXT else x.flatten(1)[:, :1] ** 2
    data = sundog.Dataset.from_arrays(x, context)
    run = sundog.fit(family, data, plan=sundog.Plan(steps=5), **options)
    run.save(tmp_path / "run")
    twin = sundog.load_run(tmp_path / "run")
    assert torch.equal(run.sample(5, seed=3).values, twin.sample(5, seed=3).values)
    assert twin.labels == run.labels
    assert twin.plan == run.plan
    assert repr(twin) == repr(run)


def test_the_global_generator_is_left_alone():
    data = sundog.Dataset.from_arrays(torch.randn(100, 2))
    state = torch.get_rng_state()
    sundog.fit("flow", data, plan=sundog.Plan(steps=2), layers=1, hidden=(8,)).sample(5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("case", CASES)
def test_the_first_fakes_do_not_depend_on_how_many_are_drawn(case, monkeypatch):
    """Nor on how many are drawn at once: a row depends on seed and place alone, to the rounding of one float32."""
    family, shape, options = CASES[case]
    x = torch.randn(200, *shape, generator=torch.Generator().manual_seed(0))
    context = None if family in WITHOUT_CONTEXT else x.flatten(1)[:, :1] ** 2
    run = sundog.fit(family, sundog.Dataset.from_arrays(x, context), plan=sundog.Plan(steps=2), **options)
    wiggle(run.model)
    n = 1000 if len(shape) == 1 else 12
    many = run.sample(n, seed=7)
    tolerance = 1e-6 * float(many.values.abs().max())
    for k in (1, 3, n - 1):
        few = run.sample(k, seed=7)
        assert float((few.values - many.values[:k]).abs().max()) <= tolerance
        assert context is None or torch.equal(few.context, many.context[:k])
    assert float((run.sample(3, seed=8).values - many.values[:3]).abs().max()) > 1e4 * tolerance
    monkeypatch.setitem(AT_ONCE, "cpu", 7 * x[0].numel())
    monkeypatch.setitem(POINTS, "cpu", 7 * x[0].numel())
    assert float((run.sample(n, seed=7).values - many.values).abs().max()) <= tolerance


@pytest.mark.parametrize("case", ["translate", "translate-gan"])
def test_the_first_translations_do_not_depend_on_the_others(case, monkeypatch):
    family, shape, options = CASES[case]
    x = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    run = sundog.fit(family, sundog.Dataset.from_arrays(x), plan=sundog.Plan(steps=2), **options)
    wiggle(run.model)
    many = run.translate(x[:, :1], seed=7).values
    monkeypatch.setitem(AT_ONCE, "cpu", 7 * x[0].numel())
    for k in (3, 40):
        assert torch.allclose(run.translate(x[:k, :1], seed=7).values, many[:k], rtol=0, atol=1e-6 * many.abs().max())


def test_noise_of_a_row_depends_on_its_place_alone():
    whole, late = RowNoise(3, 40_000), RowNoise(3, 5, first=20_003)
    for kind in ("normal", "uniform"):
        for shape in ((), (3,), (2, 100)):
            rows = getattr(whole, kind)(*shape)
            assert torch.equal(getattr(late, kind)(*shape), rows[20_003:20_008])
    shares = torch.tensor([1.0, 0.0, 3.0])
    counts = torch.bincount(RowNoise(4, 40_000).choice(shares), minlength=3) / 40_000
    assert torch.allclose(counts, shares / 4, atol=4 * (0.1875 / 40_000) ** 0.5)
    assert torch.equal(RowNoise(4, 3).choice(5), RowNoise(4, 30).choice(5)[:3])
    first, second = RowNoise(3, 40_000), RowNoise(5, 40_000)
    draws = torch.stack([first.normal(), first.normal(), second.normal(), second.normal()])
    far = torch.corrcoef(draws).fill_diagonal_(0).abs().max()  # no two calls, and no two seeds, share numbers
    assert far < 4.5 / 200
