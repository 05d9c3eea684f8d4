"""What fit costs beside its steps: memory beyond the data and CPU seconds, per million rows of five columns.

A fit of no steps in a process of its own, for two numbers of rows; the difference leaves out what does not depend on
them. Memory is the peak of the process above what it held before, data included.

    python benchmarks/fit_overhead.py [--rows 1000000 3000000]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

import sundog

COLUMNS = 5
CASES = {"plain": (), "a context": ("context",), "weights": ("weights",)}


def held() -> float:
    """Memory of this process now, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def one(rows: int, words: tuple[str, ...]) -> None:
    """Prints peak memory above that before the fit (MiB), and CPU seconds."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(rows, generator=g) if "weights" in words else None
    data = sundog.Dataset.from_arrays(torch.randn(rows, COLUMNS, generator=g), weights=weights)
    context = "x4" if "context" in words else None
    plan = sundog.Plan(steps=0, batch=64, device="cpu")
    sundog.fit("flow", data[:1000], context=context, plan=plan, layers=1, hidden=(8,))  # what is loaded but once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = held(), time.process_time()
    sundog.fit("flow", data, context=context, plan=plan, layers=1, hidden=(8,))
    spent = time.process_time() - start
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(peak / 1024 - before, spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=(1_000_000, 3_000_000))
    parser.add_argument("--one", nargs="*", help="internal: one fit in this process")
    o = parser.parse_args()
    if o.one:
        one(int(o.one[0]), tuple(o.one[1:]))
        return
    size = COLUMNS * 4e6 / 2**20
    for name, words in CASES.items():
        found = [subprocess.run([sys.executable, __file__, "--one", str(rows), *words], check=True, capture_output=True,
                                text=True).stdout.split() for rows in o.rows]
        (mib, cpu), (more_mib, more_cpu) = ([float(number) for number in line] for line in found)
        millions = (o.rows[1] - o.rows[0]) / 1e6
        slope = (more_mib - mib) / millions
        print(f"{name:10} {slope:6.0f} MiB per million rows, {slope / size:.1f} x their size; "
              f"{(more_cpu - cpu) / millions:.2f} CPU s per million rows", flush=True)


if __name__ == "__main__":
    main()
