"""What does R-ANODE claim on di-jets with each scaling of its background? Fraction, control beside the window, SIC.

    OMP_NUM_THREADS=1 python benchmarks/anomaly_evidence.py [--injections 0 1]
        [--scalings normal-scores logit standard] [--signal mixture] [--starts 6]

Real input: ``dijets/lhcolike_dijets.npz`` in the data folder (``--data`` or SUNDOG_DATA). About 60 CPU s each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from anomaly_trial import dijet_trial

from sundog.tasks.anomaly import RAnode
from sundog.tasks.anomaly.background.template import fit_template


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--injections", type=int, nargs="+", default=[0])
    parser.add_argument("--scalings", nargs="+", default=["normal-scores", "logit", "standard"])
    parser.add_argument("--signal", default="mixture")
    parser.add_argument("--starts", type=int, default=6)
    o = parser.parse_args()
    torch.set_num_threads(1)
    for injection in o.injections:
        with tempfile.TemporaryDirectory() as folder:
            trial = dijet_trial(o.data, injection, Path(folder), features=4, members=5)
        for scaling in o.scalings:
            start = time.process_time()
            background = fit_template(trial.events, trial.region, family="flow", seed=trial.seed, scaling=scaling)
            search = RAnode(trial.region, seed=trial.seed, background=background, starts=o.starts, signal=o.signal)
            search.fit(trial.events)
            curve = trial.curve(search)
            print(f"injection {injection}, {scaling}: {search.fraction_}; core {search.core_fraction_}; "
                  f"true {trial.true_fraction:.5f}; control {search.control_}; evidence {search.evidence_}; "
                  f"SIC at 1e-3 {curve.at(1e-3):.1f}; {time.process_time() - start:.0f} CPU s\n"
                  f"    {background.report}", flush=True)


if __name__ == "__main__":
    main()
