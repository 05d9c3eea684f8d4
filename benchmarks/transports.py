"""How good are carried templates? Every number of docs/transports.md comes from here.

    python benchmarks/transports.py run     the resonant toy, one result per method and seed; a second start goes on
    python benchmarks/transports.py show    the table of a results file

Options: --seeds N, --minutes CPU (starts no further fit beyond), --results FILE (one JSON line per result).
378,500 events, 120,000 in the window, w = 0.006 there: the toy of docs/anomaly_methods.md. Times are CPU seconds of
this process, for fit and sideband check; the test is not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sundog import Dataset, Plan
from sundog.models.transport.movers import Mover
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import (
    Cathode,
    Curtains,
    IdealisedAD,
    LaCathode,
    RadOT,
    SignalRegion,
    Transit,
    sic_curve,
)
from sundog.tasks.anomaly.detectors.transports import TrainedTransport
from sundog.tasks.anomaly.regions import mass_column
from sundog.verdicts.twosample import classifier_two_sample

REGION, TOY = SignalRegion(3.3, 3.7), ResonantToy()
N_EVENTS, W, MEMBERS = 378_500, 0.006, 5
PLAN = Plan(steps=1000, batch=1024)
FLOW = {"layers": 2, "hidden": (64, 64)}


class StandStill(Mover):
    """Negative control: sideband events as they are, under new masses."""

    family = "still"

    def __init__(self, shape: Any, context_dim: int = 1) -> None:
        super().__init__()

    def config(self) -> dict[str, Any]:
        return {}

    def objectives(self) -> list[Any]:
        return []

    def move(self, x: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        return x

    def score(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        return x.new_zeros(())


class Still(TrainedTransport):
    """A search on events that do not move."""

    network, default_plan = StandStill, Plan(validation_fraction=0.0)


METHODS: dict[str, Callable[[int], Any]] = {
    "idealised": lambda seed: IdealisedAD(REGION, seed=100 * seed, members=MEMBERS),
    "not moved": lambda seed: Still(REGION, seed=100 * seed, members=MEMBERS),
    "RadOT": lambda seed: RadOT(REGION, seed=100 * seed, members=MEMBERS),
    "RadOT, single paths": lambda seed: RadOT(REGION, seed=100 * seed, members=MEMBERS, neighbours=1),
    "Transit": lambda seed: Transit(REGION, seed=100 * seed, members=MEMBERS, plan=PLAN),
    "Curtains": lambda seed: Curtains(REGION, seed=100 * seed, members=MEMBERS, plan=PLAN),
    "LaCathode": lambda seed: LaCathode(REGION, seed=100 * seed, members=MEMBERS, plan=PLAN, options=FLOW),
    "Cathode": lambda seed: Cathode(REGION, seed=100 * seed, members=MEMBERS, template="flow", plan=PLAN,
                                    options=FLOW),
}


def measured(method: str, seed: int, whole: Dataset, signal: Dataset) -> dict[str, Any]:
    """One row: improvement on a common test sample, template quality, and how the cut follows the mass."""
    share = math.exp(-1.6 * 0.3) * -math.expm1(-1.6 * 0.4) / -math.expm1(-1.6 * 1.6)
    events = TOY.events(N_EVENTS, W * share / (W * share + (1 - W) * 0.99914), seed)
    detector = METHODS[method](seed)
    start = time.process_time()
    if method == "idealised":
        detector.fit(events, background=TOY.background(1_130_000, 20_000 + seed))
    else:
        detector.fit(events)
    row: dict[str, Any] = {"method": method, "seed": seed, "cpu": round(time.process_time() - start, 1)}
    score, inside = detector.score_samples(whole), TOY.in_signal_region(whole)
    curve = sic_curve(np.repeat([0, 1], [int(inside.sum()), len(signal)]),
                      torch.cat([score[inside], detector.score_samples(signal)]))
    row |= {f"sic {f:g}": round(curve.at(f), 3) for f in (1e-2, 1e-3)}
    row |= {f"error {f:g}": round(curve.error(f), 3) for f in (1e-2, 1e-3)}
    # Background that passes a cut at 1 % in the window: how often at each end of the spectrum?
    cut, mass = torch.quantile(score[inside][:1_000_000], 0.99), mass_column(whole)
    rates = [float((score[part] > cut).double().mean()) for part in (mass < 3.3, mass > 4.0)]
    row |= {"pass low": round(rates[0], 5), "pass high": round(rates[1], 5)}
    if method != "idealised":
        drawn = detector.sample_background(100_000, seed=1)
        true = whole[inside][:100_000]
        area = classifier_two_sample(true.values, drawn.values, seed, folds=2)
        row |= {"auc inside": round(area.auc, 4), "auc error": round(area.null_error, 4),
                "auc beside": round(detector.template_report_.auc, 4)}
    return row


def run(path: Path, seeds: int, minutes: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["method"], row["seed"]) for row in rows_of(path)}
    whole, signal = TOY.background(1_000_000, 10_001), TOY.signal(40_000, 10_002)
    signal = signal[TOY.in_signal_region(signal)]
    for seed in range(seeds):
        for method in METHODS:
            if (method, seed) not in done and time.process_time() < 60 * minutes:
                row = measured(method, seed, whole, signal)
                print(json.dumps(row), flush=True)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(rows: list[dict[str, Any]]) -> None:
    """Median over seeds, with the scatter of one seed."""
    ideal = {row["seed"]: row["sic 0.001"] for row in rows if row["method"] == "idealised"}
    for method in METHODS:
        group = [row for row in rows if row["method"] == method]
        for row in group:
            row["ratio"] = row["sic 0.001"] / ideal[row["seed"]] if row["seed"] in ideal else math.nan
        parts = [f"{method} n={len(group)}"]
        for name in ("sic 0.01", "sic 0.001", "error 0.001", "ratio", "auc inside", "auc error", "auc beside",
                     "pass low", "pass high", "cpu"):
            values = [row[name] for row in group if name in row]
            if values:
                spread = np.std(values, ddof=1) if len(values) > 1 else math.nan
                parts.append(f"{name} {np.median(values):.4g} +- {spread:.2g}")
        print("; ".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--results", type=Path, default=Path("runs/transports.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "run":
        run(given.results, given.seeds, given.minutes)
    else:
        show(rows_of(given.results))


if __name__ == "__main__":
    main()
