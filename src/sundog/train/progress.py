"""The progress bar of a training: off in library use, on in the command line."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from sundog.train.history import History
from sundog.train.plan import Plan


class Progress:
    """Progress of one training on stderr: share of the budget done, held-out score, time left."""

    def __init__(self, on: bool, plan: Plan, step: int) -> None:
        self.on, self.plan = on, plan
        self.bar = Bar(
            TextColumn("training"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True), disable=not on,
        )
        self.in_seconds = plan.steps is None
        total = plan.seconds if self.in_seconds else plan.steps
        self.task = self.bar.add_task("training", total=total, text="", completed=0 if self.in_seconds else step)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, step: int, seconds: float) -> None:
        """Move the bar to this step."""
        if self.on:
            self.bar.update(self.task, completed=seconds if self.in_seconds else step)

    def show(self, history: History) -> None:
        """Write the last held-out score beside the bar."""
        if self.on and history.scores:
            self.bar.update(self.task, text=f"held-out {history.scores[-1]:.4g}, best {history.best_score:.4g}")
