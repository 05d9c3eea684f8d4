"""Flow matching on sets of particles of LHC Olympics jets, with attention and without (docs/series.md).

python benchmarks/particle_sets.py fit --attention true     # one training, some CPU minutes; again with false
python benchmarks/particle_sets.py table
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sundog
from sundog.train.run import Run

MOST, RADIUS = 30, 1.0
NAMES = ("mass", "pt", "particles", "tau21", "e2", "e3")
UNITS = ("GeV", "GeV", "", "", "", "")


def leading_jets() -> Tensor:
    """(1000, 30, 3) ln(pT / GeV), eta and phi about the hardest particle, of the 30 hardest within 1 of it."""
    file = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "lhco" / "lhco_rd_particles_1000.npz"
    x = np.load(file)["particles"].astype(float)
    x = np.take_along_axis(x, np.argsort(-x[..., :1], axis=1, kind="stable"), 1)
    eta = x[..., 1] - x[:, :1, 1]
    phi = np.mod(x[..., 2] - x[:, :1, 2] + np.pi, 2 * np.pi) - np.pi
    near = (x[..., 0] > 0) & (np.hypot(eta, phi) < RADIUS)
    jets = np.zeros((len(x), MOST, 3))
    for jet, row, e, f, keep in zip(jets, x, eta, phi, near):
        some = np.flatnonzero(keep)[:MOST]
        jet[: len(some)] = np.stack([np.log(row[some, 0]), e[some], f[some]], 1)
    return torch.from_numpy(jets).float()


def features(jets: Tensor) -> Tensor:
    """(n, 6): mass, pT, number of particles, tau_2 / tau_1 about the hardest particles, energy correlations e2, e3."""
    there = (jets != 0).any(2)
    pt = jets[..., 0].double().exp() * there
    eta, phi = jets[..., 1].double(), jets[..., 2].double()
    p = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), pt * eta.cosh()], 2).sum(1)
    mass = (p[:, 3].square() - p[:, :3].square().sum(1)).clamp_min(0).sqrt()
    order = pt.argsort(1, descending=True)[:, :2]
    apart = torch.hypot(eta[:, :, None] - eta[:, None], phi[:, :, None] - phi[:, None])
    to_axes = torch.stack([apart[torch.arange(len(jets)), order[:, k]] for k in (0, 1)], 2)
    tau = [(pt * to_axes[..., : k + 1].amin(2)).sum(1) for k in (0, 1)]
    z = pt / pt.sum(1, keepdim=True)
    pairs = z[:, :, None] * z[:, None] * apart
    e3 = torch.einsum("ni,nj,nk,nij,njk,nik->n", z, z, z, apart, apart, apart) / 6
    return torch.stack([mass, p[:, :2].norm(dim=1), there.sum(1).double(), tau[1] / tau[0].clamp_min(1e-9),
                        pairs.sum((1, 2)) / 2, e3], 1)


def data() -> sundog.Dataset:
    return sundog.Dataset.from_arrays(leading_jets(), names=("ln pt", "eta", "phi"), time_step=1.0)


def fit(attention: bool, folder: Path, steps: int) -> None:
    run = sundog.fit("sets", data(), plan=sundog.Plan(steps=steps, batch=128), attention=attention, parameters=1e5,
                     out=folder / f"attention-{attention}".lower())
    print(run)


def table(folder: Path) -> None:
    jets = data()
    real = features(torch.cat([jets.held_out.values]))
    sides = {"held out": real, "trained on": features(jets.train.values)}
    for word in ("true", "false"):
        if not (folder / f"attention-{word}").exists():
            continue
        run = Run.load(folder / f"attention-{word}")
        sides["with attention" if word == "true" else "without"] = features(run.sample(1000, seed=1).values)
    print("| jets | " + " | ".join(NAMES) + " | median pt (5 to 95 %) | classifier AUC | p of the verdict |")
    print("|---" * (len(NAMES) + 4) + "|")
    truth = sundog.Dataset.from_arrays(real, names=NAMES, units=UNITS)
    for name, x in sides.items():
        cells = [f"{float(m):.3g} ± {float(s):.1g}" for m, s in zip(x.mean(0), x.std(0) / len(x) ** 0.5)]
        low, middle, high = (float(torch.quantile(x[:, 1], share)) for share in (0.05, 0.5, 0.95))
        cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
        verdict = None if x is real else sundog.judge(truth, sundog.Dataset.from_arrays(x, names=NAMES, units=UNITS),
                                                      statistics=("classifier",))
        told = ["", ""] if verdict is None else [
            f"{verdict['classifier AUC'].value:.3f} ± {0.5 - verdict['classifier AUC'].null_low:.3f}",
            f"{verdict.p_value:.2g}"]
        print(f"| {name} | " + " | ".join([*cells, *told]) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("fit", "table"))
    parser.add_argument("--attention", default="true")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("particle-sets"))
    asked = parser.parse_args()
    if asked.what == "fit":
        fit(asked.attention == "true", asked.out, asked.steps)
    else:
        table(asked.out)
