"""What would make radio fakes better at the same cost? Arms one by one, and the levels that do the harm.

FIRST sources of known class and size at 40 x 40 pixels (2 x 2 of those of radio_baselines.py), a few minutes of
training per network, each seed another split of the sky and another start. An arm differs from the baseline in one
thing. What is judged are the fakes against the held-out sources; the null is training sources against them.

    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --seeds 0 1 2 --out FOLDER [--arms baseline ...] [--show]
    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --levels --seeds 0 1 2 --out FOLDER   # the oracle below
    OMP_NUM_THREADS=1 python benchmarks/radio_arms.py --levels --run RUN --out FOLDER  # of radio_baselines.py, 80 x 80

``--levels`` is an oracle: true training images are noised at one level and the network takes it from there. Above that
level it is replaced by the truth; what is told apart then was done below. From the lowest of those levels parts of the
images are replaced by the truth as well: waves longer or shorter than 10 pixels, the sources or what lies around them.

Real input as in radio_diffusion.py. Every network and number is kept in FOLDER and not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from radio_diffusion import peaked, sources, told_noise
from torch import Tensor
from torch.nn import functional as F

import sundog
from sundog.data.scaling import Standard
from sundog.models.diffusion import Diffusion
from sundog.models.gaussian.law import GaussianDenoiser
from sundog.models.symmetry import turned
from sundog.simulate.radio import radio_catalogue
from sundog.solve.samplers import dpm_solver_2m, noise_levels
from sundog.statistics import shape_features, shape_metrics, wasserstein_1
from sundog.statistics.catalogue.images import spectrum_vectors
from sundog.statistics.catalogue.table import Frame, features
from sundog.train.run import Run
from sundog.verdicts.twosample import classifier_two_sample


class SkipBySize(Diffusion):
    """The skip follows class and size alone, the network is told everything."""

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        super().prepare(x, first_two(context))

    def _law(self, context: Tensor | None, given: Tensor | None = None) -> GaussianDenoiser:
        return super()._law(first_two(context), given)


def first_two(context: Tensor | None) -> Tensor | None:
    return None if context is None else context * (torch.arange(context.shape[1]) < 2)


OPTIONS: dict[str, Any] = {"skip": "conditional", "symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 25}
EMA = 0.998
# One thing that differs from the baseline: options of the family, the average of the weights, what is told, the start,
# or how the network of the baseline is asked.
ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "level weighting": {"options": {"uncertainty": True}},
    "power EMA": {"ema": 0.9999999},  # (1 + t) / (10 + t): gamma = 8, sigma_rel = 0.09
    "told noise": {"told": ("noise",)},
    "told shape": {"told": ("com_radius", "elongation", "asymmetry")},
    "told noise and shape": {"told": ("noise", "com_radius", "elongation", "asymmetry")},
    "told shape, skip by size": {"told": ("com_radius", "elongation", "asymmetry"), "family": SkipBySize},
    "centred": {"centred": True},
    "transfer": {"transfer": True},
    "turned at each level": {"asked": "turned"},
    "mean of eight positions": {"asked": "averaged"},
    "no network at high noise": {"asked": "linear"},
}
LEVELS = (0.5, 2.0, 5.0, 10.0, 20.0, 50.0)  # sigma / sigma_data
SHAPES = ("com_radius", "elongation", "asymmetry")
HIGH = 20.0  # sigma / sigma_data
SOURCE = 0.05  # of the peak, and the pixels beside it
MOMENTS = 4  # features of the judge before those of the power spectrum
SPLITS = 4


def smaller(data: sundog.Dataset, told: tuple[str, ...]) -> sundog.Dataset:
    """Images of 40 x 40 pixels in units of their peak; class, size and the numbers ``told`` as context."""
    images = peaked(F.avg_pool2d(data.values[:, None], 2)[:, 0])
    shapes = shape_numbers(images)
    context = torch.cat([data.context, *[shapes[name][:, None].to(data.context) for name in told if name in shapes]], 1)
    made = sundog.Dataset.from_arrays(images, context, names=data.names, units=data.units, context_names=[
        *data.context_names, *[name for name in told if name in shapes]], held_out_fraction=0.0)
    return told_noise(made) if "noise" in told else made


def centred(data: sundog.Dataset) -> tuple[sundog.Dataset, Tensor]:
    """Images moved by whole pixels, around the edges, until the centre of mass is in the middle; their ways (n, 2)."""
    weight, at = data.values.clamp(min=0), torch.arange(data.values.shape[-1]) - (data.values.shape[-1] - 1) / 2
    mass = weight.sum((1, 2))
    way = torch.stack([-(weight.sum(2) @ at / mass).round(), -(weight.sum(1) @ at / mass).round()], 1).long()
    return replace(data, values=moved(data.values, way)), way


def moved(images: Tensor, way: Tensor) -> Tensor:
    return torch.stack([x.roll(tuple(w), (0, 1)) for x, w in zip(images, way.tolist(), strict=True)])


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
        return sundog.fit(arm.get("family", "diffusion"), data, plan=plan, seed=seed, scaling=Standard(),
                          init_from=start, **OPTIONS | arm.get("options", {}))

    start, spent = None, time.process_time()
    if arm.get("transfer"):
        start = fit(simulated(train, seed), o.training_steps // 3, None)
    run = fit(train, o.training_steps - (o.training_steps // 3 if start else 0), start)
    print(f"{path.name}: {time.process_time() - spent:.0f} CPU s, loss {run.history.best_score:.4f}", flush=True)
    if "family" not in arm:
        run.save(path)
    return run


def asked(model: Diffusion, how: str, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser at a context; ``turned``: in a random position at each level, ``averaged``: the mean over all;
    ``linear``: by its linear part alone at high noise."""
    g = torch.Generator().manual_seed(0)
    back = (0, 1, 2, 3, 4, 6, 5, 7)  # flips, then the transpose: undone in the other order

    def at(x: Tensor, sigma: Tensor, position: int) -> Tensor:
        moved = turned(x, torch.full((len(x),), position))
        return turned(model.denoise(moved, sigma, context), torch.full((len(x),), back[position]))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if how == "linear":
            high = float(sigma) > HIGH * float(model.sigma_data)
            return model._law(context)(x, sigma) if high else model.denoise(x, sigma, context)
        if how == "averaged":
            return torch.stack([at(x, sigma, i) for i in range(8)]).mean(0)
        return at(x, sigma, int(torch.randint(8, (), generator=g)))

    return (lambda x, sigma: model.denoise(x, sigma, context)) if how == "plain" else denoise


@torch.no_grad()
def drawn(run: Run, context: Tensor, seed: int, how: str = "plain", truth: Tensor | None = None,
          level: float | None = None, steps: int | None = None, precise: bool = False) -> Tensor:
    """Fakes of these contexts; with ``truth``, from those images noised at ``level`` sigma_data."""
    model = run.model
    assert isinstance(model, Diffusion)
    told = run.context_scaling.forward(context).float()
    levels = noise_levels(steps or model.steps, sigma_min=float(model.sigma_min), sigma_max=float(model.sigma_max))
    if level is not None:
        top = level * float(model.sigma_data)
        levels = torch.cat([levels.new_tensor([top]), levels[levels < 0.95 * top]])
    e = torch.randn(len(context), *model.grid, generator=torch.Generator().manual_seed(seed))
    z = None if truth is None else run.scaling.forward(truth).float().reshape(e.shape)
    found = []
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        for rows in torch.arange(len(context)).split(64):
            law = model._law(told[rows])
            start = law.coloured(e[rows], float(levels[0])) if z is None else z[rows] + float(levels[0]) * e[rows]
            found.append(dpm_solver_2m(asked(model, how, told[rows]), start, levels, around=law).float())
    return peaked(run.scaling.inverse(torch.cat(found).reshape(len(context), *model.shape)).float())


def judged(held_out: Tensor, fakes: Tensor, seed: int) -> dict[str, float]:
    """AUC by all features, the finer half of the spectrum and the others, and W1 of the shapes in their scatter."""
    frame = Frame.of(held_out)
    real, fake = features(held_out, frame), features(fakes, frame)
    bins = spectrum_vectors(held_out, frame).shape[1]
    fine = [MOMENTS + bins // 2 <= i < MOMENTS + bins for i in range(real.shape[1])]
    numbers = {f"AUC {label}": float(np.mean([classifier_two_sample(real[:, kept], fake[:, kept], seed + split).auc
                                              for split in range(SPLITS)]))
               for label, kept in (("all", [True] * len(fine)), ("fine", fine), ("others", [not f for f in fine]))}
    a, b = shape_numbers(held_out), shape_numbers(fakes)
    return numbers | {name: float(wasserstein_1(b[name], a[name]) / a[name].std()) for name in SHAPES}


def part(o: argparse.Namespace, name: str, seed: int) -> list[dict[str, Any]]:
    """The row of an arm, of the null, or those of all levels of the oracle."""
    arm = ARMS.get(name, {})
    train, held_out, _ = sources(o.data, 0.26, classes=True, split=0 if o.run else seed + 1)
    if not o.run:
        train, held_out = (smaller(x, arm.get("told", ())) for x in (train, held_out))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[: o.samples]
    truth, context = train.values[order], train.context[order]
    if name == "null":
        return [{"arm": name, "seed": seed, **judged(held_out.values, truth, seed)}]
    if arm.get("centred"):
        train, way = centred(train)
    base = "baseline" if "asked" in arm or o.levels else name
    run = sundog.load_run(o.run) if o.run else learned(train, arm, seed, o, o.out / f"run-{slug(base)}-{seed}")
    if not o.levels:
        fakes = drawn(run, context, seed + 1, arm.get("asked", "plain"))
        fakes = moved(fakes, -way[order]) if arm.get("centred") else fakes
        return [{"arm": name, "seed": seed, "cpu_s": run.history.seconds, "loss": run.history.best_score,
                 **judged(held_out.values, fakes, seed)}]
    found = {f"{level:g}": drawn(run, context, seed + 1, truth=truth, level=level) for level in LEVELS}
    fake = found[f"{LEVELS[0]:g}"]
    source = F.max_pool2d((truth > SOURCE).float()[:, None], 3, 1, 1)[:, 0]
    found |= {"true fine": truth + coarse(fake - truth), "true coarse": fake - coarse(fake - truth),
              "true around": truth + source * (fake - truth), "true sources": fake - source * (fake - truth)}
    return [{"arm": name, "seed": seed, **judged(held_out.values, images, seed)} for name, images in found.items()]


def coarse(images: Tensor) -> Tensor:
    """Waves of less than 0.1 per pixel."""
    n = images.shape[-1]
    k = torch.hypot(torch.fft.fftfreq(n)[:, None], torch.fft.rfftfreq(n)[None])
    return torch.fft.irfft2(torch.fft.rfft2(images) * (k < 0.1), s=(n, n))


def slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def show(rows: list[dict[str, Any]]) -> None:
    """Markdown: mean over seeds ± its standard error; W1 of the shapes in units of the null of the same seed."""
    columns = ["AUC all", "AUC fine", "AUC others", *SHAPES, "loss"]
    null = {row["seed"]: row for row in rows if row["arm"] == "null"}
    print("| | seeds | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    for name in dict.fromkeys(row["arm"] for row in rows):
        found = [row for row in rows if row["arm"] == name and row["seed"] in null]
        cells = []
        for column in columns:
            values = [row.get(column, np.nan) / (null[row["seed"]][column] if column in SHAPES else 1) for row in found]
            cells.append(f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1) / len(values)**0.5:.3f}"
                                                     if len(values) > 1 else ""))
        print(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--training-steps", type=int, default=1200, help="of 8 images")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--levels", action="store_true", help="the oracle, for the baseline or --run")
    parser.add_argument("--run", type=Path, help="a run of radio_baselines.py, with --levels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="tables of what is there")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if o.show else o.seeds:
        for name in ["null", *(["levels"] if o.levels else o.arms)]:
            path = o.out / f"{slug(name)}-{seed}.json"
            if not path.exists():
                found = part(o, name, seed)
                path.write_text(json.dumps(found))
                print(found, flush=True)
    names = [slug(name) for name in ("null", "levels", *ARMS)]
    files = sorted(o.out.glob("*.json"), key=lambda p: (names.index(p.stem.rsplit("-", 1)[0]), p.stem))
    show([row for path in files for row in json.loads(path.read_text())])


if __name__ == "__main__":
    main()
