"""Why does RAD-OT fall short on di-jets? Its parts replaced one after the other, on the same events.

    python benchmarks/transport_ways.py --injections 0 1 2 3 4
    python benchmarks/transport_ways.py --pure     without the signal that lies beside the window

40,000 QCD and 400 signal events in 3.3 to 3.7 TeV, four features; sidebands of 0.3 TeV on either side, equally many
events of both. Each template is told from the events inside by three boostings; significance improvement on independent
events, and the area of a classifier between template and independent true background (the mass left out).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from anomaly_trial import REGION, dijet_trial
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor

from sundog.data.scaling import named_scaling
from sundog.models.transport.pairs import OptimalPairs
from sundog.random import stream
from sundog.tasks.anomaly import sic_curve
from sundog.tasks.anomaly.background.spectrum import smooth_masses
from sundog.tasks.anomaly.detectors.base import fit_ratio
from sundog.verdicts.twosample import classifier_two_sample

REACH = 0.3


def templates(x: Tensor, m: Tensor, law: Tensor, seed: int) -> dict[str, Tensor]:
    """Events (n, d) of both sides under the masses ``law`` by each way; x on normal scores, m in TeV."""
    low, high = (m < REGION.lo) & (m > REGION.lo - REACH), (m > REGION.hi) & (m < REGION.hi + REACH)
    n = min(int(low.sum()), int(high.sum()))
    rows = torch.cat([torch.nonzero(side)[:, 0][torch.randperm(int(side.sum()), generator=stream(seed, "side"))[:n]]
                      for side in (low, high)])
    found = OptimalPairs((x.shape[1],), 1, split=REGION.centre, neighbours=1, pairing=seed)
    found.prepare(x[rows].float(), m[rows][:, None].float())
    a, b, start, end, way, _ = (part.double() for part in found.pairs)
    g = stream(seed, "carried")
    t = (law[torch.randint(len(law), (len(a),), generator=g)] - start) / (end - start)
    lower = (torch.rand(len(a), generator=g) >= t)[:, None]
    linear, near = LinearRegression().fit(a, way), KNeighborsRegressor(100).fit(a, way)
    in_batch = OptimalPairs((x.shape[1],), 1, split=REGION.centre, neighbours=100, pairing=seed)
    in_batch.prepare(x[rows].float(), m[rows][:, None].float())
    ways = {"not moved": (0 * way, 0 * way), "the mean of all ways": (way.mean(0), way.mean(0)),
            "linear in the features": (linear.predict(a), linear.predict(b)),
            "mean of 100 neighbours, of all pairs": (near.predict(a), near.predict(b)),
            "mean of 100 neighbours, of 1000 (RAD-OT here)": tuple(part.double() for part in in_batch.pairs[4:]),
            "single (published)": (way, way)}
    return {name: torch.where(lower, a + t[:, None] * torch.as_tensor(p), b - (1 - t)[:, None] * torch.as_tensor(q))
            for name, (p, q) in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--injections", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pure", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for injection in given.injections:
        trial = dijet_trial(given.data, injection, Path(), injected=400, inside=40_000)
        assert trial.events.context is not None  # made by the loader
        m, beside = trial.events.context[:, 0].double(), ~REGION.contains(trial.events)
        scaling = named_scaling("normal-scores").fit(trial.events.values[beside], None, trial.events.names)
        law = smooth_masses(m, REGION).sample(100_000, injection)
        used = torch.ones(len(m), dtype=torch.bool)
        if given.pure:  # signal stands last, so many rows as hold 400 inside
            used[-int(torch.searchsorted((~beside).flip(0).cumsum(0), 400)) - 1 :] = False
        drawn = templates(scaling.forward(trial.events.values[used].double()), m[used], law, injection)
        true, signal = (scaling.forward(part.values.double()) for part in (trial.background, trial.test_signal))
        tested = scaling.forward(trial.test_background.values.double())
        inside = scaling.forward(trial.events.values[~beside].double())
        n = len(drawn["not moved"])
        for name, template in {"true background": true[:n], **drawn}.items():
            start = time.process_time()
            trees = fit_ratio(inside, template, seed=injection, members=3)
            score = torch.cat([trees.predict_log_odds(part) for part in (tested, signal)])
            curve = sic_curve(np.repeat([0, 1], [len(tested), len(signal)]), score)
            area = classifier_two_sample(tested[: len(template)], template, 0, folds=2)
            print(f"{injection} {name}: SIC {curve.at(1e-2):.2f} at 1e-2, {curve.at(1e-3):.2f} at 1e-3, max "
                  f"{curve.max_sic:.2f}; area {area.auc:.4f} +- {area.null_error:.4f}; {n} events, "
                  f"{time.process_time() - start:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
