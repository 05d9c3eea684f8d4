"""Is the posterior of a separation calibrated? Numbers of docs/separation.md.

    python benchmarks/separation_posterior.py coverage     how often the truth is inside
    python benchmarks/separation_posterior.py causes       the same by what its signals are drawn around

Options as in benchmarks/separation.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kstest
from separation import Bench, generator, run
from torch import Tensor

from sundog.tasks.separation import posterior, separate
from sundog.tasks.separation.posterior import reduced


def red_lognormal(side: int, seed: int) -> Tensor:
    x = torch.randn(side, side, generator=generator(seed))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) * k**-1.5, s=(side, side))
    x = (0.8 * x / x.std()).exp()
    return (x - x.mean()) / x.std()


AROUND: dict[str, dict[str, Any]] = {  # what the signals of the posterior are drawn around
    "solutions": {}, "solutions to a loss of 1": {"target": 1.0}, "diffusive solutions": {"method": "diffusive"},
    "the truth": {}, "sixteen other skies of its law": {},
}  # fmt: skip


def trial(seed: int, around: str, side: int = 32, sigma: float = 0.7) -> dict[str, Any]:
    """Pulls and ranks of the truth of one mixture."""
    truth = red_lognormal(side, seed)
    draw = lambda n, g: sigma * torch.randn(n, side, side, generator=g)  # noqa: E731
    d = truth + draw(1, generator(100 + seed))[0]
    found = separate(d, draw, bins=6, seed=seed, repeats=1, **AROUND[around])
    off = reduced(found, found.samples).mean(0) - reduced(found, truth[None])[0]
    if around in ("the truth", "sixteen other skies of its law"):
        skies = [truth] if around == "the truth" else [red_lognormal(side, 5000 + 100 * seed + i) for i in range(16)]
        found = replace(found, signal=skies[0], residual=d - skies[0], repeats=torch.stack(skies)[1:])
    answer, true = posterior(found, draw, samples=200, seed=seed), reduced(found, truth[None])[0]
    mixed, z = reduced(found, d[None])[0], (answer.samples - answer.mean) / answer.std
    pull = (true - answer.mean) / answer.std
    ranks = {name: (factor * z < pull).double().mean(0).tolist()
             for name, factor in (("as it is", 1.0), ("halved", 0.5), ("doubled", 2.0))}
    return {"names": answer.names, "pulls": (-pull).tolist(), "ranks": ranks, "off": off.tolist(),
            "naive": ((mixed - true) / answer.std).tolist()}  # fmt: skip


def causes(bench: Bench, data: Path, seeds: int) -> None:
    """Sparsities by what signals are drawn around: mean pull, its root mean square, smallest p; solutions - truth."""
    for around in AROUND:
        parts = [bench.part(f"posterior-{around.replace(' ', '')}-{seed}", lambda seed=seed, around=around: trial(
            seed, around)) for seed in range(seeds)]  # fmt: skip
        kept = [part for part in parts if part]
        if len(kept) > 1:
            z, off = (np.array([part[word] for part in kept])[:, -4:] for word in ("pulls", "off"))
            ranks = np.array([part["ranks"]["as it is"] for part in kept])[:, -4:]
            p = min(1.0, 4 * min(kstest(column, "uniform").pvalue for column in ranks.T))
            columns = [", ".join(f"{m:+.2f} +- {e:.2f}" for m, e in zip(x.mean(0), x.std(0) / len(x) ** 0.5))
                       for x in (z, off)]  # fmt: skip
            print(f"{around}, {len(z)}: pulls {columns[0]}; rms {np.round(np.sqrt((z**2).mean(0)), 2)}; p {p:.1e}; "
                  f"solutions - truth {columns[1]}", flush=True)  # fmt: skip


def coverage(bench: Bench, data: Path, seeds: int) -> None:
    """Simulation-based calibration over lognormal maps 32 x 32 + white noise, map S/N 1.4, and what faults it finds.

    The rank of the truth among the draws of the posterior is uniform over mixtures if these are right. Beside the
    Kolmogorov-Smirnov p of each statistic stands the smallest over all, Bonferroni-corrected, and the same where the
    spread of the draws was halved or doubled on purpose.
    """
    parts = []
    for seed in range(seeds):
        part = bench.part(f"posterior-solutions-{seed}", lambda seed=seed: trial(seed, "solutions"))
        parts += [part] if part else []
    z, w = (np.array([part[name] for part in parts]) for name in ("pulls", "naive"))
    ranks = {fault: np.array([part["ranks"][fault] for part in parts]) for fault in parts[0]["ranks"]}
    p = {fault: np.array([kstest(column, "uniform").pvalue for column in rank.T]) for fault, rank in ranks.items()}
    for i, name in enumerate(parts[0]["names"]):
        print(f"{name:24s} rms pull {np.sqrt((z[:, i] ** 2).mean()):.2f}, mean {z[:, i].mean():+.2f} +- "
              f"{z[:, i].std() / len(z) ** 0.5:.2f}, inside one sigma {(np.abs(z[:, i]) < 1).mean():.2f}; mixture "
              f"itself {np.sqrt((w[:, i] ** 2).mean()):.1f}; KS p " + ", ".join(f"{q[i]:.1e}" for q in p.values()))
    print(f"all of {len(z)}: rms pull {np.sqrt((z**2).mean()):.2f}, inside one sigma {(np.abs(z) < 1).mean():.2f}, "
          f"{sum(part['cpu'] for part in parts):.0f} CPU s")  # fmt: skip
    for kind in ("power", "sparsity"):
        some = [i for i, name in enumerate(parts[0]["names"]) if kind in name]
        for fault, q in p.items():
            print(f"    {kind}, spread {fault}: smallest p times {len(some)} {min(1, len(some) * q[some].min()):.1e}")


if __name__ == "__main__":
    run(__doc__, {"coverage": coverage, "causes": causes})
