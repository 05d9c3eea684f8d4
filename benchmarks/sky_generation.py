"""Whole skies through the command line: simulate, train, generate, and how far the fakes are from skies never seen.

    python benchmarks/sky_generation.py --out FOLDER [--nside 256] [--seconds 300] [--method flow-matching]

Skies 0 and 1 teach, 2 gives the transfer function, 3 and 4 are the truth. Tables: spectra of the generated sky over
the truth, raw and corrected, beside the scatter of one true sky; correlation with kappa; the judge on patches.
Every stage is kept in FOLDER and not done again. CPU seconds of the commands, one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

import sundog
from sundog.data.sky.tiles import TileLayout
from sundog.simulate.sky import SkyMaps
from sundog.tasks.sky import geometric_edges, sky_patches, sky_spectra

TAUGHT, HELD_OUT, TRUTH = (0, 1), (2,), (3, 4)


def command(words: list[str], costs: Path, name: str) -> float:
    """CPU seconds of one word of the command line; those of the first time when it was run before."""
    known = json.loads(costs.read_text()) if costs.exists() else {}
    if name not in known:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "sundog.cli", *words, "--quiet"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        known[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        costs.write_text(json.dumps(known))
    print(f"{name}: {known[name]:.0f} CPU s", flush=True)
    return float(known[name])


def spectra(maps: dict[str, np.ndarray], edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Auto-spectra (n, b), and correlation coefficients with the first map (n, b)."""
    found = sky_spectra(maps, edges)
    return np.einsum("iib->ib", found.power), found.correlation[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nside", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--method", default="flow-matching")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    costs = given.out / "costs.json"
    for seed in (*TAUGHT, *HELD_OUT, *TRUTH):
        command(["sky", "simulate", "--nside", str(given.nside), "--seed", str(seed),
                 "--out", str(given.out / f"sky{seed}")], costs, f"simulate {seed}")
    run, made = given.out / f"run-{given.method}", given.out / f"made-{given.method}"
    command(["sky", "train", *(str(given.out / f"sky{i}") for i in TAUGHT), "--method", given.method,
             "--seconds", str(given.seconds), "--out", str(run)], costs, f"train {given.method}")
    command(["sky", "generate", str(run), "--nside", str(given.nside), "--seed", "1", "--out", str(made),
             *(word for i in HELD_OUT for word in ("--held-out", str(given.out / f"sky{i}")))],
            costs, f"generate {given.method}, transfer function of {len(HELD_OUT)} skies included")
    real = [dict(SkyMaps.load(given.out / f"sky{i}")) for i in TRUTH]
    names = list(real[0])
    fakes = {kind: {name: np.load(path if kind == "corrected" and path.exists() else made / f"{name}.npy")
                    for name in names for path in [made / f"{name}_corrected.npy"]} for kind in ("raw", "corrected")}
    edges = geometric_edges(20, 3 * given.nside // 2, 6)
    true = [spectra(sky, edges) for sky in real]
    autos = np.stack([auto for auto, _ in true])
    power, scatter = autos.mean(0), autos.std(0, ddof=1)
    found = {kind: spectra(maps, edges) for kind, maps in fakes.items()}
    print("\n| map | l | raw / true | corrected / true | scatter | r with kappa: true | raw | corrected |")
    print("|---|---|---|---|---|---|---|---|")
    for i, name in enumerate(names):
        for b in range(len(edges) - 1):
            r = np.mean([correlation[i, b] for _, correlation in true])
            print(f"| {name} | {edges[b]}-{edges[b + 1]} | {found['raw'][0][i, b] / power[i, b]:.3f} | "
                  f"{found['corrected'][0][i, b] / power[i, b]:.3f} | {scatter[i, b] / power[i, b]:.3f} | "
                  f"{r:.3f} | {found['raw'][1][i, b]:.3f} | {found['corrected'][1][i, b]:.3f} |")
    for kind, maps in fakes.items():
        layout = TileLayout(64, min(60 * math.degrees(math.sqrt(math.pi / 3) / given.nside), 30.0), 16)
        verdict = sundog.judge(sky_patches(real, 200, layout), sky_patches([maps], 100, layout))
        print(f"\n{kind}:\n{verdict}", flush=True)


if __name__ == "__main__":
    main()
