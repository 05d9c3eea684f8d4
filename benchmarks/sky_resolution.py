"""Is one seed one sky at every NSIDE: correlation coefficients of the maps of two NSIDE, and of another seed.

    python benchmarks/sky_resolution.py --nside 256 512
"""

from __future__ import annotations

import argparse

import numpy as np

from sundog.data.sky.sphere import analysis, angular_spectrum
from sundog.simulate.sky import simulate_sky

LMAX, BANDS = 300, ((2, 100), (100, 200), (200, 300))


def coefficients(nside: int, seed: int) -> dict[str, np.ndarray]:
    return {name: analysis((values - values.mean()).astype(np.float32), LMAX, iterations=1)
            for name, values in simulate_sky(nside, seed)}


def correlation(a: np.ndarray, b: np.ndarray, low: int, high: int) -> float:
    weight = (2 * np.arange(LMAX + 1) + 1)[low:high]
    shared, one, two = ((weight * angular_spectrum(x, y)[low:high]).sum() for x, y in ((a, b), (a, a), (b, b)))
    return float(shared / np.sqrt(one * two))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nside", type=int, nargs=2, default=[256, 512])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    coarse, fine, other = (coefficients(nside, seed) for nside, seed in (
        (given.nside[0], given.seed), (given.nside[1], given.seed), (given.nside[1], given.seed + 1)))
    print("| map | " + " | ".join(f"l {low}-{high}" for low, high in BANDS) + " | another seed, l 2-300 |")
    print("|---|" + "---|" * (len(BANDS) + 1))
    for name, alm in coarse.items():
        cells = [f"{correlation(alm, fine[name], *band):.4f}" for band in BANDS]
        print(f"| {name} | " + " | ".join(cells) + f" | {correlation(alm, other[name], 2, LMAX):.4f} |")


if __name__ == "__main__":
    main()
