"""Closed forms: exp2 beside Taylor and Chebyshev (docs/series.md), an emulator (same page), spectra (docs/scan.md).

python benchmarks/closed_forms.py exp2
python benchmarks/closed_forms.py emulator   # the 70 runs of CAMB that come with the package
python benchmarks/closed_forms.py spectra [FILE of results, one line per toy; those that are there are skipped]
python benchmarks/closed_forms.py laws   # the Gaussian process beside the laws of the list (docs/scan.md)
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import norm

import sundog
from sundog.models.symbolic import evolve_program
from sundog.tasks.anomaly import SignalRegion, common_edges, fit_bump
from sundog.tasks.anomaly.scan import bump
from sundog.tasks.anomaly.scan.bump import bins_inside, count_significance, fit_curves
from sundog.tasks.anomaly.scan.process import process_versions
from sundog.tasks.closed_forms import closed_forms

TOYS, TOYS_OF_LAWS = 6, 200


def exp2() -> None:
    x = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, 65))
    fine = np.linspace(0, 1, 100_001)
    start = time.process_time()
    fronts = [evolve_program(x, 2**x, seed=seed) for seed in range(3)]
    seconds = (time.process_time() - start) / 3
    print(f"{seconds:.1f} CPU s a front\n| operations | Taylor | Chebyshev | evolved, three seeds | the first |")
    print("|---|---|---|---|---|")
    nodes = 0.5 + 0.5 * np.cos(np.pi * (np.arange(12) + 0.5) / 12)
    for operations in (2, 4, 6, 8, 10):
        degree = operations // 2
        taylor = sum((np.log(2) * fine) ** k / np.prod(np.arange(1, k + 1, dtype=float)) for k in range(degree + 1))
        nodes = 0.5 + 0.5 * np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        chebyshev = np.polyval(np.polyfit(nodes, 2**nodes, degree), fine)
        best = [front.best(operations) for front in fronts]
        errors = [np.abs(f / 2**fine - 1).max() for f in (taylor, chebyshev, *(p(fine) for p in best))]
        print(f"| {operations} | {errors[0]:.1e} | {errors[1]:.1e} | " + ", ".join(f"{e:.1e}" for e in errors[2:])
              + f" | `{best[0]}` |")


def emulator() -> None:
    """Formulas for the amplitudes of eight modes of CAMB's spectra; the runs that were held out judge both."""
    data = sundog.load("src/sundog/data/samples/camb.npz", held_out_fraction=0.2)
    run = sundog.fit("pod", data)
    assert data.held_out is not None and data.held_out.context is not None
    truth, context = data.held_out.values.double(), data.held_out.context
    print("| operations | trials | modes | error of each | error | emulator's own std | formula to CAMB | emulator to "
          "CAMB | CPU s |\n|---|---|---|---|---|---|---|---|---|")
    for operations, trials in ((6, 3000), (12, 10_000), (20, 10_000)):
        start = time.process_time()
        found = closed_forms(run, operations=operations, trials=trials)
        spent = time.process_time() - start
        answers = torch.as_tensor(found(context)), run.predict(context).mean.double()
        unit = torch.as_tensor(found.unit).reshape(truth.shape[1:])
        wrong = [float(((answer - truth) / unit).square().mean().sqrt()) for answer in answers]
        print(f"| {operations} | {trials} | {len(found.programs)} | {', '.join(f'{e:.2g}' for e in found.errors)} | "
              f"{found.error:.3f} | {found.own:.3f} | {wrong[0]:.3f} | {wrong[1]:.3f} | {spent:.0f} |", flush=True)


def spectra() -> None:
    """Toys without a signal: Z of the count in the window, with and without the evolved law; without the process."""
    region = SignalRegion(3.3, 3.7)
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path.home() / ".cache" / "sundog" / "bench-spectra.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = {(row["name"], row["evolved"], row["seed"]): row for row in lines}
    for seed in range(TOYS):
        for name, draw in (("threshold", threshold), ("falling", falling)):
            for evolved in (False, True):
                if (name, evolved, seed) in rows:
                    continue
                m = draw(20_000, np.random.default_rng(seed))
                # The process describes the threshold, and the question is what evolved laws do.
                with patch.object(bump, "process_versions", no_process):
                    fit = fit_bump(m, region, common_edges(m, [region]), evolved=evolved, seed=seed)
                row = {"name": name, "evolved": evolved, "seed": seed, "z": fit.significance, "p": fit.p_fit,
                       "first": fit.laws[0].name}
                rows[name, evolved, seed] = row
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print("| spectrum | laws | toys | mean of Z | spread of Z | median p of the fit | evolved law best |")
    print("|---|---|---|---|---|---|---|")
    for name in ("falling", "threshold"):
        for evolved in (False, True):
            some = [row for key, row in rows.items() if key[:2] == (name, evolved)]
            z, first = [row["z"] for row in some], sum(row["first"].startswith("ln density") for row in some)
            print(f"| {name} | {'with' if evolved else 'without'} evolved | {len(some)} | {np.mean(z):+.2f} | "
                  f"{np.std(z):.2f} | {np.median([row['p'] for row in some]):.2f} | {first} |")


def laws() -> None:
    """Binned toys of known laws: Z without signal, and how much of a signal is left, with three sets of laws."""
    region, edges = SignalRegion(3.3, 3.7), np.union1d(np.linspace(2.5, 7.5, 51), [3.3, 3.7])
    inside, m = bins_inside(edges, region), 0.5 * (edges[1:] + edges[:-1])
    sets = {"listed": no_process, "with process": process_versions,
            "process of 0.3 windows alone": partial(process_versions, lengths=(0.3,))}
    truths = {"dijet": (1 - m / 13) ** 8 * (m / 13) ** -(4.5 + 0.3 * np.log(m / 13)), "power": m**-5.0,
              "power x exponential": np.exp(-1.3 * m) / m,
              "two exponentials": np.exp(-2.5 * (m - 2.5)) + 0.05 * np.exp(-0.7 * (m - 2.5)),
              "two powers": 1 / ((m / 2.5) ** 4 + (m / 3.4) ** 9),
              "slow turn-on": np.exp(-1.6 * m) * (1 + np.tanh((m - 2.7) / 0.35)),
              "turn-on": np.exp(-1.6 * m) * (1 + np.tanh((m - 2.9) / 0.2))}
    print("| events | truth | laws | mean of Z | spread of Z | p < 5 % | error / sqrt(b) | signal of 5 sqrt(b): left | "
          "its Z | process best |\n" + "|---" * 10 + "|")
    peak = np.diff(norm.cdf(edges, 3.5, 0.1))
    for n in (20_000, 200_000):
        for name, truth in truths.items():
            law = n * truth * np.diff(edges) / (truth * np.diff(edges)).sum()
            b = law[inside].sum()
            null = np.random.default_rng(n).poisson(law, (TOYS_OF_LAWS, len(law)))
            signal = np.random.default_rng(1).poisson(5 * b**0.5 * peak, null.shape)
            for told, versions in sets.items():
                listed = (lambda edges: {}) if "alone" in told else bump.laws
                with patch.object(bump, "process_versions", versions), patch.object(bump, "laws", listed):
                    fits = [fit_curves(counts, edges, inside) for counts in (null, null + signal)]
                z, found = (count_significance(counts[:, inside].sum(1), fit.expected, fit.error)
                            for counts, fit in zip((null, null + signal), fits))
                left = 1 - (fits[1].expected - fits[0].expected) / signal[:, inside].sum(1)
                fitted = fits[0].degree % 1 > 0  # effective coefficients
                print(f"| {n:,} | {name} | {told} | {z.mean():+.2f} ± {z.std() / len(z)**0.5:.2f} | {z.std():.2f} | "
                      f"{100 * (norm.sf(z) < 0.05).mean():.1f} % | {fits[0].error.mean() / b**0.5:.2f} | "
                      f"{100 * left.mean():.1f} % | {found.mean():.1f} | {100 * fitted.mean():.0f} % |", flush=True)


def no_process(edges: np.ndarray, _: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """In its place a constant density, which is a power law like another."""
    return [(np.ones((len(edges) - 1, 1)), np.zeros(1))]


def falling(n: int, rng: np.random.Generator) -> np.ndarray:
    """An exponential that is cut off."""
    return 2.5 - np.log(1 - rng.random(n) * (1 - np.exp(-4.8))) / 1.6


def threshold(n: int, rng: np.random.Generator) -> np.ndarray:
    """The same behind a turn-on that no law of the list has."""
    m = falling(6 * n, rng)
    keep = rng.random(len(m)) < 0.5 * (1 + np.tanh((m - 2.9) / 0.2))
    return m[keep][:n]


if __name__ == "__main__":
    {"exp2": exp2, "emulator": emulator, "spectra": spectra, "laws": laws}[sys.argv[1]]()
