"""Is the posterior of a separation calibrated? Numbers of docs/separation.md.

    python benchmarks/separation_posterior.py coverage     how often the truth is inside

Options as in benchmarks/separation.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


def coverage(bench: Bench, data: Path, seeds: int) -> None:
    """Simulation-based calibration over lognormal maps 32 x 32 + white noise, map S/N 1.4, and what faults it finds.

    The rank of the truth among the draws of the posterior is uniform over mixtures if these are right. Beside the
    Kolmogorov-Smirnov p of each statistic stands the smallest over all, Bonferroni-corrected, and the same where the
    spread of the draws was halved or doubled on purpose; last, for ten mixtures, posteriors around the truth itself.
    """
    side, sigma, parts, around = 32, 0.7, [], []
    for seed in range(seeds):
        def job(seed=seed, known=False):  # type: ignore[no-untyped-def]
            truth = red_lognormal(side, seed)
            draw = lambda n, g: sigma * torch.randn(n, side, side, generator=g)  # noqa: E731
            d = truth + draw(1, generator(100 + seed))[0]
            found = separate(d, draw, bins=6, seed=seed, repeats=1)
            if known:
                found = replace(found, signal=truth, residual=d - truth, repeats=truth[None][:0])
            answer, true = posterior(found, draw, samples=200, seed=seed), reduced(found, truth[None])[0]
            mixed, z = reduced(found, d[None])[0], (answer.samples - answer.mean) / answer.std
            pull = (true - answer.mean) / answer.std
            ranks = {name: (factor * z < pull).double().mean(0).tolist()
                     for name, factor in (("as it is", 1.0), ("halved", 0.5), ("doubled", 2.0))}
            return {"names": answer.names, "pulls": (-pull).tolist(), "ranks": ranks,
                    "naive": ((mixed - true) / answer.std).tolist()}  # fmt: skip

        if seed < 10:
            part = bench.part(f"coverage-{side}-truth-{seed}", lambda job=job: job(known=True))
            around += [part["pulls"]] if part else []
        part = bench.part(f"coverage-{side}-{seed}", job)
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
    for name, some in (("solutions", z[: len(around)]), ("the truth", np.array(around))):
        print(f"    pulls around {name}, {len(some)} mixtures: "
              + ", ".join(f"{m:+.2f}" for m in some.mean(0)))  # fmt: skip
    for kind in ("power", "sparsity"):
        some = [i for i, name in enumerate(parts[0]["names"]) if kind in name]
        for fault, q in p.items():
            print(f"    {kind}, spread {fault}: smallest p times {len(some)} {min(1, len(some) * q[some].min()):.1e}")


if __name__ == "__main__":
    run(__doc__, {"coverage": coverage})
