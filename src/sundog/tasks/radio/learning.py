"""Diffusion with the settings that suit centred radio galaxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sundog.data.dataset import Dataset
from sundog.data.scaling import Asinh, Chain, Standard
from sundog.train.fit import fit
from sundog.train.plan import Plan
from sundog.train.run import Run

# Of a laptop: 0.4 million parameters learn most per second (see docs/radio.md). Flips and turns leave the sky alike.
OPTIONS: dict[str, Any] = {"skip": "covariance", "symmetry": "dihedral", "parameters": 400_000, "steps": 25}
BATCH, EMA = 8, 0.998


def learn(images: Dataset, out: str | Path | None = None, *, training_steps: int | None = None,
          seconds: float | None = None, seed: int = 0, device: str = "auto", precision: str = "float32",
          progress: bool = False, **options: Any) -> Run:
    """A diffusion run on prepared images, conditional on whatever context they bring.

    asinh with a softening fitted to the set, then standardised; small batches and a short average of the weights.

    Parameters
    ----------
    training_steps, seconds : the budget, one of the two
    options : of the diffusion family, in place of OPTIONS; ``steps`` are noise levels there
    """
    validate = max(1, (training_steps or 2000) // 5)
    plan = Plan(steps=training_steps, seconds=seconds, batch=BATCH, ema=EMA, precision=precision,
                validate_every=validate)
    return fit("diffusion", images, plan=plan, seed=seed, device=device, out=out, progress=progress,
               scaling=Chain((Asinh(), Standard())), **(OPTIONS | options))
