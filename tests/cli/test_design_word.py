"""``sundog design`` on files: the runs with their weights, the next runs, and one clear line for wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sundog
from sundog.cli import main

NAMES = ("H0", "omega_b", "tau")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).uniform(size=(300, 3)) * [30, 0.01, 0.1] + [55, 0.017, 0.02]
    np.savetxt(tmp_path / "candidates.csv", x, delimiter=",", header=",".join(NAMES), comments="")
    return tmp_path


def design(folder: Path, *words: str, out: str = "runs.csv") -> int:
    return main(["design", str(folder / "candidates.csv"), *words, "--out", str(folder / out)])


def test_runs_with_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert design(folder, "-n", "40", "--degree", "2") == 0
    text = capsys.readouterr().out
    assert "40 of 300 candidates by projection-dpp, 10 features (degree 2 in 3 parameters)" in text
    assert "4 runs per feature: enough" in text
    runs, pool = sundog.load(folder / "runs.csv"), sundog.load(folder / "candidates.csv")
    assert runs.names == NAMES and runs.values.shape == (40, 3) and runs.weights is not None
    rows = {tuple(row) for row in pool.values.tolist()}
    assert len({tuple(row) for row in runs.values.tolist()} & rows) == 40


@pytest.mark.parametrize("method", ["volume-rescaled", "christoffel", "d-optimal", "latin-hypercube", "sobol"])
def test_every_method(folder: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert design(folder, "-n", "12", "--method", method, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == method and len(found["rows"]) == 12 and found["smallest_singular_value"] > 0
    assert (sundog.load(folder / "runs.csv").weights is None) == (method not in ("volume-rescaled", "christoffel"))


def test_the_next_ten_are_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert design(folder, "-n", "12", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    parameters = sundog.load(folder / "runs.csv")
    made = sundog.Dataset.from_arrays(np.ones((12, 5)), parameters.values.numpy()[:, ::-1].copy(),
                                      context_names=NAMES[::-1])
    made.save(folder / "runs.npz")
    assert design(folder, "--after", str(folder / "runs.npz"), "-n", "10", "--json", out="more.csv") == 0
    more = json.loads(capsys.readouterr().out)
    assert not set(more["rows"]) & set(first["rows"]) and len(set(more["rows"])) == 10
    assert more["smallest_singular_value"] > first["smallest_singular_value"]


@pytest.mark.parametrize("words, said", [
    (["-n", "5"], "fewer runs than features: got n = 5, expected 10 or more"),
    (["-n", "301"], "more runs than candidates: got n = 301, expected 300 or fewer"),
    (["-n", "40", "--method", "dpp"], "unknown method"),
    (["-n", "40", "--degree", "11"], "fewer candidates than features"),
])
def test_one_clear_line(folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert design(folder, *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (folder / "runs.csv").exists()


def test_constant_and_repeated_candidates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).uniform(size=(50, 2))
    for table, said in ((np.c_[x, np.ones(50)], "constant parameters"), (np.r_[x, x[:3]], "duplicated candidates")):
        np.savetxt(folder / "candidates.csv", table, delimiter=",", header=",".join(NAMES[: table.shape[1]]),
                   comments="")
        assert design(folder, "-n", "20") == 2
        assert said in capsys.readouterr().err


def test_followup_takes_the_candidate_that_succeeds_where_the_first_fails(tmp_path, capsys):
    file = tmp_path / "scenarios.csv"
    file.write_text("a,b,c,d\n" + "1,1,1,0\n" * 3 + "0,0,0,1\n" * 2)
    assert main(["anomaly", "followup", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["order"][:2] == ["a", "d"]
    assert told["expected"] == pytest.approx(1.4) and told["by_chance"] == pytest.approx(2.2)
    file.write_text("a,b,c\n0.5,1,0\n1,0,1\n0,1,1\n")
    assert main(["anomaly", "followup", str(file)]) == 2
    assert "expected" in capsys.readouterr().err
