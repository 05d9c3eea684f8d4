"""By which feature is SIGMA's template told from true background? Areas of one feature and the mass at a time.

    python benchmarks/anomaly_features.py --results FOLDER --features 5 --scaling flat | logit

FOLDER: of ``anomaly_table.py run``; the model of everything of injection 0 is taken from there, or trained there.
"""

from __future__ import annotations

import argparse
import os
import time
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
    parser.add_argument("--interpolations", nargs="+", default=["context", "none"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    trial = dijet_trial(given.data, 0, given.results, features=given.features)
    run = fit_everything(trial.events, seed=trial.seed, check=False, plan=FAST, scaling=given.scaling,
                         out=given.results / f"{trial.name}-sigma")
    true = trial.background
    assert true.context is not None  # made by the loader
    for how in given.interpolations:
        drawn = interpolated(run, ends(REGION, trial.events), how).sample(len(true), context=true.context, seed=7)
        for name, columns in (("all", list(range(given.features))), *((n, [j]) for j, n in enumerate(true.names))):
            found = classifier_two_sample(torch.cat([true.values[:, columns], true.context], 1),
                                          torch.cat([drawn.values[:, columns], true.context], 1), 0, folds=2)
            print(f"{given.scaling} {how} {name}: {found.auc:.4f} +- {found.null_error:.4f}", flush=True)
    print(f"{time.process_time():.0f} CPU s")


if __name__ == "__main__":
    main()
