"""Radio galaxies from diffusion: train for a budget of CPU time on real FIRST cut-outs, draw, and judge.

Every number stands beside its null (real against other real sources of the held-out part of the sky, the same
number of them) and beside a Gaussian with the mean and covariance of the training images.

    python benchmarks/radio_diffusion.py --cpu-seconds 420 [--skip covariance] [--seed 0] [--out FOLDER]

Real input: ``radio/mirabest_first_las80_f16.npz`` in the data folder (``--data`` or SUNDOG_DATA); the images are
free for non-commercial research, so none are shipped. Images are divided by their peak, fakes as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sundog
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.models.base import Batch, Noise
from sundog.models.diffusion import Diffusion
from sundog.models.gaussian.law import GaussianDenoiser, Principal
from sundog.statistics import pixel_metrics, shape_features, shape_metrics, wasserstein_1

CELL = 8.0  # degrees: sources of one cell of the sky are all trained on, or all held out
NATIVE = 1.8  # arcsec per pixel of FIRST
SPLITS = 24
ROWS = ("classifier AUC", "Fréchet distance", "precision", "recall", "density", "coverage")


def sources(folder: Path, held_out: float, classes: bool = False,
            split: int = 0) -> tuple[sundog.Dataset, sundog.Dataset, float]:
    """Training and held-out images, split by cells of the sky, and the smallest angle between the two (degrees).

    With ``classes`` only FR I and FR II sources, and the contexts "fr", -1 or +1, and "ln_side", the logarithm of how
    many native pixels wide the cut-out was that became 80 x 80. Each number ``split`` is another one.
    """
    with np.load(folder / "radio" / "mirabest_first_las80_f16.npz") as file:
        images, ra, dec, fr = file["images"].astype(np.float32), file["ra"], file["dec"], file["fr"]
        side = np.clip(1.5 * np.maximum(file["size_arcsec"], 10) / NATIVE, 16, 300)
    good = (images.max((1, 2)) > 0) & ((fr < 3) | (not classes))
    images, ra, dec, told = images[good], ra[good], dec[good], np.stack([2.0 * fr - 3, np.log(side)], 1)[good]
    out, nearest = sky_split(ra, dec, held_out, split)
    peak = images / images.max((1, 2), keepdims=True)
    made = [sundog.Dataset.from_arrays(peak[rows], told[rows] if classes else None, names=["brightness"], units="peak",
                                       context_names=["fr", "ln_side"] if classes else None, held_out_fraction=0.0)
            for rows in (~out, out)]
    return made[0], made[1], nearest


def told_noise(data: sundog.Dataset) -> sundog.Dataset:
    """With one more context, "ln_noise": the logarithm of the median absolute deviation of the pixels of each image."""
    flat = data.values.flatten(1)
    spread = (flat - flat.median(1, keepdim=True).values).abs().median(1, keepdim=True).values
    return sundog.Dataset.from_arrays(data.values, torch.cat([data.context, spread.clamp(min=1e-4).log()], 1),
                                      names=data.names, units=data.units,
                                      context_names=[*data.context_names, "ln_noise"], held_out_fraction=0.0)


def sky_split(ra: np.ndarray, dec: np.ndarray, held_out: float, split: int = 0) -> tuple[np.ndarray, float]:
    """Which sources are held out, by whole cells of the sky; the smallest angle to a training source (degrees)."""
    across = np.floor(ra * np.cos(np.radians(np.round(dec / CELL) * CELL)) / CELL).astype(int)
    cell = np.unique(np.stack([across, np.round(dec / CELL).astype(int)]), axis=1, return_inverse=True)[1].ravel()
    order = np.random.default_rng(split).permutation(cell.max() + 1)
    counts = np.bincount(cell)[order].cumsum()
    out = np.isin(cell, order[: np.searchsorted(counts, held_out * len(ra)) + 1])
    v = np.stack([np.cos(np.radians(dec)) * np.cos(np.radians(ra)), np.cos(np.radians(dec)) * np.sin(np.radians(ra)),
                  np.sin(np.radians(dec))], 1)
    return out, float(np.degrees(np.arccos(np.clip(v[out] @ v[~out].T, -1, 1).max())))


def steps_for(cpu_seconds: float, shape: tuple[int, int], batch: int, precision: str, **options: object) -> int:
    """How many training steps the budget buys on this machine, validation included."""
    model = Diffusion(shape, **options)
    data = Batch(torch.randn(batch, *shape))
    spent = []
    for i in range(8):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = model.loss(data, Noise(torch.Generator().manual_seed(i), batch, slice(0, batch)))
        torch.autograd.grad(loss, list(model.network.parameters()))
        spent.append(time.process_time() - start)
    return max(1, round(cpu_seconds / (1.1 * sorted(spent)[4])))


def peaked(images: Tensor) -> Tensor:
    """Images divided by their peak, as the real ones are."""
    return images / images.amax((1, 2), keepdim=True).clamp(min=1e-6)


def published(images: Tensor) -> dict[str, Tensor]:
    """Pixel, shape and morphology numbers of each image on [0, 1], (n,) each."""
    clipped = images.clamp(0, 1)
    return {**pixel_metrics(clipped), **shape_metrics(clipped), **shape_features(clipped)}


def distances(real: Tensor, fake: Tensor, seed: int) -> dict[str, tuple[float, float, float]]:
    """W1 of each published number in units of its real scatter: (fake, null, upper end of the null band)."""
    n = min(len(fake), len(real) // 2)
    a, b = published(real), published(fake)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in a}
    for split in range(SPLITS):
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed + split))
        one, other = order[:n], order[n : 2 * n]
        for name in a:
            scale = a[name].std().clamp(min=1e-9)
            found[name].append((float(wasserstein_1(b[name][:n], a[name][one]) / scale),
                                float(wasserstein_1(a[name][other], a[name][one]) / scale)))
    return {name: (float(np.mean([f for f, _ in pairs])), float(np.mean([z for _, z in pairs])),
                   float(np.quantile([z for _, z in pairs], 0.95))) for name, pairs in found.items()}


@torch.no_grad()
def shares(denoise: Callable[[Tensor, Tensor, Tensor], Tensor], z: Tensor, scale: Tensor,
           levels: Sequence[float]) -> list[tuple[float, float]]:
    """Error of a denoiser of (rows, x, sigma) in that of EDM's scalar skip at each sigma / scale: mean, standard error.

    mean of |D - x_0|^2 / c_out^2 at noise that never changes, c_out^2 = sigma^2 scale^2 / (sigma^2 + scale^2)
    """
    found = []
    for level in levels:
        sigma, e = level * scale, torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        wrong = torch.cat([denoise(rows, z[rows] + sigma * e[rows], sigma) - z[rows]
                           for rows in torch.arange(len(z)).split(32)])
        share = wrong.square().mean((1, 2)) * (level**2 + 1) / sigma**2
        found.append((float(share.mean()), float(share.std()) / len(z) ** 0.5))
    return found


def gaussian_rival(train: sundog.Dataset, n: int, seed: int) -> Tensor:
    """n images of a Gaussian with mean and covariance of the (turned) training images, in the same scaling."""
    scaling = Chain((Asinh(), Standard())).fit(train.values, None, train.names)
    z = scaling.forward(train.values).float()
    z = torch.cat([z.transpose(1, 2) if turn & 1 else z for turn in range(2)])
    z = torch.cat([z, z.flip(1), z.flip(2), z.flip((1, 2))])
    law = GaussianDenoiser(torch.zeros(80, 80), Principal((80, 80))).fit(z)
    return peaked(scaling.inverse(law.sample(n, torch.Generator().manual_seed(seed))).float())


def judged(name: str, held_out: sundog.Dataset, fakes: Tensor, train: sundog.Dataset, seed: int) -> dict[str, object]:
    """The row of one generator: published W1, and what the judge says."""
    start = time.process_time()
    fake = sundog.Dataset.from_arrays(fakes, names=held_out.names, units=held_out.units)
    verdict = sundog.judge(held_out, fake, train=train, seed=seed)
    w1 = distances(held_out.values, fakes, seed)
    median = [float(np.median([triple[i] for triple in w1.values()])) for i in range(2)]
    mean = [float(np.mean([triple[i] for triple in w1.values()])) for i in range(2)]
    rows = {row.name: (row.value, row.null, row.null_low, row.null_high) for row in verdict.rows}
    return {"name": name, "n": verdict.n, "w1": w1, "median_w1": median, "mean_w1": mean, "rows": rows,
            "failed": len(verdict.failures), "of": len(verdict.rows), "judge_cpu_s": time.process_time() - start}


def show(results: list[dict[str, object]]) -> None:
    """Two tables in Markdown: fake, null and band."""
    print("\n| | " + " | ".join(str(r["name"]) for r in results) + " | null (band) |")
    print("|---|" + "---|" * (len(results) + 1))
    for key, label in (("median_w1", "median W1 of published metrics"), ("mean_w1", "mean W1 of published metrics")):
        print(f"| {label} | " + " | ".join(f"{r[key][0]:.2f}" for r in results) + f" | {results[0][key][1]:.2f} |")
    named = [name for name in results[0]["rows"] if name in ROWS or "memor" in name.lower() or "near" in name.lower()]
    for name in named:
        cells = [f"{r['rows'][name][0]:.3g}" for r in results]
        _, null, low, high = results[0]["rows"][name]
        print(f"| {name} | " + " | ".join(cells) + f" | {null:.3g} ({low:.3g} to {high:.3g}) |")
    print("| rows of the judge that fail | " + " | ".join(f"{r['failed']} of {r['of']}" for r in results) + " | |")
    print("\n| W1 / real scatter | " + " | ".join(str(r["name"]) for r in results) + " | null (95 %) |")
    print("|---|" + "---|" * (len(results) + 1))
    for name in results[0]["w1"]:
        _, null, high = results[0]["w1"][name]
        print(f"| {name} | " + " | ".join(f"{r['w1'][name][0]:.2f}" for r in results) + f" | {null:.2f} ({high:.2f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--cpu-seconds", type=float, default=420)
    parser.add_argument("--skip", default="covariance")
    parser.add_argument("--parameters", type=float, default=400_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "float32"])
    parser.add_argument("--steps", type=int, default=25, help="noise levels of the sampler")
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--held-out", type=float, default=0.26)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    train, held_out, nearest = sources(o.data, o.held_out)
    print(f"{len(train)} training, {len(held_out)} held-out sources, at least {nearest:.2f} degrees apart; torch "
          f"{torch.__version__}, {platform.machine()}, {o.threads} threads, seed {o.seed}")
    options = {"skip": o.skip, "symmetry": "dihedral", "parameters": o.parameters, "sampling_steps": o.steps}
    steps = steps_for(o.cpu_seconds, (80, 80), o.batch, o.precision, **options)
    plan = sundog.Plan(steps=steps, batch=o.batch, precision=o.precision, ema=0.998, validate_every=max(1, steps // 5))
    start = time.process_time()
    run = sundog.fit("diffusion", train, plan=plan, seed=o.seed, scaling=Chain((Asinh(), Standard())), **options)
    trained = time.process_time() - start
    print(f"{run}\n{steps} steps of {o.batch}: {trained:.0f} CPU s; held-out denoising loss "
          f"{', '.join(f'{s:.4f}' for s in run.history.scores)}")
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16) if o.precision == "bf16" else nullcontext():
        fakes = peaked(run.sample(o.samples, seed=o.seed + 1).values)
    print(f"{o.samples} samples of {o.steps} evaluations: {time.process_time() - start:.0f} CPU s", flush=True)
    if o.out:
        run.save(o.out)
        np.save(o.out / "fakes.npy", fakes.half().numpy())
    rival = gaussian_rival(train, o.samples, o.seed + 1)
    results = [judged(f"diffusion ({o.skip})", held_out, fakes, train, o.seed),
               judged("Gaussian (PCA)", held_out, rival, train, o.seed)]
    show(results)
    print(f"\njudging: {sum(r['judge_cpu_s'] for r in results):.0f} CPU s")
    if o.out:
        (o.out / "results.json").write_text(json.dumps({"options": {k: str(v) for k, v in vars(o).items()},
                                                        "trained_cpu_s": trained, "results": results}, indent=1))


if __name__ == "__main__":
    main()
