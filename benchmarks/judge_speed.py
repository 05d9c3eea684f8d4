"""CPU seconds and memory of whole verdicts, and how they grow with the number of events.

    python benchmarks/judge_speed.py --sizes 1000 10000 100000 --images 1000
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from torch import Tensor

from sundog import Dataset, judge


def events(n: int, seed: int) -> Dataset:
    """Correlated events of five features."""
    z = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))
    z[:, 1] += 0.8 * z[:, 0]
    return Dataset.from_arrays(z)


def images(n: int, seed: int) -> Dataset:
    """Lognormal maps of 80 x 80 pixels with P(k) ~ k^-2."""
    generator, size = torch.Generator().manual_seed(seed), 80
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    field: Tensor = torch.fft.irfft2(torch.fft.rfft2(torch.randn(n, size, size, generator=generator)) / k.sqrt(),
                                     s=(size, size))
    return Dataset.from_arrays(torch.exp(0.6 * field / field.std()))


def cost(real: Dataset, fake: Dataset) -> float:
    """Print and return the CPU seconds of one verdict."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judge(real, fake)
    spent, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"2 x {len(real)} {real.kind}: {spent:.1f} CPU s, peak memory {before / 1024:.0f} -> {peak / 1024:.0f} MB",
          flush=True)
    return spent


def main() -> None:
    """Print one line per size, then the exponent of the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge(events(100, 0), events(100, 1))  # loads what is loaded at first use
    spent = [cost(events(n, 1), events(n, 2)) for n in options.sizes]
    if len(spent) > 1:
        print(f"growth: n^{np.polyfit(np.log(options.sizes), np.log(spent), 1)[0]:.2f}")
    if options.images:
        cost(images(options.images, 1), images(options.images, 2))


if __name__ == "__main__":
    main()
