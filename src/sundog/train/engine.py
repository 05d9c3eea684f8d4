"""The one training engine: knows objectives, batches and budgets, and no family of models.

Every random number is drawn from (seed, purpose, counter), never from a running state. So a resumed run needs
only its step number to draw the same batches and noise, and every process of a shared run draws the same ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sundog.errors import OptionError, RunError, TrainingError
from sundog.models.base import Batch, Model, Noise, Objective
from sundog.random import stream
from sundog.train.checkpoint import CHECKPOINT, inside, nested, read_tensors, write_tensors
from sundog.train.history import History
from sundog.train.interrupt import Interrupt
from sundog.train.plan import Plan
from sundog.train.privacy.budget import Mechanism
from sundog.train.privacy.gradient import PrivateGradient
from sundog.train.progress import Progress

VALIDATION_ROWS = 8192  # enough for a score good to a percent, cheap beside the training between two scores


@dataclass(frozen=True)
class Share:
    """This process's part of every batch; ``mean`` averages a tensor over all processes."""

    rank: int = 0
    world: int = 1
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor


def train(
    model: Model,
    data: Batch,
    held_out: Batch | None,
    plan: Plan,
    *,
    folder: Path | None = None,
    identity: str = "",
    progress: bool = False,
    share: Share | None = None,
    private: Mechanism | None = None,
) -> History:
    """History of the training that left ``model`` in its best held-out state.

    Parameters
    ----------
    model : prepared, on its device
    data, held_out : standardised rows on the same device; without held-out rows the last state is kept
    plan : with steps (or seconds) and batch filled in
    folder : where checkpoints go and are resumed from; None trains in memory only
    identity : names model, data and plan; a checkpoint with another identity is refused
    progress : show a progress bar
    share : part of a run on several devices
    private : the noise that the privacy of the plan asks for

    Raises
    ------
    TrainingError : a loss is not finite; names the objective and the step.
    RunError : the folder holds a checkpoint of another run.
    """
    objectives = model.objectives()
    if not objectives:
        return History(stopped_by="nothing to train")
    if plan.steps is None and plan.seconds is None:
        raise OptionError("the plan has no end", got="neither steps nor seconds", expected="one of them",
                          do="pass Plan(steps=...) or Plan(seconds=...)")
    if (plan.privacy is None) != (private is None):
        raise OptionError("a private plan and its noise belong together", got=f"plan.privacy = {plan.privacy}, noise "
                          f"of {private}", expected="both or neither", do="train with sundog.fit")
    loop = _Loop(model, objectives, data, held_out, plan, share or Share(), private)
    if folder is not None and (folder / CHECKPOINT).exists():
        loop.restore(folder / CHECKPOINT, identity)
    with Progress(progress and loop.share.rank == 0, plan, loop.step) as bar:
        loop.run(bar, folder, identity)
    return loop.finish()


class _Loop:
    """State of one training and the moves on it."""

    def __init__(self, model: Model, objectives: list[Objective], data: Batch, held_out: Batch | None, plan: Plan,
                 share: Share, private: Mechanism | None = None) -> None:
        self.model, self.objectives, self.plan, self.share = model, objectives, plan, share
        self.data = data
        self.private = None if private is None else PrivateGradient(private)
        self.held_out = None if held_out is None else held_out.of_equal_weight(VALIDATION_ROWS)
        self.device = data.x.device
        self.batch = _batch_size(plan, len(data.x), share.world)
        self.step, self.draws = 0, 0
        self.history = History(losses={objective.name: [] for objective in objectives})
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.mean = [p.detach().clone() for p in self.parameters] if plan.ema else []
        self.best: list[Tensor] = []
        self.optimisers = [_optimiser(objective, plan) for objective in objectives]
        self.recent: dict[str, list[Tensor]] = {objective.name: [] for objective in objectives}
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))

    # -- one step ------------------------------------------------------------------------------------------------

    def run(self, bar: Progress, folder: Path | None, identity: str) -> None:
        # Time that other programs hold the processor trains nothing and is not counted; a GPU knows wall time only.
        clock = time.thread_time if self.device.type == "cpu" else time.monotonic
        start, saved = clock(), time.monotonic()
        before = self.history.seconds
        every = self.plan.validate_every or max(1, (self.plan.steps or 2000) // 20)
        keeps = folder is not None and self.share.rank == 0
        with Interrupt(keeps) as interrupt:
            while not self._over():
                self._advance()
                self.history.seconds = before + clock() - start
                if self.step % every == 0 or self._over():
                    self._validate()
                    bar.show(self.history)
                bar.advance(self.step, self.history.seconds)
                now = time.monotonic()
                if keeps and (interrupt.asked or now - saved >= self.plan.checkpoint_seconds):
                    self.save(folder / CHECKPOINT, identity)  # type: ignore[operator]
                    saved = now
                interrupt.obey()

    def _over(self) -> bool:
        late = self.plan.seconds is not None and self.history.seconds >= self.plan.seconds
        if self.share.world > 1 and self.plan.seconds is not None:
            # Clocks differ between processes; all must stop at the same step.
            late = bool(self.share.mean(torch.tensor(float(late))) > 0)
        if late:
            self.history.stopped_by = "seconds"
        return late or (self.plan.steps is not None and self.step >= self.plan.steps)

    def _fraction(self) -> float:
        done = [0.0]
        if self.plan.steps:
            done.append(self.step / self.plan.steps)
        if self.plan.seconds:
            done.append(self.history.seconds / self.plan.seconds)
        return min(1.0, max(done))

    def _advance(self) -> None:
        factor = _schedule(self.plan.schedule, self._fraction())
        for objective, optimiser in zip(self.objectives, self.optimisers):
            for group in optimiser.param_groups:
                group["lr"] = factor * (self.plan.learning_rate or objective.learning_rate)
            for _ in range(objective.repeats):
                self._descend(objective, optimiser)
        self.step += 1
        if self.mean:
            decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 - decay)

    def _descend(self, objective: Objective, optimiser: torch.optim.Optimizer) -> None:
        parameters, gradients = list(objective.parameters), self._gradients(objective)
        for p, g in zip(parameters, gradients):
            # The fused step pairs numbers as they lie in memory, and does not look at strides.
            p.grad = g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        if objective.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, objective.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def _gradients(self, objective: Objective) -> list[Tensor]:
        """Gradients of the next batch: averaged over processes, or private."""
        batch, noise = self._draw()
        low = self.plan.precision == "bf16"
        if self.private is not None:
            return self.private(self.model, objective, batch, noise, len(self.data.x))
        with torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext():
            loss = objective.loss(batch, noise)
        self._record(objective, loss)
        parameters = list(objective.parameters)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        whole = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients)]
        return _averaged(whole, self.share.mean) if self.share.world > 1 else whole

    def _draw(self) -> tuple[Batch, Noise]:
        """The next batch and its noise, both functions of the seed and of the number of draws so far."""
        n, size = len(self.data.x), self.batch
        epoch, index = divmod(self.draws, n // size)
        if self.order[0] != epoch:
            self.order = (epoch, torch.randperm(n, generator=stream(self.plan.seed, "order", epoch)).to(self.device))
        local = size // self.share.world
        first = index * size + self.share.rank * local
        rows = self.order[1][first : first + local]
        if self.private is not None:
            rows = self.private.rows(n).to(self.device)
        pick = [None if part is None else part.index_select(0, rows)
                for part in (self.data.x, self.data.context, self.data.weights)]
        generator = stream(self.plan.seed, "noise", self.draws, device=self.device)
        mine = slice(self.share.rank * local, (self.share.rank + 1) * local)
        size, mine = (size, mine) if self.private is None else (len(rows), slice(None))
        self.draws += 1
        return Batch(*pick), Noise(generator, size, mine, self.data.x.dtype)  # type: ignore[arg-type]

    def _record(self, objective: Objective, loss: Tensor) -> None:
        recent = self.recent[objective.name]
        recent.append(loss.detach())
        # Reading a loss waits for the device: every step on the CPU (free), every 50 draws elsewhere.
        if self.device.type == "cpu" or len(recent) % 50 == 0:
            self._check_finite(objective, self.step + 1)

    def _check_finite(self, objective: Objective, now: int) -> None:
        """Stop at a loss that is not finite; ``now`` is the step number of the last loss recorded."""
        last = self.recent[objective.name][-1 if self.device.type == "cpu" else -50 :]
        bad = (~torch.isfinite(torch.stack(last))).nonzero() if last else torch.empty(0)
        if len(bad):
            first = int(bad[0])
            step = now - (len(last) - 1 - first) // objective.repeats
            raise TrainingError(f"objective '{objective.name}' is not finite",
                                got=f"{float(last[first]):g} at step {step}", expected="finite losses",
                                do="lower learning_rate, or check the data for outliers (dataset.describe())")

    # -- validation, checkpoints ---------------------------------------------------------------------------------

    def _validate(self) -> None:
        for objective in self.objectives:
            self._check_finite(objective, self.step)
            recent = self.recent[objective.name]
            self.history.losses[objective.name].append(float(torch.stack(recent).mean()) if recent else math.nan)
            recent.clear()
        self.history.steps.append(self.step)
        with self._mean_weights(), torch.no_grad():
            score = math.nan
            if self.held_out is not None:
                score = float(self.model.score(self.held_out.x, self.held_out.context))
            self.history.scores.append(score)
            # A best score that is no number is none: whatever comes next replaces it.
            if not self.best or math.isnan(self.history.best_score) or score < self.history.best_score:
                self.history.best_score, self.history.best_step = score, self.step
                self.best = [p.detach().clone() for p in self.parameters]

    @contextmanager
    def _mean_weights(self) -> Iterator[None]:
        """Inside, the model wears its running-mean weights."""
        kept = [p.data for p in self.parameters]
        for p, mean in zip(self.parameters, self.mean):
            p.data = mean
        try:
            yield
        finally:
            for p, own in zip(self.parameters, kept):
                p.data = own

    def finish(self) -> History:
        if self.held_out is not None and self.best and math.isnan(self.history.best_score):
            self.history.notes.append("no held-out score was a number: the last state was kept, not the best one")
        for p, best in zip(self.parameters, self.best):
            p.data = best
        return self.history

    def save(self, path: Path, identity: str) -> None:
        tensors = nested("model", self.model.state_dict())
        tensors |= nested("mean", _numbered(self.mean)) | nested("best", _numbered(self.best))
        tensors |= nested("recent", {n: torch.stack(r) for n, r in self.recent.items() if r})
        for i, optimiser in enumerate(self.optimisers):
            for j, state in optimiser.state_dict()["state"].items():
                tensors |= nested(f"optimiser{i}/{j}", state)
        facts: dict[str, Any] = {"identity": identity, "step": self.step, "draws": self.draws,
                                 "history": asdict(self.history)}
        write_tensors(path, tensors, facts)

    def restore(self, path: Path, identity: str) -> None:
        tensors, facts = read_tensors(path)
        try:
            self._take(tensors, facts, path, identity)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise RunError(f"{path} is damaged", got=f"{type(error).__name__}: {error}",
                           expected="a checkpoint of this training", do="delete it and train again") from error
        if self.plan.seconds is not None:
            left = max(0.0, self.plan.seconds - self.history.seconds)
            self.history.notes.append(f"resumed at step {self.step} with {left:.0f} s of {self.plan.seconds:.0f} s "
                                      "left; a budget in seconds does not repeat bit by bit")

    def _take(self, tensors: dict[str, Tensor], facts: dict[str, Any], path: Path, identity: str) -> None:
        if facts["identity"] != identity:
            raise RunError(f"{path.parent} holds a training of another model, data or plan",
                           got=facts["identity"], expected=identity, do="choose another folder, or delete this one")
        self.step, self.draws, self.history = facts["step"], facts["draws"], History(**facts["history"])
        self.model.load_state_dict(inside("model", tensors))
        self.mean = _listed(inside("mean", tensors), self.device)
        self.best = _listed(inside("best", tensors), self.device)
        self.recent |= {name: list(values.to(self.device)) for name, values in inside("recent", tensors).items()}
        for i, optimiser in enumerate(self.optimisers):
            state = {j: inside(f"optimiser{i}/{j}", tensors) for j in range(len(self.objectives[i].parameters))}
            optimiser.load_state_dict({**optimiser.state_dict(), "state": {j: s for j, s in state.items() if s}})


def _batch_size(plan: Plan, rows: int, world: int) -> int:
    size = min(plan.batch or 1024, rows)
    return max(world, size - size % world)


def _optimiser(objective: Objective, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        list(objective.parameters),
        lr=plan.learning_rate or objective.learning_rate,
        betas=objective.betas,
        weight_decay=objective.weight_decay,
        fused=next(iter(objective.parameters)).device.type in ("cpu", "cuda"),
    )


def _schedule(kind: str, fraction: float) -> float:
    """Factor on the learning rate. One-cycle: cosine from 1/25 to 1 over the first tenth, then to zero."""
    if kind == "constant":
        return 1.0
    if fraction < 0.1:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * fraction / 0.1))
    return max(1e-4, 0.5 * (1 + math.cos(math.pi * (fraction - 0.1) / 0.9)))


def _averaged(gradients: list[Tensor], mean: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The gradients averaged over processes, sent as one vector."""
    flat = mean(torch.cat([g.flatten() for g in gradients]))
    return [part.view_as(g) for part, g in zip(flat.split([g.numel() for g in gradients]), gradients)]


def _numbered(tensors: list[Tensor]) -> dict[str, Tensor]:
    return {f"{i:05d}": tensor for i, tensor in enumerate(tensors)}


def _listed(tensors: dict[str, Tensor], device: torch.device) -> list[Tensor]:
    return [tensors[name].to(device) for name in sorted(tensors)]
