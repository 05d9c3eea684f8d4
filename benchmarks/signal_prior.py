"""How weak a signal does a search find that knows a family of signals, beside a blind one?

    python benchmarks/signal_prior.py simulate    the family: 100 resonances of Pythia, two and three prongs (extra hep)
    python benchmarks/signal_prior.py run         scans of one window, one JSON line each; a second start goes on
    python benchmarks/signal_prior.py bound       what trees that know all labels could find with these features
    python benchmarks/signal_prior.py show        the table

Background: ``dijets/lhcolike_dijets.npz`` in the data folder (--data or SUNDOG_DATA). The prior learns from 60,000
events; an injection takes 100,000 others at random (two of them share a seventh), with the signal of the file (0.5 and
0.1 TeV, no member of the family but between its members), one that lies outside, or none, with the masses dealt anew
among the events, so that no feature knows them. ``--noise``: as many columns of
noise as features in the data, which the simulation does not know. Methods: ``prior`` and ``cwola`` as ``scan`` has
them. ``family``: the prior without its blind search, half a CPU second from one table of ratios. ``oracles``: that,
and beside it the likeliest member alone, the mean of the family before the data, the member nearest to the true masses,
the true masses themselves (``known``), and trees that were trained on labels of half of the signal (``supervised``).
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
from scipy.optimize import brentq
from torch import Tensor

from sundog import Dataset, load
from sundog.random import numpy_stream
from sundog.simulate.dijets import COLUMNS, UNITS
from sundog.tasks.anomaly import SignalRegion, common_edges, fit_bump
from sundog.tasks.anomaly.detectors.base import deal, fit_ratio
from sundog.tasks.anomaly.detectors.prior import SignalPrior, binned, carried, learn_prior, likeliest
from sundog.tasks.anomaly.regions import mass_column
from sundog.tasks.anomaly.scan.bump import count_significance
from sundog.tasks.anomaly.scan.crossfit import CrossFit, cross_fitted
from sundog.tasks.anomaly.scan.search import ScanPlan, checked

REGION, MEMBERS, EACH = SignalRegion(3.3, 3.7), 100, 200
EVENTS, SIMULATED = 100_000, 60_000
OUTSIDE = {"heavy": 0.8, "light": 0.3}  # TeV: the family ends at 0.6
CUTS = (0.01, 0.003, 0.001, 0.0005)  # of the background
TRUE, LABELLED = (0.5, 0.1, 2.0), 30_000  # parameters of the signal of the file; events that trees see with labels
ORACLES = ("family", "likeliest", "mean", "nearest", "known", "supervised")
STRENGTHS = {"inside": (0, 75, 100, 150, 200, 300), "outside": (150, 300), "dealt anew": (0,)}
FOLDS = 5


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


def drawn(qcd: np.ndarray, signal: np.ndarray, n_signal: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Background, the same for every number of signal events, and signal."""
    g, rest = numpy_stream(seed, "injection"), qcd[SIMULATED:]
    return rest[g.choice(len(rest), EVENTS, replace=False)], signal[g.choice(len(signal), n_signal, replace=False)]


def injected(rows: tuple[np.ndarray, np.ndarray], seed: int, noise: int) -> Dataset:
    both = numpy_stream(seed, "order").permutation(np.concatenate(rows))
    return table(np.column_stack([both, numpy_stream(seed, "noise").normal(size=(len(both), noise))]))


def searched(events: Dataset, method: str, prior: Path) -> dict[str, Any]:
    """Significances as ``scan`` finds them, at several cuts."""
    settings: dict[str, Any] = {} if method == "cwola" else {"prior": prior}
    plan = ScanPlan((REGION,), method, settings, folds=FOLDS, members=2)
    data = checked(events, plan)
    fit = cross_fitted(plan.maker(None), data, REGION, folds=FOLDS, members=2)
    return {"z": counted(data, {"": fit.score}, fit.fold)[""],
            "told": getattr(fit.detector, "told_", "")}


def counted(data: Dataset, scores: dict[str, Tensor], fold: Tensor) -> dict[str, list[float]]:
    """Z of what each cut on each score leaves."""
    mass, beside, edges = mass_column(data).numpy(), REGION.sidebands(data), common_edges(mass_column(data), [REGION])
    before, z = fit_bump(mass, REGION, edges), {}
    for name, score in scores.items():
        fit, z[name] = CrossFit(score, fold, (len,) * FOLDS, None), []
        for efficiency in CUTS:
            kept = score > fit.thresholds(beside, efficiency)[fold]
            z[name].append(fit_bump(mass[kept.numpy()], REGION, edges, before).significance)
    return z


class Oracles:
    """Scores of injections into one background, several at once: the network answers once for all of its events."""

    def __init__(self, prior: SignalPrior, trees: Any, background: np.ndarray) -> None:
        at = torch.tensor(TRUE)
        self.prior, self.trees = replace(prior, grid=torch.cat([prior.grid, at[None]])), trees
        self.nearest = int((((prior.grid - at) / prior.grid.std(0)) ** 2).sum(1).argmin())
        self.background, self.told = background, self._told(background)

    def _told(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        events = table(rows)
        return self.prior.log_ratios(events), torch.zeros(len(rows)) if self.trees is None else \
            self.trees.predict_log_odds(events.values[:, :4]).double()

    def scan(self, signal: np.ndarray, seed: int) -> dict[str, list[float]]:
        data = table(np.concatenate([self.background, signal]))
        ratios, trees = (torch.cat(parts) for parts in zip(self.told, self._told(signal))) if len(signal) else self.told
        fold, mass = deal(len(data), FOLDS, seed), mass_column(data)
        inside, beside = REGION.contains(data), REGION.sidebands(data, REGION.width)
        weights = torch.zeros(len(data)).double()
        weights[beside] = carried(mass[beside], mass[inside])
        # Counts of the parts add up: each event is counted once, for all fits that leave out a part.
        parts = [(binned(ratios[inside & (fold == k), :-1]), binned(ratios[beside & (fold == k), :-1],
                  weights[beside & (fold == k)])) for k in range(FOLDS)]
        here, there = (sum(part[i] for part in parts) for i in (0, 1))
        r, k = ratios[:, :-1].exp(), float(beside.sum() / inside.sum())
        score = {"family": torch.empty(len(data)), "likeliest": torch.empty(len(data)), "mean": r.mean(1).log(),
                 "nearest": ratios[:, self.nearest], "known": ratios[:, -1], "supervised": trees}
        for i, (counts, others) in enumerate(parts):
            found, mine = likeliest(here - counts, there - others, k), fold == i
            score["family"][mine] = (r[mine] @ found.probability.float()).log()
            score["likeliest"][mine] = ratios[mine, int(found.gain.argmax())]
        names = ORACLES if self.trees is not None else ORACLES[:1]
        return counted(data, {name: score[name].double() for name in names}, fold)


def labelled(qcd: np.ndarray, signal: np.ndarray) -> Any:
    """Trees between labelled signal, which is not injected, and the background that the prior learns from."""
    parts = (torch.from_numpy(part[:, 1:5]).float() for part in (signal[:LABELLED], qcd[:SIMULATED]))
    return fit_ratio(*parts, seed=0, members=2)


def bound(qcd: np.ndarray, signal: np.ndarray) -> None:
    """Signal events among 100,000 for a median Z of 3: scores in bins, or the best cut, the background known or not."""
    trees = labelled(qcd, signal)
    unseen = (qcd[SIMULATED:], signal[LABELLED:])
    within = [part[(part[:, 0] > REGION.lo) & (part[:, 0] < REGION.hi)] for part in unseen]
    b, s = (trees.predict_log_odds(torch.from_numpy(part[:, 1:5]).float()).numpy() for part in within)
    n_b = EVENTS * len(b) / len(qcd[SIMULATED:])
    share = len(s) / len(signal[LABELLED:])
    at = np.quantile(b, 1 - np.array([1, 0.3, 0.1, 0.03, *CUTS, 0.005, 0.002, 0.0003, 0.0002, 0.0001]))
    at.sort()
    fpr, tpr = ((x[:, None] > at).mean(0) for x in (b, s))

    beside = EVENTS * (1 - len(b) / len(qcd[SIMULATED:]))  # events that the same cuts leave a share of

    def z(n: float, told: str) -> float:
        more, less = n * share * tpr, n_b * fpr
        if told == "best cut, background counted beside":
            return float(count_significance(more + less, less, less / (beside * fpr) ** 0.5).max())
        if told == "all bins":
            more, less = (np.append(-np.diff(x), x[-1]) for x in (more, less))
        q = count_significance(more + less, less, 0.0)
        return float((q**2).sum() ** 0.5 if told == "all bins" else q.max())

    for told in ("all bins", "best cut", "best cut, background counted beside"):
        n = brentq(lambda n, told=told: z(n, told) - 3, 1, 1000)
        print(f"supervised, {told}: {n:.0f} signal events ({share:.0%} in the window) for Z = 3")
    print("TPR at FPR 1, 0.3, 0.1, 0.05 and 0.01 %:", [f"{np.interp(x, fpr[::-1], tpr[::-1]):.2f}" for x in
                                                       (0.01, 0.003, 0.001, 0.0005, 0.0001)])


def run(given: argparse.Namespace) -> None:
    place = given.results
    with np.load(given.data / "dijets" / "lhcolike_dijets.npz") as file:
        qcd, inside = (file[name][:, :5].astype(float) for name in ("qcd", "signal"))
    qcd = numpy_stream(0, "split of the background").permutation(qcd)
    if given.what == "bound":
        bound(qcd, inside)
        return
    loaded = load(place / "outside.npz")
    signals = {"inside": inside[LABELLED:], "dealt anew": inside[:0],
               "outside": np.column_stack([loaded.context[:, :1].numpy(), loaded.values.numpy()])}
    path, noise = place / "scans.jsonl", 4 * given.noise
    done = {tuple(row[k] for k in KEY) for row in rows_of(path)}
    prior = prior_of(place, qcd)
    network, trees = SignalPrior.load(prior), labelled(qcd, inside) if "oracles" in given.methods else None
    for seed in range(given.first, given.seeds):
        for kind in given.kinds:
            told = None
            for n in given.strengths or STRENGTHS[kind]:
                rows = drawn(qcd, signals[kind], n, seed)
                if kind == "dealt anew":
                    rows[0][:, 0] = numpy_stream(seed, "dealt").permutation(rows[0][:, 0])
                for method in given.methods:
                    key = (kind, n, noise, "family" if method == "oracles" else method, seed)
                    if key in done:
                        continue
                    start = time.process_time()
                    if method in ("oracles", "family"):
                        told = told or Oracles(network, trees, rows[0])
                        found = {name: {"z": z} for name, z in told.scan(rows[1], seed).items()}
                    else:
                        found = {method: searched(injected(rows, seed, noise), method, prior)}
                    cpu = round(time.process_time() - start, 2)
                    with path.open("a") as file:
                        file.writelines(json.dumps({**dict(zip(KEY, key)), "method": name, **row, "cpu": cpu}) + "\n"
                                        for name, row in found.items())


KEY = ("kind", "n", "noise", "method", "seed")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[dict[str, Any]]) -> None:
    """Median Z with its 68 % band, and how often there is evidence."""
    print("| signal | events | noise columns | method | cut | scans | Z, median (16 to 84 %) | mean | spread | Z > 3 | "
          "CPU s |")
    print("|---" * 11 + "|")
    for key in sorted({tuple(row[k] for k in KEY[:4]) for row in rows}):
        some = [row for row in rows if tuple(row[k] for k in KEY[:4]) == key]
        kind, n, noise, method = key
        for cut, z in zip(CUTS, np.array([row["z"] for row in some]).T):
            low, middle, high = np.quantile(z, [0.16, 0.5, 0.84])
            print(f"| {kind} | {n} | {noise} | {method} | {100 * cut:g} % | {len(some)} | {middle:.1f} ({low:.1f} to "
                  f"{high:.1f}) | {z.mean():+.2f} | {z.std():.2f} | {(z > 3).sum()} | "
                  f"{np.median([row['cpu'] for row in some]):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["simulate", "run", "bound", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/signal-prior"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=["inside", "outside"])
    parser.add_argument("--methods", nargs="+", default=["oracles", "cwola", "prior"])
    parser.add_argument("--strengths", type=int, nargs="+")
    parser.add_argument("--noise", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    if given.what == "simulate":
        print(simulate(given.results))
    elif given.what in ("run", "bound"):
        run(given)
    else:
        show(rows_of(given.results / "scans.jsonl"))


if __name__ == "__main__":
    main()
