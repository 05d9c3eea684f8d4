"""Does the interval of the Hurst exponent cover? The table of docs/series.md comes from here.

    python benchmarks/series.py coverage    share of 95 % intervals that hold the truth, 400 paths per cell
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from sundog.simulate.processes import fractional_brownian_motion
from sundog.statistics.series import hurst_exponent


def coverage(draws: int = 400) -> None:
    torch.set_num_threads(1)
    print("| H | points | mean estimate | spread | half width | coverage |\n|---|---|---|---|---|---|")
    for hurst in (0.1, 0.3, 0.5, 0.7, 0.9):
        for points in (64, 256, 1024):
            paths = fractional_brownian_motion(draws, points - 1, hurst, seed=7)
            found = np.array([hurst_exponent(path) for path in paths])
            inside = ((found[:, 1] <= hurst) & (hurst <= found[:, 2])).mean()
            width = (found[:, 2] - found[:, 1]).mean() / 2
            print(f"| {hurst} | {points} | {found[:, 0].mean():.3f} | {found[:, 0].std():.3f} | {width:.3f} "
                  f"| {inside:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    {"coverage": coverage}[sys.argv[1]]()
