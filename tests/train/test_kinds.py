"""Kinds of columns through fit, sample and log_prob: against laws in closed form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import stats

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import load_run
from sundog.train.scaled import fitted_scaling

N, DRAWN = 8000, 8000


def rain(n: int, seed: int = 0) -> np.ndarray:
    g = np.random.default_rng(seed)
    return np.where(g.random(n) < 0.07, 0.0, g.exponential(size=n))


def four_sigma(p: float) -> float:
    """Of a share that was learned from 0.8 N rows and counted among DRAWN."""
    return 4 * (p * (1 - p) * (1 / DRAWN + 1 / (0.8 * N))) ** 0.5


@pytest.mark.parametrize(("family", "steps"), [("flow", 300), pytest.param("diffusion", 600, marks=pytest.mark.slow),
                                               pytest.param("flow-matching", 600, marks=pytest.mark.slow)])
def test_zeros_stay_zeros_as_often_and_the_rest_is_the_law(family: str, steps: int) -> None:
    run = fit(family, Dataset.from_arrays(rain(N)[:, None], names=("mm",)), plan=Plan(steps=steps), seed=0)
    x = run.sample(DRAWN).values[:, 0].numpy()
    assert run.kinds == {"mm": "zero-inflated"}
    assert x.min() == 0
    assert abs((x == 0).mean() - 0.07) < four_sigma(0.07)
    rest = x[x > 0]
    # Kolmogorov distance: 1.95 sqrt(1/m + 1/n) in 0.1 % of the cases, and 0.015 for what the training lacks.
    assert stats.kstest(rest, "expon").statistic < 1.95 * (1 / len(rest) + 1 / (0.93 * 0.8 * N)) ** 0.5 + 0.015


@pytest.mark.slow
def test_without_kinds_zeros_are_smeared():
    """The control: taken for continuous, hardly a fake is exactly zero."""
    data = Dataset.from_arrays(rain(N)[:, None], names=("mm",))
    run = fit("flow", data, plan=Plan(steps=300), seed=0, kinds={"mm": "continuous"})
    assert run.kinds == {}
    assert abs((run.sample(DRAWN).values.numpy() == 0).mean() - 0.07) > four_sigma(0.07)


@pytest.mark.parametrize(("family", "steps"), [("flow", 300), pytest.param("diffusion", 600, marks=pytest.mark.slow)])
def test_counts_come_back_whole_with_their_probabilities(family: str, steps: int) -> None:
    g = np.random.default_rng(1)
    k = g.poisson(3, N)
    data = Dataset.from_arrays(np.stack([k, k + g.normal(size=N)], 1), names=("k", "y"))
    run = fit(family, data, plan=Plan(steps=steps), seed=0)
    fakes = run.sample(DRAWN).values.numpy()
    assert (fakes[:, 0] == fakes[:, 0].round()).all() and fakes.min(0)[0] == 0
    for value in range(8):
        p = stats.poisson.pmf(value, 3)
        assert abs((fakes[:, 0] == value).mean() - p) < four_sigma(p) + 0.005, value
    for value in (1, 3, 6):  # the other column knows of it
        beside = fakes[fakes[:, 0] == value, 1]
        assert abs(beside.mean() - value) < 4 / len(beside) ** 0.5 + 0.1


def test_log_prob_of_counts_is_a_probability():
    """The sum over all values is 1, each is that of the law, and what is no count has none."""
    g = np.random.default_rng(2)
    k = g.poisson(3, N)
    run = fit("flow", Dataset.from_arrays(np.stack([k, g.normal(size=N)], 1), names=("k", "y")),
              plan=Plan(steps=300), seed=0)
    y = np.linspace(-6, 6, 241)
    grid = np.stack(np.meshgrid(np.arange(15.0), y, indexing="ij"), -1).reshape(-1, 2)
    p = run.log_prob(Dataset.from_arrays(grid, names=("k", "y"))).exp().numpy().reshape(15, -1)
    mass = np.trapezoid(p, y, axis=1)
    assert abs(mass.sum() - 1) < 0.005
    assert np.abs(mass - stats.poisson.pmf(np.arange(15), 3)).max() < four_sigma(0.22) + 0.005
    assert run.log_prob(Dataset.from_arrays([[2.5, 0.0], [-1.0, 0.0]], names=("k", "y"))).isinf().all()


def test_log_prob_is_mass_at_zero_and_density_beside_it():
    run = fit("flow", Dataset.from_arrays(rain(N)[:, None]), plan=Plan(steps=300), seed=0)
    x = np.linspace(1e-6, 15, 20001)
    p = run.log_prob(Dataset.from_arrays(np.concatenate([[0.0], x])[:, None])).exp().numpy()
    assert abs(p[0] - 0.07) < four_sigma(0.07)
    assert abs(p[0] + np.trapezoid(p[1:], x) - 1) < 0.005


def test_kinds_are_kept_with_the_run_and_told_by_the_user(tmp_path) -> None:
    data = Dataset.from_arrays(np.stack([rain(400), rain(400, 1)], 1), names=("a", "b"))
    run = fit("flow", data, plan=Plan(steps=2), kinds={"b": "continuous"}, out=tmp_path / "run")
    assert run.kinds == load_run(tmp_path / "run").kinds == {"a": "zero-inflated", "b": "continuous"}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["kinds"] == run.kinds
    with pytest.raises(OptionError, match="a kind for no column"):
        fit("flow", data, plan=Plan(steps=2), kinds={"c": "integer"})
    with pytest.raises(DataError, match="a is not of kind integer"):
        fit("flow", data, plan=Plan(steps=2), kinds={"a": "integer"})
    with pytest.raises(OptionError, match="images have no column kinds"):
        fit("vae", Dataset.from_arrays(rain(3200).reshape(50, 8, 8)), plan=Plan(steps=2), kinds="bounded")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_quartiles_of_a_cauchy_law(family: str) -> None:
    """Quantiles at 10, 25, 75 and 90 %: +-3.08 and +-1, each within 4 sigma of the smaller sample and 5 %."""
    x = np.random.default_rng(3).standard_cauchy(size=(4000, 2))
    fakes = fit(family, Dataset.from_arrays(x), plan=Plan(steps=300), seed=0).sample(4000).values.numpy()
    for q in (0.1, 0.25, 0.75, 0.9):
        right = stats.cauchy.ppf(q)
        sigma = (q * (1 - q) * (1 / 4000 + 1 / 3200)) ** 0.5 / stats.cauchy.pdf(right)
        assert (np.abs(np.quantile(fakes, q, axis=0) - right) < 4 * sigma + 0.05 * abs(right)).all(), q


@pytest.mark.parametrize("scaling", [None, "standard", "normal-scores"])
def test_no_fake_outside_a_hard_support(scaling: str | None) -> None:
    x = np.random.default_rng(4).beta(0.5, 0.5, size=(2000, 1))
    fakes = fit("flow", Dataset.from_arrays(x), plan=Plan(steps=50), scaling=scaling, seed=0).sample(5000).values
    assert fakes.min() >= 0 and fakes.max() <= 1


def test_identity_takes_one_row_as_it_is() -> None:
    """A family with units of its own, fitted to one sky: its pixels are no constant columns."""
    sky = torch.randn(1, 768, generator=torch.Generator().manual_seed(0))
    scaling = fitted_scaling(Dataset.from_arrays(sky), "identity")
    assert torch.equal(scaling.forward(sky), sky)
