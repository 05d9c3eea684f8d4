"""Families on series: those that draw them, and those that say which do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sundog
from sundog.errors import DataError, OptionError
from sundog.nets.unet import UNet
from sundog.simulate.processes import ornstein_uhlenbeck

TINY = {"flow-matching": {"steps": 3, "parameters": 2e4}, "diffusion": {"steps": 3, "parameters": 2e4},
        "scattering": {"iterations": 3}}


def paths(n: int = 60, t: int = 48, **facts: object) -> sundog.Dataset:
    x = ornstein_uhlenbeck(n, t - 1, rate=0.2, seed=0).float()
    return sundog.Dataset.from_arrays(x, time_step=0.5, time_unit="s", names="v", units="m/s", **facts)


@pytest.mark.parametrize("family", TINY)
def test_series_come_back_as_series(family: str, tmp_path: Path) -> None:
    run = sundog.fit(family, paths(), **TINY[family])
    fakes = run.sample(3, seed=1)
    assert tuple(fakes.values.shape) == (3, 48)
    assert (fakes.time_step, fakes.time_unit, fakes.names, fakes.units) == (0.5, "s", ("v",), ("m/s",))
    run.save(tmp_path)
    assert torch.equal(sundog.load_run(tmp_path).sample(3, seed=1).values, fakes.values)


def test_channels_and_context() -> None:
    x = paths().values
    data = sundog.Dataset.from_arrays(torch.stack([x, -x], 2), x[:, :1], time_step=1.0)
    run = sundog.fit("flow-matching", data, **TINY["flow-matching"])
    assert tuple(run.sample(4, context=[[1.0]]).values.shape) == (4, 48, 2)
    assert run.log_prob(data[:2]).shape == (2,)


@pytest.mark.parametrize("family", ["flow", "vae", "gan", "pod", "translate"])
def test_others_refuse_by_name(family: str) -> None:
    with pytest.raises(OptionError, match=f"'{family}' draws no series.*diffusion, flow-matching, scattering"):
        sundog.fit(family, paths())


def test_gaps_and_constant_series_are_refused() -> None:
    for value, words in ((torch.nan, "takes no gaps"), (0.0, "no constant series")):
        x = paths().values.clone()
        x[:30] = value
        with pytest.raises(DataError, match=words):
            sundog.fit("diffusion", sundog.Dataset.from_arrays(x, time_step=1.0))


def test_the_network_of_lines_has_one_axis() -> None:
    net = UNet(2, 1, parameters=5e4, line=True)
    assert net(torch.zeros(3, 2, 1, 37), torch.zeros(3, 1), None).shape == (3, 1, 1, 37)
    assert {tuple(p.shape[-2:]) for p in net.parameters() if p.ndim == 4} == {(1, 3), (1, 2), (1, 1)}


@pytest.mark.slow
def test_diffusion_draws_the_covariance_of_the_process() -> None:
    data = paths(1000, 64)
    run = sundog.fit("diffusion", data, steps=300, skip="covariance", parameters=5e4)
    x, real = run.sample(1000, seed=1).values, ornstein_uhlenbeck(20_000, 63, rate=0.2, seed=9)
    for lag in (0, 1, 5, 20):
        found, law = ((y[:, lag:] * y[:, : 64 - lag]).mean(1) for y in (x, real))
        assert abs(found.mean() - law.mean()) < 5 * (found.var() / len(found) + law.var() / 800) ** 0.5
