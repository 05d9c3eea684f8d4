"""Many skies by the command line, one of the workers killed on the way; then their covariance.

Starts `sundog sky simulate --seeds`, kills one worker process with SIGKILL when the first sky is there, and when the
command has ended gives it again if it has not made all. Says what was made once, twice or not; compares one sky with
the same seed alone, bit by bit; prints the covariance of the spectra and what it takes of memory.

    python benchmarks/sky_ensemble.py --nside 64 --skies 40 --workers 2 --out DIR
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sundog.simulate.sky import SkyMaps, simulate_sky
from sundog.tasks.sky import geometric_edges, skies_in, sky_covariance


def workers_of(parent: int) -> list[int]:
    """Processes below a process that dask started to work."""
    below = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in below.splitlines()[1:]]
    found = {parent}
    for _ in range(4):
        found |= {int(pid) for pid, above, _ in rows if int(above) in found}
    return [int(pid) for pid, _, words in rows if int(pid) in found and "spawn_main" in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nside", type=int, default=64)
    parser.add_argument("--skies", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    words = [sys.executable, "-m", "sundog.cli", "sky", "simulate", "--nside", str(given.nside), "--seeds",
             f"0:{given.skies}", "--workers", str(given.workers), "--out", str(given.out), "--quiet"]
    start, killed = time.time(), 0
    running = subprocess.Popen(words)
    while running.poll() is None:
        time.sleep(1)
        if not killed and list(given.out.glob("sky_*/sky.json")) and (workers := workers_of(running.pid)):
            killed = workers[0]
            os.kill(killed, signal.SIGKILL)
            print(f"killed worker {killed} with {len(list(given.out.glob('sky_*/sky.json')))} skies done", flush=True)
    made = {path.parent.name: path.stat().st_mtime_ns for path in given.out.glob("sky_*/sky.json")}
    print(f"first command: exit {running.returncode}, {len(made)} of {given.skies} skies, {time.time() - start:.0f} s")
    if len(made) < given.skies:
        again = subprocess.run(words, check=True)
        kept = all((given.out / name / "sky.json").stat().st_mtime_ns == when for name, when in made.items())
        print(f"second command: exit {again.returncode}; skies of the first kept: {kept}")
    left = [path.name for path in given.out.iterdir() if path.name.startswith(".")]
    alone = simulate_sky(given.nside, seed=given.skies // 2)
    same = all(np.array_equal(a, b) for (_, a), (_, b) in zip(
        alone, SkyMaps.load(given.out / f"sky_{given.skies // 2:04d}")))
    print(f"left over: {left}; sky {given.skies // 2} has the bits that it has alone: {same}")
    found = sky_covariance(skies_in([given.out]), geometric_edges(20, 3 * given.nside // 2, 5))
    found.save(given.out / "covariance.npz")
    print(found)
    print(json.dumps({"skies": found.count, "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                      "cpu_s_of_children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime}))


if __name__ == "__main__":
    main()
