"""Diffusion beside its rivals on real FIRST cut-outs: one table, one split by sky position, budgets as stated.

Diffusion conditional on class and size, diffusion and flow matching conditional on the class (U-Nets of one size, the
same turned images), scattering synthesis (nothing trained), a Gaussian with the covariance of the data; all judged
against held-out sources beside real against real. The fakes of known size are judged once more after their projection
on what the resizing of a cut-out of that many native pixels can make. Then a classifier of FR I against FR II learns
from real and is asked about fakes, and the other way round.

    python benchmarks/radio_baselines.py --part sized --cpu-seconds 1800 --out FOLDER  # also diffusion, flow-matching,
    python benchmarks/radio_baselines.py --part scattering --out FOLDER                # scattering, gaussian
    python benchmarks/radio_baselines.py --part table --out FOLDER

``sized`` differs from ``diffusion`` in three things: it is told the size, its skip follows it, and it sees the
brightness itself instead of its asinh. ``--skip covariance`` and ``--scaling asinh`` take them back one by one, and
``--told noise`` tells it the level of the noise as well (in a FOLDER each). ``chosen`` is ``sized`` with squares of
2 x 2 pixels as channels and twice the parameters, whose projected fakes are then chosen by the training sources
(`sundog.tasks.rejection`). Every part is kept in FOLDER and not done again. Real input as in radio_diffusion.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from radio_diffusion import gaussian_rival, judged, peaked, shares, show, sources, told_noise
from torch import Tensor

import sundog
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.models.base import Batch, Noise
from sundog.models.families import build
from sundog.statistics import frechet_radiomic_distance, radiomic_features, wasserstein_1
from sundog.statistics.catalogue.images import spectrum_vectors
from sundog.statistics.catalogue.table import Frame, features
from sundog.tasks.radio import lie_detector, source_numbers
from sundog.tasks.radio.lie_detector import published
from sundog.tasks.rejection import accepted
from sundog.train.run import Run
from sundog.verdicts.transfer import transfer
from sundog.verdicts.twosample import classifier_two_sample

PARTS = ("sized", "sized-projected", "chosen", "diffusion", "flow-matching", "scattering", "gaussian")
OPTIONS: dict[str, dict[str, Any]] = {
    "sized": {"skip": "conditional", "symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 40},
    "chosen": {"skip": "conditional", "symmetry": "dihedral", "parameters": 1e6, "patch": 2, "sampling_steps": 40},
    "diffusion": {"skip": "covariance", "symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 40},
    "flow-matching": {"parameters": 400_000, "sampling_steps": 13},  # midpoint: 26 evaluations
}
SCATTERING = {"iterations": 60}
LEVELS = (0.02, 0.05, 0.2, 1.0, 5.0, 20.0, 80.0)
MOMENTS = 4  # features of the judge before those of the power spectrum


def trained(part: str, train: sundog.Dataset, o: argparse.Namespace) -> tuple[sundog.Dataset, dict[str, float]]:
    """Fakes with the classes of the training set, and what they cost."""
    family, options = part if part == "flow-matching" else "diffusion", OPTIONS[part]
    sized = part in ("sized", "chosen")
    options = options | ({"skip": o.skip} if sized else {}) | ({"patch": o.patch} if part == "sized" else {})
    data = turned(train) if part == "flow-matching" else train  # flow matching knows no symmetry: it is shown all turns
    linear = sized and o.scaling == "linear"
    scaling = Standard() if linear else Chain((Asinh(), Standard()))
    steps = o.training_steps or steps_for(family, options, o.cpu_seconds, o.batch)
    plan = sundog.Plan(steps=steps, batch=o.batch, precision="bf16", ema=0.998, validate_every=max(1, steps // 5),
                       validation_fraction=0.1 if family == "diffusion" else 0.02)
    folder, start = o.out / f"run-{part}-{o.seed}", time.process_time()
    run = sundog.load_run(folder) if folder.exists() else sundog.fit(family, data, plan=plan, seed=o.seed,
                                                                     scaling=scaling, **options)
    cost = {"steps": steps, "train_cpu_s": run.history.seconds, "score": run.history.best_score}
    if not folder.exists():
        run.save(folder)
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        if part == "chosen":
            fakes = accepted(OntoNative(run), train, o.samples, measure=published, seed=o.seed + 1)
            cost |= fakes.provenance["accepted"]
        else:
            fakes = run.sample(o.samples, context=train.context[torch.randperm(
                len(train), generator=torch.Generator().manual_seed(o.seed))[: o.samples]], seed=o.seed + 1)
    return fakes, cost | {"sample_cpu_s": time.process_time() - start}


class OntoNative:
    """The fakes of a run after their projection, in units of their peak."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def sample(self, n: int, context: sundog.Dataset, seed: int) -> sundog.Dataset:
        drawn = self.run.sample(n, context=context, seed=seed)
        return replace(drawn, values=peaked(projected(peaked(drawn.values), drawn.context[:, 1])))


def of_class(data: sundog.Dataset) -> sundog.Dataset:
    """Without the sizes."""
    return sundog.Dataset.from_arrays(data.values, data.context[:, :1], names=data.names, units=data.units,
                                      context_names=data.context_names[:1], held_out_fraction=0.0)


def turned(train: sundog.Dataset) -> sundog.Dataset:
    """Every image in its eight positions."""
    x = torch.cat([train.values, train.values.transpose(1, 2)])
    x = torch.cat([x, x.flip(1), x.flip(2), x.flip((1, 2))])
    return sundog.Dataset.from_arrays(x, train.context.repeat(8, 1), names=train.names, units=train.units,
                                      context_names=train.context_names, held_out_fraction=0.0)


def projected(images: Tensor, ln_side: Tensor) -> Tensor:
    """Images as near as linear interpolation between e^ln_side native pixels can come to them: (n, 80, 80).

    The cut-outs were sampled at centre + (j - 39.5) / 80 side, a linear map of native pixels onto 80 of whose range
    this is the orthogonal projection; the real images change by the rounding of their 16-bit floats. Cut-outs of more
    than 80 pixels are left alone.
    """
    found = images.double().clone()
    for image, side in zip(found, ln_side.double().exp().tolist(), strict=True):
        if side < 80:
            at = (np.arange(80) - 39.5) / 80 * side - 0.5  # native pixels lie at the integers
            left = np.floor(at).astype(int)
            linear = np.zeros((80, left.max() - left.min() + 2))
            linear[np.arange(80), left - left.min()] = 1 - (at - left)
            linear[np.arange(80), left - left.min() + 1] = at - left
            axes, size, _ = np.linalg.svd(linear, full_matrices=False)
            onto = torch.from_numpy(axes[:, size > 1e-6 * size[0]])
            image.copy_(onto @ (onto.T @ image @ onto) @ onto.T)
    return found.float()


def steps_for(family: str, options: dict[str, Any], cpu_seconds: float, batch: int) -> int:
    """How many training steps the budget buys on this machine, validation included."""
    model = build(family, (80, 80), 1, dict(options))
    data = Batch(torch.randn(batch, 80, 80), torch.randn(batch, 1))
    spent = []
    for i in range(8):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.objectives()[0].loss(data, Noise(torch.Generator().manual_seed(i), batch, slice(0, batch)))
        torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
        spent.append(time.process_time() - start)
    return max(1, round(cpu_seconds / (1.1 * sorted(spent)[4])))


def synthesised(train: sundog.Dataset, o: argparse.Namespace) -> tuple[Tensor, dict[str, float]]:
    """Maps with the mean scattering statistics of all training images."""
    plain = sundog.Dataset.from_arrays(train.values, names=train.names, units=train.units, held_out_fraction=0.0)
    start = time.process_time()
    run = sundog.fit("scattering", plain, seed=o.seed, scaling=Chain((Asinh(), Standard())), **SCATTERING)
    fakes = run.sample(o.judged, seed=o.seed + 1)
    return fakes.values, {"sample_cpu_s": time.process_time() - start}


def make(part: str, train: sundog.Dataset, held_out: sundog.Dataset, o: argparse.Namespace) -> None:
    """One row of the table: fakes as .npz, its numbers as .json."""
    if (o.out / f"{part}-{o.seed}.json").exists():
        return
    if part in OPTIONS:
        fakes, cost = trained(part, train, o)
        images = peaked(fakes.values)
        kept(part, images, fakes, o)
        if part == "sized":
            onto = peaked(projected(images, fakes.context[:, 1]))
            kept("sized-projected", onto, fakes, o)
            record("sized-projected", onto, cost, train, held_out, o)
    elif part == "scattering":
        images, cost = synthesised(train, o)
        images = peaked(images)
    else:
        start = time.process_time()
        images = gaussian_rival(train, o.judged, o.seed + 1)
        cost = {"sample_cpu_s": time.process_time() - start}
    record(part, images, cost, train, held_out, o)


def kept(part: str, images: Tensor, fakes: sundog.Dataset, o: argparse.Namespace) -> None:
    """The fakes, as they are judged."""
    sundog.Dataset.from_arrays(images.half(), fakes.context, names=fakes.names, units=fakes.units,
                               context_names=fakes.context_names).save(o.out / f"{part}-{o.seed}.npz")


def record(part: str, images: Tensor, cost: dict[str, float], train: sundog.Dataset, held_out: sundog.Dataset,
           o: argparse.Namespace) -> None:
    """The numbers of one row."""
    plain = [sundog.Dataset.from_arrays(x.values, names=x.names, units=x.units, held_out_fraction=0.0)
             for x in (held_out, train)]
    row = judged(part, plain[0], images[: o.judged], plain[1], o.seed)
    (o.out / f"{part}-{o.seed}.json").write_text(json.dumps(row | {"cost": cost}, indent=1))
    print(part, json.dumps(cost), flush=True)


def table(train: sundog.Dataset, held_out: sundog.Dataset, o: argparse.Namespace) -> None:
    """All rows that exist, and the transfer of a classifier."""
    found = [(part, o.out / f"{part}-{o.seed}.json") for part in PARTS]
    rows = [json.loads(path.read_text()) for _, path in found if path.exists()]
    show(rows)
    print("\n| CPU s | training | sampling |\n|---|---|---|")
    for row in rows:
        print(f"| {row['name']} | {row['cost'].get('train_cpu_s', 0):.0f} | {row['cost']['sample_cpu_s']:.0f} |")
    for part in PARTS:
        file = o.out / f"{part}-{o.seed}.npz"
        if file.exists():
            fakes = sundog.load(file)
            print(f"\n{part}: {transfer(train, held_out, fakes, 'fr', seed=o.seed)}")
            print(lie_detector(held_out.values, fakes.values[: o.judged], seed=o.seed))
            print(by_scale(held_out.values, fakes.values[: o.judged], o.seed))
            print(by_number(train, held_out, fakes, o))
            if part == "sized-projected":
                moved = (projected(held_out.values, held_out.context[:, 1]) - held_out.values).abs().amax((1, 2))
                print(f"projection changes real images by at most {moved.median():.2g} of the peak (median; largest "
                      f"{moved.max():.2g}), fakes by {_moved(o):.2g} (median)")
            if part in ("sized", "chosen", "diffusion"):
                print(by_level(sundog.load_run(o.out / f"run-{part}-{o.seed}"), held_out))
            print(counted(held_out.values, fakes.values))
            measured = [radiomic_features(x.values) for x in (held_out, fakes)]
            print(by_textures(*(torch.nan_to_num(torch.stack(list(x.values()), 1)) for x in measured), o))
            for scale in ("robust", "zscore"):
                print(f"{scale}: {frechet_radiomic_distance(*measured, scale=scale, seed=o.seed)}")


def _moved(o: argparse.Namespace) -> float:
    """Median over fakes of the largest change of a pixel by the projection."""
    before, after = (sundog.load(o.out / f"{part}-{o.seed}.npz").values for part in ("sized", "sized-projected"))
    return float((after - before).abs().amax((1, 2)).median())


def by_scale(real: Tensor, fake: Tensor, seed: int) -> str:
    """AUC of the judge's classifier: all of its features, the finer half of the power spectrum, all but those."""
    frame = Frame.of(real)
    a, b, bins = features(real, frame), features(fake, frame), spectrum_vectors(real, frame).shape[1]
    fine = [MOMENTS + bins // 2 <= i < MOMENTS + bins for i in range(a.shape[1])]
    n = min(len(a) // 2, len(b))
    lines = ["| classifier AUC | fake | null |", "|---|---|---|"]
    for label, kept in (("all features", [True] * len(fine)), ("finer half of the spectrum", fine),
                        ("all others", [not f for f in fine])):
        found = []
        for split in range(6):
            order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed + split))
            one, other = a[order[:n]][:, kept], a[order[n : 2 * n]][:, kept]
            found.append([classifier_two_sample(one, x, seed + split).auc for x in (b[:n][:, kept], other)])
        ours, null = np.mean(found, 0)
        lines.append(f"| {label} | {ours:.3f} ± {np.std(found, 0)[0]:.3f} | {null:.3f} ± {np.std(found, 0)[1]:.3f} |")
    return "\n".join(lines)


def by_number(train: sundog.Dataset, held_out: sundog.Dataset, fakes: sundog.Dataset, o: argparse.Namespace) -> str:
    """p of the verdict on the fakes that the rows judge and on all, beside that on training sources."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(o.seed))

    def p(images: Tensor, known: Tensor | None) -> str:
        return f"{sundog.judge(held_out.values, images, statistics='deciding', train=known, seed=o.seed).p_value:.2g}"

    return "\n".join(f"verdict on {n}: p = {p(fakes.values[:n], train.values)}, on training sources "
                     f"{p(train.values[order[:n]], None)}" for n in (o.judged, len(fakes)))


def by_textures(real: Tensor, fake: Tensor, o: argparse.Namespace) -> str:
    """AUC on radiomic textures, which neither training nor choosing knows, beside that of real against real."""
    found = []
    for i in range(6):
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(i))
        one, other = real[order[: o.judged]], real[order[o.judged : 2 * o.judged]]
        found.append([classifier_two_sample(one, x, i).auc for x in (fake[: o.judged], other)])
    (ours, null), (ours_error, null_error) = np.mean(found, 0), np.std(found, 0)
    return f"classifier AUC on radiomic textures: {ours:.3f} ± {ours_error:.3f}, null {null:.3f} ± {null_error:.3f}"


def by_level(run: Run, held_out: sundog.Dataset) -> str:
    """Held-out error of the denoiser and of its linear part, in that of EDM's scalar skip, at single noise levels."""
    model, z = run.model, run.scaling.forward(held_out.values).float()
    context = held_out.context[:, : model.context_dim]
    context = context if run.context_scaling is None else run.context_scaling.forward(context)
    columns = [shares(denoise, z, model.sigma_data, LEVELS) for denoise in (
        lambda rows, x, sigma: model.denoise(x, sigma, context[rows].float()),
        lambda rows, x, sigma: model.gaussian.given(context[rows].float())(x[:, None], sigma)[:, 0])]
    lines = ["| sigma / sigma_data | network | linear |", "|---|---|---|"]
    for level, *pairs in zip(LEVELS, *columns):
        lines.append(f"| {level:g} | " + " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in pairs) + " |")
    return "\n".join(lines)


def counted(real: Tensor, fake: Tensor) -> str:
    """What a source finder says about both: mean, its standard error, and W1 beside that of halves of the real."""
    a, b = (source_numbers(x.double().numpy(), beam_pixel=4.0) for x in (real, fake))
    lines = ["| source finder | real | fake | W1 | null |", "|---|---|---|---|---|"]
    for name in a:
        x, y = (torch.from_numpy(part[name]) for part in (a, b))
        n = min(len(x) // 2, len(y))
        order = [torch.randperm(len(x), generator=torch.Generator().manual_seed(i)) for i in range(24)]
        ours = np.median([float(wasserstein_1(x[i[:n]], y[:n])) for i in order])
        null = [float(wasserstein_1(x[i[:n]], x[i[n : 2 * n]])) for i in order]
        lines.append(f"| {name} | {x.mean():.3g} ± {x.std() / len(x) ** 0.5:.2g} | {y.mean():.3g} ± "
                     f"{y.std() / len(y) ** 0.5:.2g} | {ours:.3g} | {np.median(null):.2g} "
                     f"({np.quantile(null, 0.16):.2g} to {np.quantile(null, 0.84):.2g}) |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parts = [part for part in PARTS if part != "sized-projected"]
    parser.add_argument("--part", choices=[*parts, "table"], required=True)
    parser.add_argument("--cpu-seconds", type=float, default=400)
    parser.add_argument("--training-steps", type=int, help="in place of what --cpu-seconds buy on this machine")
    parser.add_argument("--skip", choices=["conditional", "covariance", "edm"], default="conditional", help="of sized")
    parser.add_argument("--told", choices=["size", "noise"], default="size", help="sized: size, or noise as well")
    parser.add_argument("--scaling", choices=["linear", "asinh"], default="linear", help="of sized")
    parser.add_argument("--patch", type=int, default=1, help="sized: squares of so many pixels a side as channels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument("--judged", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache" / "sundog" / "radio_baselines")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    train, held_out, nearest = sources(o.data, 0.26, classes=True)
    if o.told == "noise":
        train, held_out = told_noise(train), told_noise(held_out)
    print(f"{len(train)} training, {len(held_out)} held-out FR I and II sources, {nearest:.2f} degrees apart or more")
    if o.part == "table":
        table(train, held_out, o)
    else:
        make(o.part, train if o.part in ("sized", "chosen") else of_class(train), held_out, o)


if __name__ == "__main__":
    main()
