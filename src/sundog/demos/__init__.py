"""The demonstrations of ``sundog demo NAME``: one file each, each with ``run_demo(out, *, seed, quick, progress)``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

# Name (and file) -> what it shows, and how long it takes on two cores.
DEMOS = {
    "anomaly": "find the resonance hidden in di-jet events: where, how significant, how much, what; 3 to 5 min",
    "radio": "learn radio galaxies, fakes in mJy/beam, judge, a quiz, a film, a mock survey; 8 min, estimated",
    "separation": "filaments under noise and clouds, recovered without a model of them; 60 s",
    "emulate": "spectra of the microwave background from 30 runs of CAMB, on 40 that it never saw; 1 min, estimated",
    "texture": "new maps from a single one, a larger sky, a filled gap; statistic by statistic; 1 min, estimated",
    "dijets": "learn di-jet events, generate, judge against held-out ones; 30 s",
    "blobs": "learn images of 1, 10, 50 and 1000 spots, every figure of the comparison; 4 min, estimated",
}


def run_demo(name: str, out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What a demonstration says, line by line, while it works; leaves its files in ``out``.

    Parameters
    ----------
    name : one of ``DEMOS``
    seed : same seed, same numbers
    quick : seconds instead of minutes, results too poor to pass
    progress : show bars on stderr
    """
    found = importlib.import_module(f"sundog.demos.{name}")
    yield from found.run_demo(out, seed=seed, quick=quick, progress=progress)
