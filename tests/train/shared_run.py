"""50 float64 steps on one or two processes, weights written to a file: shared_run.py DEVICES OUT."""

import sys

import torch

import sundog

torch.set_num_threads(1)

if __name__ == "__main__":
    devices, out = int(sys.argv[1]), sys.argv[2]
    values = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    data = sundog.Dataset.from_arrays(values, names=["a", "b", "m"])
    plan = sundog.Plan(steps=50, batch=64, precision="float64", devices=devices, device="cpu", ema=0.9)
    sundog.fit("flow-matching", data, context="m", plan=plan, seed=3, hidden=(16, 16)).save(out)
