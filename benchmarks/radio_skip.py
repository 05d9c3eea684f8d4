"""How much does the skip know before training? Error of the linear denoiser on held-out radio galaxies.

Share of the error of EDM's scalar skip at single noise levels, for the covariance skip as it is (300 cosine modes
turned to their principal axes, a variance for each of the other 6100), and for one variance for all of those.

    python benchmarks/radio_skip.py

Real input as in radio_diffusion.py; no seeds but that of the noise. A minute.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from radio_diffusion import shares, sources

from sundog.data.scaling import Asinh, Chain, Standard
from sundog.models.diffusion import Diffusion

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)  # sigma / sigma_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    o = parser.parse_args()
    torch.set_num_threads(1)
    train, held_out, _ = sources(o.data, 0.26)
    scaling = Chain((Asinh(), Standard())).fit(train.values, None, train.names)
    z = scaling.forward(held_out.values).float()
    model = Diffusion((80, 80), skip="covariance", symmetry="dihedral", parameters=4e5)
    model.prepare(scaling.forward(train.values).float(), None)

    def found() -> list[tuple[float, float]]:
        return shares(lambda rows, x, sigma: model.denoise(x, sigma), z, model.sigma_data, LEVELS)

    rows = {"a variance for each cosine mode": found()}
    covariance = model.gaussian.covariance
    turned = len(covariance.axes)
    covariance.variances[turned:] = covariance.variances[turned:].mean()
    rows["one variance for all but 300"] = found()
    print("| skip, untrained | " + " | ".join(f"{level:g}" for level in LEVELS) + " |\n|---|" + "---|" * len(LEVELS))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in row) + " |")


if __name__ == "__main__":
    main()
