"""The command line: the words of the library on files, one clear line for every error, resumable after Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

import sundog
from sundog import cli
from sundog.cli.simulate import SIMULATORS
from sundog.errors import FileError

COMMANDS = ("info", "fit", "sample", "judge", "simulate", "demo", "public")


def shell(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sundog.cli", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, **options)  # type: ignore[call-overload]


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 400 correlated events with names and units; the working folder is the file's."""
    monkeypatch.chdir(tmp_path)
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] += x[:, 2]
    sundog.Dataset.from_arrays(x, names=("a", "b", "m_jj"), units=("GeV", "", "TeV")).save("events.npz")
    return tmp_path / "events.npz"


# -- errors and exit codes -----------------------------------------------------------------------------------------


def test_families_and_their_options_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["families"]) == 0
    assert "flow-matching" in capsys.readouterr().out.splitlines()
    assert cli.main(["families", "flow"]) == 0
    assert "bins : knots of each spline; int, default 8; >= 2" in capsys.readouterr().out


@pytest.mark.parametrize("words, said", [
    (["fit", "flw", "events.npz"], "did you mean flow"),
    (["fit", "flow", "events.npz", "--step", "5"], "--step"),
    (["fit", "flow"], "file"),
    (["sample", "nowhere"], "there is no run in nowhere"),
    (["info", "nowhere.npz"], "nowhere.npz"),
    (["fit", "flow", "events.npz", "--context", "m_yy"], "m_yy"),
    (["fit", "flow", "events.npz", "--set", "layers"], "name=value"),
    (["fit", "flow", "events.npz", "--set", "hiden=64"], "did you mean hidden?"),
    (["fit", "flow", "events.npz", "--set", "layers=none"], "layers is not a number: got 'none'"),
    (["fit", "flow", "events.npz", "--set", "seed=3"], "--set seed cannot be"),
    (["fit", "flow", "events.npz", "--set", "shape=3"], "--set shape cannot be"),
    (["scan", "events.npz", "--mass", "m_jj", "--window", "0", "1", "--set", "region=3"], "--set region cannot be"),
    (["scan", "events.npz", "--mass", "m_jj", "--slide", "0", "1e9", "0.1"], "too many windows"),
    (["simulate", "two-moons", "-n", "10000000000000"], "not enough memory"),
    (["radio", "mock", "-n", "3", "--size", "100", "--pixel-arcsec", "inf"], "impossible survey"),
    (["radio", "mock", "-n", "3", "--size", "100", "--beam-arcsec", "inf"], "impossible survey"),
    (["families", "flw"], "did you mean flow"),
    (["simulate", "unicorns"], "unicorns"),
    (["judge", "events.npz", "events.npz", "-s", "beauty"], "beauty"),
    (["nonsense"], "nonsense"),
])
def test_user_errors_are_one_line_and_exit_2(
    words: list[str], said: str, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("sundog: error:")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_unexpected_error_says_debug_and_exits_1(
    events: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(sundog, "load", broken)
    assert cli.main(["info", "events.npz"]) == 1
    assert capsys.readouterr().err == (
        "sundog: unexpected ZeroDivisionError: two; run it again with --debug to see where\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["info", "events.npz", "--debug"])


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    missing = shell("info", "nowhere.npz", cwd=tmp_path)
    assert (missing.returncode, missing.stdout, missing.stderr.count("\n")) == (2, "", 1)
    with pytest.raises(FileError):
        cli.main(["info", str(tmp_path / "nowhere.npz"), "--debug"])


# -- help ----------------------------------------------------------------------------------------------------------


def test_help_is_quick_and_loads_no_torch() -> None:
    code = ("import sys, time; start = time.process_time()\n"
            "from sundog.cli import main\n"
            "code = main(['fit', '--help'])\n"
            "spent = time.process_time() - start\n"
            "print(code, spent < 0.5, 'torch' in sys.modules, 'numpy' in sys.modules, spent, file=sys.stderr)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.startswith("0 True False False"), done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"sundog {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == sundog.__version__


def test_every_option_and_argument_is_explained() -> None:
    group = typer.main.get_command(cli.app)
    silent = [(name, parameter.name) for name, command in group.commands.items()
              for parameter in command.params if not parameter.help]
    assert not silent


# -- the words -----------------------------------------------------------------------------------------------------


def test_info(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "events.npz", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [400, 3]
    assert facts["units"] == ["GeV", "", "TeV"]
    assert cli.main(["info", "events.npz"]) == 0
    assert "m_jj" in capsys.readouterr().out


def test_data_are_found_below_the_shared_folder(
    events: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (events.parent / "elsewhere").mkdir()
    monkeypatch.setenv("SUNDOG_DATA", str(events.parent))
    monkeypatch.chdir(events.parent / "elsewhere")
    assert cli.main(["info", "events.npz", "--json"]) == 0
    monkeypatch.setenv("SUNDOG_DATA", str(events.parent / "elsewhere"))
    assert cli.main(["info", "events.npz"]) == 2


def test_fit_sample_judge(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "flow-matching", "events.npz", "-c", "m_jj", "--steps", "20", "--set", "hidden=[16]", "-q", "--json"]
    assert cli.main(fit) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "run-flow-matching-events"
    Path("run-flow-matching-events").rename("run")
    assert cli.main(["sample", "run", "-n", "150", "--seed", "3", "--quiet"]) == 0
    fakes, again = sundog.load("fakes.npz"), sundog.load_run("run").sample(150, seed=3)
    assert (fakes.names, fakes.units, fakes.context_names) == (("a", "b"), ("GeV", ""), ("m_jj",))
    assert np.array_equal(fakes.values, again.values)
    judged = cli.main(["judge", "events.npz", "fakes.npz", "-c", "m_jj", "-s", "marginals", "--json", "v.json", "-q"])
    assert judged == 0
    assert json.loads(Path("v.json").read_text())["n"] == 150
    words = ["-c", "m_jj", "-s", "deciding", "--worth", "4", "-q"]
    assert cli.main(["judge", "events.npz", "run", "--held-out", "--json", "w.json", *words]) == 0  # the run draws
    judged = json.loads(Path("w.json").read_text())
    assert judged["n_fake"] == 10 * judged["n_real"] and judged["worth"]["n"] + judged["n_real"] == 400
    assert cli.main(["judge", "events.npz", "fakes.npz", *words]) == 2
    assert "--held-out or --train" in capsys.readouterr().err


def test_sample_at_one_context(events: Path) -> None:
    assert cli.main(["fit", "flow", "events.npz", "-c", "m_jj", "--steps", "5", "-q", "-o", "run"]) == 0
    assert cli.main(["sample", "run", "-n", "7", "-c", "0.5", "-q"]) == 0
    assert sundog.load("fakes.npz").context.tolist() == [[0.5]] * 7


def test_strict_judge_exits_1_on_bad_fakes_and_0_on_good(events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = sundog.load("events.npz")
    generator = torch.Generator().manual_seed(5)
    good = torch.randn(200, 3, generator=generator)
    good[:, 1] += good[:, 2]
    for name, values in (("good", good), ("bad", good + 2)):
        sundog.Dataset.from_arrays(values, names=data.names, units=data.units).save(f"{name}.npz")
    words = ["-s", "marginals", "-s", "correlations", "--json", "-", "--quiet"]
    assert cli.main(["judge", "events.npz", "bad.npz", "--strict", *words]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
    assert cli.main(["judge", "events.npz", "bad.npz", *words]) == 0
    assert cli.main(["judge", "events.npz", "good.npz", "--strict", *words]) == 0


def test_plan_file_and_options_that_win(events: Path) -> None:
    Path("plan.yaml").write_text("steps: 500\nbatch: 32\n")
    assert cli.main(["fit", "flow", "events.npz", "--plan", "plan.yaml", "--steps", "3", "-q", "-o", "run"]) == 0
    plan = sundog.load_run("run").plan
    assert (plan.steps, plan.batch) == (3, 32)


@pytest.mark.parametrize("name", list(SIMULATORS))
def test_simulate(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, out in ((1, "a.npz"), (1, "b.npz"), (2, "c.npz")):
        assert cli.main(["simulate", name, "-n", "5", "--seed", str(seed), "--out", out, "-q"]) == 0
    a, b, c = (sundog.load(path) for path in ("a.npz", "b.npz", "c.npz"))
    assert len(a) == 5
    assert torch.equal(a.values, b.values)
    assert not torch.equal(a.values, c.values)


def test_simulate_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SIMULATORS)


# -- Ctrl-C --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stop, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_finished_by_the_same_command(stop: signal.Signals, code: int, events: Path) -> None:
    Path("plan.json").write_text(json.dumps({"steps": 800, "batch": 64, "checkpoint_seconds": 0.05}))
    words = ["fit", "flow-matching", "events.npz", "--plan", "plan.json", "--set", "hidden=[16]", "-q", "-o", "run"]
    started = subprocess.Popen([sys.executable, "-m", "sundog.cli", *words], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(Path("run").glob("checkpoint*")) and time.monotonic() < limit and started.poll() is None:
        time.sleep(0.02)
    started.send_signal(stop)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == code, said
    assert "same command again" in said
    assert "Traceback" not in said
    assert not Path("run/run.json").exists()
    assert cli.main(words) == 0
    assert cli.main([*words, "--out", "whole"]) == 0
    resumed, whole = sundog.load_run("run"), sundog.load_run("whole")
    assert torch.equal(resumed.sample(20, seed=1).values, whole.sample(20, seed=1).values)


def test_a_map_is_learned_with_a_mask_from_a_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 96)).astype("f4")
    mask = np.ones((32, 96))
    mask[10:15, 20:30] = 0
    np.save(tmp_path / "map.npy", x)
    np.save(tmp_path / "mask.npy", mask)
    words = ["fit", "scattering", str(tmp_path / "map.npy"), "--out", str(tmp_path / "run"), "--quiet"]
    for option in (f"mask={tmp_path / 'mask.npy'}", "inpaint=true", "iterations=2", "J=2"):
        words += ["--set", option]
    assert cli.main(words) == 0
    drawn = sundog.load_run(tmp_path / "run").sample(1, seed=0).values[0].numpy()
    assert (drawn[mask > 0] == x[mask > 0]).all()
    assert (drawn[mask == 0] != x[mask == 0]).all()


def test_an_emulator_on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                              ) -> None:
    """Runs, emulator, predictions at the inputs of a file, verdict."""
    monkeypatch.chdir(tmp_path)
    c = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    y = torch.stack([c[:, 0] + c[:, 1], c[:, 0] * c[:, 1]], 1)
    noisy = y + 0.05 * torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    sundog.Dataset.from_arrays(noisy, c, context_names=["a", "b"], held_out_fraction=0).save("runs.npz")
    Path("new.csv").write_text("a,b\n0.5,0.5\n0.5,2.5\n0.1,0.2\n")
    assert cli.main(["fit", "pod", "runs.npz", "--out", "emulator", "--set", "degree=2", "-q"]) == 0
    assert cli.main(["sample", "emulator", "--context", "new.csv", "--out", "predicted.npz", "-q"]) == 0
    mean, std = (sundog.load(f"predicted-{word}.npz") for word in ("mean", "std"))
    wanted = sundog.load_run("emulator").predict([[0.5, 0.5], [0.5, 2.5], [0.1, 0.2]])
    assert torch.allclose(mean.values, wanted.mean)
    assert torch.allclose(std.values, wanted.std)
    assert sundog.load("predicted.npz").values.shape == (3, 2)
    assert cli.main(["sample", "emulator", "-c", "0.5", "-c", "0.5", "-n", "5", "-q"]) == 0
    assert len(sundog.load("fakes.npz")) == 5
    assert cli.main(["sample", "emulator", "-c", "nowhere.csv", "-q"]) == 2
    assert "neither numbers nor a file" in capsys.readouterr().err
