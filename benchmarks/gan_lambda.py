"""Which weight of the gradient penalty? A sweep on the ring of eight Gaussians and on images of ten spots.

    python benchmarks/gan_lambda.py ring      penalty weights 0.1, 1, 10, 100; three seeds
    python benchmarks/gan_lambda.py spots     1, 10, 100; two seeds

Prints the table of ``sundog.tasks.sweep`` and the CPU seconds. Trainings in ``--out`` are not repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from sundog import Plan
from sundog.simulate.blobs import blobs
from sundog.simulate.densities import GaussianMixture
from sundog.tasks.sweep import sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ring", "spots"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("runs/gan_lambda"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    if given.what == "ring":
        found = sweep("gan", GaussianMixture.ring().sample(20_000, seed=0), "penalty_weight", (0.1, 1.0, 10.0, 100.0),
                      seeds=3, plan=Plan(steps=given.steps), out=given.out / "ring", lazy=4)
    else:
        found = sweep("gan", blobs(10_000, 10, size=32, seed=0, sigma_pixel=2.0), "penalty_weight", (1.0, 10.0, 100.0),
                      seeds=2, plan=Plan(steps=given.steps, batch=32), out=given.out / "spots", lazy=4, critic_steps=2)
    print(f"{given.what}, {given.steps} steps\n{found}\nties: {found.ties}\nCPU {time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()
