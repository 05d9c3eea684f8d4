"""Seconds and CPU seconds of a verdict, part by part: 2 x 10k events (5 features) and 2 x 1000 images (80 x 80).

    python benchmarks/judge_speed.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sundog import Dataset, judge
from sundog.statistics.catalogue.table import catalogue
from sundog.verdicts.compare import WHOLE_SAMPLE


def events(seed: int) -> Tensor:
    """10,000 correlated events of five features."""
    z = torch.randn(10_000, 5, generator=torch.Generator().manual_seed(seed))
    z[:, 1] += 0.8 * z[:, 0]
    return z


def images(seed: int) -> Tensor:
    """1000 lognormal maps of 80 x 80 pixels with P(k) ~ k^-2."""
    generator, size = torch.Generator().manual_seed(seed), 80
    k = torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None, :] ** 2
    k[0, 0] = torch.inf
    white = torch.fft.rfft2(torch.randn(1000, size, size, generator=generator))
    field = torch.fft.irfft2(white / k.sqrt(), s=(size, size))
    return torch.exp(0.6 * field / field.std())


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def parts(real: Dataset, fake: Dataset, limit: float) -> None:
    """Print the whole verdict, then each statistic alone."""
    wall, cpu = timed(lambda: judge(real, fake))
    print(f"{real.kind}: {wall:.1f} s wall, {cpu:.1f} s CPU (limit {limit} s)", flush=True)
    for name in [s.name for s in catalogue(real.kind)] + list(WHOLE_SAMPLE):
        wall, cpu = timed(partial(judge, real, fake, statistics=name))
        print(f"  {name:22s} {wall:6.2f} s wall {cpu:6.2f} s CPU, measuring features included", flush=True)


def main() -> None:
    """Print one line per part."""
    print(f"torch threads {torch.get_num_threads()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for draw, limit in ((events, 20), (images, 60)):
        parts(*(Dataset.from_arrays(draw(seed)) for seed in (1, 2)), limit)


if __name__ == "__main__":
    main()
