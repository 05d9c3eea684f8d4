"""The published networks and schedules: what they would cost here, and R-ANODE's signal density trained.

    python benchmarks/anomaly_published.py cost     CPU hours of each, from timed steps at its own batch
    python benchmarks/anomaly_published.py ranode --epochs 15     so many epochs more; a second start goes on

Sizes and schedules as their authors publish them: the density of ANODE and CATHODE (15 affine autoregressive blocks),
of R-ANODE (6 splines), SIGMA (4 gated residual blocks of 256), and two flows of CURTAINs' kind. Steps are timed by the
slope between two short trainings on the toy, four features and a mass, one thread.

``ranode``: LHC-Olympics-like di-jets (--data or SUNDOG_DATA), injection 0, 40,000 QCD and 400 signal events in the
window, p_B by our flow on normal scores for both. Published: p_S(x, m) of 6 splines, batch 256, AdamW at 3e-4, norm of
the gradient clipped at 1, w learned with it, a fifth of the events held out, the 10 best epochs averaged.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly_trial import REGION, Trial, dijet_trial
from torch import Tensor

from sundog import Plan, fit
from sundog.models.flow import NormalizingFlow
from sundog.random import stream
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import RAnode, sic_curve
from sundog.tasks.anomaly.background.template import fit_template

SIDEBANDS, INSIDE, EVERYTHING = 500_000, 100_000, 850_000  # events that the authors train on
# name: family, batch, epochs, events, options
PUBLISHED: dict[str, tuple[str, int, int, int, dict[str, Any]]] = {
    "ANODE, CATHODE: p_B": ("flow", 256, 100, SIDEBANDS, {"transform": "affine", "layers": 15, "hidden": (128,)}),
    "R-ANODE: p_S": ("flow", 256, 300, INSIDE, {"transform": "spline", "layers": 6, "hidden": (64, 64)}),
    "CURTAINs, flows for flows: two": ("flow", 256, 2 * 100, SIDEBANDS, {"transform": "spline", "layers": 6,
                                                                       "hidden": (64, 64)}),
    "SIGMA": ("flow-matching", 4096, 2000, EVERYTHING, {"network": "residual", "hidden": (256,) * 4}),
    "SIGMA of this project": ("flow-matching", 4096, 10, EVERYTHING, {"context_frequencies": 5}),
}
TESTED = 30_000, 5000  # events: ten splines of six layers see each
BATCH, BEST, BINS, PATIENCE, FLAT = 256, 10, 49, 10, 5e-4  # flat: no gain of so much in so many epochs


def cost() -> None:
    events = ResonantToy().events(20_000, 0.006, 0)
    print("| network | parameters | batch | epochs | ms per step | CPU hours |\n|---|---|---|---|---|---|")
    for name, (family, batch, epochs, n, options) in PUBLISHED.items():
        spent: list[tuple[float, int]] = []
        for steps in (2, 5, 45) if batch < 1000 else (1, 2, 12):  # the first warms up
            start = time.process_time()
            run = fit(family, events, plan=Plan(steps=steps, batch=batch, validate_every=10**6), **options)
            spent.append((time.process_time() - start, steps))
        each = (spent[2][0] - spent[1][0]) / (spent[2][1] - spent[1][1])
        size = sum(p.numel() for p in run.model.parameters())
        print(f"| {name} | {size:,} | {batch} | {epochs} | {1e3 * each:.0f} | {each * epochs * n / batch / 3600:.1f} |",
              flush=True)


def ranode(given: argparse.Namespace) -> None:
    trial = dijet_trial(given.data, 0, given.results, injected=400, inside=40_000)
    start = time.process_time()
    template = fit_template(trial.events, REGION, family="flow", seed=trial.seed, check=False, scaling="normal-scores",
                            plan=Plan(steps=1000, batch=1024), out=given.results / f"{trial.name}-published-background")
    kept = given.results / f"{trial.name}-published-ours.pt"
    if not kept.exists():
        print(f"background {time.process_time() - start:.0f} CPU s", flush=True)
        torch.save(coordinates(trial, template), kept)
        return
    z, log_b, tested = torch.load(kept)
    tested = [(rows[:most], b[:most]) for (rows, b), most in zip(tested, TESTED)]
    path = given.results / f"{trial.name}-published.pt"
    flow = NormalizingFlow((z.shape[1],), 0, transform="spline", layers=6, hidden=(64, 64))
    u = torch.nn.Parameter(torch.tensor(-5.0))
    optimizer = torch.optim.AdamW([*flow.parameters(), u], lr=3e-4)
    state: dict[str, Any] = {"losses": [], "w": [], "best": [], "cpu": 0.0}
    if path.exists():
        state = torch.load(path)
        flow.load_state_dict(state["flow"])
        optimizer.load_state_dict(state["optimizer"])
        u.data = state["u"]
    held = torch.rand(len(z), generator=stream(0, "held out")) < 0.2

    def loss(rows: Tensor, b: Tensor) -> Tensor:
        return -torch.logaddexp(torch.nn.functional.logsigmoid(u) + flow.log_prob(rows, None),
                                torch.nn.functional.logsigmoid(-u) + b).mean()

    for _ in range(given.epochs):
        start = time.process_time()
        epoch = len(state["losses"])
        if epoch > PATIENCE and min(state["losses"][:-PATIENCE]) - min(state["losses"]) < FLAT:
            print("flat", flush=True)
            break
        flow.train()
        order = torch.randperm(int((~held).sum()), generator=stream(0, "order", epoch))
        for rows in torch.nonzero(~held)[:, 0][order].split(BATCH):
            optimizer.zero_grad()
            loss(z[rows], log_b[rows]).backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
            optimizer.step()
        flow.eval()
        with torch.no_grad():
            state["losses"].append(float(loss(z[held], log_b[held])))
        state["w"].append(float(torch.sigmoid(u.detach())))
        weights = {name: value.clone() for name, value in flow.state_dict().items()}
        state["best"] = sorted([*state["best"], (state["losses"][-1], weights)], key=lambda one: one[0])[:BEST]
        print(f"epoch {epoch}: loss {state['losses'][-1]:.5f}, w {state['w'][-1]:.5f}", flush=True)
        state["cpu"] += time.process_time() - start
        torch.save({**state, "flow": flow.state_dict(), "optimizer": optimizer.state_dict(), "u": u.data}, path)
    told(flow, state, tested)


def coordinates(trial: Trial, template: Any) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """z and log p_B of the events inside, as our R-ANODE sees them; the same of test events; prints what ours finds."""
    start = time.process_time()
    ours = RAnode(REGION, seed=trial.seed, background=template).fit(trial.events)
    spent, curve = time.process_time() - start, trial.curve(ours)
    core = ours.core_fraction_
    assert core is not None  # of a fitted search
    print(f"ours: SIC {curve.at(1e-2):.1f} at 1e-2, {curve.at(1e-3):.1f} +- {curve.error(1e-3):.1f} at 1e-3, max "
          f"{curve.max_sic:.1f}, core w / true {core.value / trial.true_fraction:.2f}, {spent:.0f} CPU s", flush=True)
    tested = [ours._standardised(part) for part in (trial.test_background, trial.test_signal)]
    return ours._z.float(), ours._log_b.float(), [(z.float(), b.float()) for z, b in tested]


def told(flow: NormalizingFlow, state: dict[str, Any], tested: list[tuple[Tensor, Tensor]]) -> None:
    """Prints what the average of the best epochs finds; the law of the signal's mass taken out by a histogram."""
    with torch.no_grad():
        densities = [[] for _ in tested]  # type: list[list[Tensor]]
        masses = []
        for i, (_, weights) in enumerate(state["best"]):
            flow.load_state_dict(weights)
            for of, (z, _) in zip(densities, tested):
                of.append(flow.log_prob(z, None))
            masses.append(flow.sample(5000, None, stream(0, "masses", i))[:, -1])
    counts, edges = np.histogram(torch.cat(masses).clamp(-1, 1), BINS, (-1, 1))
    law = np.log((counts + 1) / counts.sum())
    score = [torch.logsumexp(torch.stack(of), 0) - b - torch.from_numpy(law[np.digitize(z[:, -1], edges[1:-1])])
             for of, (z, b) in zip(densities, tested)]
    curve = sic_curve(np.repeat([0, 1], [len(part) for part in score]), torch.cat(score))
    print(f"published: SIC {curve.at(1e-2):.1f} at 1e-2, {curve.at(1e-3):.1f} +- {curve.error(1e-3):.1f} at 1e-3, max "
          f"{curve.max_sic:.1f}, w {state['w'][int(np.argmin(state['losses']))]:.5f}, {state['cpu']:.0f} CPU s, "
          f"{len(state['losses'])} epochs, the best {int(np.argmin(state['losses']))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "ranode"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/anomaly-published"))
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.results.mkdir(parents=True, exist_ok=True)
    cost() if given.what == "cost" else ranode(given)


if __name__ == "__main__":
    main()
