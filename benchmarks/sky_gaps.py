"""Gaps of a skewed sky of NSIDE 64, filled, beside patches of their size cut elsewhere: does the judge tell them apart?

"true" is what truly stood there; "as before" the gaps filled by the values themselves, not their scores, towards any
windows elsewhere; "likeliest" has no noise of its own, and must fail.

    python benchmarks/sky_gaps.py --seeds 3 --out sky_gaps
    python benchmarks/sky_gaps.py --seeds 1 --skew 0 --out gaussian_gaps

Every seed is a file below --out (a sky, 30 gaps of 9 degrees, about 300 patches); what is there is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from sundog import judge
from sundog.models.microcanonical import sky_gaps
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.models.microcanonical.sky import SkyConstraints
from sundog.models.microcanonical.sky_gaps import Plane
from sundog.random import stream
from sundog.statistics.maps.spectra import power_spectrum
from sundog.statistics.sphere.transforms import copies, degrees, pixel_vectors, synthesise_healpix

NSIDE, SIDE, GAPS, RADIUS = 64, 10, 30, 4.5  # pixels of a patch; degrees
STEP = (np.pi / 3) ** 0.5 / NSIDE


def skewed_sky(seed: int, skew: float) -> Tensor:
    """g + skew g^2 of a Gaussian sky of C_l = l^-2.5 and unit variance."""
    ell = degrees(3 * NSIDE - 1)
    alm = torch.view_as_complex(torch.randn(1, len(ell), 2, generator=stream(seed, "sky gaps")))
    alm = torch.where(copies(3 * NSIDE - 1) == 1, alm.real + 0j, alm / 2**0.5)
    g = synthesise_healpix(alm * ell.clamp_min(1) ** -1.25 * (ell > 0), NSIDE, 3 * NSIDE - 1)[0].float()
    g = g / g.std()
    return g + skew * g**2


class Values:
    """In place of scores."""

    def __init__(self, x: Tensor) -> None:
        self.mean, self.std = x.mean(), x.std()

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, y: Tensor) -> Tensor:
        return y * self.std + self.mean


def filled(sky: Tensor, shown: Tensor, seed: int) -> dict[str, Tensor]:
    """The sky, and with its gaps filled in three ways."""
    model = MicrocanonicalModel((len(sky),), domain="sphere", mask=shown, inpaint=True, iterations=60)
    model.prepare(sky[None], None)

    def drawn() -> Tensor:
        return model.sample(1, None, torch.Generator().manual_seed(seed))[0]

    white = SkyConstraints.white
    sets = {"true": sky, "filled": drawn()}
    with patch.object(sky_gaps, "Scores", Values), patch.object(sky_gaps, "_rim", lambda at, *_: np.sin(1e4 * at[:2])):
        sets["as before"] = drawn()
    with patch.object(SkyConstraints, "white", lambda self, noise: 0 * white(self, noise)):
        sets["likeliest"] = drawn()
    return sets


def patches(seed: int, skew: float) -> dict[str, Tensor]:
    """Patches of the gaps, (30, 10, 10) of each way, and "real" ones elsewhere that share no pixels."""
    k, vectors = np.arange(GAPS), pixel_vectors(NSIDE)
    theta, phi = np.arccos(1 - (2 * k + 1) / GAPS), k * np.pi * (3 - 5**0.5)
    holes = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1)
    shown = torch.from_numpy((vectors @ holes.T < np.cos(np.radians(RADIUS))).all(1))
    places, apart, tree = pixel_vectors(32)[::7], [], cKDTree(vectors)
    for place in places[(places @ holes.T < np.cos(np.radians(2 * RADIUS + 1))).all(1)]:
        if all(place @ other < np.cos(SIDE * STEP) for other in apart):
            apart.append(place)

    def cut(x: Tensor, at: np.ndarray) -> Tensor:
        return torch.stack([Plane.at(place, SIDE, tree, STEP).of(x) for place in at])

    sets = filled(skewed_sky(seed, skew), shown, seed)
    return {"real": cut(sets["true"], np.array(apart)), **{name: cut(x, holes) for name, x in sets.items()}}


def told(name: str, sets: dict[str, Tensor]) -> None:
    """One line of the table for each way: p, power in five bands over that elsewhere."""
    mean = power_spectrum(sets["real"], bins=6, periodic=False).power.mean(0)
    for way in ("true", "filled", "as before", "likeliest"):
        p = judge(sets["real"], sets[way], splits=8, statistics="deciding").p_value
        ratio = power_spectrum(sets[way], bins=6, periodic=False).power / mean
        power = ", ".join(f"{m:.2f} ± {e:.2f}" for m, e in
                          zip(ratio.mean(0).tolist(), (ratio.std(0) / len(ratio) ** 0.5).tolist()))
        print(f"| {name} | {way} | {p:.2g} | {power} |", flush=True)


def main() -> None:
    """Make what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skew", type=float, default=0.35, help="0 for a Gaussian sky; needs an --out of its own")
    parser.add_argument("--out", type=Path, default=Path("sky_gaps"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(exist_ok=True)
    every = []
    for seed in range(options.seeds):
        path = options.out / f"{seed}.npz"
        if not path.exists():
            np.savez(path, **{name: x.numpy() for name, x in patches(seed, options.skew).items()})
        every.append({name: torch.from_numpy(x) for name, x in np.load(path).items()})
        told(str(seed), every[-1])
    told("all", {name: torch.cat([sets[name] for sets in every]) for name in every[0]})


if __name__ == "__main__":
    main()
