"""Does the interval of the Hurst exponent cover, and does the judge of series see? Tables of docs/series.md.

    python benchmarks/series.py coverage    share of 95 % intervals that hold the truth, 400 paths per cell
    python benchmarks/series.py judge       200 nulls and 20 of each planted fault, 100 against 100 series of 128 points
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import sundog
from sundog.simulate.processes import fractional_brownian_motion, ornstein_uhlenbeck
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


def volatile(n: int, t: int, *, leverage: float, seed: int) -> torch.Tensor:
    """Paths (n, t) whose steps z_i exp(w_i) have a fluctuating size w, OU; with leverage a fall of z raises later w."""
    z = torch.randn(n, t, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    w = ornstein_uhlenbeck(n, t - 1, rate=0.05, scale=0.2, seed=seed + 10_000)
    for i in range(1, 9):
        w[:, i:] -= leverage * 0.75**i * z[:, :-i]
    return (z * w.exp()).cumsum(1)


def surrogate(x: torch.Tensor, seed: int) -> torch.Tensor:
    """Gaussian paths with the spectrum of the steps of each row: their phases drawn anew."""
    steps = torch.fft.rfft(x.diff(dim=1, prepend=torch.zeros_like(x[:, :1])))
    phase = torch.rand(steps.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = torch.polar(torch.ones_like(phase), 2 * torch.pi * phase)
    return torch.fft.irfft(steps.abs() * turned, n=x.shape[1]).cumsum(1)


def judge(nulls: int = 200, tries: int = 20) -> None:
    torch.set_num_threads(1)
    size = (100, 128)

    def p_value(real: torch.Tensor, fake: torch.Tensor) -> float:
        a, b = (sundog.Dataset.from_arrays(x, time_step=1.0) for x in (real, fake))
        return sundog.judge(a, b, statistics="deciding").p_value

    def rough(hurst: float, seed: int) -> torch.Tensor:
        return fractional_brownian_motion(size[0], size[1] - 1, hurst, seed=seed)

    laws = {"fractional Brownian motion, H = 0.7": lambda seed: rough(0.7, seed),
            "fluctuating volatility with leverage": lambda seed: volatile(*size, leverage=0.3, seed=seed)}
    print("| nulls | p <= 0.05 | p <= 0.01 |\n|---|---|---|", flush=True)
    for name, law in laws.items():
        p = np.array([p_value(law(2 * i), law(2 * i + 1)) for i in range(nulls)])
        print(f"| {name} | {(p <= 0.05).mean():.3f} | {(p <= 0.01).mean():.3f} |", flush=True)
    faults = {
        "spectrum: H = 0.65 for 0.7": lambda i: (rough(0.7, 2 * i), rough(0.65, 2 * i + 1)),
        "flatness at equal spectrum": lambda i: (volatile(*size, leverage=0.0, seed=2 * i),
                                                 surrogate(volatile(*size, leverage=0.0, seed=2 * i + 1), i)),
        "time reversed": lambda i: (volatile(*size, leverage=0.3, seed=2 * i),
                                    volatile(*size, leverage=0.3, seed=2 * i + 1).flip(1)),
    }
    print("\n| fault | caught | median p |\n|---|---|---|")
    for name, pair in faults.items():
        p = np.array([p_value(*pair(i)) for i in range(tries)])
        print(f"| {name} | {(p <= 0.01).sum()} of {tries} | {np.median(p):.1e} |", flush=True)


if __name__ == "__main__":
    {"coverage": coverage, "judge": judge}[sys.argv[1]]()
