"""Synthesis: constraints are met, samples are new, one example is enough, and a Gaussian surrogate is beaten."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sundog
from sundog.errors import DataError, OptionError, RunError, ShapeError
from sundog.models.microcanonical.elsewhere import FEWEST, Elsewhere
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.simulate.fields import filamentary_field
from sundog.statistics.maps.morphology import gaussian_smooth, minkowski_functionals
from sundog.statistics.maps.spectra import correlation_coefficient, power_spectrum

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


def fitted(maps: Tensor, **options: Any) -> MicrocanonicalModel:
    model = MicrocanonicalModel(tuple(maps.shape[1:]), **options)
    model.prepare(maps, None)
    return model


def energy(model: MicrocanonicalModel, x: Tensor) -> Tensor:
    return model.constraints.energies(model._inward(model._fields(x)))


def test_one_example_is_reproduced_in_its_statistics_and_not_copied() -> None:
    example = red_lognormal(1, 64)
    model = fitted(example, bins=8, iterations=40)
    start, x = model.constraints.start(model.row_noise(2, generator(1)))[:, 0], model.sample(2, None, generator(1))
    assert (energy(model, x) < 0.02 * energy(model, start)).all()
    ratio = power_spectrum(x, bins=8).power / power_spectrum(example, bins=8).power
    assert (ratio - 1)[:, 1:].abs().max() < 0.04  # 0.002 to 0.033 over 12 starts; the first bin is four modes
    assert abs(skewness(x) - skewness(example)) < 0.4
    assert abs(skewness(start) - skewness(example)) > 0.8  # the start is Gaussian: the comparison can fail
    assert correlation_coefficient(x[0], example[0], bins=6).power[2:].abs().max() < 0.5
    assert correlation_coefficient(x[0], x[1], bins=6).power[2:].abs().max() < 0.5


def test_same_seed_same_maps_and_the_targets_travel_with_the_weights() -> None:
    model = fitted(red_lognormal(3, 32)[:, None], iterations=5)
    twin = MicrocanonicalModel(**model.config())
    twin.load_state_dict(model.state_dict())
    first, second = model.sample(1, None, generator(4)), twin.sample(1, None, generator(4))
    assert first.shape == (1, 1, 32, 32)
    assert torch.equal(first, second)
    assert not torch.allclose(first, model.sample(1, None, generator(5)))
    assert model.objectives() == []


@pytest.mark.slow
def test_units_of_the_examples_change_nothing_but_the_unit() -> None:
    maps = red_lognormal(1, 32)
    small, large = (fitted(a * maps + b, iterations=10).sample(1, None, generator(2)) for a, b in ((1, 0), (1e4, 7e4)))
    assert (large / 1e4 - 7 - small).abs().max() < 0.05 * small.std()


@pytest.mark.slow
def test_score_prefers_the_right_field() -> None:
    kin, stranger = red_lognormal(4, 48, seed=9), torch.randn(4, 48, 48, generator=generator(0))
    for options in ({}, {"boundary": "edge-mask"}):
        model = fitted(red_lognormal(4, 48), **options)
        assert model.score(kin, None) < 0.2 * model.score(stranger, None)


def test_set_of_examples_gives_the_mean_target() -> None:
    maps = red_lognormal(20, 32)
    model = fitted(maps)
    inward = model._inward(model._fields(maps))
    assert torch.allclose(model.constraints.powers, model.constraints.bands(inward).mean(0), rtol=1e-5)
    assert torch.allclose(model.constraints.raw[0], model.constraints.phi(inward[:, 0]).mean().vector, atol=1e-5)


def test_logarithm_keeps_samples_positive_and_refuses_what_has_none() -> None:
    maps = (0.7 * red_lognormal(2, 32)).exp()
    assert fitted(maps, log=True, iterations=10).sample(2, None, generator(0)).min() > 0
    assert fitted(maps, iterations=2).sample(2, None, generator(0)).min() < 0
    with pytest.raises(DataError, match="logarithm"):
        fitted(-maps, log=True)


@pytest.mark.slow
def test_painting_in_keeps_known_pixels_exactly_and_fills_the_gap_alike() -> None:
    truth = red_lognormal(2, 64)
    mask = torch.ones(64, 64)
    mask[20:34, 24:44] = 0
    broken = torch.where(mask > 0, truth, 1e3)
    data = sundog.Dataset.from_arrays(broken, held_out_fraction=0.0, periodic=True)
    plan = sundog.Plan(validation_fraction=0)
    run = sundog.fit("scattering", data, mask=mask, inpaint=True, iterations=30, J=3, plan=plan)
    x = run.sample(4, seed=3).values
    assert torch.equal(x[:, mask > 0], broken[[0, 1, 0, 1]][:, mask > 0])
    gap = x[:, mask == 0]
    assert not torch.allclose(gap[0], gap[2])
    assert 0.3 < gap.std() / truth[:, mask == 0].std() < 3

    def jump(x: Tensor) -> Tensor:  # across the upper edge of the gap
        return (x[:, 19] - x[:, 20]).abs()[:, 24:44].mean()

    shuffled = x.clone()
    shuffled[:, mask == 0] = gap[:, torch.randperm(gap.shape[1], generator=generator(0))]
    assert jump(x) < 2 * jump(truth) < jump(shuffled)


def test_a_window_of_a_map_is_one_among_the_others() -> None:
    """The mean squared pull of true pixels is about 1, its mean over windows; of shuffled ones far over."""
    found, shuffled = [], []
    valid = torch.ones(64, 64, dtype=torch.bool)
    valid[20:40, 24:48] = False
    for seed in range(6):
        x = filamentary_field(1, 64, seed=seed).values.log()
        x = (x - x.mean()) / x.std()
        local = Elsewhere.in_map(x, valid, True, J=3, L=4, bins=12, levels=8, smoothings=(0.0, 1.0), accuracy="fast",
                          isotropic=True)
        assert local.windows >= 6
        other = x.clone()
        other[:, ~valid] = x[:, ~valid][:, torch.randperm(480, generator=generator(seed))]
        found.append(local.energies(x[None]))
        shuffled.append(local.energies(other[None]))
    assert 0.4 < torch.cat(found).median() < 2
    assert torch.cat(shuffled).median() > 5


def test_the_distance_from_one_window_is_nought_there_alone() -> None:
    maps, around = filamentary_field(8, 48, seed=3).values.log()[:, None], torch.zeros(48, 48)
    around[14:34, 12:32] = 1
    local = Elsewhere.among(maps, around, 20.0, J=3, L=4, bins=8, levels=4, smoothings=(0.0,), accuracy="fast",
                            isotropic=True)  # fmt: skip
    found = torch.stack([local.towards((i + 0.5) / 8).energies(maps) for i in range(8)])
    assert found.diagonal().max() < 1e-3 < 0.5 < (found + torch.eye(8) * 9).min()
    assert local.energies(maps).min() > 0.2  # their mean is none of them


def test_a_lone_missing_pixel_has_a_window() -> None:
    valid, pulls = torch.ones(48, 48, dtype=torch.bool), []
    valid[20, 30] = False
    for seed in range(6):
        x = filamentary_field(1, 48, seed=seed).values.log()
        local = Elsewhere.in_map(x, valid, True, J=3, L=4, bins=8, levels=4, smoothings=(0.0,), accuracy="fast",
                          isotropic=True)
        assert local.windows >= FEWEST and 10 < local.around.sum() < 80
        wrong = x.clone()
        wrong[:, 20, 30] = x.mean() + 8 * x.std()
        pulls.append([float(local.energies(values[None])) for values in (x, wrong)])
    true, wrong = torch.tensor(pulls).median(0).values
    assert true < 3 < 10 < wrong


@pytest.mark.slow
def test_filled_gaps_pass_among_patches_cut_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty gaps against ninety patches; filled to the statistics of the whole map they are told apart."""
    maps = filamentary_field(30, 64, seed=7).values
    mask = torch.ones(64, 64)
    mask[20:44, 20:44] = 0
    real = torch.cat([maps.log().roll(shift, (1, 2))[:, 20:44, 20:44] for shift in ((0, 32), (32, 0), (32, 32))])
    models = [fitted(x[None], log=True, mask=mask, inpaint=True, iterations=30) for x in maps]
    passed = []
    for fewest in (FEWEST, 1000):  # more windows than there are: the statistics of the whole map
        monkeypatch.setattr("sundog.models.microcanonical.family.FEWEST", fewest)
        filled = torch.cat([model.sample(1, None, generator(i)) for i, model in enumerate(models)]).log()
        sets = [sundog.Dataset.from_arrays(x, held_out_fraction=0.0) for x in (real, filled[:, 20:44, 20:44])]
        passed.append(sundog.judge(*sets, splits=4, statistics="deciding").passed)
    assert passed == [True, False]


def test_gaps_of_other_maps_are_filled_from_whole_examples() -> None:
    model = fitted(red_lognormal(4, 32), iterations=10)
    other, mask = red_lognormal(1, 32, seed=8), torch.ones(32, 32)
    mask[8:20, 8:20] = 0
    found = model.fill(torch.where(mask > 0, other, 0.0), mask, generator(1))
    assert torch.equal(found[:, mask > 0], other[:, mask > 0])
    assert found[:, mask == 0].std() > 0.2
    assert torch.equal(model.fill(other, torch.ones(32, 32), generator(1)), other)  # nothing to fill


@pytest.mark.slow
@pytest.mark.parametrize("canvas", [(96, 40), (36, 48)])
def test_another_canvas_has_the_spectrum_of_the_example(canvas: tuple[int, int]) -> None:
    example = red_lognormal(1, 48)
    model = fitted(example, canvas=canvas, iterations=30)
    x = model.sample(1, None, generator(1))
    assert x.shape == (1, *canvas)
    edges = torch.tensor([0.06, 0.1, 0.17, 0.28, 0.5])
    ratio = power_spectrum(x, bins=edges).power / power_spectrum(example, bins=edges).power
    assert (ratio - 1)[:, 1:].abs().max() < 0.15  # the lowest ring holds few modes, and others on another grid
    start = model.constraints.start(model.row_noise(1, generator(1)))
    assert skewness(x) > 0.5 * skewness(example) > 3 * abs(skewness(start))


def test_open_edges_leave_no_trace_in_the_spectrum() -> None:
    """A ramp makes a false k^-2 spectrum of a map that does not wrap around, unless its edges are taken out."""
    rough = torch.randn(1, 64, 64, generator=generator(3))
    ramp = torch.arange(64.0) / 4
    model = {b: fitted(rough + ramp, boundary=b, iterations=2) for b in ("periodic", "edge-mask")}
    power = {b: m.constraints.powers[0] * m.unit**2 for b, m in model.items()}
    top = slice(-3, -1)
    assert (power["edge-mask"][top] - 1).abs().max() < 0.25
    assert (power["periodic"][top] - 1).abs().max() > 0.25
    assert fitted(rough + ramp, boundary="edge-mask", iterations=2).sample(1, None, generator(0)).shape == (1, 64, 64)


@pytest.mark.slow
def test_channels_keep_their_coherence() -> None:
    base = red_lognormal(3, 32)
    maps = torch.stack([base, 0.6 * base + 0.8 * red_lognormal(3, 32, seed=5)], 1)
    model = fitted(maps, iterations=30, bins=6)
    x = model.sample(2, None, generator(1))
    assert x.shape == (2, 2, 32, 32)

    def coherence(x: Tensor) -> Tensor:
        return correlation_coefficient(x[:, 0], x[:, 1], bins=6).power.mean(0)

    assert (coherence(x) - coherence(maps)).abs().max() < 0.1
    alone = torch.stack([x[:, 0], x[:, 1].roll(1, 0)], 1)
    assert (coherence(alone) - coherence(maps)).abs().max() > 0.2
    started = model.constraints.start(model.row_noise(40, generator(2)))
    assert (coherence(started) - coherence(maps))[1:].abs().max() < 0.15  # the start knows it already


@pytest.mark.slow
def test_coarse_to_fine_ends_on_the_fine_grid() -> None:
    example = red_lognormal(1, 64)
    model = fitted(example, coarse_from=64, iterations=20, bins=8)
    assert [tuple(stage.drawn) for stage in model.stages] == [(32, 32), (64, 64)]
    (found,) = model.synthesise(1, generator(1))
    assert found.x.shape == (1, 64, 64) and found.iterations == 40
    assert found.loss < 0.05 * float(energy(model, model.constraints.start(model.row_noise(1, generator(1)))[:, 0]))
    ratio = power_spectrum(found.x, bins=8).power / power_spectrum(example, bins=8).power
    assert (ratio - 1)[:, 1:].abs().max() < 0.05


def test_a_failed_line_search_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(red_lognormal(1, 32), iterations=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.synthesise(1, generator(1))
    energies = type(model.constraints).energies
    monkeypatch.setattr(type(model.constraints), "energies",
                        lambda self, x: 2 * energies(self, x).detach() - energies(self, x))
    with pytest.warns(UserWarning, match="2 of 2 maps ended in a failed line search, not in a minimum"):
        model.synthesise(2, generator(1))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(256,), (1, 256)])
def test_lines_keep_the_arrow_of_time(shape: tuple[int, ...]) -> None:
    """Slow rises and sudden falls: the skewness of increments has a sign that a Gaussian start lacks."""
    x = torch.zeros(1, 256)
    kicks = torch.rand(1, 256, generator=generator(2))
    for i in range(1, 256):
        x[:, i] = torch.where(kicks[:, i] > 0.93, -2.0, x[:, i - 1] + 0.2)
    data = sundog.Dataset.from_arrays(x.reshape(1, *shape), held_out_fraction=0)
    model = fitted(data.values, iterations=60, levels=8)
    y = model.sample(2, None, generator(1))
    assert y.shape == (2, *shape)

    def steps(x: Tensor) -> float:
        return skewness(x - x.roll(2, -1))

    assert steps(y) < 0.5 * steps(x) < -0.5
    assert abs(steps(model.constraints.start(model.row_noise(2, generator(1))))) < 0.4


@pytest.mark.slow
def test_cubes_are_drawn_through_fit_and_sample() -> None:
    cube = torch.randn(1, 16, 16, 16, generator=generator(0))
    cube = (3 * (cube + cube.roll(1, 1) + cube.roll(1, 2) + cube.roll(1, 3)) / 8).exp()
    run = sundog.fit("scattering", sundog.Dataset.from_arrays(cube), domain="volume", iterations=60, levels=8)
    x = run.sample(1, seed=1).values
    assert x.shape == (1, 16, 16, 16)
    start = run.model.constraints.start(run.model.row_noise(1, generator(1)))  # type: ignore[operator]
    assert skewness(x) > 0.5 * skewness(cube) > 3 * abs(skewness(start))


def test_bad_input_is_named(tmp_path: Path) -> None:
    for shape, options in (((20, 32, 32), {}), ((5,), {}), ((32, 32), {"context_dim": 2}),
                           ((32, 32), {"domain": "disc"}),
                           ((32, 32), {"J": 9}), ((32, 32), {"boundary": "open"}), ((32, 32), {"inpaint": True}),
                           ((32, 32), {"mean_field": 1}), ((2, 64), {"domain": "line"})):  # fmt: skip
        with pytest.raises(OptionError):
            MicrocanonicalModel(shape, **options)
    with pytest.raises(DataError, match="hides every pixel"):
        MicrocanonicalModel((32, 32), mask=torch.zeros(32, 32))
    with pytest.raises(DataError, match="numbers"):
        MicrocanonicalModel((32, 32), mask=np.full((32, 32), np.nan))
    with pytest.raises(ShapeError, match="mask"):
        MicrocanonicalModel((32, 32), mask=torch.ones(16, 32))
    with pytest.raises(ShapeError, match="canvas"):
        MicrocanonicalModel((32, 32), canvas=(64,))
    model = MicrocanonicalModel((32, 32))
    with pytest.raises(RunError):
        model.sample(1, None, generator(0))
    with pytest.raises(ShapeError):
        model.prepare(torch.zeros(2, 16, 16), None)
    with pytest.raises(DataError, match="constant"):
        model.prepare(torch.ones(2, 32, 32), None)
    with pytest.raises(DataError, match="NaN"):
        sundog.fit("scattering", sundog.Dataset.from_arrays(np.full((1, 32, 32), np.nan)))
    whole = sundog.Dataset.from_arrays(np.random.default_rng(0).poisson(9, (1, 16, 24)))  # integers, not square
    assert sundog.fit("scattering", whole, iterations=2).sample(1).values.shape == (1, 16, 24)


def test_a_masked_run_comes_back_from_its_folder(tmp_path: Path) -> None:
    mask = torch.ones(32, 32)
    mask[4:8] = 0
    data = sundog.Dataset.from_arrays(red_lognormal(1, 32))
    run = sundog.fit("scattering", data, mask=mask, inpaint=True, iterations=3, J=2)
    twin = sundog.load_run(run.save(tmp_path / "run"))
    assert torch.equal(run.sample(2, seed=1).values, twin.sample(2, seed=1).values)


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
