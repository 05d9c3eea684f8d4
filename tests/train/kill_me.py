"""A fit in a process of its own, for the tests that kill it: kill_me.py FOLDER [STEPS [SECONDS]]."""

import sys
from pathlib import Path

import torch

import sundog

torch.set_num_threads(1)


def fit(folder, steps=400, checkpoint_seconds=0.0):
    values = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    data = sundog.Dataset.from_arrays(values, names=["a", "b", "m"])
    plan = sundog.Plan(steps=steps, batch=64, checkpoint_seconds=checkpoint_seconds, validate_every=50)
    return sundog.fit("flow", data, context="m", plan=plan, out=folder, layers=2, hidden=(16,), seed=4)


def say_started(folder):
    """Touch FOLDER/started at the 20th step, so that a test knows when the loop is running."""
    from sundog.train import engine

    original = engine._Loop._advance

    def advance(self):
        original(self)
        if self.step == 20:
            (folder / "started").touch()

    engine._Loop._advance = advance


if __name__ == "__main__":
    place = Path(sys.argv[1])
    say_started(place)
    fit(place, int((sys.argv[2:] or [400])[0]), float((sys.argv[3:] or [0.0])[0]))
