"""The engine on objectives whose outcome is known."""

import hashlib
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import sundog
from sundog import Plan
from sundog.errors import DataError, MissingExtraError, OptionError, RunError, SampleSizeError, TrainingError
from sundog.models.base import Batch, Model, Noise, Objective
from sundog.random import key, stream
from sundog.train.checkpoint import CHECKPOINT
from sundog.train.engine import Share, _schedule, train
from sundog.train.history import History
from sundog.train.progress import Progress


class Two(Model):
    """Two objectives: a moves to the mean of the data, b to twice a; each may only move its own parameter."""

    family = "two"

    def __init__(self, bad_step=None):
        super().__init__()
        self.a, self.b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
        self.bad_step, self.calls = bad_step, 0

    def config(self):
        return {}

    def objectives(self):
        return [Objective("mean", [self.a], self.mean_loss, 0.05, repeats=2),
                Objective("double", [self.b], self.double_loss, 0.05)]

    def mean_loss(self, batch, noise):
        self.calls += 1
        loss = batch.mean((batch.x - self.a).square().sum(1))
        return loss * float("nan") if self.bad_step is not None and self.calls > 2 * self.bad_step else loss

    def double_loss(self, batch, noise):
        return (self.b - 2 * self.a).square().sum()

    def draw(self, noise, context):
        return self.a.expand(noise.n, 2)

    def score(self, x, context):
        return (x - self.a).square().sum(1).mean()


def rows(n=1000):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, -2.0])


def test_each_objective_reaches_its_minimum_and_moves_only_its_own_parameters():
    model, x = Two(), rows()
    history = train(model, Batch(x), Batch(x), Plan(steps=600, batch=1000, ema=0.0))
    assert torch.allclose(model.a, x.mean(0), atol=5e-3)
    assert torch.allclose(model.b, 2 * model.a, atol=1e-2)
    assert model.calls == 1200
    assert set(history.losses) == {"mean", "double"}
    assert len(history.steps) == len(history.scores) == 20


class Turned(torch.autograd.Function):
    """x, whose gradient is the right one and lies in memory column by column, as that of a convolution may."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g.t().contiguous().t()


class Square(Two):
    """A matrix that moves to its target, through ``Turned``."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.a, self.target = torch.nn.Parameter(torch.zeros(2, 3)), torch.tensor([[0.1, -0.2, 0.3], [-0.4, 0.5, 0.6]])

    def objectives(self):
        return [Objective("square", [self.a], self.loss, 0.05)]

    def loss(self, batch, noise):
        return (Turned.apply(self.a) - self.target).square().sum()


def test_gradients_meet_their_own_parameters_however_they_lie_in_memory():
    model = Square()
    train(model, Batch(rows()), None, Plan(steps=400, batch=100, ema=0.0))
    assert torch.allclose(model.a, model.target, atol=0.05)


def test_a_plan_without_an_end_is_refused():
    with pytest.raises(OptionError, match="the plan has no end"):
        train(Two(), Batch(rows()), None, Plan(batch=10))


def test_a_run_without_held_out_rows_survives_saving(tmp_path):
    data = sundog.Dataset.from_arrays(rows(60))
    run = sundog.fit("flow", data, plan=Plan(steps=3, validation_fraction=0.0), layers=1, hidden=(8,), out=tmp_path)
    twin = sundog.load_run(tmp_path)
    assert all(score != score for score in twin.history.scores)  # NaN: nothing to score on
    assert torch.equal(run.sample(5).values, twin.sample(5).values)


def test_weights_weigh():
    model, x = Two(), rows()
    weights = torch.cat([torch.zeros(500), 2 * torch.ones(500)])
    train(model, Batch(x, None, weights), None, Plan(steps=600, batch=1000, ema=0.0))
    assert torch.allclose(model.a, x[500:].mean(0), atol=5e-3)
    assert not torch.allclose(model.a, x.mean(0), atol=5e-3)


def test_best_held_out_state_is_kept():
    """Held-out data elsewhere: the best state is an early one, on the way to the training mean."""
    model, x = Two(), rows()
    plan = Plan(steps=400, batch=1000, ema=0.0, schedule="constant", validate_every=5)
    history = train(model, Batch(x), Batch(x * 0 + 0.5 * x.mean(0)), plan)
    target = 0.5 * x.mean(0)
    assert history.best_step < 100
    assert history.best_score == min(history.scores)
    assert float((model.a.detach() - target).square().sum()) == pytest.approx(history.best_score, rel=1e-5)
    assert history.scores[-1] > 3 * history.best_score  # the last state was worse, and was not kept


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_first_score_that_is_no_number_freezes_nothing(bad):
    """The mean moves towards the data: later states are better, and one of them is kept."""
    class Late(Two):
        def score(self, x, context):
            self.looks = getattr(self, "looks", 0) + 1
            return torch.tensor(bad) if self.looks <= self.blind else super().score(x, context)

    x = rows()
    plan = Plan(steps=400, batch=1000, ema=0.0, validate_every=20)
    model = Late()
    model.blind = 1
    history = train(model, Batch(x), Batch(x), plan)
    assert history.best_step > 100
    assert math.isfinite(history.best_score)
    blind = Late()
    blind.blind = 10**6
    history = train(blind, Batch(x), Batch(x), plan)
    if math.isnan(bad):
        assert history.best_step == 400
        assert any("no held-out score" in note for note in history.notes)


def test_loss_that_is_not_finite_names_objective_and_step():
    with pytest.raises(TrainingError, match="objective 'mean' is not finite: got nan at step 8"):
        train(Two(bad_step=7), Batch(rows()), None, Plan(steps=50, batch=100))


def test_running_mean_follows_its_formula():
    """One parameter moved by a known constant gradient."""
    model, x = Two(), rows(100)
    train(model, Batch(x), None, Plan(steps=3, batch=100, ema=0.9, schedule="constant", validate_every=3))
    free = Two()
    states = []
    for steps in (1, 2, 3):
        twin = Two()
        train(twin, Batch(x), None, Plan(steps=steps, batch=100, ema=0.0, schedule="constant"))
        states.append(twin.a.detach().clone())
    mean = free.a.detach().clone()
    for i, state in enumerate(states, 1):
        decay = min(0.9, (1 + i) / (10 + i))
        mean = decay * mean + (1 - decay) * state
    assert torch.allclose(model.a, mean, atol=1e-6)


def test_seconds_stop_the_run():
    history = train(Two(), Batch(rows()), None, Plan(seconds=0.3, batch=100))
    assert history.stopped_by == "seconds"
    assert 0.3 <= history.seconds < 2.0


def test_seconds_are_those_of_the_processor():
    """A step that waits uses up no budget: 20 waits of 30 ms leave 0.3 s almost whole."""
    class Slow(Two):
        def mean_loss(self, batch, noise):
            time.sleep(0.015)
            return super().mean_loss(batch, noise)

    began = time.monotonic()
    history = train(Slow(), Batch(rows()), None, Plan(steps=20, seconds=0.3, batch=100))
    assert history.stopped_by == "steps"
    assert time.monotonic() - began > 0.6 > 2 * history.seconds


def test_every_row_is_seen_once_per_epoch():
    seen = []

    class Spy(Two):
        def mean_loss(self, batch, noise):
            seen.append(batch.x[:, 0])
            return super().mean_loss(batch, noise)

        def double_loss(self, batch, noise):
            seen.append(batch.x[:, 0])
            return super().double_loss(batch, noise)

    x = torch.arange(12.0)[:, None].expand(12, 2).contiguous()
    train(Spy(), Batch(x), None, Plan(steps=6, batch=2))
    epochs = torch.cat(seen).view(3, 12)  # 6 steps x 3 draws of 2 rows are three epochs
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert not torch.equal(epochs[0], epochs[1])


def test_noise_of_a_share_is_a_slice_of_the_whole():
    whole = Noise(stream(1, "noise", 5), 8, slice(0, 8))
    parts = [Noise(stream(1, "noise", 5), 8, slice(a, a + 4)) for a in (0, 4)]
    x = whole.normal(3), whole.uniform(2)
    y = [(p.normal(3), p.uniform(2)) for p in parts]
    assert torch.equal(x[0], torch.cat([y[0][0], y[1][0]]))
    assert torch.equal(x[1], torch.cat([y[0][1], y[1][1]]))


def test_streams_are_distinct_and_repeatable():
    keys = [(s, p, c) for s in (0, 1) for p in ("order", "noise", "sample") for c in range(50)]
    first = [float(torch.rand(1, generator=stream(*key))) for key in keys]
    assert len(set(first)) == len(keys)
    assert first == [float(torch.rand(1, generator=stream(*key))) for key in keys]


def test_no_two_purposes_are_spelled_alike():
    """A word with a slash is not two words, "1" is no counter; single words keep the numbers that samples rest on."""
    purposes = [("a", "b"), ("a/b",), ("'a", "b'"), ("'a/b'",), ("a", "1"), ("a", 1), ("a/1",), ("a", "-1"), ("a", -1)]
    assert len({key(5, *purpose) for purpose in purposes}) == len(purposes)
    assert key(5, "di-jets 0.5") == int(hashlib.sha256(b"5/di-jets 0.5").hexdigest(), 16)


@pytest.mark.slow
def test_two_processes_train_the_same_weights_as_one(tmp_path):
    pytest.importorskip("lightning_fabric")
    script = Path(__file__).with_name("shared_run.py")
    for devices in (1, 2):
        subprocess.run([sys.executable, script, str(devices), tmp_path / str(devices)], check=True, timeout=300)
    one, two = (sundog.load_run(tmp_path / name).model.state_dict() for name in ("1", "2"))
    for name in one:
        if one[name].is_floating_point():
            assert (one[name] - two[name]).norm() <= 1e-6 * one[name].norm(), name


def test_several_devices_need_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    data = sundog.Dataset.from_arrays(rows())
    with pytest.raises(MissingExtraError, match=r"sundog\[multi\]"):
        sundog.fit("flow", data, plan=Plan(steps=1, devices=2), layers=1, hidden=(8,))


def test_unusable_data_and_devices_stop_before_training():
    with pytest.raises(OptionError, match=r"no such device here: got cuda:7|no such device here: got abacus"):
        sundog.fit("flow", sundog.Dataset.from_arrays(rows()), device="abacus")
    with pytest.raises(SampleSizeError, match="too few rows"):
        sundog.fit("flow", sundog.Dataset.from_arrays(rows(10)))
    constant = torch.cat([rows(50), torch.ones(50, 1)], 1)
    with pytest.raises(DataError, match="constant"):
        sundog.fit("flow", sundog.Dataset.from_arrays(constant))
    with pytest.raises(DataError, match="weights are all zero"):
        sundog.fit("flow", sundog.Dataset.from_arrays(rows(50), weights=torch.zeros(50)))


@pytest.mark.parametrize("precision", ["bf16", "float64"])
def test_precisions_learn(precision):
    data = sundog.Dataset.from_arrays(rows(2000))
    run = sundog.fit("flow-matching", data, plan=Plan(steps=200, batch=256, precision=precision), hidden=(32, 32))
    assert run.history.scores[-1] < 0.9 * run.history.scores[0] or run.history.best_score < 1.1
    x = run.sample(2000, seed=1).values
    assert torch.allclose(x.mean(0), torch.tensor([1.0, -2.0]), atol=0.15)


def test_one_cycle_of_the_learning_rate():
    """Up from 1/25 over the first tenth, down to zero by a half cosine: halfway between at half of each."""
    at = {0.0: 0.04, 0.05: 0.52, 0.1: 1.0, 0.325: 0.5 + 0.5**1.5, 0.55: 0.5, 0.775: 0.5 - 0.5**1.5, 1.0: 1e-4}
    assert all(abs(_schedule("one-cycle", fraction) - right) < 1e-12 for fraction, right in at.items())
    assert _schedule("constant", 0.7) == 1.0


def test_a_bar_without_scores_says_none(capsys):
    bar = Progress(True, Plan(steps=10), 0)
    bar.show(History())
    assert bar.bar.tasks[0].fields["text"] == ""
    bar.show(History(scores=[2.0, 1.5], best_score=1.5))
    assert bar.bar.tasks[0].fields["text"] == "held-out 1.5, best 1.5"


def test_two_shares_of_every_batch_make_one_run():
    """Threads stand for processes: each has its own half of a batch and the mean of both gradients."""
    x, sent, meet = rows(400), [None, None], threading.Barrier(2, timeout=60)
    models, plan = [Two(), Two(), Two()], Plan(steps=20, batch=50, ema=0.0)

    def work(rank):
        def mean(tensor):
            sent[rank] = tensor.clone()
            meet.wait()
            found = (sent[0] + sent[1]) / 2
            meet.wait()
            return found

        train(models[rank], Batch(x), None, plan, share=Share(rank, 2, mean))

    workers = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    train(models[2], Batch(x), None, plan)
    assert torch.equal(models[0].a, models[1].a)
    assert torch.allclose(models[0].a, models[2].a, atol=1e-5) and torch.allclose(models[0].b, models[2].b, atol=1e-5)


def test_the_first_process_alone_keeps_a_checkpoint_and_a_finished_one_is_not_trained_again(tmp_path):
    plan, first, again = Plan(steps=30, batch=100, checkpoint_seconds=0.0, ema=0.0), Two(), Two()
    (tmp_path / "second").mkdir()
    train(Two(), Batch(rows()), None, plan, folder=tmp_path / "second", share=Share(1, 2))
    assert not (tmp_path / "second" / CHECKPOINT).exists()
    train(first, Batch(rows()), None, plan, folder=tmp_path, identity="same")
    assert (tmp_path / CHECKPOINT).exists()
    train(again, Batch(rows()), None, plan, folder=tmp_path, identity="same")
    assert (first.calls, again.calls) == (60, 0) and torch.equal(first.a, again.a)
    for other in ("rest", "tame"):  # one before and one after in the alphabet
        with pytest.raises(RunError, match="another model, data or plan"):
            train(Two(), Batch(rows()), None, plan, folder=tmp_path, identity=other)
