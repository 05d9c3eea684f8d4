"""How fast and how right are the processes? The tables of docs/series.md on fractional noise come from here.

    python benchmarks/processes.py speed      CPU seconds of 1,000 x 10,000 steps; `fbm` beside it where installed
    python benchmarks/processes.py markov     errors of the Markov approximation
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from sundog.simulate.processes import fractional_brownian_motion, markov_weights


def cpu_seconds(draw: Callable[[], object]) -> float:
    start = time.process_time()
    draw()
    return time.process_time() - start


def speed(n: int = 1000, steps: int = 10_000) -> None:
    torch.set_num_threads(1)
    fractional_brownian_motion(2, 16, 0.7, seed=0)
    ours = min(cpu_seconds(lambda: fractional_brownian_motion(n, steps, 0.7, seed=0)) for _ in range(3))
    print(f"{n} x {steps} steps, H = 0.7, one thread: {ours:.2f} CPU s")
    try:
        from fbm import FBM
    except ImportError:
        print("fbm is not installed: no comparison")
        return
    other = FBM(n=steps, hurst=0.7, length=1, method="daviesharte")
    print(f"fbm, the same: {cpu_seconds(lambda: [other.fbm() for _ in range(n // 10)]) * 10:.2f} CPU s (a tenth, x 10)")


def markov() -> None:
    print("| H | kind | fastest | slowest | K = 3 | K = 5 | K = 10 |\n|---|---|---|---|---|---|---|")
    for kind, fastest, slowest in (("II", 20, 1 / 20), ("II", 2e5, 1 / 2e5), ("I", 20, 1 / 20), ("I", 2e2, 1e-5)):
        for hurst in (0.1, 0.3, 0.5, 0.7, 0.9):
            errors = [markov_weights(hurst, k, kind=kind, fastest=fastest, slowest=slowest).error for k in (3, 5, 10)]
            print(f"| {hurst} | {kind} | {fastest:g} | {slowest:g} | " + " | ".join(f"{e:.1e}" for e in errors) + " |")


if __name__ == "__main__":
    {"speed": speed, "markov": markov}[sys.argv[1]]()
