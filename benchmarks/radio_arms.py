"""What would make radio fakes better at the same cost? Arms one by one, and the levels that do the harm.

FIRST sources of known class and size at 40 x 40 pixels (2 x 2 of those of radio_baselines.py), a few minutes of
training per network, each seed another split of the sky and another start. An arm differs from the baseline in one
thing. What is judged are 320 fakes against the held-out sources; the null is training against held-out sources.

    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --seeds 0 1 2 --out FOLDER [--arms baseline ...] [--show]
    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --levels --seeds 0 1 2 --out FOLDER   # the oracle below
    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --levels --run RUN --out FOLDER  # of radio_baselines.py, 80 x 80

``--levels`` is an oracle: true training images are noised at one level and the network takes it from there. Above that
level it is replaced by the truth; what is told apart then was done below.

Real input as in radio_diffusion.py. Every network and number is kept in FOLDER and not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from radio_diffusion import distances, peaked, sources
from torch import Tensor
from torch.nn import functional as F

import sundog
from sundog.data.scaling import Standard
from sundog.models.diffusion import Diffusion
from sundog.models.symmetry import turned
from sundog.simulate.radio import radio_catalogue
from sundog.solve.samplers import dpm_solver_2m, noise_levels
from sundog.statistics import shape_features, shape_metrics
from sundog.statistics.catalogue.images import spectrum_vectors
from sundog.statistics.catalogue.table import Frame, features
from sundog.train.run import Run
from sundog.verdicts.twosample import classifier_two_sample

OPTIONS: dict[str, Any] = {"skip": "conditional", "symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 25}
EMA = 0.998
# One thing that differs from the baseline: options of the family, the average of the weights, what is told, the start,
# or how the network of the baseline is asked.
ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "level weighting": {"options": {"uncertainty": True}},
    "power-function EMA": {"ema": 0.9999999},  # (1 + t) / (10 + t): gamma = 8, sigma_rel = 0.09
    "no EMA": {"ema": 0.0},
    "told elongation": {"told": ("elongation",)},
    "told centre": {"told": ("com_radius",)},
    "told shape": {"told": ("com_radius", "elongation", "asymmetry")},
    "transfer": {"transfer": True},
    "turned at each level": {"asked": "turned"},
    "mean of eight positions": {"asked": "averaged"},
}
LEVELS = (0.1, 0.5, 2.0, 5.0, 10.0, 20.0, 50.0)  # sigma / sigma_data
SHAPES = ("com_radius", "elongation", "asymmetry")
MOMENTS = 4  # features of the judge before those of the power spectrum
SPLITS = 4


def smaller(data: sundog.Dataset, told: tuple[str, ...]) -> sundog.Dataset:
    """Images of 40 x 40 pixels in units of their peak; class, size and the numbers ``told`` as context."""
    images = peaked(F.avg_pool2d(data.values[:, None], 2)[:, 0])
    shapes = shape_numbers(images)
    context = torch.cat([data.context, *[shapes[name][:, None].to(data.context) for name in told]], 1)
    return sundog.Dataset.from_arrays(images, context, names=data.names, units=data.units,
                                      context_names=[*data.context_names, *told], held_out_fraction=0.0)


def shape_numbers(images: Tensor) -> dict[str, Tensor]:
    found = {**shape_metrics(images.clamp(0, 1)), **shape_features(images.clamp(0, 1))}
    return {name: found[name] for name in SHAPES}


def simulated(train: sundog.Dataset, seed: int) -> sundog.Dataset:
    """As many built-in radio galaxies as training sources, 4 times, with the contexts of the real ones."""
    context = train.context.repeat(4, 1)
    images = peaked(radio_catalogue(len(context), size=40, seed=seed).paint(40).float())
    return sundog.Dataset.from_arrays(images, context, names=train.names, units=train.units,
                                      context_names=train.context_names, held_out_fraction=0.0)


def learned(train: sundog.Dataset, arm: dict[str, Any], seed: int, o: argparse.Namespace, path: Path) -> Run:
    """The network of an arm, from FOLDER if it was trained before."""
    if path.exists():
        return sundog.load_run(path)

    def fit(data: sundog.Dataset, steps: int, start: Run | None) -> Run:
        plan = sundog.Plan(steps=steps, batch=8, precision="bf16", ema=arm.get("ema", EMA),
                           validate_every=max(1, steps // 5))
        return sundog.fit("diffusion", data, plan=plan, seed=seed, scaling=Standard(), init_from=start,
                          **OPTIONS | arm.get("options", {}))

    start, spent = None, time.process_time()
    if arm.get("transfer"):
        start = fit(simulated(train, seed), o.training_steps // 3, None)
    run = fit(train, o.training_steps - (o.training_steps // 3 if start else 0), start)
    print(f"{path.name}: {time.process_time() - spent:.0f} CPU s, loss {run.history.best_score:.4f}", flush=True)
    run.save(path)
    return run


def asked(model: Diffusion, how: str, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser at a context; ``turned``: in a random position at each level, ``averaged``: the mean over all."""
    g = torch.Generator().manual_seed(0)
    back = (0, 1, 2, 3, 4, 6, 5, 7)  # flips, then the transpose: undone in the other order

    def at(x: Tensor, sigma: Tensor, position: int) -> Tensor:
        moved = turned(x, torch.full((len(x),), position))
        return turned(model.denoise(moved, sigma, context), torch.full((len(x),), back[position]))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if how == "averaged":
            return torch.stack([at(x, sigma, i) for i in range(8)]).mean(0)
        return at(x, sigma, int(torch.randint(8, (), generator=g)))

    return (lambda x, sigma: model.denoise(x, sigma, context)) if how == "plain" else denoise


@torch.no_grad()
def drawn(run: Run, context: Tensor, seed: int, how: str = "plain", truth: Tensor | None = None,
          level: float | None = None) -> Tensor:
    """Fakes of these contexts; with ``truth``, from those images noised at ``level`` sigma_data."""
    model = run.model
    assert isinstance(model, Diffusion)
    told = run.context_scaling.forward(context).float()
    levels = noise_levels(model.steps, sigma_min=float(model.sigma_min), sigma_max=float(model.sigma_max))
    if level is not None:
        top = level * float(model.sigma_data)
        levels = torch.cat([levels.new_tensor([top]), levels[levels < 0.95 * top]])
    e = torch.randn(len(context), *model.grid, generator=torch.Generator().manual_seed(seed))
    z = None if truth is None else run.scaling.forward(truth).float().reshape(e.shape)
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for rows in torch.arange(len(context)).split(64):
            law = model.gaussian.given(told[rows])
            start = law.coloured(e[rows], float(levels[0])) if z is None else z[rows] + float(levels[0]) * e[rows]
            found.append(dpm_solver_2m(asked(model, how, told[rows]), start, levels, around=law).float())
    return peaked(run.scaling.inverse(torch.cat(found).reshape(len(context), *model.shape)).float())


def judged(held_out: Tensor, train: Tensor, fakes: Tensor, seed: int) -> dict[str, float]:
    """AUC by all features, the finer half of the spectrum and the others, and W1 of the shapes, with their nulls."""
    frame = Frame.of(held_out)
    real, fake, other = (features(x, frame) for x in (held_out, fakes, train[: len(fakes)]))
    bins = spectrum_vectors(held_out, frame).shape[1]
    fine = [MOMENTS + bins // 2 <= i < MOMENTS + bins for i in range(real.shape[1])]
    numbers: dict[str, float] = {}
    for label, kept in (("all", [True] * len(fine)), ("fine", fine), ("others", [not f for f in fine])):
        for name, x in (("AUC", fake), ("null", other)):
            numbers[f"{name} {label}"] = float(np.mean([
                classifier_two_sample(real[:, kept], x[:, kept], seed + split).auc for split in range(SPLITS)]))
    for name, (ours, null, _) in distances(held_out, fakes, seed).items():
        if name in SHAPES:
            numbers |= {name: ours, f"null {name}": null}
    return numbers


def part(o: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    arm = ARMS[name]
    train, held_out = (smaller(x, arm.get("told", ())) for x in sources(o.data, 0.26, classes=True, split=seed + 1)[:2])
    base = "baseline" if "asked" in arm else name
    run = learned(train, arm, seed, o, o.out / f"run-{base.replace(' ', '-')}-{seed}")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    fakes = drawn(run, train.context[order[: o.samples]], seed + 1, arm.get("asked", "plain"))
    return {"arm": name, "seed": seed, "cpu_s": run.history.seconds, "loss": run.history.best_score,
            **judged(held_out.values, train.values[order], fakes, seed)}


def by_level(o: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """The oracle: what is told apart if the network starts from the truth noised at each level."""
    train, held_out, _ = sources(o.data, 0.26, classes=True, split=0 if o.run else seed + 1)
    if o.run:
        run = sundog.load_run(o.run)
    else:
        train, held_out = smaller(train, ()), smaller(held_out, ())
        run = learned(train, {}, seed, o, o.out / f"run-baseline-{seed}")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[: o.samples]
    rows = []
    for level in (*LEVELS, None):
        fakes = drawn(run, train.context[order], seed + 1, truth=None if level is None else train.values[order],
                      level=level)
        rows.append({"level": level, "seed": seed, **judged(held_out.values, train.values[order], fakes, seed)})
        print(rows[-1], flush=True)
    return rows


def show(rows: list[dict[str, Any]], key: str) -> None:
    """Markdown: mean over seeds ± its standard error; W1 of the shapes in units of their null."""
    columns = ["AUC all", "AUC fine", "AUC others", *SHAPES, *(["loss", "cpu_s"] if key == "arm" else [])]
    print(f"| {key} | seeds | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    named = list(dict.fromkeys(row[key] for row in rows))
    for name in [*named, "null"]:
        found = [row for row in rows if name in (row[key], "null")]
        cells = []
        for column in columns:
            of = column.replace("AUC", "null") if name == "null" else column
            scale = [row[f"null {column}"] if column in SHAPES else 1.0 for row in found]
            values = [(s if name == "null" and column in SHAPES else row.get(of, np.nan)) / s
                      for row, s in zip(found, scale)]
            seeds = len({row["seed"] for row in found})
            cells.append(f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1) / seeds**0.5:.3f}"
                                                     if seeds > 1 else ""))
        print(f"| {'from noise' if name is None else name} | {len({r['seed'] for r in found})} | "
              + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--training-steps", type=int, default=2000, help="of 8 images")
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument("--levels", action="store_true", help="the oracle, for the baseline or --run")
    parser.add_argument("--run", type=Path, help="of radio_baselines.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="tables of what is there")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if o.show else o.seeds:
        for name in ["levels"] if o.levels else o.arms:
            path = o.out / f"{name.replace(' ', '-')}{'-80' if o.run else ''}-{seed}.json"
            if not path.exists():
                found = by_level(o, seed) if o.levels else part(o, name, seed)
                path.write_text(json.dumps(found))
                print(name, seed, found if isinstance(found, dict) else "", flush=True)
    for wanted, key in (("arms", "arm"), ("levels", "level"), ("levels-80", "level")):
        found = [json.loads(p.read_text()) for p in sorted(o.out.glob("*.json"))
                 if (p.stem.rsplit("-", 1)[0] if p.stem.startswith("levels") else "arms") == wanted]
        rows = [row for part in found for row in (part if isinstance(part, list) else [part])]
        if rows:
            print(f"\n{wanted}")
            show(sorted(rows, key=lambda r: list(ARMS).index(r["arm"])) if key == "arm" else rows, key)


if __name__ == "__main__":
    main()
