"""How well do the resonance searches do? Every number of docs/anomaly_methods.md comes from here.

    python benchmarks/anomaly.py lhco      idealised detector and supervised classifier on the real LHC Olympics window
    python benchmarks/anomaly.py toy       every method on the resonant toy, ratio to the idealised detector
    python benchmarks/anomaly.py coverage  R-ANODE with the exact background: w, intervals, null toys
    python benchmarks/anomaly.py show      the tables of a results file

Options: --data FOLDER, --seeds N, --first SEED, --signals mixture flow (of R-ANODE), --results FILE (one JSON
line per result, appended as they come). Times are CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sundog import Dataset
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly.checks.evaluation import SicCurve, sic_curve
from sundog.tasks.anomaly.detectors.cathode import Cathode
from sundog.tasks.anomaly.detectors.ranode import RAnode
from sundog.tasks.anomaly.detectors.references import IdealisedAD, Supervised
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.train.plan import Plan

REGION = SignalRegion(3.3, 3.7)
TOY = ResonantToy()
N_EVENTS = 378_500  # of the toy: 120,000 inside the window
PLAN = Plan(steps=1500, batch=1024)
FLOW = {"layers": 2, "hidden": (64, 64)}
SHOWN = ("sic 0.01", "sic 0.001", "sic 0.0001", "max sic", "cpu", "auc", "auc inside", "w_fit", "sigma", "gaussians",
         "control", "evidence")
Row = dict[str, Any]


def curve_of(detector: Any, background: Dataset, signal: Dataset) -> SicCurve:
    score = torch.cat([detector.score_samples(background), detector.score_samples(signal)])
    return sic_curve(np.repeat([0, 1], [len(background), len(signal)]), score)


def sic_row(curve: SicCurve, **facts: Any) -> Row:
    valid = [f for f in (1e-2, 1e-3, 1e-4) if f >= curve.cut * (1 - 1e-9)]
    return {**facts, **{f"sic {f:g}": round(curve.at(f), 3) for f in valid},
            **{f"error {f:g}": round(curve.error(f), 3) for f in valid}, "max sic": round(curve.max_sic, 3)}


def lhco(folder: Path, seeds: range) -> Iterator[Row]:
    """Half of the real background as reference, the other half with injected signal as data."""
    with np.load(folder / "lhco" / "lhco_rd_sr_features.npz") as file:
        data, label, extra, signal = (file[name] for name in ("data", "data_label", "extra_qcd", "signal"))
    qcd = data[label == 0]
    for seed in seeds:
        generator = np.random.default_rng(seed)
        order, shuffled = generator.permutation(len(qcd)), generator.permutation(signal)
        reference, rest = qcd[order[: len(qcd) // 2]], qcd[order[len(qcd) // 2 :]]
        test = (table(extra), None)
        for injected in (800, 386):
            start = time.process_time()
            detector = IdealisedAD(REGION, seed=100 * seed)
            detector.fit(table(np.concatenate([rest, shuffled[:injected]])), background=table(reference))
            curve = curve_of(detector, test[0], table(shuffled[injected:]))
            yield sic_row(curve, what="lhco", method="IdealisedAD", injected=injected, seed=seed, cpu=since(start))
        start = time.process_time()
        half = len(shuffled) // 2
        model = Supervised(REGION, seed=100 * seed)
        model.fit(np.concatenate([qcd[:, 1:], shuffled[:half, 1:]]), np.repeat([0, 1], [len(qcd), half]))
        yield sic_row(curve_of(model, test[0], table(shuffled[half:])), what="lhco", method="Supervised", seed=seed,
                      cpu=since(start))


def table(rows: np.ndarray) -> Dataset:
    return Dataset.from_arrays(rows[:, 1:], rows[:, 0], context_names=("m",), context_units="TeV",
                               held_out_fraction=0.0)


def since(start: float) -> float:
    return round(time.process_time() - start, 1)


def toy(w: float, seeds: range, keep: Path, signals: list[str]) -> Iterator[Row]:
    """Every method on the same events; the test sample is common to all seeds."""
    tests = window(TOY.background(1_600_000, 10_001)), window(TOY.signal(40_000, 10_002))
    score = torch.cat([TOY.log_likelihood_ratio(e.values, e.context) for e in tests])
    yield sic_row(sic_curve(np.repeat([0, 1], [len(e) for e in tests]), score), what="toy", w=w, method="optimal",
                  seed=-1, cpu=0.0)
    for seed in seeds:
        yield from toy_seed(w, seed, tests, keep, signals)


def toy_seed(w: float, seed: int, tests: tuple[Dataset, Dataset], keep: Path, signals: list[str]) -> Iterator[Row]:
    events, is_signal = toy_events(w, seed)
    facts = {"what": "toy", "w": w, "seed": seed, "true w": true_fraction(events, is_signal)}
    start = time.process_time()
    ideal = IdealisedAD(REGION, seed=100 * seed).fit(events, background=TOY.background(1_130_000, 20_000 + seed))
    yield sic_row(curve_of(ideal, *tests), **facts, method="IdealisedAD", cpu=since(start))
    start = time.process_time()
    cathode = Cathode(REGION, seed=100 * seed, template="flow", plan=PLAN, options=FLOW,
                      out=keep / f"toy-{w}-{seed}").fit(events)
    report = cathode.template_report_
    assert report is not None  # check is on
    yield sic_row(curve_of(cathode, *tests), **facts, method="Cathode", cpu=since(start), auc=round(report.auc, 4),
                  auc_error=round(report.auc_error, 4))
    searches = [(f"RAnode {signal}", cathode, signal) for signal in signals]
    for name, background, density in (*searches, ("RAnode exact", TOY.log_background, "mixture")):
        start = time.process_time()
        search = RAnode(REGION, seed=seed, background=background, signal=density).fit(events)
        spent = since(start)
        yield sic_row(curve_of(search, *tests), **facts, method=name, cpu=spent, **fraction_row(search))
    # The same template meets the same background with all of the signal taken out, and with more put in.
    inside = TOY.in_signal_region(events)
    for aim, chosen in ((0.0, events[~is_signal]), (0.01, with_signal(events[~is_signal], 0.01, 30_000 + seed))):
        for density in signals:
            start = time.process_time()
            search = RAnode(REGION, seed=seed, background=cathode, signal=density).fit(chosen)
            yield {"what": "learned", "method": f"RAnode {density}", "w": aim, "seed": seed, "cpu": since(start),
                   "background inside": int((inside & ~is_signal).sum()), **fraction_row(search)}


def with_signal(background: Dataset, w: float, seed: int) -> Dataset:
    """The background with signal added until a share w of the events inside the window is signal."""
    count = round(w / (1 - w) * int(TOY.in_signal_region(background).sum()) / 0.99914)
    signal = TOY.signal(count, seed)
    return Dataset.from_arrays(torch.cat([background.values, signal.values]),
                               torch.cat([mass_column(background), mass_column(signal)]), context_names=("m",),
                               context_units="TeV", held_out_fraction=0.0)


def fraction_row(search: RAnode) -> Row:
    found = search.core_fraction_
    assert found is not None and search.fit_ is not None  # fitted
    return {"w_fit": found.value, "low": found.low, "high": found.high, "low_95": found.low_95,
            "high_95": found.high_95, "sigma": found.significance, "w_same_events": search.fit_.w,
            "gaussians": len(getattr(search.fit_, "start", search.fit_).signal.weights), "evidence": search.evidence_,
            **({} if search.control_ is None else {"control": search.control_.value})}


def toy_events(w: float, seed: int) -> tuple[Dataset, torch.Tensor]:
    """Events whose fraction of signal inside the window is w on average, and which of them are signal."""
    share = math.exp(-1.6 * 0.3) * -math.expm1(-1.6 * 0.4) / -math.expm1(-1.6 * 1.6)
    whole = w * share / (w * share + (1 - w) * 0.99914)
    return TOY.events(N_EVENTS, whole, seed), TOY.truth(N_EVENTS, whole, seed)


def true_fraction(events: Dataset, is_signal: torch.Tensor) -> float:
    return round(float(is_signal[TOY.in_signal_region(events)].double().mean()), 6)


def window(events: Dataset) -> Dataset:
    return events[TOY.in_signal_region(events)]


def coverage(ws: list[float], seeds: range) -> Iterator[Row]:
    """w and its intervals over independent toys, the background density exact."""
    for seed in seeds:
        for w in ws:
            events, is_signal = toy_events(w, 500 + seed)
            start = time.process_time()
            search = RAnode(REGION, seed=seed, background=TOY.log_background).fit(events)
            yield {"what": "coverage", "w": w, "seed": seed, "true w": true_fraction(events, is_signal),
                   "cpu": since(start), **fraction_row(search)}


def show(rows: list[Row]) -> None:
    """Medians over seeds with the scatter of a single seed, and counts of intervals that cover."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row.get(name, "") for name in ("what", "w", "injected", "method"))
        groups.setdefault(key, []).append(row)
    for key, group in groups.items():
        parts = [" ".join(str(part) for part in key if part != ""), f"n={len(group)}"]
        for name in SHOWN:
            values = np.array([row[name] for row in group if name in row])
            if len(values):
                spread = values.std(ddof=1) if len(values) > 1 else float("nan")
                parts.append(f"{name} {np.median(values):.4g} +- {spread:.2g}")
        errors = [row["error 0.001"] for row in group if "error 0.001" in row]
        parts += [f"test error at 0.001 {np.median(errors):.2g}"] if errors else []
        if "low" in group[0]:
            aim = [row["w"] for row in group]
            for low, high, level in (("low", "high", 68), ("low_95", "high_95", 95)):
                hits = sum(row[low] <= w <= row[high] for row, w in zip(group, aim))
                parts.append(f"{level} % covers {hits}/{len(group)}")
        print("; ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lhco", "toy", "coverage", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--signals", nargs="+", default=["mixture"], help="densities of R-ANODE's signal")
    parser.add_argument("--w", type=float, nargs="+", default=[0.006])
    given = parser.parse_args()
    if given.what != "show":
        seeds = range(given.first, given.first + given.seeds)
        given.results.parent.mkdir(parents=True, exist_ok=True)
        keep = given.results.parent / "anomaly-templates"  # trained once: a second start goes on from there
        work = {"lhco": lambda: lhco(given.data, seeds), "toy": lambda: toy(given.w[0], seeds, keep, given.signals),
                "coverage": lambda: coverage(given.w, seeds)}[given.what]()
        with given.results.open("a") as file:
            for row in work:
                print(json.dumps(row), flush=True)
                file.write(json.dumps(row) + "\n")
                file.flush()
    else:
        show([json.loads(line) for line in given.results.read_text().splitlines()])


if __name__ == "__main__":
    main()
