"""Series: the third kind of data, from files and back, its time step, irregular sampling, gaps, windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog.data.series.layout import as_maps, as_series, windows
from sundog.data.series.sampling import resampled
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError


def series(n: int = 6, t: int = 40, channels: int = 0) -> np.ndarray:
    shape = (n, t, channels) if channels else (n, t)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("suffix", ["npz", "h5", "fits"])
@pytest.mark.parametrize("channels", [0, 2])
def test_saved_and_loaded_bit_by_bit(tmp_path: Path, suffix: str, channels: int) -> None:
    x = series(channels=channels)
    x[0, 3] = np.nan
    data = sundog.Dataset.from_arrays(x, time_step=0.1, time_unit="s", units="m/s")
    back = sundog.load(data.save(tmp_path / f"a.{suffix}"))
    assert back.kind == "series"
    assert (back.time_step, back.time_unit, back.units) == (0.1, "s", data.units)
    assert back.fingerprint() == data.fingerprint()


@pytest.mark.parametrize(("shape", "wanted"), [((40,), (1, 40)), ((3, 40), (3, 40)), ((3, 40, 2), (3, 40, 2))])
def test_arrays_of_every_kind_of_file(tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    import h5py

    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", flux=x)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["flux"] = x
    for suffix in ("npy", "npz", "h5"):
        data = sundog.load(tmp_path / f"a.{suffix}", kind="series", time_step=2.0, time_unit="d")
        assert tuple(data.values.shape) == wanted
        assert (data.kind, data.time_step, data.time_unit) == ("series", 2.0, "d")


def table(path: Path, left_out: tuple[int, ...] = ()) -> Path:
    rows = [f"{0.25 * i},{i % 5},{-i}" for i in range(40) if i not in left_out]
    path.write_text("\n".join(["t [d],flux [mJy],g", *rows]) + "\n")
    return path


def test_columns_of_a_table_are_channels_and_its_times_the_step(tmp_path: Path) -> None:
    data = sundog.load(table(tmp_path / "a.csv"), kind="series")
    assert (tuple(data.values.shape), data.names, data.units) == ((1, 40, 2), ("flux", "g"), ("mJy", ""))
    assert (data.time_step, data.time_unit) == (0.25, "d")
    assert any("channels of one series" in note for note in data.provenance["notes"])
    table(tmp_path / "b.csv")
    assert tuple(sundog.load(sorted(tmp_path.glob("*.csv")), kind="series").values.shape) == (2, 40, 2)


def test_named_channels_and_chosen_columns_lose_nothing(tmp_path: Path) -> None:
    x = series()
    named = sundog.load(x, kind="series", names=("flux",), time_step=1.0)  # the name of a channel, not of a column
    assert named.names == ("flux",) and np.array_equal(named.values.numpy(), x)
    path = table(tmp_path / "a.csv")
    chosen = sundog.load(path, kind="series", columns=["t", "g"])
    assert (chosen.names, chosen.time_step) == (("g",), 0.25) and chosen.values[0, 3] == -3
    with pytest.raises(ShapeError, match="no column 'h'"):
        sundog.load(path, kind="series", columns=["t", "h"])
    events = sundog.Dataset.from_arrays(series(40, 2), names=("flux", "g")).save(tmp_path / "a.npz")
    assert sundog.load(events, kind="series", time_step=0.1).names == ("flux", "g")


def test_what_a_file_of_series_cannot_do_is_refused_and_another_step_is_said(tmp_path: Path) -> None:
    path = sundog.Dataset.from_arrays(series(), time_step=0.1).save(tmp_path / "a.npz")
    for how in ({"resample": 0.05}, {"time": "t"}, {"columns": ["x"]}):
        with pytest.raises(OptionError, match="series in an array have no columns"):
            sundog.load(path, kind="series", **how)
    data = sundog.load(path, kind="series", time_step=5.0)
    assert data.time_step == 5 and data.provenance["notes"] == ["time_step=5 was given in place of the file's 0.1"]


def test_no_step_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", series())
    notes = sundog.load(tmp_path / "a.npy", kind="series").provenance["notes"]
    assert any("how long a time step is" in note for note in notes)


def test_irregular_sampling_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", left_out=(7, 20, 21))
    with pytest.raises(DataError, match=r"irregular: got steps from 0.25 to 0.75.*resample=0.25"):
        sundog.load(path, kind="series")
    data = sundog.load(path, kind="series", resample=0.25)
    assert data.values.isnan().any(2).nonzero()[:, 1].tolist() == [7, 20, 21]  # no number is made up
    assert data["g"][0, 8] == -8
    assert "1 of 1 series have gaps" in data.describe()


def test_resampling_bridges_no_wide_gap() -> None:
    at = np.r_[np.arange(10) + 0.1 * np.sin(np.arange(10)), 20, 21]
    new = np.arange(0, 21, 0.5)
    found = resampled(at, at[:, None], new)[:, 0]  # a straight line: linear interpolation is exact
    assert np.isnan(found).tolist() == [bool(at[9] < t < 20 and t not in at) for t in new]
    assert np.nanmax(np.abs(found - new)) < 1e-12


@pytest.mark.parametrize("times", [[0, 1, 1, 2], [0, 2, 1, 3], [0, 1, np.nan, 3]])
def test_times_must_rise(times: list[float]) -> None:
    with pytest.raises(DataError, match="times do not rise"):
        sundog.load({"time": np.array(times, float), "x": np.arange(4.0)}, kind="series")


def test_what_is_not_series() -> None:
    with pytest.raises(OptionError, match="only series have times"):
        sundog.load(series(), time_step=1.0)
    with pytest.raises(ShapeError, match="unusable shape"):
        sundog.load(np.zeros((2, 3, 4, 5)), kind="series")
    with pytest.raises(DataError, match="NaN or Inf"):
        sundog.Dataset.from_arrays(np.full((2, 9), np.inf), time_step=1.0)
    with pytest.raises(OptionError, match="time_step"):
        sundog.Dataset.from_arrays(series(), time_step=0.0)
    with pytest.raises(ShapeError, match="series do not fit a table"):
        sundog.Dataset.from_arrays(series(), time_step=1.0).save("a.csv")
    with pytest.raises(ShapeError, match="no columns"):
        sundog.Dataset.from_arrays(series(), time_step=1.0).columns()


def test_concat_refuses_other_steps() -> None:
    one, two = (sundog.Dataset.from_arrays(series(), time_step=step) for step in (1.0, 2.0))
    assert len(sundog.Dataset.concat([one, one])) == 12
    with pytest.raises(ShapeError, match="time step"):
        sundog.Dataset.concat([one, two])


def test_windows_leave_gaps_out_and_keep_context() -> None:
    x = torch.arange(20.0).reshape(2, 10)
    x[0, 3] = torch.nan
    data = sundog.Dataset.from_arrays(x, context=[[1.0], [2.0]], time_step=1.0)
    cut = windows(data, 4, stride=2)
    assert cut.values[:, 0].tolist() == [4, 6, 10, 12, 14, 16]
    assert cut.context is not None
    assert cut.context[:, 0].tolist() == [1, 1, 2, 2, 2, 2]
    with pytest.raises(SampleSizeError, match="cut windows"):
        windows(data, 11)


def test_the_words_of_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sundog.cli import main

    path = table(tmp_path / "a.csv", left_out=(7,))
    assert main(["info", str(path), "--kind", "series"]) == 2
    assert "--resample 0.25" in capsys.readouterr().err
    words = [str(path), "--kind", "series", "--resample", "0.25"]
    assert main(["fit", "scattering", *words, "--out", str(tmp_path / "run")]) == 2
    assert "--windows 64" in capsys.readouterr().err
    assert main(["info", *words, "--windows", "16", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["shape"], facts["time_step"], facts["time_unit"]) == ("series", [1, 16, 2], 0.25, "d")
    np.save(tmp_path / "b.npy", series())
    assert main(["info", str(tmp_path / "b.npy"), "--kind", "series", "--time-step", "0.1 s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["time_unit"] == "s"
    assert main(["info", str(tmp_path / "b.npy"), "--kind", "series"]) == 0
    assert "pass --time-step, or" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "b.npy"), "--kind", "series", "--time-step", "soon"]) == 2


@pytest.mark.parametrize("channels", [0, 3])
def test_maps_of_one_row_and_back(channels: int) -> None:
    x = torch.from_numpy(series(channels=channels))
    assert as_maps(x).shape[-2] == 1
    assert torch.equal(as_series(as_maps(x)), x)
