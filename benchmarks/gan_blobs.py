"""How far does the Wasserstein GAN get on images of spots? Peaks and spectrum against CPU time.

    python benchmarks/gan_blobs.py run --size 32 --steps 500 2000     one JSON line per training
    python benchmarks/gan_blobs.py show                               the table of a results file
    python benchmarks/gan_blobs.py cost                               CPU seconds per step of the settings

A row: CPU seconds of the training; peaks per image above 0.15 (mean and scatter of an image; error of the mean);
amplitude of the brightest pixel; spectrum over that of other real images in rings of k = 1 ... 6 cycles per image,
with the standard error over 1000 fakes; share of held-out images with a fake as near as their fifth neighbour
(coverage). The row ``real`` is other real images: what a perfect generator would get. A training that is already in
the results file is not repeated.

Options: --spots, --size, --sigma (of a spot, pixels), --settings NAME (see SETTINGS), --seeds, --results FILE.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import sundog
from sundog.simulate.blobs import blobs
from sundog.statistics.maps.peaks import find_peaks
from sundog.statistics.maps.spectra import power_spectrum
from sundog.statistics.samples.neighbours import precision_recall_density_coverage

MODES, FAKES = 6, 1000
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "lazy": {"lazy": 4, "critic_steps": 2},
    "nearest": {"lazy": 4, "critic_steps": 2, "upsampling": "nearest"},
    "nearest group": {"lazy": 4, "critic_steps": 2, "upsampling": "nearest", "normalisation": "group"},
    "nearest 3": {"lazy": 4, "critic_steps": 3, "upsampling": "nearest"},
}
Row = dict[str, Any]


def measured(images: torch.Tensor, real: torch.Tensor) -> Row:
    counts = find_peaks(images, threshold=0.15).count(len(images)).double()
    power = power_spectrum(images, periodic=False).power[:, :MODES]
    reference = power_spectrum(real, periodic=False).power[:, :MODES]
    ratio = power / reference.mean(0)
    spread = reference.std(0) / reference.mean(0) / len(real) ** 0.5  # error of the reference itself
    near = precision_recall_density_coverage(real.flatten(1), images.flatten(1))
    return {"peaks": round(float(counts.mean()), 3), "scatter": round(float(counts.std()), 3),
            "error": round(float(counts.std() / len(counts) ** 0.5), 3),
            "brightest": round(float(images.amax((1, 2)).mean()), 3), "coverage": round(near.coverage, 3),
            "spectrum": [round(float(v), 3) for v in ratio.mean(0)],
            "spectrum error": [round(float((e.square() / len(images) + s.square()).sqrt()), 3)
                               for e, s in zip(ratio.std(0), spread)]}


def trainings(given: argparse.Namespace, done: list[Row]) -> None:
    data = blobs(20_000, given.spots, size=given.size, seed=0, sigma_pixel=given.sigma)
    real = data.held_out.values[:FAKES]
    facts = {"spots": given.spots, "size": given.size, "sigma": given.sigma}
    known = {key(row) for row in done}
    todo = [{**facts, "settings": given.settings, "steps": steps, "seed": seed}
            for steps in given.steps for seed in range(given.seeds)]
    truth = {**facts, "settings": "real", "steps": 0, "seed": 0}
    if key(truth) not in known:
        write(given.results, {**truth, "cpu": 0.0, **measured(data.held_out.values[FAKES : 2 * FAKES], real)})
    for row in todo:
        if key(row) in known:
            continue
        start = time.process_time()
        run = sundog.fit("gan", data, plan=sundog.Plan(steps=row["steps"], seed=row["seed"]),
                         **SETTINGS[given.settings])
        spent = round(time.process_time() - start, 1)
        write(given.results, {**row, "cpu": spent, **measured(run.sample(FAKES, seed=1).values, real)})


def key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("spots", "size", "sigma", "settings", "steps", "seed"))


def write(path: Path, row: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    print(json.dumps(row), flush=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[Row]) -> None:
    print("| spots, pixels | settings | steps | CPU s | peaks per image | brightest | coverage "
          f"| spectrum at k = 1..{MODES} |\n" + "|---" * 8 + "|")
    for row in sorted(rows, key=lambda row: (row["size"], row["spots"], row["settings"], row["steps"], row["seed"])):
        spectrum = " ".join(f"{m:.2f}±{e:.2f}" for m, e in zip(row["spectrum"], row["spectrum error"]))
        print(f"| {row['spots']}, {row['size']} | {row['settings']} | {row['steps']} | {row['cpu']:.0f} "
              f"| {row['peaks']:.2f} ± {row['error']:.2f} (scatter {row['scatter']:.1f}) | {row['brightest']:.2f} "
              f"| {row['coverage']:.2f} | {spectrum} |")


def cost(size: int) -> None:
    """CPU seconds per generator step: the difference of two fits, ten steps of batch 64."""
    data = blobs(640, 10, size=size, seed=0)
    sundog.fit("gan", data, plan=sundog.Plan(steps=2))  # what loads late is loaded
    for name, options in SETTINGS.items():
        spent = []
        for steps in (2, 12):
            start = time.process_time()
            sundog.fit("gan", data, plan=sundog.Plan(steps=steps, validation_fraction=0), **options)
            spent.append(time.process_time() - start)
        print(f"{size} pixels, {name}: {(spent[1] - spent[0]) / 10:.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show", "cost"])
    parser.add_argument("--steps", type=int, nargs="+", default=[500])
    parser.add_argument("--spots", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sigma", type=float, default=2.0)
    parser.add_argument("--settings", choices=list(SETTINGS), default="default")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("runs/gan_blobs.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "show":
        show(read(given.results))
    elif given.what == "cost":
        cost(given.size)
    else:
        trainings(given, read(given.results))


if __name__ == "__main__":
    main()
