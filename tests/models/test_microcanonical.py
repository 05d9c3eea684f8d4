"""Synthesis: constraints are met, samples are new, one example is enough, and a Gaussian surrogate is beaten."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, RunError, ShapeError
from sundog.models.microcanonical import MicrocanonicalModel
from sundog.statistics.morphology import gaussian_smooth, minkowski_functionals
from sundog.statistics.spectra import correlation_coefficient, power_spectrum

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields"


def red_lognormal(n: int, side: int, seed: int = 0) -> Tensor:
    """Skewed red maps (n, side, side), float32, mean 0 and variance 1."""
    x = torch.randn(n, side, side, generator=torch.Generator().manual_seed(seed))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-1.5, s=(side, side))
    x = (0.8 * x / x.std((-2, -1), keepdim=True)).exp()
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewness(x: Tensor) -> float:
    y = (x - x.mean()) / x.std()
    return float((y**3).mean())


def test_one_example_is_reproduced_in_its_statistics_and_not_copied() -> None:
    example = red_lognormal(1, 64)
    model = MicrocanonicalModel((64, 64), bins=8, iterations=40)
    model.prepare(example, None)
    start, x = model.start(2, generator(1)), model.sample(2, None, generator(1))
    assert (model.energies(x) < 0.02 * model.energies(start)).all()
    ratio = power_spectrum(x, bins=8).power / power_spectrum(example, bins=8).power
    assert (ratio - 1)[:, 1:].abs().max() < 0.03  # the first bin is four modes
    assert abs(skewness(x) - skewness(example)) < 0.4
    assert abs(skewness(start) - skewness(example)) > 0.8  # the start is Gaussian: the comparison can fail
    assert correlation_coefficient(x[0], example[0], bins=6).power[2:].abs().max() < 0.5
    assert correlation_coefficient(x[0], x[1], bins=6).power[2:].abs().max() < 0.5


def test_same_seed_same_maps_and_the_targets_travel_with_the_weights() -> None:
    model = MicrocanonicalModel((1, 32, 32), iterations=5)
    model.prepare(red_lognormal(3, 32)[:, None], None)
    twin = MicrocanonicalModel(**model.config())
    twin.load_state_dict(model.state_dict())
    first, second = model.sample(1, None, generator(4)), twin.sample(1, None, generator(4))
    assert first.shape == (1, 1, 32, 32)
    assert torch.equal(first, second)
    assert not torch.allclose(first, model.sample(1, None, generator(5)))
    assert model.objectives() == []


def test_score_prefers_the_right_field() -> None:
    model = MicrocanonicalModel((48, 48))
    model.prepare(red_lognormal(4, 48), None)
    kin, stranger = red_lognormal(4, 48, seed=9), torch.randn(4, 48, 48, generator=generator(0))
    assert model.score(kin, None) < 0.1 * model.score(stranger, None)


def test_set_of_examples_gives_the_mean_target() -> None:
    maps = red_lognormal(20, 32)
    model = MicrocanonicalModel((32, 32))
    model.prepare(maps, None)
    assert torch.allclose(model.powers, model.bands(maps).mean(0), rtol=1e-5)
    assert torch.allclose(model.raw, model.phi(maps).mean().vector, rtol=1e-4, atol=1e-6)


def test_bad_input_is_named() -> None:
    with pytest.raises(OptionError):
        MicrocanonicalModel((3, 32, 32))
    with pytest.raises(OptionError):
        MicrocanonicalModel((5,))
    with pytest.raises(OptionError):
        MicrocanonicalModel((32, 32), context_dim=2)
    model = MicrocanonicalModel((32, 32))
    with pytest.raises(RunError):
        model.sample(1, None, generator(0))
    with pytest.raises(ShapeError):
        model.prepare(torch.zeros(2, 16, 16), None)
    with pytest.raises(DataError):
        model.prepare(torch.ones(2, 32, 32), None)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "mhd_dust_I_1.npy").exists(), reason="needs the dust maps of SUNDOG_DATA")
def test_dust_beats_a_random_phase_surrogate() -> None:
    dust = torch.from_numpy(np.load(DATA / "mhd_dust_I_1.npy")).reshape(256, 2, 256, 2).mean((1, 3)).log()
    dust = (dust - dust.mean()) / dust.std()
    model = MicrocanonicalModel((256, 256))
    model.prepare(dust[None], None)
    x = model.sample(1, None, generator(1))[0]
    phases = torch.fft.rfft2(torch.randn(256, 256, generator=generator(2)))
    surrogate = torch.fft.irfft2(torch.fft.rfft2(dust).abs() * phases / phases.abs(), s=(256, 256))
    maps = gaussian_smooth(torch.stack([dust, x, surrogate]), 1.5, periodic=True)
    found = minkowski_functionals(maps, torch.linspace(-2, 2.5, 19), periodic=True)
    for functional in (found.v0, found.v1):
        error = (functional[1:] - functional[0]).square().mean(-1).sqrt()
        assert error[0] < error[1] / 2
    ratio = power_spectrum(x, bins=20).power / power_spectrum(dust, bins=20).power
    assert (ratio - 1).abs().max() < 0.02
