"""How long does it take to begin? `import sundog` beyond torch, and `sundog --help`.

    python benchmarks/startup.py [--rounds 9]

Prints the median and the smallest of fresh processes, wall and CPU seconds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def fresh(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    python, command = sys.executable, Path(sys.executable).with_name("sundog")
    everything = "import torch, sundog; sundog.fit, sundog.judge, sundog.load, sundog.Dataset"
    jobs = {
        "import torch": [python, "-c", "import torch"],
        "import torch, sundog": [python, "-c", "import torch, sundog"],
        "all public names": [python, "-c", everything],
        "sundog --help": [str(command), "--help"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            times[name].append(fresh(job))
    for name, pairs in times.items():
        wall, cpu = ([pair[i] for pair in pairs] for i in (0, 1))
        print(f"{name:21s} wall {statistics.median(wall):.2f} s (least {min(wall):.2f}), "
              f"CPU {statistics.median(cpu):.2f} s (least {min(cpu):.2f})")
    beyond = min(w for w, _ in times["import torch, sundog"]) - min(w for w, _ in times["import torch"])
    print(f"import sundog beyond torch: {beyond:.3f} s")


if __name__ == "__main__":
    main()
