"""Does the judge of skies raise false alarms, and does it see what is wrong? Five skies against five, many times.

Cheap skies: three correlated Gaussian maps of NSIDE 32, every number that judge_skies takes on the sphere (spectra,
correlation coefficients, bispectra). Prints how often p is below 0.01: for equal skies, for one map with 1.3 times the
spectrum, for one wrong correlation (0.6 made 0.5), for a map squared a little (a bispectrum), for n skies of each.

    python benchmarks/sky_judge.py --ensembles 200
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from sundog.data.sky.sphere import gaussian_alm, synthesis
from sundog.tasks.sky.judge import _numbers, compare_numbers
from sundog.tasks.sky.measure import geometric_edges

NSIDE, LMAX = 32, 48
POWER = 1 / (5 + np.arange(LMAX + 1.0)) ** 2
EDGES = geometric_edges(10, LMAX, 4)
WRONG = {"nothing": {}, "spectrum x 1.3": {"factor": 1.3}, "spectrum x 1.15": {"factor": 1.15},
         "correlation 0.6 made 0.5": {"correlation": 0.5}, "squared a little": {"bend": 0.3}}


def sky(seed: int, factor: float = 1.0, correlation: float = 0.6, bend: float = 0.0) -> dict:
    rng = np.random.default_rng(seed)
    a, b, c = (gaussian_alm(POWER, rng) for _ in range(3))
    maps = {"kappa": np.sqrt(factor) * a, "tsz": correlation * a + np.sqrt(1 - correlation**2) * b, "ksz": c}
    maps = {name: synthesis(alm, NSIDE) for name, alm in maps.items()}
    x = maps["ksz"]
    maps["ksz"] = x + bend * (x**2 - x.var()) / x.std()
    return _numbers(maps, EDGES, EDGES[::2], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensembles", type=int, default=200)
    parser.add_argument("--skies", type=int, default=5)
    options = parser.parse_args()
    n = options.skies
    print(f"{n} skies against {n}\n| what is wrong | ensembles | p < 0.01 | median p |\n|---|---|---|---|")
    for name, wrong in WRONG.items():
        start, trials = time.process_time(), options.ensembles if not wrong else max(options.ensembles // 5, 1)
        found = [compare_numbers([sky(100 * t + i) for i in range(n)],
                                 [sky(100 * t + n + i, **wrong) for i in range(n)])[1] for t in range(trials)]
        print(f"| {name} | {trials} | {np.mean(np.array(found) < 0.01):.3f} | {np.median(found):.3f} |"
              f"  {time.process_time() - start:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
