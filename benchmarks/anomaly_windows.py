"""Five windows: what SIGMA's one model saves against a generator per window. Numbers of docs/anomaly_methods.md.

    python benchmarks/anomaly_windows.py run      each part once; parts that are there are not repeated
    python benchmarks/anomaly_windows.py show

Events: injection 0 of the LHC-Olympics-like benchmark (416,000 events, 3.0 TeV and above); windows of 0.4 TeV from 3.2
to 4.4 TeV, 0.2 apart. Part ``choice-K``: injection test K of ``choose_interpolation`` in every second window.
Options: --data FOLDER, --results FOLDER, --parts sigma cathode-flow-0 choice-0 ... Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from anomaly_trial import FAST, Trial, dijet_trial

from sundog.models.matching import FlowMatching
from sundog.tasks.anomaly import Cathode, Sigma, SignalRegion, choose_interpolation, sliding_windows
from sundog.tasks.anomaly.background.sigma_field import PLAN, fit_everything, window_template
from sundog.tasks.anomaly.checks.choice import InterpolationChoice
from sundog.tasks.anomaly.detectors.base import fit_ratio
from sundog.train.plan import Plan

WINDOWS = sliding_windows(3.2, 4.4, 0.4)
STAGES = 2  # evaluations per midpoint step
MEMBERS, OVERSAMPLING = 5, 3.0
CHOSEN, TESTS, FPR = WINDOWS[::2], 3, 1e-2  # windows, injection tests and background efficiency of the choice


def seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def sigma(trial: Trial) -> dict[str, Any]:
    """One training, then template and classifier of every window."""
    run, training = seconds(lambda: fit_everything(trial.events, check=False))
    model = run.model
    assert isinstance(model, FlowMatching)
    weights = sum(p.numel() for p in model.parameters())
    steps, batch = PLAN.steps or 0, PLAN.batch or 0
    rows = []
    for region in WINDOWS:
        inside = trial.events[region.contains(trial.events)]
        n = round(OVERSAMPLING * len(inside))
        template, law = seconds(lambda region=region: window_template(run, trial.events, region))
        drawn, sampling = seconds(lambda template=template, n=n: template.sample(n, 0))
        _, trees = seconds(lambda inside=inside, drawn=drawn: fit_ratio(inside.values, drawn.values, members=MEMBERS))
        evaluations = n * STAGES * model.steps
        rows.append({"window": [region.lo, region.hi], "inside": len(inside), "law": law, "sampling": sampling,
                     "trees": trees, "evaluations": evaluations, "gflop": 2e-9 * weights * evaluations})
    # A training step is one evaluation forwards and about two backwards.
    return {"training": training, "weights": weights, "evaluations": 3 * steps * batch,
            "gflop": 6e-9 * weights * steps * batch, "windows": rows, "memory_mib": memory()}


def cathode(trial: Trial, region: SignalRegion, family: str) -> dict[str, Any]:
    plan = FAST if family == "flow-matching" else Plan(steps=1500, batch=1024)
    options = {"sampling": "bf16", "sampling_steps": 10} if family == "flow-matching" else {}
    search = Cathode(region, template=family, members=MEMBERS, oversampling=OVERSAMPLING, check=False, plan=plan,
                     options=options)
    _, spent = seconds(lambda: search.fit(trial.events))
    return {"window": [region.lo, region.hi], "cpu": spent, "memory_mib": memory()}


def whole(trial: Trial) -> dict[str, Any]:
    """The public class from events to scores, as a user runs it: one window, then four more."""
    search, first = seconds(lambda: Sigma(WINDOWS[0], members=MEMBERS, check=False).fit(trial.events))
    _, more = seconds(lambda: [search.for_window(region) for region in WINDOWS[1:]])
    return {"first": first, "four more": more, "memory_mib": memory()}


def choice(trial: Trial, test: int) -> dict[str, Any]:
    """One injection test: an artificial signal in each window, and what every interpolation makes of it."""
    found, spent = seconds(lambda: choose_interpolation(trial.events, windows=CHOSEN, tests=1, fpr=FPR, members=3,
                                                        seed=1000 * test))
    return {"sic": [dict(one.sic) for one in found], "cpu": spent, "memory_mib": memory()}


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parts(trial: Trial) -> dict[str, Callable[[], dict[str, Any]]]:
    found: dict[str, Callable[[], dict[str, Any]]] = {"sigma": lambda: sigma(trial)}
    for family in ("flow", "flow-matching"):
        for i, region in enumerate(WINDOWS):
            found[f"cathode-{family}-{i}"] = lambda region=region, family=family: cathode(trial, region, family)
    found |= {f"choice-{test}": lambda test=test: choice(trial, test) for test in range(TESTS)}
    return found | {"whole": lambda: whole(trial)}


def show(folder: Path) -> None:
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if "sigma" in rows:
        one = rows["sigma"]
        print(f"sigma training {one['training']:.1f} s, {one['evaluations']:.3g} evaluations, "
              f"{one['gflop']:.0f} GFLOP, {one['weights']} weights, {one['memory_mib']:.0f} MiB")
        for row in one["windows"]:
            print(f"  {row['window']} {row['inside']} events: template {row['law'] + row['sampling']:.1f} s = "
                  f"{(row['law'] + row['sampling']) / one['training']:.2f} of the training ({row['evaluations']:.3g} "
                  f"evaluations, {row['gflop'] / one['gflop']:.2f} of its FLOP), trees {row['trees']:.1f} s")
        spent = one["training"] + sum(row["law"] + row["sampling"] + row["trees"] for row in one["windows"])
        print(f"sigma, five windows: {spent:.0f} s")
    for family in ("flow", "flow-matching"):
        group = [row["cpu"] for name, row in rows.items() if name.startswith(f"cathode-{family}-") and
                 name.removeprefix(f"cathode-{family}-").isdigit()]
        print(f"cathode, {family}: {len(group)} windows, {sum(group):.0f} s: {[round(cpu, 1) for cpu in group]}")


    show_choice([row for name, row in rows.items() if name.startswith("choice-")])


def show_choice(rows: list[dict[str, Any]]) -> None:
    for i, region in enumerate(CHOSEN if rows else ()):
        joined = {how: tuple(row["sic"][i][how][0] for row in rows) for how in rows[0]["sic"][i]}
        print(f"{len(rows)} tests, {sum(row['cpu'] for row in rows):.0f} s:", InterpolationChoice(region, joined, FPR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly-windows"))
    parser.add_argument("--parts", nargs="+")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    if given.what == "show":
        show(given.results)
        return
    torch.set_num_threads(1)
    for name, work in parts(dijet_trial(given.data, 0, given.results)).items():
        path = given.results / f"{name}.json"
        if (not given.parts or name in given.parts) and not path.exists():
            path.write_text(json.dumps(work()))
            print(name, path.read_text()[:200], flush=True)


if __name__ == "__main__":
    main()
