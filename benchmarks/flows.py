"""Flows beside their peers: log_prob, sampling and training of the same architecture in sundog, zuko and nflows.

Prints CPU microseconds per event and the ratio to zuko, all sides measured in turn in one run.

    python benchmarks/flows.py [--threads 1] [--rows 4096]

zuko's transforms are inside sundog's flow, so 1.00 is the expectation; nflows (if installed) shares neither code
nor conditioner networks with it: layers, widths and knots are equal, parameter counts are printed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import zuko
from torch import Tensor

from sundog.models.flow import NormalizingFlow


@dataclass(frozen=True)
class Side:
    """One library's flow: how to evaluate, draw, and count."""

    name: str
    parameters: list[torch.nn.Parameter]
    log_prob: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor], Tensor]


def sides(transform: str, dim: int, layers: int, hidden: tuple[int, ...]) -> list[Side]:
    """sundog, zuko and, if installed, nflows with the same layers."""
    ours = NormalizingFlow((dim,), 1, transform=transform, layers=layers, hidden=hidden, bins=8)
    kind = zuko.flows.NSF if transform == "spline" else zuko.flows.MAF
    theirs = kind(dim, 1, transforms=layers, hidden_features=hidden, **({"bins": 8} if transform == "spline" else {}))
    generator = torch.Generator().manual_seed(0)
    found = [
        Side("sundog", list(ours.parameters()), ours.log_prob, lambda c: ours.sample(len(c), c, generator)),
        Side("zuko", list(theirs.parameters()), lambda x, c: theirs(c).log_prob(x), lambda c: theirs(c).sample()),
    ]
    try:
        found.append(nflows_side(transform, dim, layers, hidden))
    except ImportError:
        print("nflows is not installed: left out")
    return found


def nflows_side(transform: str, dim: int, layers: int, hidden: tuple[int, ...]) -> Side:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms import autoregressive
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    shared = {"features": dim, "hidden_features": hidden[0], "context_features": 1, "num_blocks": len(hidden) - 1,
              "use_residual_blocks": False}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
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


if __name__ == "__main__":
    main()
