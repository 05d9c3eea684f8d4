"""Flows beside their peers zuko and nflows: what a flow learns in equal CPU time, and the speed of equal flows.

    python benchmarks/flows.py run      likelihood of held-out rows, one JSON line per training; those in the results
                                        file are not repeated
    python benchmarks/flows.py show     the table of a results file
    python benchmarks/flows.py speed    CPU microseconds per event of log_prob, sampling and training, same layers

``run``: sundog.fit("flow") as it comes, and each peer for as many CPU seconds as that took on the same rows: Adam at
0.005, one-cycle cosine on the CPU clock, gradients clipped at 5, batches of 512, the best of 20 validations on a tenth
of the rows. Spline flows have 4 layers, affine ones 5, conditioners (64, 64), 8 knots. Nats per row in the units of
the data. On di-jets also what sundog came with before (4 layers of splines, 1500 steps of 1024 at 0.002; two seeds),
and the AUC of boosted trees between held-out rows and fakes at their masses.

``speed``: all sides take turns in one run; zuko's transforms are inside sundog's flow, so 1.00 is the expectation;
nflows shares neither code nor conditioner networks with it. nflows is left out where it is not installed.

Options: --data FOLDER (di-jets, LHC Olympics, radio; left out where absent), --seeds N, --sets NAME ..., --results F.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zuko
from sklearn import datasets as shipped
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor

import sundog
from sundog.data.scaling import Standard, default_scaling
from sundog.models.flow import NormalizingFlow
from sundog.random import numpy_stream, stream
from sundog.simulate.densities import ResonantToy

Row = dict[str, Any]
PEERS = {"zuko affine": ("affine", 5), "nflows affine": ("affine", 5), "zuko spline": ("spline", 4),
         "nflows spline": ("spline", 4)}
BEFORE = {"transform": "spline", "layers": 4, "learning_rate": 2e-3, "plan": sundog.Plan(steps=1500, batch=1024)}
OURS: dict[str, dict[str, Any]] = {"sundog": {}, "sundog before": BEFORE}
MOST = 60_000  # rows to learn from
HELD_OUT = 20_000


@dataclass(frozen=True)
class Side:
    """One library's flow: how to evaluate, draw, and count."""

    name: str
    parameters: list[torch.nn.Parameter]
    log_prob: Callable[[Tensor, Tensor | None], Tensor]
    sample: Callable[[Tensor], Tensor]


def sides(transform: str, dim: int, layers: int, hidden: tuple[int, ...], context: int = 1) -> list[Side]:
    """sundog, zuko and, if installed, nflows with the same layers."""
    ours = NormalizingFlow((dim,), context, transform=transform, layers=layers, hidden=hidden, bins=8)
    kind = zuko.flows.NSF if transform == "spline" else zuko.flows.MAF
    knots = {"bins": 8} if transform == "spline" else {}
    theirs = kind(dim, context, transforms=layers, hidden_features=hidden, **knots)
    generator = torch.Generator().manual_seed(0)
    found = [
        Side("sundog", list(ours.parameters()), ours.log_prob, lambda c: ours.sample(len(c), c, generator)),
        Side("zuko", list(theirs.parameters()), lambda x, c: theirs(c).log_prob(x), lambda c: theirs(c).sample()),
    ]
    try:
        found.append(nflows_side(transform, dim, layers, hidden, context))
    except ImportError:
        print("nflows is not installed: left out")
    return found


def nflows_side(transform: str, dim: int, layers: int, hidden: tuple[int, ...], context: int) -> Side:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms import autoregressive
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    shared = {"features": dim, "hidden_features": hidden[0], "context_features": context or None,
              "num_blocks": len(hidden) - 1, "use_residual_blocks": False}
    steps = []
    for _ in range(layers):
        if transform == "spline":
            steps.append(autoregressive.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                num_bins=8, tails="linear", tail_bound=5.0, **shared))
        else:
            steps.append(autoregressive.MaskedAffineAutoregressiveTransform(**shared))
        steps.append(ReversePermutation(dim))
    flow = Flow(CompositeTransform(steps), StandardNormal([dim]))
    return Side("nflows", list(flow.parameters()), lambda x, c: flow.log_prob(x, c), lambda c: flow.sample(1, c)[:, 0])


def compare(works: list[Callable[[], object]], rounds: int = 15) -> list[float]:
    """Median CPU seconds of each, the works taking turns so that a busy machine hurts all alike."""
    times: list[list[float]] = [[] for _ in works]
    for i in range(rounds + 3):
        for series, work in zip(times, works):
            start = time.process_time()
            work()
            if i >= 3:
                series.append(time.process_time() - start)
    return [float(torch.tensor(series).median()) for series in times]


def training(side: Side, x: Tensor, c: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(-side.log_prob(x, c).mean(), side.parameters, allow_unused=True)


def without_gradient(work: Callable[[], object]) -> Callable[[], object]:
    def quiet() -> object:
        with torch.no_grad():
            return work()

    return quiet


def speed(options: argparse.Namespace) -> None:
    print(f"torch {torch.__version__}, zuko {zuko.__version__}, {options.threads} threads, {options.rows} rows, "
          f"allocator: {os.environ.get('MALLOC_MMAP_THRESHOLD_', 'glibc defaults')}")
    x = torch.randn(options.rows, 4, generator=torch.Generator().manual_seed(1))
    c = torch.randn(options.rows, 1, generator=torch.Generator().manual_seed(2))
    for transform, layers, hidden in (("spline", 4, (64, 64)), ("affine", 5, (64, 64)), ("affine", 15, (128, 128))):
        found = sides(transform, 4, layers, hidden)
        for side in found[2:]:
            counts = [sum(p.numel() for p in s.parameters) for s in (found[0], side)]
            print(f"{transform} {layers} x {hidden}: parameters sundog {counts[0]:,}, {side.name} {counts[1]:,}")
        jobs = {
            "log_prob": [without_gradient(lambda s=s: s.log_prob(x, c)) for s in found],
            "sample": [without_gradient(lambda s=s: s.sample(c)) for s in found],
            "training": [training(s, x, c) for s in found],
        }
        for job, works in jobs.items():
            seconds = compare(works)
            cells = [f"{side.name} {1e6 * s / options.rows:7.2f} us ({s / seconds[1]:.2f} x zuko)"
                     for side, s in zip(found, seconds)]
            print(f"{transform:6s} {layers:2d} layers {job:9s}: " + ", ".join(cells))


def rows_of(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Columns to learn (n, d) and the mass they are given (n, 1) or None; None where the file is absent."""
    files = {"di-jets": folder / "dijets" / "lhcolike_dijets.npz", "lhc olympics": folder / "lhco" /
             "lhco_rd_sr_features.npz", "radio": folder / "radio" / "mirabest_first_native112_f16.npz"}
    if name in files and not files[name].exists():
        return None
    if name == "di-jets":
        x = np.load(files[name])["qcd"]
        return x[:, 1:5], x[:, :1]
    if name == "lhc olympics":
        x = np.load(files[name])["data"]
        return x[:, 1:], x[:, :1]
    if name == "toy":
        events = ResonantToy().events(MOST + HELD_OUT, w=0.02, seed=0)
        return events.values.numpy(), events.context.numpy()  # type: ignore[union-attr]
    if name == "radio":  # what a catalogue of these sources would list, in logarithms
        file = np.load(files[name])
        images = file["images"].astype(np.float32)
        measured = [file[column] for column in ("redshift", "size_arcsec", "rms_mJy")]
        x = np.stack([*measured, images.sum((1, 2)), images.max((1, 2))], 1)
        return np.log(x[(x > 0).all(1)]), None
    if name == "breast cancer":
        return shipped.load_breast_cancer().data[:, :10], None
    found = shipped.load_diabetes()
    return np.column_stack([np.delete(found.data, 1, 1), found.target]), None  # without the sex, which has no density


SETS = ("di-jets", "toy", "lhc olympics", "radio", "breast cancer", "diabetes")


def split(name: str, seed: int, folder: Path) -> tuple[sundog.Dataset, sundog.Dataset] | None:
    """Rows to learn from and rows held out, other ones for every seed."""
    found = rows_of(name, folder)
    if found is None:
        return None
    order = numpy_stream(seed, "rows of", name).permutation(len(found[0]))
    test = min(HELD_OUT, len(order) // 5)
    x, c = (None if part is None else torch.from_numpy(part[order].astype(np.float32)) for part in found)
    make = sundog.Dataset.from_arrays
    parts = [make(x[rows], None if c is None else c[rows], held_out_fraction=0.0)
             for rows in (slice(test, test + MOST), slice(test))]
    return parts[0], parts[1]


def taught(side: Side, x: Tensor, c: Tensor | None, budget: float, seed: int) -> float:
    """CPU seconds that a peer has been trained for, and its best validated state left in it."""
    start, last, step = time.process_time(), -1.0, 0
    keep = len(x) // 10
    optimiser = torch.optim.Adam(side.parameters, lr=5e-3, fused=True)
    generator, best = stream(seed, "batches"), (math.inf, [p.detach().clone() for p in side.parameters])
    while (done := (time.process_time() - start) / budget) < 1:
        warm = 0.04 + 0.48 * (1 - math.cos(math.pi * done / 0.1))
        factor = warm if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))
        optimiser.param_groups[0]["lr"] = 5e-3 * factor
        rows = torch.randint(keep, len(x), (min(512, len(x) - keep),), generator=generator)
        loss = -side.log_prob(x[rows], None if c is None else c[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(side.parameters, 5.0)
        optimiser.step()
        step += 1
        if done - last > 1 / 20:
            last = done
            with torch.no_grad():
                score = float(-side.log_prob(x[:keep], None if c is None else c[:keep]).mean())
            if score < best[0]:
                best = (score, [p.detach().clone() for p in side.parameters])
    with torch.no_grad():
        for p, kept in zip(side.parameters, best[1]):
            p.copy_(kept)
    return time.process_time() - start


def seen_apart(held_out: sundog.Dataset, fakes: Tensor) -> float:
    """AUC of boosted trees between held-out rows and fakes at the same masses, trained on every other pair."""
    assert held_out.context is not None
    real, fake = (torch.cat([x, held_out.context], 1).numpy() for x in (held_out.values, fakes))
    x, y = np.concatenate([real, fake]), np.repeat([0, 1], len(real))
    first = np.tile(np.arange(len(real)) % 2 == 0, 2)
    trees = HistGradientBoostingClassifier(random_state=0).fit(x[first], y[first])
    return float(roc_auc_score(y[~first], trees.predict_proba(x[~first])[:, 1]))


def trained(name: str, seed: int, word: str, budget: float | None, given: argparse.Namespace) -> Row | None:
    """One training judged; a peer gets the CPU seconds ``budget``. None where data or library are missing."""
    parts = split(name, seed, given.data)
    if parts is None:
        return None
    data, held_out = parts
    if word in OURS:
        start = time.process_time()
        run = sundog.fit("flow", data, seed=seed, **OURS[word])
        row = {"cpu": time.process_time() - start, "nats": -float(run.log_prob(held_out).mean())}
        fakes = run.sample(len(held_out), held_out.context, seed=seed).values
    else:
        scaling = default_scaling(data.kind).fit(data.values, None, data.names)
        masses = None if data.context is None else Standard().fit(data.context, None, data.context_names)
        (z, c), (z_test, c_test) = ((scaling.forward(d.values), None if masses is None else masses.forward(d.context))
                                    for d in parts)
        transform, layers = PEERS[word]
        torch.manual_seed(seed)
        found = {side.name: side for side in sides(transform, z.shape[1], layers, (64, 64), 0 if c is None else 1)}
        side = found.get(word.split()[0])
        if side is None or budget is None:
            return None
        row = {"cpu": taught(side, z, c, budget, seed)}
        with torch.no_grad():
            jacobian = scaling.log_abs_det(held_out.values).double().mean()
            row["nats"] = -float(side.log_prob(z_test, c_test).double().mean() + jacobian)
            fakes = scaling.inverse(side.sample(c_test)) if c_test is not None else z_test
    if name == "di-jets":
        row["auc"] = seen_apart(held_out, fakes)
    return {"set": name, "seed": seed, "flow": word, "rows": len(data), "columns": data.values.shape[1], **row}


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def shown(values: list[float], digits: int) -> str:
    """Mean and its standard error over the seeds."""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}"


def show(rows: list[Row]) -> None:
    """Markdown: nats per row and flow, the CPU seconds of each, and what the others lack, paired by seed."""
    flows = list(dict.fromkeys(row["flow"] for row in rows))
    print("| set | rows | CPU s | " + " | ".join(flows) + " |\n" + "|---" * (len(flows) + 3) + "|")
    for name in SETS:
        of = {word: {r["seed"]: r for r in rows if (r["set"], r["flow"]) == (name, word)} for word in flows}
        if not of["sundog"]:
            continue
        ours, cells = of["sundog"], []
        for word in flows:
            pairs = [(of[word][s]["nats"], ours[s]["nats"]) for s in ours if s in of[word]]
            seeds = f" ({len(pairs)} seeds)" if len(pairs) < len(ours) else ""
            cells.append(shown([a if word == "sundog" else a - b for a, b in pairs], 4) + seeds if pairs else "")
        seconds = " and ".join(f"{np.mean([r['cpu'] for r in of[word].values()]):.1f}" for word in OURS if of.get(word))
        print(f"| {name} | {next(iter(ours.values()))['rows']} | {seconds} | " + " | ".join(cells) + " |")
    areas = {word: [r["auc"] for r in rows if r["flow"] == word and "auc" in r] for word in flows}
    print("\nAUC on di-jets: " + ", ".join(f"{word} {shown(found, 4)}" for word, found in areas.items() if found))
    print(f"seeds: {sorted({row['seed'] for row in rows})}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "show", "speed"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=4096, help="of the speed test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("runs/flows.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.what != "run":
        show(read(given.results)) if given.what == "show" else speed(given)
        return
    given.results.parent.mkdir(parents=True, exist_ok=True)
    for word, seed, name in itertools.product(("sundog", *PEERS, "sundog before"), range(given.seeds), given.sets):
        done = {(row["flow"], row["seed"], row["set"]): row for row in read(given.results)}
        if (word, seed, name) in done or (word == "sundog before" and (name != "di-jets" or seed > 1)):
            continue
        row = trained(name, seed, word, done.get(("sundog", seed, name), {}).get("cpu"), given)
        if row is not None:
            with given.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
