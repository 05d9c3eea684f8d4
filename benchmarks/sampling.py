"""What sampling costs: CPU seconds, and memory beyond the run itself, by family and number of fakes.

Each line is a process of its own, one thread: networks of the default size, two steps of training. Memory is the peak
of the process above what it held before sampling, beside the size of the fakes.

python benchmarks/sampling.py                        # all families, about five minutes
python benchmarks/sampling.py gan-images diffusion   # these
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch

import sundog

CASES = {
    "flow": ("flow", (5,), {}, (100, 100_000)),
    "flow-matching": ("flow-matching", (5,), {}, (100, 100_000)),
    "diffusion": ("diffusion", (5,), {}, (100, 30_000)),
    "vae": ("vae", (5,), {}, (100, 1_000_000)),
    "mixture-vae": ("mixture-vae", (5,), {}, (100, 1_000_000)),
    "gan": ("gan", (5,), {}, (100, 1_000_000)),
    "diffusion-images": ("diffusion", (32, 32), {}, (8, 64)),
    "flow-matching-images": ("flow-matching", (32, 32), {}, (8, 64)),
    "gan-images": ("gan", (64, 64), {}, (100, 4000)),
    "gan-mmdl": ("gan", (5, 64, 64), {"preset": "mmdl"}, (8, 64)),
    "vae-images": ("vae", (64, 64), {}, (100, 4000)),
    "translate": ("translate", (2, 32, 32), {}, (8, 64)),
    "scattering": ("scattering", (32, 32), {"iterations": 20}, (4, 32)),
}


def peak() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, n: int) -> None:
    torch.set_num_threads(1)
    family, shape, options, _ = CASES[name]
    rows = 200 if len(shape) == 1 else 40
    data = sundog.Dataset.from_arrays(torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0)))
    run = sundog.fit(family, data, plan=sundog.Plan(steps=2, batch=16, device="cpu"), **options)
    run.sample(2, seed=1)
    before, start = peak(), time.process_time()
    fakes = run.sample(n, seed=2)
    print(f"{name:22} {n:9,} {time.process_time() - start:8.2f} CPU s {peak() - before:8.0f} MiB, fakes "
          f"{fakes.values.nbytes / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--rows", type=int, help="internal: measure one case in this process")
    given = parser.parse_args()
    if given.rows:
        measure(given.cases[0], given.rows)
    else:
        for case in given.cases:
            for rows in CASES[case][3]:
                subprocess.run([sys.executable, __file__, case, "--rows", str(rows)], check=True)
