"""What would the published networks and schedules cost here? CPU hours of each, from timed steps at its own batch.

    python benchmarks/anomaly_published.py

Sizes and schedules as their authors publish them: the density of ANODE and CATHODE (15 affine autoregressive blocks),
of R-ANODE (6 splines), SIGMA (4 gated residual blocks of 256), and two flows of CURTAINs' kind. Steps are timed by the
slope between two short trainings on the toy, four features and a mass, one thread.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from sundog import Plan, fit
from sundog.simulate.densities import ResonantToy

SIDEBANDS, INSIDE, EVERYTHING = 500_000, 100_000, 850_000  # events that the authors train on
# name: family, batch, epochs, events, options
PUBLISHED: dict[str, tuple[str, int, int, int, dict[str, Any]]] = {
    "ANODE, CATHODE: p_B": ("flow", 256, 100, SIDEBANDS, {"transform": "affine", "layers": 15, "hidden": (128,)}),
    "R-ANODE: p_S": ("flow", 256, 300, INSIDE, {"transform": "spline", "layers": 6, "hidden": (64, 64)}),
    "CURTAINs, flows for flows: two": ("flow", 256, 2 * 100, SIDEBANDS, {"transform": "spline", "layers": 6,
                                                                       "hidden": (64, 64)}),
    "SIGMA": ("flow-matching", 4096, 2000, EVERYTHING, {"network": "residual", "hidden": (256,) * 4}),
    "SIGMA of this project": ("flow-matching", 4096, 10, EVERYTHING, {"context_frequencies": 5}),
}


def main() -> None:
    torch.set_num_threads(1)
    events = ResonantToy().events(20_000, 0.006, 0)
    print("| network | parameters | batch | epochs | ms per step | CPU hours |\n|---|---|---|---|---|---|")
    for name, (family, batch, epochs, n, options) in PUBLISHED.items():
        spent: list[tuple[float, int]] = []
        for steps in (2, 5, 45) if batch < 1000 else (1, 2, 12):  # the first warms up
            start = time.process_time()
            run = fit(family, events, plan=Plan(steps=steps, batch=batch, validate_every=10**6), **options)
            spent.append((time.process_time() - start, steps))
        each = (spent[2][0] - spent[1][0]) / (spent[2][1] - spent[1][1])
        size = sum(p.numel() for p in run.model.parameters())
        print(f"| {name} | {size:,} | {batch} | {epochs} | {1e3 * each:.0f} | {each * epochs * n / batch / 3600:.1f} |",
              flush=True)


if __name__ == "__main__":
    main()
