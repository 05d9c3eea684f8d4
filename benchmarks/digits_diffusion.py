"""Which skip connection learns the 8 x 8 digits better? Diffusion on scikit-learn's digits, judged, in minutes.

Each fit has the same network, steps and batches. Printed: the classifier AUC and the Fréchet distance of 350
fakes against held-out digits, beside the null; and the held-out error of the denoiser at single noise levels,
as a share of that of EDM's scalar skip.

    python benchmarks/digits_diffusion.py [--steps 1000] [--seeds 0 1]
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits

import sundog
from sundog.models.diffusion import GaussianDenoiser
from sundog.models.gaussian.law import Principal

LEVELS = (0.03, 0.1, 0.3, 0.7, 1.5, 4.0, 10.0)
STATISTICS = ["classifier", "frechet", "prdc"]


def digits() -> sundog.Dataset:
    images, _ = load_digits(return_X_y=True)
    return sundog.Dataset.from_arrays(images.reshape(-1, 8, 8), names=["ink"], held_out_fraction=0.4)


def errors(run: sundog.Run, held_out: sundog.Dataset) -> str:
    """Mean square error of the denoiser over that of c_skip x, at each level."""
    x = run.scaling.forward(held_out.values).float()
    shares = []
    for sigma in LEVELS:
        e = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wrong = (run.model.denoise(x + sigma * e, sigma) - x).square().mean()
        shares.append(float(wrong * (sigma**2 + 1) / sigma**2))
    return ", ".join(f"{share:.3f}" for share in shares)


def judged(name: str, data: sundog.Dataset, fakes: sundog.Dataset, note: str) -> None:
    verdict = sundog.judge(data.held_out, fakes, statistics=STATISTICS, splits=6)
    cells = [f"{verdict[row].value:.2f} ({verdict[row].null:.2f})" for row in
             ("classifier AUC", "Fréchet distance", "recall", "coverage")]
    print(f"| {name} | " + " | ".join(cells) + f" | {note} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    data = digits()
    print("| generator | AUC | Fréchet | recall | coverage | error at sigma = " + ", ".join(map(str, LEVELS)) + " |")
    print("|" + "---|" * 6)
    for skip in ("edm", "covariance"):
        for seed in options.seeds:
            start = time.process_time()
            plan = sundog.Plan(steps=options.steps, batch=64, validate_every=250, seed=seed)
            run = sundog.fit("diffusion", data, plan=plan, skip=skip, parameters=1e5)
            spent = time.process_time() - start
            name = f"`{skip}`, seed {seed}, {spent:.0f} CPU s"
            judged(name, data, run.sample(350, seed=1), errors(run, data.held_out))
    law = GaussianDenoiser(torch.zeros(8, 8), Principal((8, 8))).fit(data.train.values)
    fakes = sundog.Dataset.from_arrays(law.sample(350, torch.Generator().manual_seed(1)), names=["ink"])
    judged("Gaussian (PCA)", data, fakes, "")


if __name__ == "__main__":
    main()
