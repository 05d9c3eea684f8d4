"""What a scan says of carved bumps and of signals when the template that tests the cut is small (docs/scan.md).

    python benchmarks/spurious.py

50,000 events without signal (or with), a cut at 2 % of the background beside the window, templates of 500 to 150,000
events of the true background through the same cut; 200 toys each. *Fair*: the score does not know the mass. *Carved*:
it is higher inside the window alone, so that only a template can tell. Times: 40 CPU s in all.
"""

from __future__ import annotations

import numpy as np

from sundog.tasks.anomaly.checks.sculpting import sculpting
from sundog.tasks.anomaly.regions import SignalRegion
from sundog.tasks.anomaly.scan.bump import common_edges, fit_bump

REGION, TOYS, CLAIM = SignalRegion(3.3, 3.7), 200, 3.0
KINDS = {"fair": (0.0, 0), "fair, 180 signal events": (0.0, 180), "carved": (0.15, 0)}


def events(n: int, shift: float, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    m = 3 - np.log(1 - g.uniform(0, 1 - np.exp(-2.56), n)) / 1.6
    return m, g.normal(size=n) + shift * ((m > REGION.lo) & (m < REGION.hi))


def main() -> None:
    print("| events | template | toys | Z | called sculpted | Z > 3 | and not sculpted | and left > 3 | error of the "
          "spurious signal, in noise |\n" + "|---" * 9 + "|")
    edges = common_edges(np.array([3.0, 4.6]), [REGION])
    for kind, (shift, signal) in KINDS.items():
        rows: dict[int, list[tuple[float, ...]]] = {500: [], 5000: [], 150_000: []}
        for seed in range(TOYS):
            g = np.random.default_rng(seed)
            m, score = events(50_000, shift, g)
            at = np.quantile(score[(m < REGION.lo) | (m > REGION.hi)], 0.98)
            m, kept = np.append(m, g.normal(3.5, 0.05, signal)), np.append(score > at, np.ones(signal, bool))
            fit = fit_bump(m[kept], REGION, edges, fit_bump(m, REGION, edges))
            for size, some in rows.items():
                other, told = events(size, shift, g)
                found = sculpting(m, kept, fit, (other, told > at))
                some.append((fit.significance, found.sculpted, found.left, found.spurious_error / found.noise))
        for size, some in rows.items():
            z, sculpted, left, error = np.array(some, dtype=float).T
            claimed, fair = z > CLAIM, sculpted == 0
            print(f"| {kind} | {size:,} | {TOYS} | {np.median(z):.1f} | {int(sculpted.sum())} | {claimed.sum()} | "
                  f"{int((claimed & fair).sum())} | {int((claimed & fair & (left > CLAIM)).sum())} "
                  f"| {np.median(error):.2f} |", flush=True)


if __name__ == "__main__":
    main()
