"""How many steps does a GAN save when it starts from simpler spots? 1 -> 10 -> 50 -> 1000 spots per image.

    python benchmarks/gan_transfer.py run     one JSON line per training; those in the results file are not repeated
    python benchmarks/gan_transfer.py show    steps to the fixed spectrum error, from scratch and transferred

The error is the root mean square over k = 1 ... 6 cycles per image of (mean spectrum of 512 fakes at fixed noise) /
(mean spectrum of 1000 held-out images) - 1, measured every 20 steps on the running-mean weights. A transferred
training starts from the last weights of the stage before (same seed), the first stage from random ones. Steps to an
error count up to the first of two measurements in a row at or below it.

Options: --seeds N, --size, --steps, --schedule of the learning rate, --error, --minutes CPU (starts no further
training beyond), --results FILE, --keep FOLDER (weights of the stages).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sundog import Dataset, Plan
from sundog.data.scaling import Standard
from sundog.models.base import Batch
from sundog.models.gan import WassersteinGAN
from sundog.random import stream
from sundog.simulate.blobs import blobs
from sundog.statistics.maps.spectra import power_spectrum
from sundog.train.checkpoint import read_tensors, write_tensors
from sundog.train.engine import train

STAGES = (1, 10, 50, 1000)
MODES, FAKES, EVERY = 6, 512, 20
SETTINGS: dict[str, Any] = {"lazy": 4, "critic_steps": 2}
Row = dict[str, Any]


def spectrum(images: torch.Tensor) -> torch.Tensor:
    return power_spectrum(images, periodic=False).power[:, :MODES].mean(0)


def trained(data: Dataset, plan: Plan, seed: int, start: Path | None, keep: Path) -> Row:
    """One training; its final weights go to ``keep``, its spectrum errors into the row."""
    scaling = Standard().fit(data.train.values)
    x = scaling.forward(data.train.values)
    truth = spectrum(data.held_out.values[:1000])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WassersteinGAN(x.shape[1:], 0, **SETTINGS)
    if start is not None:
        model.load_state_dict(read_tensors(start)[0])

    def error(_: torch.Tensor, __: torch.Tensor | None) -> torch.Tensor:
        fakes = scaling.inverse(model.sample(FAKES, None, stream(seed, "fakes", 0)))
        return (spectrum(fakes) / truth - 1).square().mean().sqrt()

    model.score = error  # type: ignore[method-assign]
    first = float(error(x, None).detach())
    begin = time.process_time()
    history = train(model, Batch(x), Batch(x[:1]), plan.with_(seed=seed))
    keep.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(keep, model.state_dict(), {})
    return {"cpu": round(time.process_time() - begin, 1), "errors": [round(e, 4) for e in [first, *history.scores]]}


def run(given: argparse.Namespace) -> None:
    done = {(row["spots"], row["start"], row["seed"]) for row in read(given.results)}
    given.results.parent.mkdir(parents=True, exist_ok=True)
    plan = Plan(steps=given.steps, batch=32, schedule=given.schedule, validate_every=EVERY)
    for seed in range(given.seeds):
        for before, spots in zip((None, *STAGES[:-1]), STAGES):
            data = blobs(8000, spots, size=given.size, seed=0, sigma_pixel=2.0)
            for start in ("scratch",) if before is None else ("transfer", "scratch"):
                if (spots, start, seed) in done or time.process_time() > 60 * given.minutes:
                    continue
                # The chain goes on from the transferred weights.
                chain = given.keep / f"{before}-{seed}.safetensors"
                keep = given.keep / (f"{spots}-{seed}" if start == "transfer" or before is None
                                     else f"{spots}-{seed}-scratch")
                row = {"spots": spots, "start": start, "seed": seed, "size": given.size,
                       **trained(data, plan, seed, chain if start == "transfer" else None,
                                 keep.with_suffix(".safetensors"))}
                other = spectrum(data.held_out.values[1000:1512])  # as many real images as there are fakes
                ratio = other / spectrum(data.held_out.values[:1000])
                row["floor"] = round(float((ratio - 1).square().mean().sqrt()), 4)
                print(json.dumps(row), flush=True)
                with given.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps_to(errors: list[float], wanted: float) -> float:
    """Steps until two measurements in a row are at or below the error; inf if never."""
    below = np.array(errors) <= wanted
    both = np.nonzero(below[:-1] & below[1:])[0]
    return float(both[0] * EVERY) if len(both) else np.inf


def show(rows: list[Row], wanted: float) -> None:
    for spots in STAGES[1:]:
        pairs = [[next((r for r in rows if (r["spots"], r["start"], r["seed"]) == (spots, start, seed)), None)
                  for start in ("scratch", "transfer")] for seed in sorted({r["seed"] for r in rows})]
        pairs = [pair for pair in pairs if None not in pair]
        steps = np.array([[steps_to(row["errors"], wanted) for row in pair] for pair in pairs])
        if len(steps):
            with np.errstate(invalid="ignore"):
                saved = 1 - steps[:, 1] / steps[:, 0]
            print(f"{spots} spots, error {wanted}: scratch {steps[:, 0].tolist()}, transfer {steps[:, 1].tolist()}, "
                  f"saved {np.round(saved, 2).tolist()}, median {np.median(saved):.2f}; "
                  f"real images {np.median([row['floor'] for pair in pairs for row in pair]):.3f}; "
                  f"last errors scratch {[pair[0]['errors'][-1] for pair in pairs]} "
                  f"transfer {[pair[1]['errors'][-1] for pair in pairs]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--schedule", choices=["constant", "one-cycle"], default="constant")
    parser.add_argument("--error", type=float, default=0.25)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--results", type=Path, default=Path("runs/gan_transfer.jsonl"))
    parser.add_argument("--keep", type=Path, default=Path("runs/gan_transfer"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "run":
        run(given)
    else:
        show(read(given.results), given.error)


if __name__ == "__main__":
    main()
