"""What family sde learns of 64 paths of a fractional Ornstein-Uhlenbeck process. The table of docs/series.md.

    python benchmarks/sde.py 0.3 0.7        learned H, pull and size, and CPU seconds, 64 paths of 200 points, 60 steps
    python benchmarks/sde.py sharp          H = 0.3 with the blur held at 0.01 standard deviations
"""

from __future__ import annotations

import sys
import time

import torch

import sundog
from sundog.models.sde import FractionalSDE
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


def sharp(steps: int = 60) -> None:
    x = fractional_ornstein_uhlenbeck(64, 199, 0.3, rate=RATE, seed=3)[:, None]
    x = x / x.std()
    model = FractionalSDE((1, 200), noise="constant")
    model.prepare(x, None)
    model.blur.requires_grad_(False).fill_(-3.0)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    for step in range(steps):
        e = torch.randn(64, 200, 1, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        (-model.elbo(x, e).mean() / 200).backward()
        optimiser.step()
        if step % 10 == 9:
            print(f"step {step + 1}, blur {float(model.blurring.detach()):.3f}: H = {float(model.hurst.detach()):.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "sharp":
        sys.exit(sharp())
    print("| H | of increments | learned | pull (0.05) | size (1) | blur (0) | CPU s |\n|---|---|---|---|---|---|---|")
    for text in sys.argv[1:]:
        print(learned(float(text), seed=3), flush=True)
