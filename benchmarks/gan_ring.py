"""Does the Wasserstein GAN find all eight modes of a ring? Modes, share within 4 sigma, and mode weights, by step.

One row per setting and seed, after 1000 generator steps: modes found (at least 1 % of the fakes within 4 sigma),
share of the fakes within 4 sigma of a mode, total variation of the mode weights against 1/8 each, CPU seconds.
A ring filled evenly along the circle stands last: what a model without modes would score.

    python benchmarks/gan_ring.py [--steps 1000] [--seeds 0 1 2] [--scales 0.1 0.05]
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch

import sundog
from sundog.simulate.densities import GaussianMixture

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},  # lambda 1, rate 3e-3, 4 latent numbers
    "lambda 10": {"penalty_weight": 10.0},
    "lambda 0.1": {"penalty_weight": 0.1},
    "rate 1e-3": {"learning_rate": 1e-3},
    "16 latent": {"latent": 16},
}
RADIUS = 2.0


def modes(x: torch.Tensor, law: GaussianMixture, scale: float) -> tuple[int, float, float]:
    """(modes found, share within 4 sigma, total variation of the mode weights)."""
    distance, nearest = torch.cdist(x.double(), law.means).min(1)
    near = distance < 4 * scale
    shares = torch.bincount(nearest[near], minlength=len(law.means)) / len(x)
    weights = shares / shares.sum().clamp_min(1e-12)
    return int((shares > 0.01).sum()), float(near.double().mean()), float((weights - 1 / 8).abs().sum() / 2)


def even_ring(n: int, scale: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(n, generator=g)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1) + scale * torch.randn(n, 2, generator=g)


def row(scale: float, name: str, seed: str, found: tuple[int, float, float], spent: str) -> str:
    return f"| {scale} | {name} | {seed} | {found[0]} | {found[1]:.2f} | {found[2]:.2f} | {spent} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scales", type=float, nargs="+", default=[0.1, 0.05])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    options = parser.parse_args()
    print("| sigma | setting | seed | modes | within 4 sigma | mode weights (TV) | CPU s |\n|" + "---|" * 7)
    for scale in options.scales:
        law = GaussianMixture.ring(scale=scale)
        data = law.sample(20_000, seed=0)
        for name in options.settings:
            for seed in options.seeds:
                start = time.process_time()
                run = sundog.fit("gan", data, plan=sundog.Plan(steps=options.steps, seed=seed), **SETTINGS[name])
                spent = f"{time.process_time() - start:.0f}"
                found = modes(run.sample(10_000, seed=1).values, law, scale)
                print(row(scale, name, str(seed), found, spent), flush=True)
        print(row(scale, "evenly filled ring", "", modes(even_ring(10_000, scale), law, scale), ""), flush=True)


if __name__ == "__main__":
    main()
