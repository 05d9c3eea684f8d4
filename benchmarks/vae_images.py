"""What does the variational autoencoder learn of images? Likelihood, codes and collapse, with figures.

    python benchmarks/vae_images.py run     one JSON line per training; those in the results file are not repeated
    python benchmarks/vae_images.py show    the table of a results file

Sets: ``digits`` (scikit-learn, 1797 of 8 x 8 pixels), ``spots`` (10 per image of 32 pixels), ``fashion`` (70,000 of
28 x 28 pixels with a rim of 2; Debian's dataset-fashion-mnist, left out where it is absent). Likelihoods are of rows
held out from training, in nats per image and standardised units (one mean and one scale for all pixels).

Options: --sets, --seeds N, --fashion FOLDER, --figures FOLDER (pictures of seed 0), --results FILE.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sundog
from sundog import Dataset
from sundog.data.public.sets import PUBLIC
from sundog.reports.figures.latent import class_scatter, image_grid
from sundog.simulate.blobs import blobs
from sundog.statistics.maps.peaks import find_peaks
from sundog.tasks.latent import codes_of, latent_report, plane, traversal

# Set -> settings by name: steps and batch of the plan beside the options of the family, whose defaults hold elsewhere.
SLOW: dict[str, Any] = {"batch": 128, "learning_rate": 1e-3}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "digits": {
        "default": {},
        "16 codes": {"latent": 16},
        "16 codes, 1500 slow steps": {"latent": 16, "steps": 1500, **SLOW},
        "16 codes, 6000 slow steps": {"latent": 16, "steps": 6000, **SLOW},
        "beta 0.25": {"latent": 16, "beta": 0.25},
        "beta 4": {"latent": 16, "beta": 4.0},
        "s^2 = 1": {"latent": 16, "decoder_variance": 1.0},
        "two codes": {"latent": 2},
    },
    "spots": {"slow": {"steps": 800, "latent": 32, **SLOW}, "default": {"steps": 800, "batch": 128}},
    "fashion": {"slow": {"steps": 800, "latent": 16, **SLOW}, "two codes": {"steps": 800, "latent": 2, **SLOW}},
}
Row = dict[str, Any]


def pca_log_likelihood(train: torch.Tensor, held_out: torch.Tensor, k: int) -> float:
    """Mean log p of the held-out rows under probabilistic PCA of the training rows: what k linear codes give."""
    train, held_out = train.double().flatten(1), held_out.double().flatten(1)
    values, vectors = torch.linalg.eigh(train.T.cov())
    rest = values[:-k].mean()
    w = vectors[:, -k:] * (values[-k:] - rest).clamp_min(0).sqrt()
    law = torch.distributions.LowRankMultivariateNormal(train.mean(0), w, rest.expand(len(values)).clone())
    return float(law.log_prob(held_out).mean())


def images_of(name: str, fashion: Path) -> tuple[Dataset, np.ndarray] | None:
    """The set, its last tenth of rows held out by the caller, and the label of each row."""
    if name == "spots":
        return blobs(20_000, 10, size=32, seed=0, sigma_pixel=2.0), np.zeros(20_000)
    if name == "fashion" and not (fashion / "train-images-idx3-ubyte.gz").exists():
        return None
    values, labels = PUBLIC["digits" if name == "digits" else "fashion-mnist"].read(fashion, None)
    x = torch.from_numpy(np.asarray(values, dtype=np.float32))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.pad(x, (2, 2, 2, 2)) if name == "fashion" else x
    return Dataset.from_arrays(x[order], names=("brightness",), held_out_fraction=0.0), labels[order.numpy()]


def trained(name: str, setting: str, seed: int, given: argparse.Namespace) -> Row | None:
    found = images_of(name, given.fashion)
    if found is None:
        return None
    (data, labels), options = found, dict(SETTINGS[name][setting])
    cut = len(data) - min(2000, len(data) // 5)
    start = time.process_time()
    plan = sundog.Plan(seed=seed, **{word: options.pop(word) for word in ("steps", "batch") if word in options})
    run = sundog.fit("vae", data[:cut], plan=plan, **options)
    spent = time.process_time() - start
    held_out = data[cut:]
    report = latent_report(run, held_out, draws=64, seed=seed)
    learned = latent_report(run, data[:cut].train[: len(held_out)], draws=64, seed=seed)
    row = {"set": name, "setting": setting, "seed": seed, "cpu": round(spent, 1), "rows": report.rows,
           "log p": round(report.log_likelihood, 2), "error": round(report.log_likelihood_error, 2),
           "log p learned": round(learned.log_likelihood, 2), "best step": run.history.best_step,
           "gap": round(report.gap, 2), "active": report.active, "codes": len(report.codes),
           "spread": round(report.spread, 3), "s2": round(float(run.model.log_variance.detach().exp()), 4),
           "pca": round(pca_log_likelihood(*[run.scaling.forward(part.values) for part in (data[:cut].train, held_out)],
                                           len(report.codes)), 2),
           "nats": [round(d, 2) for d in report.divergences[:6]]}
    if name == "spots":
        fakes = run.sample(1000, seed=1).values
        means = [float(find_peaks(x, threshold=0.15).count(len(x)).double().mean())
                 for x in (fakes, held_out.values)]
        row["peaks"] = [round(m, 2) for m in means]
    if seed == 0 and given.figures is not None:
        figures(run, held_out, labels[cut:], report.codes, name, setting, given.figures)
    return row


def figures(run: sundog.Run, held_out: Dataset, labels: np.ndarray, codes: tuple[int, ...], name: str, setting: str,
            folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"vae_{name}_{setting.replace(' ', '_').replace('^', '').replace('=', '')}"
    values = np.linspace(-2.5, 2.5, 9)
    best = list(codes[:6])
    image_grid(traversal(run, best, values.tolist()), 9, rows=[f"code {j}" for j in best],
               columns_named=[f"{v:.1f}" for v in values]).savefig(folder / f"{stem}_traversal.png", dpi=100)
    if len(codes) == 2:
        steps = np.linspace(-2.2, 2.2, 9)
        image_grid(plane(run, 0, 1, steps.tolist()), 9).savefig(folder / f"{stem}_plane.png", dpi=100)
    if len(set(labels)) > 1:
        names = PUBLIC["digits" if name == "digits" else "fashion-mnist"].classes
        class_scatter(codes_of(run, held_out), labels, first=best[0], second=best[1], names=names
                      ).savefig(folder / f"{stem}_scatter.png", dpi=100)


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[Row]) -> None:
    print("| set | setting | log p(x) | of rows learned from | linear | log p - ELBO | codes active | decoder spread "
          "| s^2 | CPU s |")
    for name, settings in SETTINGS.items():
        for setting in settings:
            group = [row for row in rows if (row["set"], row["setting"]) == (name, setting)]
            if group:
                of = {key: [row[key] for row in group]
                      for key in ("log p", "log p learned", "gap", "active", "spread", "s2", "cpu")}
                print(f"| {name} | {setting} | {of['log p']} ± {group[0]['error']} | {of['log p learned']} | "
                      f"{[row['pca'] for row in group]} | {of['gap']} "
                      f"| {of['active']} of {group[0]['codes']} | {of['spread']} | {of['s2']} | {of['cpu']} | "
                      f"nats {group[0]['nats']} {group[0].get('peaks', '')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--figures", type=Path, default=None)
    parser.add_argument("--results", type=Path, default=Path("runs/vae_images.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "show":
        show(read(given.results))
        return
    done = {(row["set"], row["setting"], row["seed"]) for row in read(given.results)}
    given.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        for name in given.sets:
            for setting in SETTINGS[name]:
                row = None if (name, setting, seed) in done else trained(name, setting, seed, given)
                if row is not None:
                    print(json.dumps(row), flush=True)
                    with given.results.open("a") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
