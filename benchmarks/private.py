"""What privacy costs and protects (docs/private.md).

python benchmarks/private.py generators   # digits of two moons: judge, membership attack, by epsilon
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
    print("| epsilon | energy distance, fake to real | real to real | p of the verdict | membership AUC | CPU s |")
    print("|---|---|---|---|---|---|")
    law = sundog.simulate.densities.TwoMoons()
    data, real = law.sample(5000, seed=0), law.sample(2000, seed=1)
    for epsilon in (None, 10.0, 3.0, 1.0):
        start = time.process_time()
        privacy = None if epsilon is None else Privacy(epsilon=epsilon, delta=1e-5, clip=1.0)
        plan = sundog.Plan(steps=400, batch=500, privacy=privacy)
        run = sundog.fit("flow-matching", data, plan=plan, scaling="standard", hidden=(64, 64))
        seconds = time.process_time() - start
        verdict = sundog.judge(real, run.sample(2000, seed=2), statistics=("energy",))
        row = verdict["energy distance"]
        attack = auc(run.log_prob(data.train[:1000]), run.log_prob(law.sample(1000, seed=3)))
        print(f"| {epsilon or 'none'} | {row.value:.4f} | {row.null:.4f} | {verdict.p_value:.2g} | {attack:.3f} | "
              f"{seconds:.0f} |", flush=True)


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
