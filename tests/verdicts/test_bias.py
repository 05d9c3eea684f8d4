"""bias_report: calibrated on resampled training data, a dropped class is named, attributes of images and steps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import sundog
from sundog import Dataset, bias_report
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.tasks.trajectory import Trajectory, trajectory


def rows(n, seed):
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    return Dataset.from_arrays(np.stack([kind, rng.normal(kind, 1), rng.exponential(1, n)], 1),
                               names=("kind", "size", "flux"), units=("", "px", "Jy"))


def blobs(n, seed, longer=1.0):
    """Elongated blobs of random orientation: flux 1 to 3."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    angle, flux = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(1, 3, (n, 1, 1))
    long = longer * rng.uniform(1.6, 2.8, (n, 1, 1))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    image = np.exp(-0.5 * (along / long) ** 2 - 0.5 * across**2)
    return Dataset.from_arrays(flux * image / image.sum((1, 2), keepdims=True)), np.rad2deg(angle[:, 0, 0])


def alarms(draw, count):
    return sum(bool(bias_report(*draw(i), ("kind", "size", "flux")).flags) for i in range(count))


def test_one_law_raises_flags_in_at_most_five_per_cent_of_reports():
    count = 150
    most = 0.05 * count + 4 * (0.05 * 0.95 * count) ** 0.5
    assert alarms(lambda i: (rows(600, i), rows(400, 10_000 + i)), count) <= most
    train = rows(600, 0)
    again = [train[np.random.default_rng(i).integers(0, 600, 600)] for i in range(count)]
    assert alarms(lambda i: (train, again[i]), count) <= most


def test_a_dropped_class_and_a_shifted_size_are_named():
    train, fake = rows(2000, 0), rows(2000, 1)
    dropped = fake[fake.values[:, 0] != 3]
    report = bias_report(train, dropped, "kind")
    assert [(share.name, share.fake) for share in report.flags if share.fake < share.train] == [("3", 0.0)]
    assert report.flags[0].name == "3" and report.flags[0].train_low < 0.1 < report.flags[0].train_high
    shifted = Dataset.from_arrays(fake.values + torch.tensor([0, 0.5, 0]), names=fake.names, units=fake.units)
    flagged = {share.attribute for share in bias_report(train, shifted, ("kind", "size", "flux")).flags}
    assert flagged == {"size"}


def test_weights_and_words_and_functions_count():
    train, fake = rows(2000, 2), rows(3000, 3)
    heavy = Dataset.from_arrays(fake.values, names=fake.names, units=fake.units,
                                weights=1 + 4 * (fake.values[:, 0] == 3).float())
    report = bias_report(train, heavy, "kind")
    assert any(share.name == "3" and share.fake > 0.25 for share in report.flags)
    sort = tuple(np.where(data.values[:, 0] > 1, "rare", "common") for data in (train, fake))
    words = {"sort": sort,
             "bright": lambda data: data.values[:, 2] > 1}
    report = bias_report(train, fake, words)
    assert [share.name for share in report.shares] == ["common", "rare", "False", "True"] and not report.flags
    assert json.loads(report.to_json())["shares"][0]["attribute"] == "sort" and len(report.to_pandas()) == 4


def test_orientation_flux_and_size_of_images():
    train, _ = blobs(800, 0)
    fake, turned = blobs(800, 1)
    assert not bias_report(train, fake, ("flux", "size", "orientation")).flags
    upright = fake[np.abs(turned - 90) > 25]
    found = bias_report(train, upright, ("flux", "size", "orientation")).flags
    assert {share.attribute for share in found} == {"orientation"} and any(s.fake < 0.7 * s.train for s in found)
    assert {s.attribute for s in bias_report(train, blobs(800, 2, longer=1.2)[0], ("flux", "size")).flags} == {"size"}


def test_shares_by_sampling_step_end_at_those_of_the_sample():
    maps = Dataset.from_arrays(torch.randn(60, 8, 8, generator=torch.Generator().manual_seed(0)))
    run = sundog.fit("diffusion", maps, plan=sundog.Plan(steps=2), parameters=2e4, sampling_steps=4)
    way = trajectory(run, 30, seed=3)
    report = bias_report(maps, way.sample, "flux", trajectory=way)
    assert len(report.steps) == len(way.levels) == len(report.levels)
    assert list(report.steps[-1]) == pytest.approx([share.fake for share in report.shares])
    assert "noise level" in str(report)
    with pytest.raises(OptionError, match="not known at noise levels"):
        bias_report(maps, way.sample, {"mine": (np.zeros(60), np.zeros(30))}, trajectory=way)


def test_columns_and_context_of_a_trajectory_go_by_name():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    train = Dataset.from_arrays(x, names=("pt", "eta"), context=x[:, :1].round(), context_names=("kind",))
    way = Trajectory(torch.tensor([1.0, 0.0]), torch.stack([x, x]), torch.stack([x + 100, x]), train)
    report = bias_report(train, train, ("eta", "kind"), trajectory=way)
    assert report.steps[0][:8] == (0,) * 7 + (1,)  # all beyond the last cell of eta
    assert report.steps[0][8:] == report.steps[1][8:] and report.steps[1] == tuple(s.fake for s in report.shares)
    other = Dataset.from_arrays(x, names=("a", "b"))
    with pytest.raises(ShapeError, match="of other columns"):
        bias_report(train, train, "eta", trajectory=replace(way, sample=other))


def test_misuse_is_named():
    train = rows(100, 0)
    with pytest.raises(OptionError, match="did you mean flux"):
        bias_report(train, train, "fluxx")
    with pytest.raises(SampleSizeError, match="at least 20"):
        bias_report(train, train[:5], "flux")
    with pytest.raises(ShapeError, match="another length"):
        bias_report(train, train, {"a": (np.zeros(100), np.zeros(4))})
    with pytest.raises(DataError, match="not finite"):
        bias_report(train, train, {"a": (np.zeros(100), np.full(100, np.nan))})
    with pytest.raises(ShapeError, match="unit of flux"):
        bias_report(train, Dataset.from_arrays(train.values, names=train.names, units=("", "px", "mJy")), "flux")
    with pytest.raises(OptionError, match="no attributes"):
        bias_report(train, train, [])
