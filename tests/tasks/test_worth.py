"""What fakes are worth, against what the known law says."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

from sundog import Dataset, Plan, fit, judge
from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.random import stream
from sundog.simulate.densities import TwoMoons
from sundog.tasks.worth import amplification, halves, like


def drawn(n, seed):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))


def gaussian(events, seed):
    """A generator that knows that the law is Gaussian: mean and standard deviation are all it learns."""
    mean, std = events.values.mean(0), events.values.std(0)
    return SimpleNamespace(sample=lambda m, seed: Dataset.from_arrays(mean + std * drawn(m, 10_000 + seed)))


def resample(events, seed):
    """A generator that knows nothing: the events again."""
    return SimpleNamespace(sample=lambda m, seed: events[torch.randint(
        len(events), (m,), generator=torch.Generator().manual_seed(seed))])


def test_a_generator_that_knows_the_form_is_worth_what_its_true_error_says():
    """The truth: shares of fitted Gaussians around the known shares, over samples; the estimate sees one sample."""
    n, edges = 1000, norm.ppf(np.arange(1, 10) / 10)
    errors = []
    for seed in range(400):
        x = drawn(n, 50_000 + seed).double().numpy()
        shares = np.diff(np.r_[0, norm.cdf((edges - x.mean()) / x.std(ddof=1)), 1])
        errors.append((shares - 0.1) ** 2)
    true = 10 * 0.09 / np.mean(errors, 0).sum()
    found = amplification(gaussian, Dataset.from_arrays(drawn(n, 1)), generators=24, draws=50)
    assert true > 3 * n  # two numbers learned where nine are asked for
    assert true / 1.7 < found.equivalent < 1.7 * true  # 23 spreads of two numbers: a fifth of a standard deviation
    assert found.low < found.equivalent < found.high and found.regions.shape == (1, 10)
    assert "learned from 1000" in str(found)


def test_the_events_again_are_worth_what_they_are():
    found = amplification(resample, Dataset.from_arrays(drawn(1000, 2)), generators=16)
    assert 0.7 < found.factor < 1.4


def test_too_few_events_and_generators_are_named():
    with pytest.raises(SampleSizeError, match="at least 100"):
        amplification(gaussian, Dataset.from_arrays(drawn(50, 3)))
    with pytest.raises(DataError, match="weights that differ"):
        amplification(gaussian, Dataset.from_arrays(drawn(200, 3), weights=torch.arange(1.0, 201.0)))
    with pytest.raises(OptionError, match="generators"):
        amplification(gaussian, Dataset.from_arrays(drawn(200, 3)), generators=2)


def moons(n, seed):
    return TwoMoons().sample(n, seed=seed)


def smooth(events, seed):
    """Learns mean and covariance, and draws by a smooth map of its random numbers."""
    x = events.values.double()
    root = torch.linalg.cholesky(x.T.cov())
    return SimpleNamespace(sample=lambda m, seed: x.mean(0) + torch.randn(
        m, x.shape[1], generator=stream(seed, "fakes"), dtype=torch.float64) @ root.T)


def half_copies(events, seed):
    """Every tenth fake is a training row."""
    def sample(m, seed):
        fakes = smooth(events, seed).sample(m, seed)
        rows = torch.randint(len(events), (m,), generator=stream(seed, "rows"))
        fakes[::10] = events.values[rows[::10]].double()
        return fakes

    return SimpleNamespace(sample=sample)


def normal(n, seed):
    return Dataset.from_arrays(torch.randn(n, 3, generator=stream(seed, "normal")))


def test_what_remembers_nothing_agrees_between_halves():
    found = halves(smooth, normal(4000, 0))
    assert abs(found.own - 0.5) < 4 * found.error and found.same_seed < 0.01


def test_false_alarms_of_memory_are_as_many_as_they_should_be():
    def known(events, seed):  # learns nothing, and draws as it likes
        return SimpleNamespace(sample=lambda m, seed: torch.randn(m, 3, generator=stream(seed, str(events.values[0]))))

    p = np.array([halves(known, normal(400, seed), fakes=300, seed=seed).p_value for seed in range(300)])
    for level in (0.05, 0.3):
        assert binomtest(int((p <= level).sum()), 300, level, "greater").pvalue > 1e-3


@pytest.mark.parametrize("recipe", [resample, half_copies])
def test_what_repeats_its_half_is_caught(recipe):
    caught = [halves(recipe, normal(1000, seed), seed=seed) for seed in range(10)]
    assert all(found.p_value < 0.001 for found in caught)
    assert recipe is half_copies or all(found.own == 1 and found.same_seed > 0.8 for found in caught)


def test_a_run_is_its_own_recipe():
    events = moons(300, 0)
    run = fit("flow", events, plan=Plan(steps=4), scaling="logit", layers=2, hidden=(8,), seed=3)
    again = like(run)(events, 3)
    assert again.identity == run.identity
    assert amplification(run, events, generators=4, draws=1).n == 300


def test_the_worth_stands_in_verdict_and_page(tmp_path):
    events = moons(400, 1)
    verdict = judge(events, moons(400, 2), statistics="deciding")
    told = replace(verdict, worth=amplification(smooth, events, generators=4))
    assert str(told.worth) in str(told) and json.loads(told.to_json())["worth"]["n"] == 400
    assert "How many events are the fakes worth" in told.report(tmp_path / "a.html").read_text()
    assert "worth:" not in str(verdict)
