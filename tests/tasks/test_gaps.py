"""Gaps are filled with draws of the posterior; what was observed is untouched."""

from __future__ import annotations

import pytest
import torch

import sundog
from sundog.errors import OptionError, ShapeError
from sundog.simulate.processes import ornstein_uhlenbeck
from sundog.tasks.gaps import fill_gaps


def records(x: torch.Tensor, unit: str = "K") -> sundog.Dataset:
    return sundog.Dataset.from_arrays(x, time_step=0.5, time_unit="d", names="T", units=unit)


def test_gaps_are_drawn_around_what_was_seen() -> None:
    x = 300 + 5 * ornstein_uhlenbeck(60, 39, rate=0.1, seed=0)
    run = sundog.fit("sde", records(x), steps=1, hurst=0.5, noise="constant")
    torn = x.clone()
    torn[:, 12:20] = torch.nan
    one, two = (fill_gaps(run, records(torn), seed=seed).values for seed in (0, 1))
    there = ~torn.isnan()
    assert torch.equal(one[there], records(x).values[there])
    assert bool((one[~there] != two[~there]).all())
    wrong = x.mean() - x[:, 12:20]
    assert float((one[:, 12:20] - x[:, 12:20]).std()) < 0.9 * float(wrong.std())  # nearer than any point of the law
    steps = one.diff(dim=1)
    assert abs(float(steps[:, 11:20].std() / steps[:, 25:].std()) - 1) < 0.2  # as rough as the rest


def test_runs_and_series_that_do_not_fit() -> None:
    x = ornstein_uhlenbeck(40, 39, rate=0.1, seed=0)
    run = sundog.fit("sde", records(x), steps=1)
    with pytest.raises(ShapeError, match="do not fit the run"):
        fill_gaps(run, records(x, unit="mK"))
    with pytest.raises(ShapeError, match="do not fit the run"):
        fill_gaps(run, records(x[:, :35]))
    with pytest.raises(OptionError, match="fills no gaps"):
        fill_gaps(sundog.fit("scattering", records(x), iterations=1), records(x))
