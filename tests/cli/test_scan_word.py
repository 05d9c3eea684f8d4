"""``sundog scan``: one or several windows, names and units of the user's choice, errors that say what to do."""

import json

import numpy as np
import pytest

import sundog
from sundog.cli import main
from sundog.cli.scan import grouped
from sundog.simulate.densities import ResonantToy

QUICK = ["--method", "cwola", "--members", "1", "--folds", "2", "--efficiency", "0.05", "--no-control", "--toys",
         "100", "-q"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    ResonantToy().events(8000, 0.05, seed=0).save(folder / "events.h5")
    return folder


def test_numbers_after_a_window_belong_to_it():
    words = ["e", "--slide", "3", "4", "0.5", "--window", "-1", "1", "-q"]
    assert grouped(words) == ["e", "--slide", "3 4 0.5", "--window", "-1 1", "-q"]


@pytest.mark.slow
def test_two_windows_to_json_and_a_page(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    words = ["scan", "events.h5", "--mass", "m", "--window", "3.3", "3.7", "--window", "3.5", "3.9", "--json", "--out",
             "scan", *QUICK]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(r["lo"], r["hi"], r["unit"]) for r in facts["results"]] == [(3.3, 3.7, "TeV"), (3.5, 3.9, "TeV")]
    assert facts["evidence"] and (place / "scan" / "report.html").stat().st_size > 50_000
    assert main([*words, "-f", "x0", "-f", "x1"]) == 2, "another scan in the same folder"
    assert "holds another scan" in capsys.readouterr().err


def test_one_job_of_an_array(place, monkeypatch):
    monkeypatch.chdir(place)
    words = ["scan", "events.h5", "--mass", "m", "--slide", "3.2", "3.8", "0.4", "--step", "0.1", "--out", "jobs",
             *QUICK]
    assert main([*words, "--index", "2"]) == 0
    assert sorted(path.name for path in (place / "jobs").glob("window*")) == ["window_002"]
    assert main([*words, "--index", "7"]) == 2


@pytest.mark.parametrize("words, said", [
    (["--mass", "mjj", "--window", "3.3", "3.7"], "no such column to condition on"),
    (["--mass", "m"], "nothing to scan"),
    (["--mass", "m", "--window", "3.3"], "cannot read these edges"),
    (["--mass", "m", "--window", "5", "6"], "outside the spectrum"),
    (["--mass", "m", "--window", "3300", "3700"], "1000 times smaller than the window"),
    (["--mass", "m", "--window", "3.3", "3.7", "-f", "x9"], "no feature 'x9'"),
    (["--mass", "m", "--window", "3.3", "3.7", "--method", "magic"], "unknown method"),
])
def test_errors_are_one_line(place, monkeypatch, capsys, words, said):
    monkeypatch.chdir(place)
    assert main(["scan", "events.h5", *words, "--out", "none", "-q"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (place / "none").exists()


@pytest.mark.slow
def test_a_root_tree_in_gev(place, monkeypatch, capsys):
    uproot = pytest.importorskip("uproot")
    monkeypatch.chdir(place)
    events = sundog.load("events.h5")
    columns = {name: events.values[:, j].numpy() for j, name in enumerate(events.names)}
    with uproot.recreate("events.root") as file:
        file["Events"] = {**columns, "dijet_mass": 1000 * events.context[:, 0].numpy(), "run": np.zeros(8000)}
    words = ["scan", "events.root", "--mass", "dijet_mass", "-f", "x0", "-f", "x1", "-f", "x2", "--out", "root", *QUICK]
    assert main([*words, "--window", "3.3", "3.7", "--unit", "TeV"]) == 2
    assert "GeV for TeV" in capsys.readouterr().err
    assert main([*words, "--window", "3300", "3700", "--unit", "GeV"]) == 0
    assert (place / "root" / "report.html").exists()


@pytest.mark.slow
def test_the_demo_finds_its_way_quickly(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "anomaly", "--quick", "--out", "d"]) == 0
    out = capsys.readouterr().out
    assert "mass of the lighter jet" in out and "too short a training" in out
    assert (tmp_path / "d" / "report.html").stat().st_size > 50_000
