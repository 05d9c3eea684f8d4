"""Generators made elsewhere: each kind draws its law, repeats with its seed, is judged, and is a background."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import OptionError, ShapeError
from sundog.random import stream
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, SignalRegion
from sundog.tasks.generator import OwnDensity, OwnGenerator, as_generator

MEAN, WIDTH = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
N = 4000


def gaussian(n: int, seed: int = 0, shift: float = 0.0, context: torch.Tensor | None = None) -> sundog.Dataset:
    """Two columns of known law; the first moves with the context m."""
    x = MEAN + shift + WIDTH * torch.randn(n, 2, generator=stream(seed, "toy"))
    if context is not None:
        x[:, 0] += context[:, 0]
    return sundog.Dataset.from_arrays(x, context, names=("a", "b"), units=("GeV", ""),
                                      context_names=None if context is None else ("m",))


def masses(n: int) -> torch.Tensor:
    return torch.arange(n).remainder(3)[:, None].float()


def exact(x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
    shift = torch.zeros(len(x), 2)
    if context is not None:
        shift[:, 0] = context[:, 0]
    return torch.distributions.Normal(MEAN + shift, WIDTH).log_prob(x).sum(1)


def function(n: int, context: torch.Tensor | None, seed: int) -> np.ndarray:
    return gaussian(n, seed, context=context).values.numpy()


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.width = torch.nn.Parameter(WIDTH.clone())

    def forward(self, z: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        x = MEAN + self.width * z
        return x if context is None else torch.cat([x[:, :1] + context, x[:, 1:]], 1)


class Posterior:
    """The words of sbi: one observation x at a time."""

    def _law(self, x: torch.Tensor | None) -> torch.distributions.Distribution:
        shift = torch.zeros(2) if x is None else torch.tensor([float(x), 0.0])
        return torch.distributions.Independent(torch.distributions.Normal(MEAN + shift, WIDTH), 1)

    def sample(self, sample_shape: tuple[int, ...] = (), x: torch.Tensor | None = None) -> torch.Tensor:
        return self._law(x).sample(sample_shape)

    def log_prob(self, theta: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        return self._law(x).log_prob(theta)


class Flow(torch.nn.Module):
    """The words of nflows."""

    def sample(self, num_samples: int, context: torch.Tensor | None = None) -> torch.Tensor:
        if context is None:
            return MEAN + WIDTH * torch.randn(num_samples, 2)
        x = MEAN + WIDTH * torch.randn(len(context), num_samples, 2)
        x[..., 0] += context
        return x

    def log_prob(self, inputs: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return exact(inputs, context)


class Lazy(torch.nn.Module):
    """The words of zuko: called with the context it gives a distribution."""

    def forward(self, c: torch.Tensor | None = None) -> torch.distributions.Distribution:
        mean = MEAN if c is None else MEAN + torch.cat([c, torch.zeros_like(c)], 1)
        return torch.distributions.Independent(torch.distributions.Normal(mean, WIDTH), 1)


def estimators() -> list[object]:
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import KernelDensity

    x = gaussian(N, 5).values.numpy()
    return [GaussianMixture(1, random_state=0).fit(x), GaussianMixture(3, random_state=0).fit(x),
            KernelDensity(bandwidth=0.05).fit(x)]


SOURCES = {
    "function": (function, {}),
    "function with a density": (function, {"log_prob": exact}),
    "network": (Network(), {"latent": 2}),
    "sbi": (Posterior(), {}),
    "nflows": (Flow(), {}),
    "zuko": (Lazy(), {}),
    "torch": (torch.distributions.Independent(torch.distributions.Normal(MEAN, WIDTH), 1), {}),
}


def follows(made: sundog.Dataset, context: torch.Tensor | None) -> bool:
    """Whether means and widths are those of the law within four standard errors."""
    x = made.values.double() - MEAN
    if context is not None:
        x[:, 0] -= context[:, 0]
    error = WIDTH / math.sqrt(len(x))
    return bool((x.mean(0).abs() < 4 * error).all() and ((x.std(0) - WIDTH).abs() < 4 * error / math.sqrt(2)).all())


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("conditional", [False, True])
def test_each_kind_draws_its_law(name: str, conditional: bool) -> None:
    source, options = SOURCES[name]
    if conditional and name == "torch":
        pytest.skip("takes no context")
    context = masses(N) if conditional else None
    like = gaussian(N, 9, context=context)
    own = as_generator(source, like, **options)
    state = torch.random.get_rng_state()
    made = own.sample(N, context=context, seed=3)
    assert (made.names, made.units, made.context_names) == (like.names, like.units, like.context_names)
    assert follows(made, context)
    assert not follows(gaussian(N, 3, shift=0.5, context=context), context)  # the check can fail
    assert torch.equal(made.values, own.sample(N, context=context, seed=3).values)
    assert not torch.equal(made.values, own.sample(N, context=context, seed=4).values)
    assert torch.equal(state, torch.random.get_rng_state())
    assert isinstance(own, OwnDensity) == (name not in ("function", "network"))
    if isinstance(own, OwnDensity):
        assert torch.allclose(own.log_prob(made), exact(made.values, context).double(), atol=1e-5)


def test_a_trained_flow_of_zuko() -> None:
    import zuko

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = zuko.flows.NSF(2, 1, transforms=1, hidden_features=(16,))
        own = as_generator(flow, gaussian(100, context=masses(100)))
    made = own.sample(50, seed=1)
    assert isinstance(own, OwnDensity)
    assert torch.allclose(own.log_prob(made), flow(made.context).log_prob(made.values).double())


def test_estimators_draw_their_law_and_keep_their_state() -> None:
    like = gaussian(N, 9)
    for estimator in estimators():
        own = as_generator(estimator, like)
        made = own.sample(N, seed=3)
        assert (made.values.mean(0) - MEAN).abs().max() < 6 * WIDTH.max() / math.sqrt(N)
        assert torch.equal(made.values, own.sample(N, seed=3).values)
        assert not torch.equal(made.values, own.sample(N, seed=4).values)
        assert isinstance(own, OwnDensity)
        assert np.allclose(own.log_prob(made), estimator.score_samples(made.values.numpy()))  # type: ignore[attr-defined]
        assert getattr(estimator, "random_state", 0) == 0
    half = as_generator(estimators()[1], like).sample(N, seed=3).values  # of three components, in no order
    assert (half[: N // 2].mean(0) - half[N // 2 :].mean(0)).abs().max() < 6 * WIDTH.max() * math.sqrt(2 / N)


def test_it_is_judged_as_a_run_is() -> None:
    real = gaussian(400, 7)
    good = as_generator(function, real)
    bad = as_generator(lambda n, context, seed: function(n, context, seed) + 1, real)
    assert sundog.judge(real, good, statistics="deciding").passed
    assert not sundog.judge(real, bad, statistics="deciding").passed


def test_it_is_a_background_of_r_anode() -> None:
    toy = ResonantToy()
    events = toy.events(8000, 0.03, seed=0)

    class Law(torch.nn.Module):
        def sample(self, num_samples: int, context: torch.Tensor | None = None) -> torch.Tensor:
            raise AssertionError("no draws are needed")

        def log_prob(self, inputs: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(toy.log_background(inputs, context[:, 0]))

    own = as_generator(Law(), events)
    region = SignalRegion(3.3, 3.7)
    found, known = (RAnode(region, background=background, components=(1,), folds=2).fit(events)
                    for background in (own, toy.log_background))
    assert found.evidence_
    assert found.signal_fraction_ == pytest.approx(known.signal_fraction_, rel=1e-3)


def test_what_does_not_fit_is_named() -> None:
    like, told = gaussian(20), gaussian(20, context=masses(20))
    with pytest.raises(OptionError, match="this is no generator: got int"):
        as_generator(3, like)
    with pytest.raises(ShapeError, match="returns another shape"):
        as_generator(lambda n, context, seed: torch.zeros(n, 3), like).sample(5)
    with pytest.raises(ShapeError, match="takes no context"):
        as_generator(function, like).sample(5, context=1.0)
    with pytest.raises(ShapeError, match="context does not fit the generator"):
        as_generator(function, told).sample(5, context=[[1.0, 2.0]])
    with pytest.raises(OptionError, match="pass latent=8"):
        as_generator(torch.nn.Linear(2, 2), like).sample(5)
    with pytest.raises(OptionError, match="an estimator takes no context"):
        as_generator(estimators()[0], told)
    with pytest.raises(ShapeError, match="columns do not fit"):
        as_generator(Lazy(), like).log_prob(told)
    assert isinstance(as_generator(function, like), OwnGenerator)
    run = sundog.fit("flow", gaussian(100), steps=1, layers=1)
    assert as_generator(run, like) is run
