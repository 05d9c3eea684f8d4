"""The comparison of emulators: right winners on simulators whose best emulator is known, honest error bars."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog import cli
from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.random import stream
from sundog.tasks.emulate import EmulatorRow, LearningCurve, _chance, emulate, learning_curve


def runs(of, n=50, width=2):
    c = torch.rand(n, width, generator=stream(0, "inputs"))
    return Dataset.from_arrays(of(c), c, held_out_fraction=0)


def bend(c):
    return torch.cat([c[:, :1] * c[:, 1:], c[:, :1] ** 2 + c[:, 1:], 0 * c[:, :1] + 3], 1)


def test_a_quadratic_simulator_is_won_by_polynomials():
    found = emulate(runs(bend))
    assert found.best.name == "pod"
    assert found.significant
    assert found.best.error < 1e-5
    errors = {row.name: row.error for row in found.rows}
    assert errors["(mean)"] == pytest.approx(1, abs=0.1)
    assert errors["(linear POD)"] > 0.05
    assert "pod is best on 50 runs" in str(found)


def test_noise_alone_is_won_by_nobody_surely():
    noise = torch.randn(50, 3, generator=stream(0, "noise"))
    found = emulate(Dataset.from_arrays(noise, torch.rand(50, 2, generator=stream(1, "noise")), held_out_fraction=0))
    assert found.best.error > 0.85
    assert found.best.error - found.best.error_bar * 4 < 1


def test_two_of_a_kind_are_not_told_apart():
    """The p-value is uniform where both are as good: 5 % of 200 pairs of columns of noise, 4 sigma are 6 %."""
    generator = stream(0, "pairs")
    rows = [EmulatorRow("a", torch.rand(40, generator=generator).double(), (0, 0), 0.0) for _ in range(400)]
    pairs = [sorted(pair, key=lambda row: row.error) for pair in zip(rows[::2], rows[1::2])]
    told = sum(_chance(best, second) < 0.05 for best, second in pairs) / 200
    assert told < 0.05 + 0.062
    better = EmulatorRow("b", 0.2 * rows[0].scores, (0, 0), 0.0)
    assert _chance(better, rows[0]) < 1e-6


def test_coverage_of_a_noisy_line():
    """68.3 and 95.4 %: 200 runs of one number, so 4 x 3.3 and 4 x 1.5 points."""
    noise = torch.randn(200, 1, generator=stream(0, "line"))
    found = emulate(runs(lambda c: c[:, :1] + 0.1 * noise, n=200), families=["pod"])
    row = next(row for row in found.rows if row.name == "pod")
    assert abs(row.inside[0] - 0.683) < 0.13
    assert abs(row.inside[1] - 0.954) < 0.06


def test_runs_of_almost_no_weight_do_not_count():
    """A quarter of the runs are wild and weigh nothing: the mean has error 1 and 68 % within one standard deviation."""
    y = torch.randn(200, 1, generator=stream(0, "wild"))
    y[::4] = 50 + 9 * y[::4]
    c, w = torch.rand(200, 2, generator=stream(0, "inputs")), torch.ones(200)
    w[::4] = 1e-9
    found = emulate(Dataset.from_arrays(y, c, weights=w, held_out_fraction=0), families=[])
    mean = next(row for row in found.rows if row.name == "(mean)")
    assert mean.error == pytest.approx(1, abs=0.03)
    assert abs(mean.inside[0] - 0.683) < 4 * 0.038  # 150 runs


def test_the_error_bar_is_the_scatter_between_runs():
    scores = torch.rand(400, generator=stream(0, "scores"), dtype=torch.float64)
    row = EmulatorRow("pod", scores, (math.nan, math.nan), 0.0)
    assert row.error_bar == pytest.approx(float(scores.std()) / 20 / (2 * row.error))


def test_a_learning_curve_falls_as_it_says():
    noise = 0.3 * torch.randn(100, 1, generator=stream(0, "curve"))
    smooth = learning_curve(runs(lambda c: torch.sin(5 * c[:, :1]) * c[:, 1:], n=100), "ntk")
    assert smooth.sizes == (32, 48, 64, 80)
    assert smooth.rate > 0.5
    assert smooth.runs_for(smooth.errors[-1] / 2) > 80
    assert "more runs halve it" in str(smooth)
    flat = learning_curve(runs(lambda c: 0 * c[:, :1] + noise, n=100), "ntk")
    assert flat.rate < 0.2  # nothing to learn
    assert LearningCurve((10, 20), (0.2, 0.1), (0, 0), 1.0, 2.0).runs_for(0.05) == pytest.approx(40)


def test_what_cannot_be_tried_is_said():
    found = emulate(runs(lambda c: c[:, :2], n=20, width=25), families=["pod", "ntk"])
    assert any(note.startswith("pod was left out: fewer runs than") for note in found.notes)
    assert "ntk" in {row.name for row in found.rows}


def test_bad_input_is_named():
    with pytest.raises(SampleSizeError, match="too few runs"):
        emulate(runs(bend, n=6))
    with pytest.raises(DataError, match="no inputs"):
        emulate(Dataset.from_arrays(torch.rand(30, 2)))
    with pytest.raises(DataError, match="never change"):
        emulate(runs(lambda c: 0 * c + 1))
    with pytest.raises(OptionError, match="unknown emulator"):
        emulate(runs(bend), families=["flow"])
    with pytest.raises(OptionError, match="unknown emulator"):
        learning_curve(runs(bend), "flow")
    for folds in (1, 51):
        with pytest.raises(OptionError, match="folds out of range"):
            emulate(runs(bend), folds=folds)
        with pytest.raises(OptionError, match="folds out of range"):
            learning_curve(runs(bend), "ntk", folds=folds)


def test_the_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(bend).save(tmp_path / "runs.npz")
    assert cli.main(["emulate", str(tmp_path / "runs.npz"), "--family", "pod", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == "pod"


def test_failed_runs_are_named_and_left_out_on_request(tmp_path):
    rng = np.random.default_rng(0)
    c = rng.uniform(size=(30, 2))
    y = np.sin(c[:, :1] * np.linspace(0, 3, 20)) * np.exp(c[:, 1:])
    y[[3, 17], 4], c[20, 1] = np.nan, np.inf
    with pytest.raises(DataError, match="rows 3, 17; drop_failed=True"):
        Dataset.from_arrays(y, c)
    np.savez(tmp_path / "runs.npz", values=y, context=c, context_names=["a", "b"])
    runs = sundog.load(tmp_path / "runs.npz", drop_failed=True)
    assert len(runs) == 27 and runs.context_names == ("a", "b")
    assert "3 of 30 rows left out, which hold NaN or Inf: rows 3, 17, 20" in runs.provenance["notes"]
    good = np.delete(np.arange(30), [3, 17, 20])
    assert np.allclose(runs.context, c[good])


def test_the_words_of_runs_work_together(tmp_path, capsys):
    """Failed runs left out, an option, and a formula that makes the operator a polynomial, in one command."""
    rng = np.random.default_rng(1)
    c = rng.uniform(1, 3, (24, 2))
    y = np.log(c[:, :1]) * np.linspace(0, 1, 8) + c[:, 1:]
    y[5, 2] = np.nan
    np.savez(tmp_path / "runs.npz", values=y, context=c, context_names=["a", "b"])
    words = ["emulate", str(tmp_path / "runs.npz"), "--family", "pod", "--set", "degree=1", "--folds", "2", "--json"]
    assert cli.main(words) == 2
    assert "row 5; --drop-failed" in capsys.readouterr().err

    def error(*more):
        assert cli.main([*words, "--drop-failed", *more]) == 0
        out, err = capsys.readouterr()
        assert "1 of 24 rows left out, which hold NaN or Inf: row 5" in err
        found = json.loads(out)
        assert found["runs"] == 18  # of 23, a fifth held out
        return next(row["error"] for row in found["rows"] if row["name"] == "pod")

    assert error("--reparametrise", "a=log(a)") < 1e-6 < 1e-2 < error()
    np.savez(tmp_path / "runs.npz", values=y[6:15], context=c[6:15])
    assert cli.main(words) == 2
    assert "too few runs to compare emulators" in capsys.readouterr().err
