"""Prepared sources as a user has them: which skip and scaling should `sundog radio train` take?

The native FIRST cut-outs of MiraBest go through the published preparation (negatives clipped, each image to 0 .. 1,
peak, floor and size as context); diffusion learns those of a part of the sky and is judged against the others.

    python benchmarks/radio_prepared.py --skip conditional --scaling linear --training-steps 1800 [--seed 0]

Real input: ``radio/mirabest_first_native112_f16.npz`` in the data folder (``--data`` or SUNDOG_DATA).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from radio_diffusion import sky_split

import sundog
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.tasks.radio import prepare
from sundog.tasks.radio.archives import read_archive
from sundog.tasks.radio.learning import OPTIONS

SHOWN = ("classifier AUC", "recall", "coverage", "Fréchet distance", "pixel histogram", "shapes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--skip", choices=["conditional", "covariance", "edm"], default="conditional")
    parser.add_argument("--scaling", choices=["linear", "asinh"], default="linear")
    parser.add_argument("--training-steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    torch.set_num_threads(1)
    found = prepare(*read_archive(o.data / "radio" / "mirabest_first_native112_f16.npz"))
    data, out = found.dataset, torch.from_numpy(sky_split(np.asarray(found.catalogue.ra), np.asarray(
        found.catalogue.dec), 0.3)[0])
    train, plain, held_out = (sundog.Dataset.from_arrays(
        data.values[rows], data.context[rows] if told else None, names=data.names, units=data.units,
        context_names=data.context_names if told else None, held_out_fraction=0.0)
        for rows, told in ((~out, True), (~out, False), (out, False)))
    plan = sundog.Plan(steps=o.training_steps, batch=8, ema=0.998, precision="bf16", validation_fraction=0.1,
                       validate_every=max(1, o.training_steps // 5))
    start = time.process_time()
    run = sundog.fit("diffusion", train, plan=plan, seed=o.seed, skip=o.skip, **OPTIONS,
                     scaling=Standard() if o.scaling == "linear" else Chain((Asinh(), Standard())))
    spent = time.process_time() - start
    n = len(held_out) // 2
    with torch.autocast("cpu", torch.bfloat16):
        drawn = run.sample(n, context=train.context[:n], seed=o.seed + 1)
    fakes = sundog.Dataset.from_arrays(drawn.values, names=data.names, units=data.units)
    verdict = sundog.judge(held_out, fakes, train=plain, seed=o.seed)
    print(f"{o.skip}, {o.scaling}, seed {o.seed}: {len(train)} training, {len(held_out)} held-out sources, n = {n}, "
          f"{o.training_steps} steps, {spent:.0f} CPU s; {len(verdict.failures)} of {len(verdict.rows)} rows fail")
    for row in verdict.rows:
        if row.name in SHOWN:
            print(f"| {row.name} | {row.value:.3g} | {row.null:.3g} ({row.null_low:.3g} to {row.null_high:.3g}) |")


if __name__ == "__main__":
    main()
