"""Which diffusion? Skip, loss weight, noise range and start state, crossed on radio galaxies at one small budget.

Every arm is trained from several seeds on its own split of the sky; each network draws twice, from the Gaussian of the
data and from white noise. Parts are stored one by one, so a killed run goes on.

    OMP_NUM_THREADS=1 python benchmarks/radio_factorial.py --cpu-seconds 150 --seeds 0 1 2 --out FOLDER
    python benchmarks/radio_factorial.py --out FOLDER --show

Real input: ``radio/mirabest_first_las80_f16.npz`` in the data folder (``--data`` or SUNDOG_DATA).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from radio_diffusion import distances, peaked, shares, sources, steps_for
from torch import Tensor

import sundog
from sundog.data.atomic import write_text
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.models.diffusion import Diffusion
from sundog.solve.samplers import dpm_solver_2m, noise_levels

HIGH = (0.8, 1.9)  # ln(sigma / sigma_data): a tenth of the training above 25 sigma_data, where positions are decided
ARMS: dict[str, dict[str, object]] = {
    "edm": {"skip": "edm"},
    "covariance": {"skip": "covariance"},
    "covariance, high noise": {"skip": "covariance", "noise": HIGH},
    "covariance, EDM weight": {"skip": "covariance", "weight": "edm"},
}
LEVELS = (0.05, 0.2, 1.0, 5.0, 20.0, 80.0)  # sigma / sigma_data of the held-out losses
SAMPLES = 120
COLUMNS = ("median W1", "centre of mass", "elongation", "AUC", "recall")


def from_white(model: Diffusion, n: int, generator: torch.Generator) -> Tensor:
    """Samples started from N(0, sigma_max^2) as published, by the published form of the sampler."""
    sigmas = noise_levels(model.steps, sigma_min=float(model.sigma_min), sigma_max=float(model.sigma_max))
    x = float(model.sigma_max) * torch.randn(n, *model.grid, generator=generator)
    return torch.cat([dpm_solver_2m(model.denoise, part, sigmas) for part in x.split(32)]).reshape(n, *model.shape)


def judged(held_out: sundog.Dataset, train: sundog.Dataset, fakes: Tensor, seed: int) -> dict[str, list[float]]:
    """Value and null of each column."""
    w1 = distances(held_out.values, fakes, seed)
    verdict = sundog.judge(held_out, sundog.Dataset.from_arrays(fakes, names=held_out.names, units=held_out.units),
                           train=train, seed=seed, splits=12,
                           statistics=["classifier", "prdc"])
    rows = {row.name: (row.value, row.null) for row in verdict.rows}

    def of(word: str) -> list[float]:
        chosen = [triple for name, triple in w1.items() if word in name]
        return [float(np.mean([triple[i] for triple in chosen])) for i in range(2)]

    return {"median W1": [float(np.median([triple[i] for triple in w1.values()])) for i in range(2)],
            "centre of mass": of("radius") or of("com"), "elongation": of("elongation"),
            "AUC": list(rows["classifier AUC"]), "recall": list(rows["recall"])}


def part(o: argparse.Namespace, arm: str, seed: int) -> dict[str, object]:
    """One trained network: its cost, its held-out losses, and its samples from both starts, judged."""
    train, held_out, _ = sources(o.data, 0.26, split=seed + 1)  # split 0 is the one that the method was built on
    options = {**ARMS[arm], "symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 25}
    steps = steps_for(o.cpu_seconds, (80, 80), 8, "bf16", **options)
    plan = sundog.Plan(steps=steps, batch=8, precision="bf16", ema=0.998, validate_every=max(1, steps // 3))
    start = time.process_time()
    run = sundog.fit("diffusion", train, plan=plan, seed=seed, scaling=Chain((Asinh(), Standard())), **options)
    spent = time.process_time() - start
    model = run.model
    assert isinstance(model, Diffusion)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z = run.scaling.forward(held_out.values).float()
        found = shares(lambda rows, x, sigma: model.denoise(x, sigma), z, model.sigma_data, LEVELS)
        losses = [value for value, _ in found]
        white = from_white(model, SAMPLES, torch.Generator().manual_seed(seed + 1)).float()
        drawn = {"gaussian": peaked(run.sample(SAMPLES, seed=seed + 1).values),
                 "white": peaked(run.scaling.inverse(white).float())}
    return {"arm": arm, "seed": seed, "steps": steps, "cpu_s": spent, "losses": losses,
            "judged": {name: judged(held_out, train, fakes, seed) for name, fakes in drawn.items()}}


def show(folder: Path) -> None:
    """Markdown tables: mean over seeds +- its standard error; the nulls in the last row."""
    parts = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    print("| arm | start | seeds | " + " | ".join(COLUMNS) + " |\n|---|---|---|" + "---|" * len(COLUMNS))
    nulls: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for arm in ARMS:
        found = [p for p in parts if p["arm"] == arm]
        for start in ("gaussian", "white") if found else ():
            cells = []
            for name in COLUMNS:
                values = [p["judged"][start][name][0] for p in found]
                nulls[name] += [p["judged"][start][name][1] for p in found]
                cells.append(with_error(values))
            print(f"| {arm} | {start} | {len(found)} | " + " | ".join(cells) + " |")
    print("| *real against real* | | | " + " | ".join(with_error(nulls[name]) for name in COLUMNS) + " |")
    print("\n| arm | CPU s | " + " | ".join(f"{level:g}" for level in LEVELS) + " |\n|---|---|" + "---|" * len(LEVELS))
    for arm in ARMS:
        found = [p for p in parts if p["arm"] == arm]
        if found:
            rows = np.array([p["losses"] for p in found])
            spent = np.mean([p["cpu_s"] for p in found])
            print(f"| {arm} | {spent:.0f} | " + " | ".join(with_error(list(column)) for column in rows.T) + " |")


def with_error(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--cpu-seconds", type=float, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--show", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if o.show else o.seeds:
        for arm in o.arms:
            path = o.out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}.json"
            if not path.exists():
                result = part(o, arm, seed)
                write_text(path, json.dumps(result))
                print(arm, seed, {k: [round(v[0], 2) for v in j.values()] for k, j in result["judged"].items()},
                      flush=True)
    show(o.out)


if __name__ == "__main__":
    main()
