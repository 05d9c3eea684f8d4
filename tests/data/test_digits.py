"""Digits: float32 where it is enough, float64 where it is not, through every door; nothing lost without an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from load_speed import memory

import sundog
from sundog.data.dataset import Dataset
from sundog.data.files import load, save
from sundog.data.formats.blocks import needs_double
from sundog.errors import DataError

RNG = np.random.default_rng(0)
TIMES = 1.7e9 + RNG.uniform(0, 3600, 2000)
IDS = RNG.integers(10**8, 10**9, 2000)
MONOPOLE = 2.7e6 + 0.1 * RNG.normal(size=(40, 8, 8))
CLUSTERS = np.where(RNG.random(2000) < 0.5, 0.0, 1e6) + 1e-3 * RNG.normal(size=2000)


@pytest.mark.parametrize("numbers", [TIMES, IDS, MONOPOLE, CLUSTERS, TIMES.astype(np.int64), torch.from_numpy(TIMES)],
                         ids=["times", "ids", "monopole", "clusters", "whole", "torch"])
def test_numbers_that_need_their_digits_keep_them(numbers) -> None:
    x = np.asarray(numbers)
    x = x if x.ndim == 3 else x[:, None]
    data = Dataset.from_arrays(x)
    assert data.values.dtype == torch.float64
    assert np.array_equal(data.values.numpy(), x.astype(np.float64))
    assert len(np.unique(x.astype(np.float32))) < len(np.unique(x)) or (x != x.astype(np.float32)).any()  # the control
    assert data.train.values.dtype == data.held_out.values.dtype == torch.float64


@pytest.mark.parametrize("numbers", [
    RNG.normal(size=2000), RNG.standard_cauchy(size=2000), RNG.exponential(size=2000) * 1e-20,
    1000 + 50 * RNG.normal(size=2000), RNG.integers(0, 2**24, 2000), RNG.normal(size=2000).round(3),
    np.full(50, 0.1), RNG.random(20) < 0.5,
    RNG.integers(0, 255, 2000).astype(np.uint8), TIMES.astype(np.float32)],
    ids=["normal", "cauchy", "tiny", "energies", "small whole", "rounded", "constant", "flags", "bytes", "single"])
def test_numbers_that_do_not_stay_small(numbers) -> None:
    data = Dataset.from_arrays(np.asarray(numbers)[:, None])
    assert data.values.dtype == torch.float32
    assert len(data.values.unique()) >= 0.998 * len(np.unique(numbers))


def test_a_missing_cell_hides_no_digits() -> None:
    ids, small = IDS.astype(float), np.arange(2000.0)
    ids[7] = small[7] = np.nan
    near_2_24 = 2.0**24 + np.arange(2000.0) % 2  # one in two would change, no 0.2 % of the different numbers merge
    near_2_24[7] = np.nan
    assert needs_double(ids[:, None]) and needs_double(near_2_24[:, None])
    assert not needs_double(small[:, None]) and not needs_double(small[:, None], exact=True)


def test_context_keeps_its_digits_and_moves_with_them() -> None:
    data = Dataset.from_arrays(RNG.normal(size=(2000, 2)), context=TIMES, context_names=("t",))
    assert data.values.dtype == torch.float32 and data.context is not None and data.context.dtype == torch.float64
    moved = Dataset.from_arrays(np.stack([TIMES, RNG.normal(size=2000)], 1), names=("t", "x")).with_context("t")
    assert moved.context is not None and np.array_equal(moved.context[:, 0].numpy(), TIMES)


def test_whole_numbers_beyond_float64_are_refused() -> None:
    with pytest.raises(DataError, match="more digits than float64"):
        Dataset.from_arrays(np.array([[2**60], [2**60 + 1]]))
    assert Dataset.from_arrays(np.array([[2**60], [2**61]])).values.dtype == torch.float32  # powers of two are exact


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".csv", ".parquet", ".fits"])
def test_files_keep_the_digits(suffix: str, tmp_path) -> None:
    data = Dataset.from_arrays(np.stack([TIMES, RNG.normal(size=2000)], 1), IDS, ("t", "x"), context_names=("id",),
                               weights=RNG.random(2000))
    for part in (data, data[:3], data.train):  # three rows alone might not ask for float64: saved is saved
        back = load(save(part, tmp_path / f"events{suffix}"))
        assert torch.equal(back.values.double(), part.values)
        assert torch.equal(back.context.double(), part.context)
        assert torch.equal(back.weights, part.weights)
    assert load(tmp_path / f"events{suffix}").values.dtype == torch.float64


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_files_of_others_too(suffix: str, tmp_path) -> None:
    path, x = tmp_path / f"a{suffix}", np.stack([TIMES, RNG.normal(size=2000)], 1)
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".csv":
        np.savetxt(path, x, delimiter=",", fmt="%.17g")
    else:
        pytest.importorskip("pandas").DataFrame(x, columns=["t", "x"]).to_parquet(path)
    assert np.array_equal(load(path).values.numpy(), x)


def test_fit_sample_and_judge_see_the_times() -> None:
    """Uniform times: as many different fakes as drawn, inside the hour, and the judge finds nothing."""
    data = Dataset.from_arrays(TIMES[:, None], names=("t",), units=("s",))
    run = sundog.fit("flow", data, plan=sundog.Plan(steps=150), seed=0)
    fakes = run.sample(400, seed=1)
    assert fakes.values.dtype == torch.float64
    assert len(fakes.values.unique()) >= 399
    assert float(fakes.values.min()) >= 1.7e9 - 1 and float(fakes.values.max()) <= 1.7e9 + 3601
    density = run.log_prob(fakes)
    assert (density - np.log(1 / 3600)).abs().median() < 0.2
    assert sundog.judge(data.held_out, fakes, splits=20).passed
    late = Dataset.from_arrays(fakes.values.numpy() + 600, names=("t",), units=("s",))
    assert not sundog.judge(data.held_out, late, splits=20).passed  # the control: ten minutes in 1.7e9


def test_a_saved_run_still_draws_in_float64(tmp_path) -> None:
    context = TIMES
    data = Dataset.from_arrays(TIMES[:, None], context, ("t",), context_names=("t0",))
    run = sundog.fit("flow", data, plan=sundog.Plan(steps=2), out=tmp_path / "run")
    again = sundog.load_run(tmp_path / "run")
    fakes, same = run.sample(50, seed=3), again.sample(50, seed=3)
    assert torch.equal(fakes.values, same.values) and same.values.dtype == torch.float64
    assert torch.isin(fakes.context, data.train.context).all()


def test_ripples_on_a_monopole_are_learned_and_judged() -> None:
    """Ripples of 0.02 uK, all of which float32 takes for nothing: it knows one number in 0.25 uK there."""
    ripples = 0.02 * np.random.default_rng(1).normal(size=(360, 8, 8))  # a seed of its own, whatever ran before
    maps, fresh = (Dataset.from_arrays(2.7e6 + part, units="uK") for part in (ripples[:300], ripples[300:]))
    assert len(fresh.values.float().unique()) == 1  # the control
    run = sundog.fit("vae", maps, plan=sundog.Plan(steps=100), seed=0)
    fakes = run.sample(60, seed=1)
    assert fakes.values.dtype == torch.float64
    assert abs(float(fakes.values.mean()) - 2.7e6) < 0.002
    assert 0.018 < float(fakes.values.std()) < 0.025
    assert sundog.judge(maps.held_out, fresh, splits=20).passed  # true maps pass ...
    shifted = Dataset.from_arrays(fresh.values.numpy() + 0.01, units="uK")
    assert not sundog.judge(maps.held_out, shifted, splits=20).passed


def test_codes_of_maps_on_a_monopole_decode_to_their_digits() -> None:
    from sundog.tasks.latent import codes_of, decoded

    maps = Dataset.from_arrays(2.7e6 + 0.1 * RNG.normal(size=(60, 8, 8)), 1.7e9 + 600 * RNG.random(60), units="uK")
    run = sundog.fit("vae", maps, plan=sundog.Plan(steps=5), seed=0)
    codes = codes_of(run, maps[:4])
    back = decoded(run, codes, maps[:4].context)
    assert back.values.dtype == torch.float64
    assert len(back.values.unique()) > 200  # of 256; float32 knows one in 0.25 uK


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("late", "kind"), [
    (2**24 + 1, torch.float64), (1.7e9 + 0.25, torch.float32), (7, torch.float32)], ids=["id", "one of many", "none"])
def test_a_number_far_down_decides_what_was_begun_in_float32(suffix: str, late: float, kind, tmp_path) -> None:
    x = np.c_[np.arange(20_000) % 1000, RNG.normal(size=20_000).round(6)]
    x[-1, 0] = late
    frame = pd.DataFrame(x, columns=["i", "x"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    data = load(tmp_path / f"a{suffix}")
    assert data.values.dtype == kind == Dataset.from_arrays(x).values.dtype
    assert np.array_equal(data.values.numpy(), x.astype(data.values.numpy().dtype))


def test_text_of_long_rows_and_of_gaps_is_read_in_blocks(tmp_path) -> None:
    wide = RNG.normal(size=(3, 20_000)).round(3)  # rows longer than a block
    pd.DataFrame(wide, columns=[f"c{i}" for i in range(20_000)]).to_csv(tmp_path / "w.csv.gz", index=False)
    assert np.allclose(load(tmp_path / "w.csv.gz").values.numpy(), wide, atol=1e-6)
    (tmp_path / "b.csv").write_text("a,b\n" + "1,2\n" * 40_000 + "1,\n")
    with pytest.raises(DataError, match="1 of 40001 rows"):
        load(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("a,b\n" + "1,2\n" * 40_000 + "1e300,2\n")
    with pytest.raises(DataError, match="too large for float32"):
        load(tmp_path / "c.csv")


@pytest.mark.filterwarnings("error")
def test_gaps_and_infinities_leave_the_digits_to_the_other_numbers(tmp_path) -> None:
    x = np.c_[TIMES, RNG.normal(size=2000)]
    x[::7, 0], x[5, 1] = np.nan, np.inf
    pd.DataFrame(x, columns=["t", "x"]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="287 of 2000 rows"):
        load(tmp_path / "a.csv")
    assert needs_double(x) and not needs_double(x[:, 1:]) and not needs_double(np.full((9, 1), np.nan))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells the peak")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_reading_takes_little_memory_beside_the_rows(suffix: str, tmp_path) -> None:
    frame = pd.DataFrame(RNG.normal(size=(100_000, 10)).round(6), columns=list("abcdefghij"))
    frame.to_csv(tmp_path / "a.csv", index=False) if suffix == ".csv" else frame.to_parquet(tmp_path / "a.parquet")
    load(tmp_path / f"a{suffix}")
    assert memory(lambda: load(tmp_path / f"a{suffix}")) < 20  # MB of which the rows are 4; tables in float64: 30
