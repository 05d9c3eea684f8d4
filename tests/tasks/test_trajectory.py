"""A trajectory ends in the sample, bit for bit, and an interpolation in what its end gives alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog.errors import OptionError, ShapeError
from sundog.models.base import AT_ONCE
from sundog.reports.figures.film import contact_sheet, strip, write_film
from sundog.tasks import trajectory as module
from sundog.tasks.trajectory import interpolate, trajectory


def fitted(**options: object) -> sundog.Run:
    g = torch.Generator().manual_seed(0)
    c = torch.rand(60, 1, generator=g)
    x = 5 + (1 + c[:, :, None]) * torch.randn(60, 8, 8, generator=g).cumsum(1)
    maps = sundog.Dataset.from_arrays(x, c, names=["flux"], units="mJy", context_names=["size"])
    options |= {"parameters": 2e4, "sampling_steps": 5}
    return sundog.fit("diffusion", maps, plan=sundog.Plan(steps=2, batch=8), **options)


@pytest.fixture(scope="module")
def run() -> sundog.Run:
    return fitted(skip="covariance")


@pytest.mark.parametrize("options", [
    pytest.param({"sampler": "heun"}, marks=pytest.mark.slow),
    pytest.param({"sampler": "euler"}, marks=pytest.mark.slow),
    {"skip": "covariance"}])
def test_the_last_frame_is_the_sample(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = fitted(**options)
    monkeypatch.setitem(AT_ONCE, "cpu", 3 * 64)  # chunks of three images
    way = trajectory(run, 7, seed=3)
    drawn = run.sample(7, seed=3)
    assert torch.equal(way.frames[-1], drawn.values) and torch.equal(way.sample.values, drawn.values)
    assert torch.equal(way.sample.context, drawn.context)
    assert len(way.levels) == 6 and float(way.levels[-1]) == 0 and bool((way.levels.diff() < 0).all())
    assert not torch.equal(trajectory(run, 7, seed=4).frames[-1], drawn.values)


def test_states_start_as_noise_of_unit_contrast(run: sundog.Run) -> None:
    way = trajectory(run, 40)
    start = way.states[0]
    # N(mean, C + s^2) / sqrt(s^2 + sd^2): 2560 pixels of unit variance on average, one mode of them larger.
    assert float(start.square().mean()) == pytest.approx(1, abs=0.15)
    assert float(way.frames[0].std(0).mean()) < 0.8 * float(way.frames[-1].std(0).mean())  # nothing is known yet


def test_recording_leaves_the_run_alone(run: sundog.Run) -> None:
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    trajectory(run, 2)
    assert not any(name.startswith("_Recorder") for name in vars(run.model))
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_interpolation_goes_from_end_to_end_on_one_noise(run: sundog.Run) -> None:
    row = interpolate(run, [0.0], [1.0], steps=5, seed=2)
    assert row.context is not None and row.context.flatten().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert torch.equal(row.values[:1], run.sample(1, [[0.0]], 2).values)
    assert torch.equal(row.values[-1:], run.sample(1, [[1.0]], 2).values)
    assert row.units == ("mJy",)
    # One noise: neighbours differ less than samples of other noise do.
    others = torch.cat([run.sample(1, [[0.5]], seed).values for seed in range(3, 8)])
    steps = row.values.diff(dim=0).square().mean()
    assert float(steps) < 0.25 * float((others - row.values[2]).square().mean())


def test_what_has_no_levels_is_refused(run: sundog.Run) -> None:
    toy = sundog.simulate.densities.TwoMoons().sample(100, seed=0)
    flow = sundog.fit("flow-matching", toy, plan=sundog.Plan(steps=1))
    with pytest.raises(OptionError, match="no trajectory"):
        trajectory(flow)
    for ends in (([0.0, 1.0], [1.0]), ([0.0], [])):
        with pytest.raises(ShapeError, match="cannot go"):
            interpolate(run, *ends)
    with pytest.raises(ShapeError, match="expected 0 each"):
        interpolate(flow, [], [])


# -- pictures --------------------------------------------------------------------------------------------------------


def test_the_sheet_shows_frames_on_one_scale(run: sundog.Run) -> None:
    way = trajectory(run, 3)
    figure = contact_sheet(way, columns=4, rows=2)
    shown = [ax.images[0] for ax in figure.axes]
    assert len(shown) == 2 * 2 * 4
    assert np.array_equal(shown[4 + 3].get_array(), way.frames[-1, 0].numpy())
    assert len({(image.norm.vmin, image.norm.vmax) for image in shown[4:8] + shown[12:]}) == 1
    row = strip(way.sample, ["a", "b", "c"])
    assert [ax.get_title() for ax in row.axes] == ["a", "b", "c"]


@pytest.mark.slow
def test_the_film_has_a_frame_per_level_and_holds_the_numbers(run: sundog.Run, tmp_path: Path) -> None:
    way = trajectory(run, 2)
    with np.load(write_film(way, tmp_path / "film.npz")) as numbers:
        assert np.array_equal(numbers["frames"][-1], way.sample.values.numpy())
    film = write_film(way, tmp_path / "film.gif", frames_per_second=4)
    picture = pytest.importorskip("PIL.Image").open(film)
    times = []
    for i in range(picture.n_frames):
        picture.seek(i)
        times.append(picture.info["duration"])
    assert picture.n_frames == len(way.levels)  # equal frames at the end are stored as one long one
    assert times[0] == 250 and times[-1] >= 1500
    with pytest.raises(OptionError, match="such a film"):
        write_film(way, tmp_path / "film.avi")
    assert module.__doc__
