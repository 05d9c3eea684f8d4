"""A run killed at any moment goes on and ends bit-equal; a half-written file is never loaded."""

import importlib.util
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import sundog
from sundog.errors import RunError
from sundog.train import engine
from sundog.train.checkpoint import CHECKPOINT
from sundog.train.interrupt import Interrupt

SCRIPT = Path(__file__).with_name("kill_me.py")
spec = importlib.util.spec_from_file_location("kill_me", SCRIPT)
kill_me = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kill_me)


def interrupt_when(monkeypatch, moment):
    """Break the training loop by an exception, as a Ctrl-C in the middle of a step would."""
    original = engine._Loop._advance

    def broken(self):
        if moment(self):
            raise KeyboardInterrupt
        original(self)

    monkeypatch.setattr(engine._Loop, "_advance", broken)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return kill_me.fit(tmp_path_factory.mktemp("whole") / "run", checkpoint_seconds=3600)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_killed_run_resumes_bit_equal(uninterrupted, tmp_path, attempt):
    folder = tmp_path / "run"
    moment = random.Random(attempt)
    kills = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder)])
        while process.poll() is None and not (folder / CHECKPOINT).exists():
            time.sleep(0.005)
        time.sleep(moment.uniform(0.0, 1.2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    run = kill_me.fit(folder)
    assert run.history.steps == uninterrupted.history.steps
    assert run.history.scores == uninterrupted.history.scores
    assert run.history.losses == uninterrupted.history.losses
    for p, q in zip(run.model.parameters(), uninterrupted.model.parameters()):
        assert torch.equal(p, q)
    assert not (folder / CHECKPOINT).exists()


def test_interrupted_in_process_resumes_bit_equal(tmp_path, monkeypatch):
    """The same, fast: the loop is broken by an exception after some steps."""
    uninterrupted = kill_me.fit(tmp_path / "whole", steps=90, checkpoint_seconds=3600)
    interrupt_when(monkeypatch, lambda loop: loop.step == 67)
    with pytest.raises(KeyboardInterrupt):
        kill_me.fit(tmp_path / "run", steps=90)
    monkeypatch.undo()
    run = kill_me.fit(tmp_path / "run", steps=90)
    assert run.history.losses == uninterrupted.history.losses
    for p, q in zip(run.model.parameters(), uninterrupted.model.parameters()):
        assert torch.equal(p, q)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_signals_leave_a_checkpoint_of_the_last_step(uninterrupted, tmp_path, number, code):
    """No checkpoint was due for an hour: the one found was written because of the signal."""
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), "400", "3600"], stderr=subprocess.DEVNULL)
    while process.poll() is None and not (folder / "started").exists():
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait() == code
    assert (folder / CHECKPOINT).exists()
    run = kill_me.fit(folder)
    assert run.history.losses == uninterrupted.history.losses


def test_negative_control_another_seed_differs(tmp_path):
    first = kill_me.fit(tmp_path / "run", steps=20)
    data = sundog.Dataset.from_arrays(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)),
                                      names=["a", "b", "m"])
    plan = sundog.Plan(steps=20, batch=64, validate_every=50)
    other = sundog.fit("flow", data, context="m", plan=plan, layers=2, hidden=(16,), seed=5)
    same = sundog.fit("flow", data, context="m", plan=plan, layers=2, hidden=(16,), seed=4)
    assert torch.equal(next(same.model.parameters()), next(first.model.parameters()))
    assert not torch.equal(next(other.model.parameters()), next(first.model.parameters()))


def test_finished_run_is_loaded_not_trained_again(tmp_path):
    first = kill_me.fit(tmp_path / "run", steps=20)
    again = kill_me.fit(tmp_path / "run", steps=20)
    assert again.history.seconds == first.history.seconds


def test_folder_of_another_run_is_refused(tmp_path):
    kill_me.fit(tmp_path / "run", steps=20)
    with pytest.raises(RunError, match="another model, data or plan"):
        kill_me.fit(tmp_path / "run", steps=21)


def test_half_written_checkpoint_is_never_loaded(tmp_path, monkeypatch):
    interrupt_when(monkeypatch, lambda loop: loop.step == 10)
    with pytest.raises(KeyboardInterrupt):
        kill_me.fit(tmp_path / "run", steps=20)
    monkeypatch.undo()
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot read"):
        kill_me.fit(tmp_path / "run", steps=20)
    with pytest.raises(RunError, match="unfinished"):
        sundog.load_run(tmp_path / "run")


def test_truncated_weights_are_refused(tmp_path):
    run = kill_me.fit(tmp_path / "run", steps=5)
    weights = next((tmp_path / "run").glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(RunError, match="cannot read"):
        sundog.load_run(tmp_path / "run")
    run.save(tmp_path / "run")
    assert len(sundog.load_run(tmp_path / "run").sample(3)) == 3


@pytest.mark.slow
def test_budget_in_seconds_resumes_with_the_time_left(tmp_path, monkeypatch):
    data = sundog.Dataset.from_arrays(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
    plan = sundog.Plan(seconds=2.0, batch=64, checkpoint_seconds=0.0)

    def go():
        return sundog.fit("flow", data, plan=plan, out=tmp_path / "run", layers=1, hidden=(8,))

    interrupt_when(monkeypatch, lambda loop: loop.history.seconds > 1.2)
    with pytest.raises(KeyboardInterrupt):
        go()
    monkeypatch.undo()
    start = time.thread_time()
    run = go()
    assert time.thread_time() - start < 1.6
    assert run.history.stopped_by == "seconds"
    assert any("left" in note for note in run.history.notes)


def test_a_flipped_byte_in_the_weights_is_noticed(tmp_path):
    kill_me.fit(tmp_path / "run", steps=5)
    weights = next((tmp_path / "run").glob("weights-*"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(RunError, match="damaged"):
        sundog.load_run(tmp_path / "run")


def test_a_file_in_the_way_and_a_poor_run_json_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        kill_me.fit(tmp_path / "file", steps=5)
    (tmp_path / "run.json").write_text('{"sundog_run": 1}')
    with pytest.raises(RunError, match="is not a run"):
        sundog.load_run(tmp_path)


def test_a_folder_knows_its_data(tmp_path):
    """Two data sets of one shape: the second must not be told the fit of the first."""
    def fit(seed):
        rows = torch.randn(500, 2, generator=torch.Generator().manual_seed(seed))
        return sundog.fit("flow", sundog.Dataset.from_arrays(rows), plan=sundog.Plan(steps=5, batch=64),
                          out=tmp_path / "run", scaling="identity", layers=1, hidden=(8,))

    fit(0)
    with pytest.raises(RunError, match="another model, data or plan"):
        fit(1)


def test_a_resumed_run_keeps_the_best_state_from_before(tmp_path, monkeypatch):
    """Forty rows and a fast rate: the best state is an early one, and the run is broken after it."""
    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))

    def fit(folder):
        plan = sundog.Plan(steps=120, batch=40, checkpoint_seconds=0.0, validate_every=5, ema=0.0)
        return sundog.fit("flow", sundog.Dataset.from_arrays(rows), plan=plan, out=folder, layers=2, hidden=(32,),
                          learning_rate=2e-2, seed=1)

    whole = fit(tmp_path / "whole")
    assert 0 < whole.history.best_step < 60  # else the test says nothing
    interrupt_when(monkeypatch, lambda loop: loop.step == 90)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut")
    monkeypatch.undo()
    resumed = fit(tmp_path / "cut")
    assert resumed.history.best_step == whole.history.best_step
    assert all(torch.equal(p, q) for p, q in zip(resumed.model.parameters(), whole.model.parameters()))


def test_saving_over_a_run_leaves_nothing_of_it(tmp_path):
    first, second = (kill_me.fit(None, steps=steps) for steps in (5, 40))
    first.save(tmp_path / "run")
    second.save(tmp_path / "run")
    loaded = sundog.load_run(tmp_path / "run")
    assert all(torch.equal(p, q) for p, q in zip(loaded.model.parameters(), second.model.parameters()))
    assert not all(torch.equal(p, q) for p, q in zip(loaded.model.parameters(), first.model.parameters()))


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_the_first_signal_waits_and_the_second_acts_at_once(number, raised):
    with Interrupt(True) as interrupt:
        signal.raise_signal(number)
        assert interrupt.asked == number  # noted, nothing happened
        with pytest.raises(raised):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
