"""Error bars mean what they say: known standard errors, and 68 % intervals that cover 68 % of the time."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import OptionError, SampleSizeError
from sundog.statistics import bootstrap, jackknife


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_error_of_a_mean() -> None:
    x = noise(400, 3)
    truth = x.std(0) / 20
    b, j = bootstrap(mean, x, n_resamples=800), jackknife(mean, x, n_blocks=400)
    assert torch.allclose(b.error, truth, rtol=4 / math.sqrt(2 * 800))
    assert torch.allclose(j.error, truth)  # exact for a mean when every block is one sample
    assert torch.allclose(b.value, x.mean(0)) and (b.low < b.value).all() and (b.value < b.high).all()


@pytest.mark.parametrize("kind", ["bootstrap", "jackknife"])
def test_coverage_of_the_68_percent_interval(kind: str) -> None:
    repeats, hits = 400, 0.0
    samples = torch.empty(repeats, 60, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(3))
    for i, x in enumerate(samples):
        e = bootstrap(mean, x, n_resamples=120, seed=i) if kind == "bootstrap" else jackknife(mean, x, n_blocks=20)
        hits += float((e.low <= 1.0) & (e.high >= 1.0))
    assert 0.60 < hits / repeats < 0.76


def test_blocks_keep_neighbours_together() -> None:
    x = noise(50).repeat_interleave(8)  # runs of equal values: 50 independent numbers, not 400
    truth = float(x.std()) / math.sqrt(50)
    assert float(jackknife(mean, x, n_blocks=50).error) == pytest.approx(truth, rel=0.05)
    assert float(jackknife(mean, x, n_blocks=400).error) < 0.5 * truth  # negative control


def test_uneven_blocks_seeds_and_vector_statistics() -> None:
    x = noise(23, 2)
    e = jackknife(lambda s: torch.stack([s.mean(), s.std()]), x, n_blocks=7)
    assert e.error.shape == (2,) and (e.error > 0).all()
    assert torch.equal(bootstrap(mean, x, seed=1).error, bootstrap(mean, x, seed=1).error)
    assert not torch.equal(bootstrap(mean, x, seed=1).error, bootstrap(mean, x, seed=2).error)
    assert bootstrap(mean, torch.ones(5)).error == 0


def test_bad_input() -> None:
    x = noise(5)
    for call in (lambda: bootstrap(mean, x[:1]), lambda: jackknife(mean, x, n_blocks=6)):
        with pytest.raises(SampleSizeError):
            call()
    for call in (lambda: bootstrap(mean, x, n_resamples=1), lambda: jackknife(mean, x, n_blocks=1)):
        with pytest.raises(OptionError):
            call()
