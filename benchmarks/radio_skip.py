"""How much does the skip know before training? Error of the linear denoiser on held-out radio galaxies.

Share of the error of EDM's scalar skip at single noise levels, for the covariance skip as it is (300 cosine modes
turned to their principal axes, a variance for each of the other 6100), for one variance for all of those, and for mean
and variances that follow the context: size, class and noise, size and class, and the size alone. Once on asinh of the
brightness, once on the brightness itself.

    python benchmarks/radio_skip.py

Real input as in radio_diffusion.py; no seeds but that of the noise. Two minutes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from radio_diffusion import shares, sources, told_noise
from torch import Tensor

from sundog.data.scaling import Asinh, Chain, Scaling, Standard
from sundog.models.diffusion import Diffusion

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0, 80.0)  # sigma / sigma_data


def measured(model: Diffusion, z: Tensor, context: Tensor | None) -> list[tuple[float, float]]:
    """Shares of an untrained model on images z."""
    return shares(lambda rows, x, sigma: model.denoise(x, sigma, None if context is None else context[rows]), z,
                  model.sigma_data, LEVELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    o = parser.parse_args()
    torch.set_num_threads(1)
    train, held_out = (told_noise(x) for x in sources(o.data, 0.26, classes=True)[:2])
    told = Standard().fit(train.context, None, train.context_names)
    known, asked = (told.forward(x.context).float() for x in (train, held_out))
    scalings: dict[str, Scaling] = {"linear": Standard(), "asinh": Chain((Asinh(), Standard()))}
    print("| skip, untrained | " + " | ".join(f"{level:g}" for level in LEVELS) + " |\n|---|" + "---|" * len(LEVELS))
    for label, scaling in scalings.items():
        scaling = scaling.fit(train.values, None, train.names)
        x, z = (scaling.forward(images.values).float() for images in (train, held_out))

        def show(name: str, row: list[tuple[float, float]], label: str = label) -> None:
            cells = " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in row)
            print(f"| {name}, {label} | {cells} |", flush=True)

        for name, columns in (("mean and variances of its size, class and noise", [0, 1, 2]),
                              ("of its size and class", [0, 1]), ("of its size", [1])):
            model = Diffusion((80, 80), len(columns), skip="conditional", symmetry="dihedral", parameters=4e5)
            model.prepare(x, known[:, columns])
            show(name, measured(model, z, asked[:, columns]))
        model = Diffusion((80, 80), skip="covariance", symmetry="dihedral", parameters=4e5)
        model.prepare(x, None)
        show("a variance for each cosine mode", measured(model, z, None))
        covariance = model.gaussian.covariance
        turned = len(covariance.axes)
        covariance.variances[turned:] = covariance.variances[turned:].mean()
        show("one variance for all but 300", measured(model, z, None))


if __name__ == "__main__":
    main()
