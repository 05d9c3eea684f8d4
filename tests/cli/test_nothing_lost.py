"""Nothing is lost: what cannot be written is told before the work, a stopped one says so, folders have one owner."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import sundog
from sundog import cli
from sundog.errors import FileError, RunError
from sundog.models.microcanonical.family import MicrocanonicalModel


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with events and maps that is the working folder; any work in it is a failure of the test."""
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(0)
    sundog.Dataset.from_arrays(torch.randn(400, 3, generator=g), names=("a", "b", "m_jj")).save("events.npz")
    np.save("map.npy", torch.randn(32, 32, generator=g).numpy())
    sundog.Dataset.from_arrays(torch.randn(20, 32, 32, generator=g)).save("noise.npz")
    (tmp_path / "file").write_text("in the way")
    return tmp_path


LATE = (
    ["fit", "flow", "events.npz", "--out", "file"],
    ["fit", "flow", "events.npz", "--out", "file/below"],
    ["judge", "events.npz", "events.npz", "--report", "nowhere/r.html"],
    ["judge", "events.npz", "events.npz", "--json", "nowhere/v.json"],
    ["judge", "events.npz", "events.npz", "--report", "."],
    ["separate", "map.npy", "-c", "noise.npz", "--truth", "nowhere.npy"],
    ["separate", "map.npy", "-c", "noise.npz", "--out", "nowhere/s.fits"],
    ["separate", "map.npy", "-c", "noise.npz", "--out", "s.xyz"],
    ["separate", "map.npy", "-c", "noise.npz", "--report", "nowhere/s.html"],
    ["scan", "events.npz", "--mass", "m_jj", "--window", "0", "1", "--report", "nowhere/s.html"],
    ["scan", "events.npz", "--mass", "m_jj", "--window", "0", "1", "--out", "file"],
    ["anomaly", "search", "events.npz", "--mass", "m_jj", "--window", "0", "1", "--out", "file"],
    ["simulate", "dijets", "--out", "nowhere/e.npz"],
    ["simulate", "dijets", "--engine", "pythia", "--out", "e.npy"],
    ["quiz", "noise.npz", "noise.npz", "--out", "nowhere/q.html"],
    ["public", "fetch", "digits", "--out", "nowhere/d.npz"],
    ["demo", "blobs", "--out", "file"],
    ["radio", "prepare", "map.fits", "--out", "nowhere/p.npz"],
    ["radio", "prepare", "map.fits", "--report", "nowhere/p.json"],
    ["radio", "train", "noise.npz", "--out", "file"],
    ["radio", "sample", "run", "--out", "nowhere/f.fits"],
    ["radio", "sample", "run", "--film", "nowhere/f.gif"],
    ["radio", "mock", "--truth", "nowhere/t.csv"],
    ["sample", "run", "--out", "nowhere/f.npz"],
    ["sky", "simulate", "--out", "file"],
    ["sky", "rescale", "sky", "--ghz", "217", "--out", "file"],
    ["sky", "train", "sky", "--out", "file"],
    ["sky", "generate", "run", "--out", "file"],
)


@pytest.mark.parametrize("words", LATE, ids=" ".join)
def test_what_cannot_be_written_or_read_is_told_before_the_work(
    words: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    for name in ("fit", "judge", "separate", "load_run"):
        monkeypatch.setattr(sundog, name, work)
    before = sorted(place.rglob("*"))
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "cannot write" in said or "nowhere.npy" in said
    assert sorted(place.rglob("*")) == before


def test_sundog_alone_and_a_group_alone_are_help_and_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "judge" in capsys.readouterr().out
    assert cli.main(["sky"]) == 0
    assert "rescale" in capsys.readouterr().out


def test_a_full_disk_behind_the_output_is_an_error_of_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "sundog.cli", "--version"], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2, "sundog: error: no space left where the output goes; free some, or write elsewhere\n")


# -- one process per folder --------------------------------------------------------------------------------------


def test_two_fits_of_one_folder(place: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from sundog.data.atomic import alone_in\n"
         "with alone_in(Path('run')):\n    print('in', flush=True); time.sleep(60)"], stdout=subprocess.PIPE, text=True,
    ) if not (place / "run").mkdir() else None
    assert holder is not None and holder.stdout is not None
    data = sundog.load("events.npz")
    try:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(RunError, match="another process works on this folder: run"):
            sundog.fit("flow", data, steps=2, out="run", layers=1)
    finally:
        holder.kill()
        holder.wait()
    sundog.fit("flow", data, steps=2, out="run", layers=1)  # the lock died with its process
    assert not (place / "run" / ".lock").exists()


# -- pieces ------------------------------------------------------------------------------------------------------


def test_pieces_outlive_a_save_that_fails_and_a_folder_of_the_user_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sundog.simulate import pythia

    monkeypatch.setattr(pythia, "_pythia", lambda: None)
    monkeypatch.setattr(pythia, "write_chunk", lambda path, key, shared: np.save(
        path / "events.npy", np.full((int(key.split("_")[2]), 6), 4.0)))
    words = ["simulate", "dijets", "-n", "5", "--engine", "pythia", "--set", "n_signal=3", "--out", "x.npz", "--quiet"]
    (place / "x.parts").mkdir()
    (place / "x.parts" / "mine.txt").write_text("years of work")

    def full(*_: object) -> None:
        raise FileError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sundog.Dataset, "save", full)
        assert cli.main(words) == 2
    assert len(list((place / "x.parts").glob("*/events.npy"))) == 2
    assert cli.main(words) == 0
    assert [path.name for path in (place / "x.parts").iterdir()] == ["mine.txt"]
    (place / "x.parts" / "mine.txt").unlink()
    assert cli.main(words) == 0
    assert not (place / "x.parts").exists()


# -- stopped -----------------------------------------------------------------------------------------------------


def stopped(words: list[str], number: signal.Signals, place: Path) -> tuple[int, str]:
    """Exit code and last line of a command that gets the signal once it works."""
    code = ("import sys, time\nfrom sundog.cli import main\n"
            "import sundog, threading, os, signal\n"
            "work = __import__(sys.argv[1], fromlist=['x'])\n"
            "def slow(*a, **k):\n    print('working', flush=True); time.sleep(60)\n"
            "setattr(work, sys.argv[2], slow)\nsys.exit(main(sys.argv[3:]))")
    running = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=place)
    assert running.stdout is not None
    assert running.stdout.readline() == "working\n"
    time.sleep(0.1)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    return running.returncode, said.strip().splitlines()[-1]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("words, said", [
    (["sundog", "judge", "judge", "events.npz", "events.npz"], "begin anew"),
    (["sundog", "separate", "separate", "map.npy", "-c", "noise.npz"], "the separation to separated.fits goes on"),
    (["sundog.tasks.anomaly.scan.search", "scan", "scan", "events.npz", "--mass", "m_jj", "--window", "0", "1"],
     "the scan in scan-events goes on"),
    (["sundog.simulate.sky.simulator", "_grow", "sky", "simulate", "--nside", "16"], "the sky in"),
])
def test_a_stopped_command_says_how_to_go_on(
    words: list[str], said: str, number: signal.Signals, code: int, place: Path
) -> None:
    found, line = stopped(words, number, place)
    assert found == code
    assert said in line
    assert not [path for path in place.rglob("*") if ".part" in path.name]


def test_a_stopped_sample_of_scattering_goes_on_to_the_same_bits(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("map.npy", np.random.default_rng(0).normal(size=(16, 16)).cumsum(0))
    learned = ["fit", "scattering", "map.npy", "--kind", "images", "--set", "iterations=2", "-q", "-o", "run"]
    assert cli.main(learned) == 0
    monkeypatch.setattr("sundog.models.microcanonical.family.POINTS", {"cpu": 2 * 16 * 16, "other": 1})  # two at once
    words = ["sample", "run", "-n", "6", "-q", "--out"]
    assert cli.main([*words, "whole.npz"]) == 0
    real, calls = MicrocanonicalModel._one_batch, []

    def stopping(self, *given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(MicrocanonicalModel, "_one_batch", stopping)
    assert cli.main([*words, "a.npz"]) == 130
    assert "the sample in a.npz goes on" in capsys.readouterr().err
    assert len(list(Path("a.npz.rows").iterdir())) == 1
    assert cli.main([*words, "a.npz"]) == 0
    assert len(calls) == 4 and not Path("a.npz.rows").exists()  # of three batches the first was there
    assert sundog.load("a.npz").fingerprint() == sundog.load("whole.npz").fingerprint()
