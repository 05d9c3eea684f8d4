"""How weak a signal does a search find that knows a family of signals, beside a blind one?

    python benchmarks/signal_prior.py simulate    the family: 100 resonances of Pythia, two and three prongs (extra hep)
    python benchmarks/signal_prior.py run         scans of one window, one JSON line each; a second start goes on
    python benchmarks/signal_prior.py show        the table

Background: ``dijets/lhcolike_dijets.npz`` in the data folder (--data or SUNDOG_DATA). The prior learns from 100,000
events; an injection takes 100,000 others at random (two of them share a seventh), with the signal of the file (0.5 and
0.1 TeV, no member of the family but between its members), or one that lies outside. ``--noise``: as many columns of
noise as features in the data, which the simulation does not know. Method ``known``: the family of one member, with the
true masses, a bound.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sundog import Dataset, load
from sundog.random import numpy_stream
from sundog.simulate.dijets import COLUMNS, UNITS
from sundog.tasks.anomaly import SignalRegion, common_edges, fit_bump
from sundog.tasks.anomaly.detectors.prior import SignalPrior, learn_prior
from sundog.tasks.anomaly.regions import mass_column
from sundog.tasks.anomaly.scan.crossfit import cross_fitted
from sundog.tasks.anomaly.scan.search import ScanPlan, checked

REGION, MEMBERS, EACH = SignalRegion(3.3, 3.7), 100, 200
EVENTS, SIMULATED = 100_000, 100_000
OUTSIDE = {"heavy": 0.8, "light": 0.3}  # TeV: the family ends at 0.6
CUTS = (0.01, 0.003, 0.001)  # of the background
STRENGTHS = {"inside": (0, 25, 50, 75, 100, 150, 200, 300, 400), "outside": (150, 300)}


def simulate(place: Path) -> Dataset:
    """The family, and beside it events of a signal outside; pieces that are there are read."""
    from sundog.simulate.pythia import Resonance, pythia_signals

    g, family = numpy_stream(0, "family of signals"), []
    for i in range(MEMBERS):
        three, heavy = i % 4 == 3, g.uniform(0.15, 0.6)
        light = heavy if three else g.uniform(0.05, heavy)
        family.append(Resonance(heavy=round(heavy, 3), light=round(light, 3), prongs=3 if three else 2))
    pythia_signals([Resonance(**OUTSIDE)], 2000, 1, folder=place / "pieces").save(place / "outside.npz")
    signals = pythia_signals(family, EACH, 0, folder=place / "pieces")
    signals.save(place / "family.npz")
    return signals


def table(rows: np.ndarray) -> Dataset:
    """Rows of mass, features and noise."""
    extra = rows.shape[1] - 1 - len(COLUMNS)
    return Dataset.from_arrays(rows[:, 1:], rows[:, 0], (*COLUMNS, *(f"noise_{j}" for j in range(extra))),
                               (*UNITS, *[""] * extra), context_names=("m_jj",), context_units="TeV",
                               held_out_fraction=0.0)


def prior_of(place: Path, qcd: np.ndarray) -> Path:
    """The file of the prior, learned where it is missing."""
    file = place / "prior.safetensors"
    if not file.exists():
        start = time.process_time()
        learn_prior(load(place / "family.npz"), table(qcd[:SIMULATED])).save(file)
        print(f"learned {file} in {time.process_time() - start:.0f} CPU s", flush=True)
    return file


def injected(qcd: np.ndarray, signal: np.ndarray, n_signal: int, seed: int, noise: int) -> Dataset:
    g = numpy_stream(seed, "injection")
    rest = qcd[SIMULATED:]
    rows = np.concatenate([rest[g.choice(len(rest), EVENTS, replace=False)],
                           signal[g.choice(len(signal), n_signal, replace=False)]])
    extra = numpy_stream(seed, "noise").normal(size=(len(rows), noise))
    return table(np.column_stack([g.permutation(rows), extra]))


def searched(events: Dataset, method: str, prior: Path, seed: int) -> dict[str, Any]:
    """Significances as ``scan`` finds them, at several cuts."""
    start = time.process_time()
    settings: dict[str, Any] = {} if method == "cwola" else {"prior": prior}
    if method == "known":
        known = SignalPrior.load(prior)
        settings = {"prior": replace(known, grid=torch.tensor([[0.5, 0.1, 2.0]])), "blind": False}
    plan = ScanPlan((REGION,), "cwola" if method == "cwola" else "prior", settings, folds=5, members=2)
    data = checked(events, plan)
    fit, mass = cross_fitted(plan.maker(None), data, REGION, folds=5, seed=seed), mass_column(data).numpy()
    edges = common_edges(mass, [REGION])
    before, z = fit_bump(mass, REGION, edges), []
    for efficiency in CUTS:
        kept = fit.score > fit.thresholds(REGION.sidebands(data), efficiency)[fit.fold]
        z.append(fit_bump(mass[kept.numpy()], REGION, edges, before).significance)
    return {"z": z, "cpu": round(time.process_time() - start, 1), "told": getattr(fit.detector, "told_", "")}


def run(given: argparse.Namespace) -> None:
    place = given.results
    with np.load(given.data / "dijets" / "lhcolike_dijets.npz") as file:
        qcd, inside = (file[name][:, :5].astype(float) for name in ("qcd", "signal"))
    qcd = numpy_stream(0, "split of the background").permutation(qcd)
    loaded = load(place / "outside.npz")
    signals = {"inside": inside, "outside": np.column_stack([loaded.context[:, :1].numpy(), loaded.values.numpy()])}
    path, noise = place / "scans.jsonl", 4 * given.noise
    done = {tuple(row[k] for k in KEY) for row in rows_of(path)}
    prior = prior_of(place, qcd)
    for seed in range(given.seeds):
        for kind in given.kinds:
            for n in given.strengths or STRENGTHS[kind]:
                for method in given.methods:
                    if (kind, n, noise, method, seed) in done:
                        continue
                    row = {"kind": kind, "n": n, "noise": noise, "method": method, "seed": seed,
                           **searched(injected(qcd, signals[kind], n, seed, noise), method, prior, seed)}
                    print(json.dumps(row), flush=True)
                    with path.open("a") as file:
                        file.write(json.dumps(row) + "\n")


KEY = ("kind", "n", "noise", "method", "seed")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[dict[str, Any]]) -> None:
    """Median Z with its 68 % band, and how often there is evidence."""
    print("| signal | events | noise columns | method | cut | scans | Z, median (16 to 84 %) | Z > 3 | CPU s |")
    print("|---" * 9 + "|")
    for key in sorted({tuple(row[k] for k in KEY[:4]) for row in rows}):
        some = [row for row in rows if tuple(row[k] for k in KEY[:4]) == key]
        kind, n, noise, method = key
        for cut, z in zip(CUTS, np.array([row["z"] for row in some]).T):
            low, middle, high = np.quantile(z, [0.16, 0.5, 0.84])
            print(f"| {kind} | {n} | {noise} | {method} | {100 * cut:g} % | {len(some)} | {middle:.1f} ({low:.1f} to "
                  f"{high:.1f}) | {(z > 3).sum()} | {np.median([row['cpu'] for row in some]):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulate", "run", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/signal-prior"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=["inside", "outside"])
    parser.add_argument("--methods", nargs="+", default=["prior", "cwola"])
    parser.add_argument("--strengths", type=int, nargs="+")
    parser.add_argument("--noise", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    if given.what == "simulate":
        print(simulate(given.results))
    elif given.what == "run":
        run(given)
    else:
        show(rows_of(given.results / "scans.jsonl"))


if __name__ == "__main__":
    main()
