"""By which features is SIGMA's template told from true background? Areas of a few features and the mass at a time.

    python benchmarks/anomaly_features.py --results FOLDER --features 5 --scaling flat | logit
    python benchmarks/anomaly_features.py --injection 3 --together 2 --data-too

FOLDER: of ``anomaly_table.py run``; the model of everything is taken from there, or trained there. ``--together 2``:
all pairs; ``--data-too``: the same areas for the events inside, signal included, against the true background.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import combinations
from pathlib import Path

import torch
from anomaly_trial import FAST, REGION, dijet_trial

from sundog.tasks.anomaly.background.sigma_field import ends, fit_everything, interpolated
from sundog.verdicts.twosample import classifier_two_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly-table"))
    parser.add_argument("--features", type=int, default=5)
    parser.add_argument("--scaling", default="flat")
    parser.add_argument("--injection", type=int, default=0)
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--steps", type=int, default=FAST.steps)
    parser.add_argument("--rows", type=int, default=56_000)
    parser.add_argument("--data-too", action="store_true")
    parser.add_argument("--interpolations", nargs="+", default=["context", "none"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    trial = dijet_trial(given.data, given.injection, given.results, features=given.features)
    run = fit_everything(trial.events, seed=trial.seed, check=False, plan=FAST.with_(steps=given.steps),
                         scaling=given.scaling, out=given.results / f"{trial.name}-sigma-{given.steps}")
    true = trial.background[: given.rows]
    assert true.context is not None  # made by the loader
    samples = {how: interpolated(run, ends(REGION, trial.events), how).sample(len(true), context=true.context, seed=7)
               for how in given.interpolations}
    if given.data_too:
        samples["data"] = trial.events[REGION.contains(trial.events)][: given.rows]
    some = [list(range(given.features)), *map(list, combinations(range(given.features), given.together))]
    for how, drawn in samples.items():
        for columns in some:
            found = classifier_two_sample(torch.cat([true.values[:, columns], true.context], 1),
                                          torch.cat([drawn.values[:, columns], drawn.context], 1), 0, folds=2)
            name = " ".join(true.names[j] for j in columns)
            print(f"{given.scaling} {how} {name}: {found.auc:.4f} +- {found.null_error:.4f}", flush=True)
    print(f"{time.process_time():.0f} CPU s")


if __name__ == "__main__":
    main()
