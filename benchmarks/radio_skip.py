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
from radio_diffusion import sources
from torch import Tensor

from sundog.data.scaling import Asinh, Chain, Standard
from sundog.models.diffusion import Diffusion

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)  # sigma / sigma_data


@torch.no_grad()
def shares(model: Diffusion, z: Tensor) -> list[tuple[float, float]]:
    """At each level: held-out mean of |D_w - x_0|^2 over c_out^2, and its standard error."""
    found = []
    for level in LEVELS:
        sigma = level * float(model.sigma_data)
        e = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        parts = zip(z.split(32), e.split(32))
        wrong = torch.cat([model.denoise(x + sigma * noise, sigma) - x for x, noise in parts])
        share = wrong.square().mean((1, 2)) * (level**2 + 1) / sigma**2
        found.append((float(share.mean()), float(share.std()) / len(z) ** 0.5))
    return found


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
    rows = {"a variance for each cosine mode": shares(model, z)}
    covariance = model.gaussian.covariance
    turned = len(covariance.axes)
    covariance.variances[turned:] = covariance.variances[turned:].mean()
    rows["one variance for all but 300"] = shares(model, z)
    print("| skip, untrained | " + " | ".join(f"{level:g}" for level in LEVELS) + " |\n|---|" + "---|" * len(LEVELS))
    for name, found in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in found) + " |")


if __name__ == "__main__":
    main()
