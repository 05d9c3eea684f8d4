"""Diffusion with the settings that suit centred radio galaxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sundog.data.dataset import Dataset
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.tasks.radio.preparation import OF_THE_PEAK
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import Run

# Of a laptop: 0.4 million parameters learn most per second (see docs/radio.md). Flips and turns leave the sky alike.
OPTIONS: dict[str, Any] = {"symmetry": "dihedral", "parameters": 400_000, "sampling_steps": 25}
BATCH, EMA = 8, 0.998
LARGE = 64  # pixels a side, from which squares of 2 x 2 as channels cost the finest scales little and halve the time


def learn(images: Dataset, out: str | Path | None = None, *, training_steps: int | None = None,
          seconds: float | None = None, seed: int = 0, device: str = "auto", precision: str = "float32",
          progress: bool = False, **options: Any) -> Run:
    """A diffusion run on prepared images, conditional on whatever context they bring.

    The skip knows the covariance of the sources, and how it follows the context where there is one: the size decides
    where the beam cuts the spectrum. Images in units of their peak are learned as they are then, since only there the
    cut is one; all others on an asinh scale with a softening fitted to the set. Small batches and a short average of
    the weights.

    Parameters
    ----------
    training_steps, seconds : the budget, one of the two
    options : of the diffusion family, in place of OPTIONS; ``sampling_steps`` are noise levels
    """
    validate = max(1, (training_steps or 2000) // 5)
    plan = Plan(steps=training_steps, seconds=seconds, batch=BATCH, ema=EMA, precision=precision,
                validate_every=validate)
    options = OPTIONS | {"skip": "covariance" if images.context is None else "conditional",
                         "patch": 2 if min(images.values.shape[-2:]) >= LARGE else 1} | options
    linear = options["skip"] == "conditional" and images.units[0] == OF_THE_PEAK
    return fit("diffusion", images, plan=plan, seed=seed, device=device, out=out, progress=progress,
               scaling=Standard() if linear else Chain((Asinh(), Standard())), **options)
