"""Which results depend on the number of threads? Each is made with 1 and with 2 in processes of their own.

    python benchmarks/threads.py

Prints the largest difference of each over the standard deviation of the numbers; 0 means equal bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import sundog

THREADS = (1, 2)


def results() -> dict[str, np.ndarray]:
    """Name -> numbers, of small cases."""
    events = sundog.simulate.densities.TwoMoons().sample(20_000, seed=0)
    maps = sundog.simulate.fields.gaussian_field(60, size=16, spectrum=-3.0, seed=0)

    def fakes(family: str, data: sundog.Dataset, steps: int | None = 10, **options: object) -> np.ndarray:
        plan = None if steps is None else sundog.Plan(steps=steps)
        return sundog.fit(family, data, plan=plan, **options).sample(2, seed=1).to_numpy()

    def judged(a: sundog.Dataset, b: sundog.Dataset) -> np.ndarray:
        return np.array([row.value for row in sorted(sundog.judge(a, b).rows, key=lambda row: row.name)])

    cases: dict[str, Callable[[], np.ndarray]] = {
        "scaling of events": lambda: sundog.fit("flow", events, steps=1).scaling.forward(events.values).numpy(),
        "flow": lambda: fakes("flow", events), "flow-matching, events": lambda: fakes("flow-matching", events),
        "diffusion, maps": lambda: fakes("diffusion", maps), "gan, maps": lambda: fakes("gan", maps),
        "vae, maps": lambda: fakes("vae", maps), "scattering": lambda: fakes("scattering", maps[:1], None),
        "power spectrum": lambda: sundog.statistics.power_spectrum(maps.values).power.numpy(),
        "separate": lambda: sundog.separate(maps.values[0] + maps.values[1], maps.values[2:], eras=1,
                                            iterations=5).signal.numpy(),
        "judge, events": lambda: judged(events[:3000], events[3000:6000]),
        "judge, maps": lambda: judged(maps[:30], maps[30:]),
    }
    return {name: np.asarray(make()) for name, make in cases.items()}


def main() -> None:
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[2]))
        np.savez(sys.argv[1], **results())
        return
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for threads in THREADS:
            place = Path(folder) / f"{threads}.npz"
            subprocess.run([sys.executable, __file__, str(place), str(threads)], check=True,
                           env={**os.environ, "OMP_NUM_THREADS": str(threads)})
            found.append(dict(np.load(place)))
    for name, a in found[0].items():
        apart = np.abs(a - found[1][name]).max() / a.std()
        print(f"{name:24} {'equal bits' if apart == 0 else f'{apart:.1e}'}")


if __name__ == "__main__":
    main()
