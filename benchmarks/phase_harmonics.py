"""What do wavelet phase harmonics cost, beside pywph where it is installed? Numbers of docs/phase_harmonics.md.

    python benchmarks/phase_harmonics.py [--size 256] [--peer FOLDER]

J = log2(size) - 1, L = 4, no lags, the default kinds of both, float32, one thread, CPU seconds; the best of three after
a warm-up (of one for the peer). --peer names a folder to look for pywph in (pip install --target FOLDER --no-deps
pywph); it sizes its chunks by the free memory, here fixed at 1 GB, and starts a process pool to build filters, replaced
by a loop.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sundog.statistics import PhaseHarmonics


def best(job: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + (repeats > 1)):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times[-repeats:])


def ours(x: torch.Tensor, J: int) -> None:
    start = time.process_time()
    phi = PhaseHarmonics(tuple(x.shape), J)
    phi(x)
    print(f"sundog  {len(phi.labels)} numbers; filters {time.process_time() - start:.2f} s", end="")
    with torch.no_grad():
        print(f"; forward {best(lambda: phi(x), 3):.3f} s", end="")
    y = x.clone().requires_grad_()
    print(f"; with gradient {best(lambda: torch.autograd.grad(phi(y).vector.sum(), y), 3):.3f} s", flush=True)


class Loop:
    """A process pool of one that is no process."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def map(self, function: Callable[..., object], work: object) -> list[object]:
        return [function(item) for item in work]  # type: ignore[attr-defined]

    def close(self) -> None:
        pass


def peer(x: torch.Tensor, J: int) -> None:
    try:
        import pywph.wph_operator as module
    except ImportError:
        print("pywph is not installed: no comparison")
        return
    module.mp.Pool = Loop
    module.get_memory_available = lambda device: 2**30
    start = time.process_time()
    phi = module.WPHOp(*x.shape, J, L=4)
    phi.load_model(["S11", "S00", "S01", "C01", "Cphase", "L"])
    phi.load_filters()
    built = time.process_time() - start
    with torch.no_grad():
        forward = best(lambda: phi.apply(x.clone()), 1)

    def slope() -> None:
        y, chunks = phi.preconfigure(x.clone(), requires_grad=True)
        for i in range(chunks):
            values, _ = phi.apply(y, i, ret_indices=True)
            values.abs().sum().backward(retain_graph=True)

    print(f"pywph   {phi.nb_wph_moments + phi.nb_scaling_moments} complex numbers; filters {built:.2f} s; "
          f"forward {forward:.2f} s; with gradient {best(slope, 1):.2f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--peer", type=Path, help="folder that holds pywph")
    chosen = parser.parse_args()
    if chosen.peer:
        sys.path.append(str(chosen.peer))
    torch.set_num_threads(1)
    x = torch.randn(chosen.size, chosen.size, generator=torch.Generator().manual_seed(0))
    J = chosen.size.bit_length() - 2
    print(f"torch {torch.__version__}, {chosen.size} x {chosen.size}, J={J}")
    ours(x, J)
    peer(x, J)


if __name__ == "__main__":
    main()
