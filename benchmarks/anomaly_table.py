"""Every search on the same injections: the table of docs/anomaly_methods.md, resumable, one JSON per result.

    python benchmarks/anomaly_table.py run                     4 features, 5 injections, all methods
    python benchmarks/anomaly_table.py run --features 5        with the distance of the jets
    python benchmarks/anomaly_table.py show                    the table of what is there

Options: --data FOLDER, --results FOLDER, --injections 0 1 2 3 4, --methods NAME ..., --members N, --inside N and
--injected N (QCD and signal events in the window), --toy (the analytic toy in place of the di-jets), --quick. Results
that exist are not computed again. Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly_trial import INJECTED, INSIDE, METHODS, Trial, dijet_trial, measure, toy_trial


def trial(given: argparse.Namespace, injection: int) -> Trial:
    if given.toy:
        return toy_trial(injection, given.results, members=given.members, quick=given.quick)
    return dijet_trial(given.data, injection, given.results, features=given.features, members=given.members,
                       quick=given.quick, inside=given.inside, injected=given.injected)


def rows_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.glob(f"{kind}-*.json") if not path.name.endswith("cpu.json"))
    rows = [json.loads(path.read_text()) for path in paths]
    return [row for row in rows if not row["quick"]]


def show(rows: list[dict[str, Any]]) -> None:
    """Medians over injections; +- is the error of a median, 1.25 scatter / sqrt(n)."""
    ideal = {row["trial"]: row["sic 0.001"] for row in rows if row["method"] == "idealised"}
    print("| method | n | SIC 1e-3 | ratio | max SIC | template AUC | CPU s | own |")
    for method in METHODS:
        group = [row for row in rows if row["method"] == method and row["trial"] in ideal]
        if not group:
            continue
        ratio = np.array([row["sic 0.001"] / ideal[row["trial"]] for row in group])
        cells = [method, str(len(group)), quoted([row["sic 0.001"] for row in group]), quoted(ratio.tolist(), 2),
                 quoted([row["max_sic"] for row in group])]
        areas = [row["auc"] for row in group if "auc" in row]
        cells.append(f"{np.median(areas):.4f} +- {group[0]['auc_error']:.4f}" if areas else "")
        cells += [f"{np.median([row['cpu'] for row in group]):.0f}", f"{np.median([row['own'] for row in group]):.0f}"]
        found = [row["w"] / row["true_fraction"] for row in group if "w" in row]
        cells += [f"w / true {quoted(found, 2)}"] if found else []
        print("| " + " | ".join(cells) + " |")


def quoted(values: list[float], digits: int = 1) -> str:
    error = 1.25 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.median(values):.{digits}f} +- {error:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly-table"))
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument("--injections", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--inside", type=int, default=INSIDE)
    parser.add_argument("--injected", type=int, default=INJECTED)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    if given.what == "run":
        torch.set_num_threads(1)
        for injection in given.injections:
            one = trial(given, injection)
            for method in given.methods:
                row = measure(one, method)
                print(one.name, method, *(f"{key} {row[key]:.4g}" for key in
                      ("sic 0.001", "error 0.001", "max_sic", "auc", "own", "cpu", "w") if key in row), flush=True)
    else:
        show(rows_of(given.results, "toy-0.006" if given.toy else f"dijets{given.features}-{given.injected}"))


if __name__ == "__main__":
    main()
