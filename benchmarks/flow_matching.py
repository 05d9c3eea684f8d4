"""What does flow matching cost, and what does a small network lose? Conditional flow matching, 300k events x 5.

Prints, from one run: the cost of a training step against the bare matrix products of the same shapes; the CPU
time per event of the default network against the published 4 x 256 one; and the held-out classifier AUC of both
against true events, beside the AUC of true events against other true ones.

    python benchmarks/flow_matching.py [--data FOLDER] [--threads 2] [--epochs 40] [--large-epochs 5]

Real input: ``dijets/lhcolike_dijets.npz`` in the data folder; without it, events of the analytic stand-in.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import sundog
from sundog.models.base import Batch, Noise
from sundog.models.matching import FlowMatching
from sundog.verdicts.twosample import classifier_two_sample

NAMES = ("m_j1", "delta_m", "tau21_j1", "tau21_j2", "delta_r")
LARGE = {"network": "residual", "hidden": (256, 256, 256, 256), "learning_rate": 1e-3}


def events(folder: Path, rows: int) -> tuple[sundog.Dataset, sundog.Dataset, sundog.Dataset]:
    """Training rows and two independent test samples of 50,000."""
    path = folder / "dijets" / "lhcolike_dijets.npz"
    if path.exists():
        with np.load(path) as file:
            table = file["qcd"]
            columns = [str(name) for name in file["columns"]]
        x, m = table[:, [columns.index(name) for name in NAMES]], table[:, columns.index("m_jj")]
        order = np.random.default_rng(0).permutation(len(x))
        x, m = x[order], m[order]
    else:
        made = sundog.simulate.dijets.dijets(rows + 100_000, 0, seed=0)
        x, m = made.values.numpy(), made.context.numpy()
    whole = sundog.Dataset.from_arrays(x[: rows + 100_000], m[: rows + 100_000], context_names=["m_jj"],
                                       held_out_fraction=0.0)
    return whole[:rows], whole[rows : rows + 50_000], whole[rows + 50_000 :]


def cpu_time(work: Callable[[], object], repeats: int = 30) -> float:
    """Smallest mean CPU seconds of one call, of five series."""
    for _ in range(5):
        work()
    series = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(repeats):
            work()
        series.append((time.process_time() - start) / repeats)
    return min(series)


def training_step(model: FlowMatching, batch: int) -> Callable[[], None]:
    """One step as the engine takes it: rows gathered, loss, gradients, optimiser, running mean."""
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, fused=True)
    mean = [p.detach().clone() for p in parameters]
    pool, context = torch.randn(100_000, *model.shape), torch.randn(100_000, 1)
    rows = torch.randperm(100_000)[:batch]

    def step() -> None:
        noise = Noise(torch.Generator().manual_seed(1), batch, slice(0, batch))
        loss = model.loss(Batch(pool.index_select(0, rows), context.index_select(0, rows)), noise)
        loss.item()
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = g
        optimiser.step()
        torch._foreach_lerp_(mean, [p.detach() for p in parameters], 0.001)

    return step


def matrix_products(model: FlowMatching, batch: int) -> Callable[[], None]:
    """The matrix products that a forward and backward pass cannot avoid, with nothing around them."""
    weights = [p.detach() for p in model.velocity.parameters() if p.ndim == 2]
    inputs = [torch.randn(batch, w.shape[1]) for w in weights]
    slopes = [torch.randn(batch, w.shape[0]) for w in weights]

    def products() -> None:
        for i, (w, x, g) in enumerate(zip(weights, inputs, slopes)):
            x @ w.T, g.T @ x
            if i:  # nobody asks for the gradient of the data
                g @ w

    return products


def costs(batch: int) -> dict[str, float]:
    """CPU microseconds per event of a training step, and its ratios."""
    small, large = FlowMatching((5,), 1), FlowMatching((5,), 1, **LARGE)
    step, floor = cpu_time(training_step(small, batch)), cpu_time(matrix_products(small, batch))
    big = cpu_time(training_step(large, batch), 5)
    flop = 6 * sum(p.numel() for p in small.velocity.parameters() if p.ndim == 2) * batch
    return {
        "batch": batch, "step_us": 1e6 * step / batch, "products_us": 1e6 * floor / batch, "ratio": step / floor,
        "large_us": 1e6 * big / batch, "large_over_small": big / step, "products_gflops": flop / floor / 1e9,
    }


def quality(name: str, data: sundog.Dataset, tests: tuple[sundog.Dataset, sundog.Dataset], steps: int, batch: int,
            family: str = "flow-matching", **options: object) -> dict[str, object]:
    """Train, sample, and compare with true events by the tree ensemble, out of fold."""
    start, wall = time.process_time(), time.monotonic()
    run = sundog.fit(family, data, plan=sundog.Plan(steps=steps, batch=batch), seed=1, **options)
    trained, took = time.process_time() - start, time.monotonic() - wall
    start = time.process_time()
    fakes = run.sample(len(tests[0]), context=tests[0].context, seed=2)
    drawn = time.process_time() - start
    both = [torch.cat([d.values, d.context], 1) for d in (tests[1], fakes)]
    result = classifier_two_sample(both[0], both[1], seed=0)
    return {
        "network": name, "parameters": sum(p.numel() for p in run.model.parameters()),
        "epochs": steps * batch / len(data),
        "train_cpu_s": trained, "train_wall_s": took, "cpu_us_per_event": 1e6 * trained / (steps * batch),
        "sample_cpu_us": 1e6 * drawn / len(fakes), "auc": result.auc, "auc_error": result.error,
        "held_out_loss": run.history.best_score,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--large-epochs", type=float, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, allocator: "
          f"{os.environ.get('MALLOC_MMAP_THRESHOLD_', 'glibc defaults')}, seeds 1 (fit) and 2 (sample)")
    results: dict[str, object] = {"cost": [], "quality": []}
    for batch in (1024, 4096, 16384):
        row = costs(batch)
        results["cost"].append(row)
        print(f"batch {batch:6d}: step {row['step_us']:5.2f} us/event, matrix products {row['products_us']:5.2f} "
              f"({row['products_gflops']:.0f} GFLOP/s): ratio {row['ratio']:.2f}; published network "
              f"{row['large_us']:6.1f} us/event = {row['large_over_small']:.1f} x ours")
    train, *tests = events(options.data, options.rows)
    null = classifier_two_sample(*[torch.cat([d.values, d.context], 1) for d in tests], seed=0)
    print(f"AUC of true against true events: {null.auc:.4f} +- {null.error:.4f}")
    for name, epochs, batch, extra in (
        ("mlp 3 x 128", options.epochs, 4096, {}),
        ("residual 4 x 256", options.large_epochs, 4096, LARGE),
        ("spline flow", 5, 1024, {"family": "flow"}),
    ):
        row = quality(name, train, tuple(tests), math.ceil(epochs * options.rows / batch), batch, **extra)
        results["quality"].append(row)
        print(f"{name:17s} {row['parameters']:7,d} parameters, {row['epochs']:4.1f} epochs: "
              f"{row['train_cpu_s']:6.0f} CPU s ({row['cpu_us_per_event']:.1f} us per event and epoch), "
              f"sampling {row['sample_cpu_us']:.0f} us/event, "
              f"AUC {row['auc']:.4f} +- {row['auc_error']:.4f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
