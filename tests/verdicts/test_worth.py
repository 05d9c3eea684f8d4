"""What fakes are worth, against what the known law says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sundog import Dataset
from sundog.errors import OptionError, SampleSizeError
from sundog.verdicts.worth import amplification


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
    with pytest.raises(OptionError, match="generators"):
        amplification(gaussian, Dataset.from_arrays(drawn(200, 3)), generators=2)
