"""A fit in a process of its own, for the tests that kill it: kill_me.py FOLDER [STEPS]."""

import sys
from pathlib import Path

import torch

import sundog

torch.set_num_threads(1)


def fit(folder, steps=400):
    values = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    data = sundog.Dataset.from_arrays(values, names=["a", "b", "m"])
    plan = sundog.Plan(steps=steps, batch=64, checkpoint_seconds=0.0, validate_every=50)
    return sundog.fit("flow", data, context="m", plan=plan, out=folder, layers=2, hidden=(16,), seed=4)


if __name__ == "__main__":
    fit(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400)
