"""What privacy costs and protects (docs/private.md).

python benchmarks/private.py generators   # two moons, three fits each: distance to the truth, membership attack
python benchmarks/private.py spider       # Private SpiderBoost beside noisy gradient descent
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from torch import Tensor

import sundog
from sundog.train.privacy import Privacy, SpiderBoost


def auc(members: Tensor, others: Tensor) -> float:
    return float((members[:, None] > others[None]).double().mean())


def generators() -> None:
    print("| family | epsilon | scaling | energy distance, fake to real | real to real | membership AUC | CPU s |")
    print("|---|---|---|---|---|---|---|")
    law = sundog.simulate.densities.TwoMoons()
    data, real = law.sample(5000, seed=0), law.sample(2000, seed=1)
    flow = [("flow-matching", epsilon, "standard") for epsilon in (None, 1000.0, 10.0, 1.0)]
    flow.append(("flow-matching", 1.0, "identity"))
    for family, epsilon, scaling in (*flow, *[("diffusion", epsilon, "standard") for epsilon in (None, 10.0, 1.0)]):
        start, found = time.process_time(), []
        privacy = None if epsilon is None else Privacy(epsilon=epsilon, delta=1e-5, clip=1.0)
        for seed in range(3):
            plan = sundog.Plan(steps=400, batch=500, privacy=privacy, seed=seed)
            run = sundog.fit(family, data, plan=plan, scaling=scaling, hidden=(64, 64))
            row = sundog.judge(real, run.sample(2000, seed=2), statistics=("energy",))["energy distance"]
            attack = auc(run.log_prob(data.train[:1000]), run.log_prob(law.sample(1000, seed=3)))
            found.append((row.value, row.null, attack))
        mean, spread = np.mean(found, 0), np.std(found, 0, ddof=1)
        print(f"| {family} | {epsilon or 'none'} | {scaling} | {mean[0]:.4f} ± {spread[0]:.4f} | {mean[1]:.4f} | "
              f"{mean[2]:.3f} ± {spread[2]:.3f} | {(time.process_time() - start) / 3:.0f} |", flush=True)


def spider() -> None:
    """Robust regression in 20 columns, 2000 rows, epsilon 1: norm of the mean gradient, best of a grid, mean of 5."""
    n, d, rng = 2000, 20, np.random.default_rng(0)
    x = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, d))), dim=1)
    y = x @ torch.from_numpy(rng.normal(size=d)) + 0.1 * torch.from_numpy(rng.normal(size=n))

    def gradients(w: Tensor, rows: Tensor) -> Tensor:
        r = x[rows] @ w - y[rows]
        return (r * torch.exp(-r.square() / 2))[:, None] * x[rows] + 0.1 * w / (1 + w.square()).square()

    budget, everything = Privacy(epsilon=1, delta=1e-5, clip=1), torch.arange(n)
    bounds = {"slope": np.exp(-0.5) + 0.1 * np.sqrt(d) * 0.33, "curvature": 1.1}  # of any row, by hand
    print("| method | steps | phase | batches | multiplier | norm of the gradient |\n|---|---|---|---|---|---|")
    for name, grid in (("noisy gradient descent", [(t, 1, b, b) for t in (10, 30, 100) for b in (500, 2000)]),
                       ("Private SpiderBoost", [(t, q, 2000, b) for t in (10, 30, 100) for q in (3, 10)
                                                for b in (500, 2000)])):
        found = []
        for steps, phase, batch, small in grid:
            method = SpiderBoost.affordable(budget, n, steps=steps, phase=phase, batch=batch, small_batch=small,
                                            **bounds)
            ends = [float(gradients(method(gradients, torch.zeros(d, dtype=torch.float64), n, np.random.default_rng(s)),
                                    everything).mean(0).norm()) for s in range(5)]
            found.append((np.mean(ends), np.std(ends) / 5**0.5, steps, phase, batch, small, method.multiplier))
        value, error, steps, phase, batch, small, multiplier = min(found)
        print(f"| {name} | {steps} | {phase} | {batch}, {small} | {multiplier:.2f} | {value:.3f} ± {error:.3f} |",
              flush=True)


if __name__ == "__main__":
    {"generators": generators, "spider": spider}[sys.argv[1]]()
