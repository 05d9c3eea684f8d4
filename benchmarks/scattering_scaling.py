"""How do time and memory of the scattering statistics grow? Scaling table of docs/scattering.md.

    python benchmarks/scattering_scaling.py                    every row below, then the table
    python benchmarks/scattering_scaling.py maps skies cubes harmonics lines     some of them

maps 128^2 ... 2048^2, cubes 64^3 and 128^3, skies of nside 64, 128, 256, lines 2^12 ... 2^18 (isotropic scattering
covariances at their default J and accuracy, white noise, float32) and wavelet phase harmonics of maps 64^2 ... 512^2.
Forward and gradient. CPU seconds of one thread, median of three after a warm-up (one run above 10 s); memory is the
growth of the largest resident size in a fresh process. Rows are kept in --out (default ~/.cache/sundog-benchmarks), and
not measured twice.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

KINDS = {
    "maps": ((128, 256, 512, 1024, 2048), "pixels", lambda n: n**2),
    "cubes": ((64, 128), "voxels", lambda n: n**3),
    "skies": ((64, 128, 256), "pixels", lambda n: 12 * n**2),
    "lines": ((2**12, 2**14, 2**16, 2**18), "points", lambda n: n),
    "harmonics": ((64, 128, 256, 512), "pixels", lambda n: n**2),
}


def build(kind: str, size: int) -> tuple[object, tuple[int, ...]]:
    """The transform of one row, and the shape of its field."""
    from sundog.statistics.harmonics.transform import PhaseHarmonics
    from sundog.statistics.scattering.covariance import ScatteringCovariance
    from sundog.statistics.scattering.line import LineScatteringCovariance
    from sundog.statistics.scattering.volume import VolumeScatteringCovariance
    from sundog.statistics.sphere.scattering import SphereScatteringCovariance

    if kind == "maps":
        return ScatteringCovariance((size, size), isotropic=True), (size, size)
    if kind == "cubes":
        return VolumeScatteringCovariance((size,) * 3, isotropic=True), (size,) * 3
    if kind == "skies":
        return SphereScatteringCovariance(size), (12 * size**2,)
    if kind == "lines":
        return LineScatteringCovariance(size), (size,)
    return PhaseHarmonics((size, size)), (size, size)


def status(word: str) -> int:
    """A figure of this process, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(word))


def measure(kind: str, size: int) -> dict[str, float]:
    """Time and memory of one row, in this process."""
    torch.set_num_threads(1)
    transform, shape = build(kind, size)
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    small, low = build(kind, 64 if kind == "lines" else 16)
    y = torch.randn(*low, requires_grad=True)
    torch.autograd.grad(small(y).vector.sum(), y)  # libraries loaded
    with torch.no_grad():
        transform(x[: shape[0]])  # plans made
    Path("/proc/self/clear_refs").write_text("5")
    before, times = status("VmRSS"), []
    while len(times) < 4 and (len(times) < 1 or times[0] < 10):
        start = time.process_time()
        torch.autograd.grad(transform(x).normalised().vector.sum(), x)
        times.append(time.process_time() - start)
        if len(times) == 1:
            grown = (status("VmHWM") - before) / 1024
    return {"seconds": statistics.median(times[1:] or times), "MB": grown, "J": transform.J, "K": len(transform.labels)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"some of {', '.join(KINDS)}; all when left out")
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache" / "sundog-benchmarks")
    parser.add_argument("--row", nargs=2, metavar=("KIND", "SIZE"), help="measure one row and print it as JSON")
    chosen = parser.parse_args()
    if set(chosen.kinds) - set(KINDS):
        parser.error(f"rows are {', '.join(KINDS)}")
    if chosen.row:
        print(json.dumps(measure(chosen.row[0], int(chosen.row[1]))))
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    allocator = "tuned" if os.environ.get("MALLOC_MMAP_THRESHOLD_") else "stock glibc"
    print(f"torch {torch.__version__}, one thread, allocator {allocator}")
    for kind in chosen.kinds or KINDS:
        sizes, unit, count = KINDS[kind]
        rows = []
        for size in sizes:
            kept = chosen.out / f"scaling-{kind}-{size}.json"
            if not kept.exists():
                call = [sys.executable, __file__, "--row", kind, str(size)]
                kept.write_text(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
            rows.append(json.loads(kept.read_text()))
            row = rows[-1]
            print(f"{kind:10s} {size:7d}  J={row['J']:2.0f} K={row['K']:6.0f}  {row['seconds'] * 1e3:10.1f} ms  "
                  f"{row['MB']:7.0f} MB", flush=True)  # fmt: skip
        slope, error = exponent([count(size) for size in sizes], [row["seconds"] for row in rows])
        print(f"{kind:10s} time ~ {unit}^{slope:.2f}{error}")


def exponent(counts: list[int], seconds: list[float]) -> tuple[float, str]:
    """Least-squares slope in logarithms, and its error where there are more than two points."""
    x, y = np.log(counts), np.log(seconds)
    if len(x) < 3:
        return float(np.polyfit(x, y, 1)[0]), ""
    slope, covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope[0]), f" +- {covariance[0, 0] ** 0.5:.2f}"


if __name__ == "__main__":
    main()
