"""How far does the Wasserstein GAN get on images of spots in a given number of steps? Peaks and spectrum by CPU time.

One row per number of generator steps, each a fit of its own, and the real images last: CPU seconds; peaks per image
above 0.15; the mean of each image's brightest pixel; spectrum over that of the real images at k = 1, 2, ... 6 cycles
per image, with the standard error of the mean over 1000 fakes.

    python benchmarks/gan_blobs.py [--steps 200 400] [--spots 10] [--size 32] [--seed 0]
"""

from __future__ import annotations

import argparse
import time

import torch

import sundog
from sundog.simulate.blobs import blobs
from sundog.statistics.peaks import find_peaks
from sundog.statistics.spectra import power_spectrum

MODES = 6
FAKES = 1000


def row(name: str, images: torch.Tensor, real: torch.Tensor, spent: str) -> str:
    counts = find_peaks(images, threshold=0.15).count(len(images)).double()
    power = power_spectrum(images, periodic=False).power[:, :MODES]
    ratio = power / power_spectrum(real, periodic=False).power[:, :MODES].mean(0)
    spectrum = " ".join(f"{m:.2f}±{e:.2f}" for m, e in zip(ratio.mean(0), ratio.std(0) / len(images) ** 0.5))
    return (f"| {name} | {spent} | {counts.mean():.1f} ± {counts.std():.1f} | {images.amax((1, 2)).mean():.2f} "
            f"| {spectrum} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--spots", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = blobs(20_000, options.spots, size=options.size, seed=0, sigma_pixel=2.0)
    real = data.held_out.values[:FAKES]
    print(f"| steps | CPU s | peaks per image | brightest | spectrum at k = 1..{MODES} |\n" + "|---" * 5 + "|")
    for steps in options.steps:
        start = time.process_time()
        run = sundog.fit("gan", data, plan=sundog.Plan(steps=steps, seed=options.seed))
        spent = f"{time.process_time() - start:.0f}"
        print(row(str(steps), run.sample(FAKES, seed=1).values, real, spent), flush=True)
    print(row("real", data.held_out.values[FAKES : 2 * FAKES], real, ""), flush=True)


if __name__ == "__main__":
    main()
