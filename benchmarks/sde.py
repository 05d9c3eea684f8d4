"""What family sde learns of 64 paths of a fractional Ornstein-Uhlenbeck process. The table of docs/series.md.

    python benchmarks/sde.py 0.3 0.7        learned H, pull and size, and CPU seconds, 64 paths of 200 points, 60 steps
"""

from __future__ import annotations

import sys
import time

import torch

import sundog
from sundog.simulate.processes import fractional_ornstein_uhlenbeck
from sundog.statistics.series import hurst_exponent

RATE = 0.05


def learned(hurst: float, seed: int) -> str:
    x = fractional_ornstein_uhlenbeck(64, 199, hurst, rate=RATE, seed=seed)
    before = time.process_time()
    run = sundog.fit("sde", sundog.Dataset.from_arrays(x, time_step=1.0, held_out_fraction=0.0), steps=60,
                     noise="constant")
    seconds = time.process_time() - before
    model, scale = run.model, float(x.std())
    start = hurst_exponent(x).value  # where training begins
    with torch.no_grad():
        pull, size = float(torch.nn.functional.softplus(model.pull)), float(model.size.exp()) * scale
        return (f"| {hurst} | {start:.3f} | {float(model.hurst):.3f} | {pull:.3f} | {size:.3f} | "
                f"{float(model.blurring) * scale:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| H | of increments | learned | pull (0.05) | size (1) | blur (0) | CPU s |\n|---|---|---|---|---|---|---|")
    for text in sys.argv[1:]:
        print(learned(float(text), seed=3), flush=True)
