"""Runs read at points of their own: y = sin(a x + b), known in closed form wherever it is asked for."""

import numpy as np
import pandas as pd
import pytest
import torch

import sundog
from sundog import cli
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.random import numpy_stream
from sundog.tasks.emulate import emulate


def at_points(x, y, c, **more):
    return Dataset.from_arrays(y, c, points=x, **more)


def waves(n=60, m=12, seed=0):
    """Points (n, m), every third run short of four of them, values and inputs (n, 2)."""
    rng = numpy_stream(seed, "own points")
    c, x = rng.uniform([1, 0], [3, 2], (n, 2)), rng.uniform(0, 2, (n, m))
    y = np.sin(c[:, :1] * x + c[:, 1:])
    x[::3, 8:], y[::3, 8:] = np.nan, np.nan
    return x, y, c


def error(run, seed=7):
    x, y, c = waves(200, 5, seed)
    mean, std = run.predict(np.concatenate([x[1::3, :1], c[1::3]], 1))
    off = (mean - torch.from_numpy(y[1::3, :1])).square().mean().sqrt()
    return float(off), float(std.mean())


def test_deeponet_reads_runs_at_their_own_points():
    x, y, c = waves()
    runs = at_points(x, y, c, context_names=["a", "b"], held_out_fraction=0)
    assert len(runs) == 60 * 12 - 20 * 4 and "80 of 720 points are NaN, and left out" in runs.provenance["notes"]
    how = {"plan": sundog.Plan(steps=250), "learning_rate": 0.01}
    run = sundog.fit("deeponet", runs, **how)
    off, told = error(run)
    assert off < 0.06 and 0.4 < told / off < 2.5  # 6 runs of validation
    with pytest.raises(DataError, match="points of runs cannot be judged"):
        sundog.judge(runs, run)
    for row in y:  # values no longer at their points
        row[~np.isnan(row)] = numpy_stream(0, "shuffled").permutation(row[~np.isnan(row)])
    assert error(sundog.fit("deeponet", at_points(x, y, c, held_out_fraction=0), **how))[0] > 0.3


def test_a_run_is_held_out_as_a_whole(tmp_path):
    runs = at_points(*waves())
    for part in (runs, sundog.load(runs.save(tmp_path / "a.npz")), sundog.load(runs.save(tmp_path / "a.csv"))):
        learned, kept = ({tuple(row) for row in rows.context[:, 1:].tolist()} for rows in (part.train, part.held_out))
        assert (len(learned), len(kept), len(learned & kept)) == (48, 12, 0)


def test_the_command_reads_them(tmp_path, capsys):
    x, y, c = waves()
    np.savez(tmp_path / "runs.npz", points=x, values=y, context=c, context_names=["a", "b"])
    file, out = str(tmp_path / "runs.npz"), str(tmp_path / "run")
    assert cli.main(["fit", "deeponet", file, "--out", out, "--steps", "20", "--quiet"]) == 0
    assert "80 of 720 points are NaN" in capsys.readouterr().err
    (tmp_path / "new.csv").write_text("point,a,b\n0.3,2,1\n0.7,2,1\n9,2,1\n")
    assert cli.main(["sample", out, "--context", str(tmp_path / "new.csv"), "--out", str(tmp_path / "new.npz")]) == 0
    assert len(sundog.load(tmp_path / "new.npz")) == 3
    assert sundog.load_run(out).predict([[0.3, 2, 1], [9, 2, 1]]).outside.tolist() == [False, True]
    for word in (["fit", "pod", file], ["emulate", file]):
        assert cli.main(word) == 2
        assert "fit deeponet" in capsys.readouterr().err
    there = ~np.isnan(x)  # the same as a table of columns, which says itself what is a place
    table = np.stack([x[there], *c[np.nonzero(there)[0]].T, y[there]], 1)
    np.savetxt(tmp_path / "rows.csv", table, delimiter=",", header="x,a,b,y", comments="")
    words = ["fit", "deeponet", str(tmp_path / "rows.csv"), "-c", "x", "-c", "a", "-c", "b", "--set", "places=1"]
    assert cli.main([*words, "--out", str(tmp_path / "same"), "--steps", "20", "--quiet"]) == 0
    runs = [sundog.load_run(folder).predict([[0.3, 2, 1]]).mean for folder in (out, tmp_path / "same")]
    assert torch.allclose(*runs, atol=1e-4)


def test_bad_input_is_named():
    x, y, c = waves()
    with pytest.raises(ShapeError, match="do not fit"):
        at_points(x[:, :5], y, c)
    with pytest.raises(ShapeError, match="do not fit"):
        at_points(x, y, c, weights=np.ones(5))
    with pytest.raises(DataError, match="do not form an array"):
        at_points([[1.0], [1.0, 2.0]], y, c)
    assert at_points(x, y, pd.DataFrame(c, columns=["a", "b"])).context_names == ("point", "a", "b")
    x[[3, 8]] = np.nan
    notes = at_points(x, y, c).provenance["notes"]
    assert "58 runs read at points of their own" in notes[0] and notes[-1] == "runs 3, 8 have no points"
    with pytest.raises(DataError, match="NaN or Inf"):
        at_points(np.where(x > 1.9, np.inf, x), y, c)
    with pytest.raises(SampleSizeError, match="too few runs"):
        sundog.fit("deeponet", at_points(*(part[:15] for part in waves())))
    with pytest.raises(OptionError, match="share their points"):
        sundog.fit("ntk", at_points(x, y, c))
    with pytest.raises(DataError, match="cannot be compared"):
        emulate(at_points(x, y, c))
    with pytest.raises(OptionError, match="places out of range"):
        sundog.fit("deeponet", at_points(x, y, c), places=3)
    with pytest.raises(OptionError, match="points of their own need"):
        sundog.fit("deeponet", at_points(x, y, c), periodic=True)
