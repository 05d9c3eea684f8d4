"""What does the simulated sky look like: convergence against the non-linear spectrum, correlations, skewness, cost?

Each seed runs in a process of its own (its CPU time and largest memory are its own) and leaves a json file in the
folder of --out; a seed that is there is not run again. Then tables over the seeds, mean and error of the mean.

    python benchmarks/sky_simulator.py --nside 512 --seeds 0 1 2 3 --out DIR
    python benchmarks/sky_simulator.py --nside 512 1024 2048 --shell 20

--shell measures one shell and the transforms of the end alone, and extrapolates the whole sky from them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sundog.simulate.sky.cosmology import cosmology, matter_power
from sundog.simulate.sky.shells import lensing_power

PAIRS = [("kappa", "cib"), ("kappa", "tsz"), ("cib", "tsz"), ("kappa", "radio"), ("kappa", "ksz"), ("tsz", "ksz")]
BANDS = [(30, 100), (100, 300), (300, 700)]
DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "sky"


def lensing_edges(high: int) -> list[int]:
    """Edges of bands 100 wide, from l = 500 on 0.2 l wide."""
    edges = [50, 100, 200, 300, 400, 500]
    while 1.2 * edges[-1] < high:
        edges.append(100 * math.ceil(1.2 * edges[-1] / 100))
    return [edge for edge in edges if edge < high] + [high]


def measured(nside: int, seed: int, cosmology: str, folder: Path) -> dict:
    from sundog.simulate.sky import simulate_sky

    start = time.process_time()
    sky = simulate_sky(nside, seed, cosmology, out=folder / f"maps_{nside}" if nside >= 1024 else None)
    spent, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"NSIDE {nside}, seed {seed}: {spent:.1f} CPU s, {memory:.2f} GB", flush=True)
    facts = {"nside": nside, "seed": seed, "cosmology": cosmology, "cpu": spent, "rss_gb": memory,
             "halos": sky.provenance["halos"]}
    return facts | statistics(sky, min(5 * nside // 2, 5000))


def statistics(sky, lmax: int) -> dict:
    from sundog.data.sky.sphere import analysis, angular_spectrum, truncated

    moments, alm = {}, {}
    for name, values in sky:
        x = np.asarray(values, np.float64)
        centred = x - x.mean()
        moments[name] = [x.mean(), x.std(), float((centred**3).mean() / x.std() ** 3), x.min(), x.max()]
        alm[name] = analysis(centred.astype(np.float32), lmax if name in ("kappa", "ksz") else min(lmax, 1500),
                             iterations=2)
    cut = {name: truncated(values, min(lmax, 1500)) for name, values in alm.items()}
    power = {f"{a} {b}": angular_spectrum(*((alm[a], alm[b]) if a == b else (cut[a], cut[b]))).tolist()
             for a in alm for b in alm if a <= b}
    return {"moments": {k: [float(v) for v in m] for k, m in moments.items()}, "power": power}


def band(power: np.ndarray, low: int, high: int) -> float:
    weight = 2 * np.arange(len(power)) + 1
    return float((power * weight)[low:high].sum() / weight[low:high].sum())


def spread(x: list) -> str:
    """Mean and its error over seeds."""
    return f"{np.mean(x):.3f} +- {np.std(x, ddof=1) / math.sqrt(len(x)):.3f}" if len(x) > 1 else f"{x[0]:.3f}"


def table(runs: list[dict]) -> None:
    get = lambda run, a, b: np.array(run["power"][" ".join(sorted((a, b)))])  # noqa: E731
    print(f"NSIDE {runs[0]['nside']}, seeds {[r['seed'] for r in runs]}, CPU s {[round(r['cpu'], 1) for r in runs]}, "
          f"GB {[round(r['rss_gb'], 2) for r in runs]}, halos {[r['halos'] for r in runs]}")
    lmax = len(get(runs[0], "kappa", "kappa")) - 1
    wanted = lensing_power(matter_power(cosmology(runs[0]["cosmology"])), lmax)
    published = np.load(DATA / "s10_clkk.npz")["clkk"] if DATA.exists() else np.zeros(0)
    print("\n| l | kappa over target | error of Gaussian fields | S10 over target | kSZ D_l, uK^2 |")
    print("|---|---|---|---|---|")
    edges = lensing_edges(lmax)
    for low, high in zip(edges[:-1], edges[1:]):
        ratio = [band(get(r, "kappa", "kappa"), low, high) / band(wanted, low, high) for r in runs]
        sigma = math.sqrt(2 / ((2 * np.arange(low, high) + 1).sum() * len(runs)))
        s10 = band(published[: lmax + 1], low, high) / band(wanted, low, high) if high <= len(published) else math.nan
        ell = np.arange(low, high)
        ksz = [float((ell * (ell + 1) / 2 / math.pi * get(r, "ksz", "ksz")[low:high]).mean()) for r in runs]
        print(f"| {low}-{high} | {spread(ratio)} | {sigma:.3f} | {s10:.3f} | {spread(ksz)} |")
    lmax = min(lmax, 1500)
    print("\n| correlation | " + " | ".join(f"l {a}-{b}" for a, b in BANDS) + " |\n|---|---|---|---|")
    for a, b in PAIRS:
        cells = []
        for low, high in BANDS:
            r = [band(get(x, a, b), low, min(high, lmax)) / math.sqrt(
                band(get(x, a, a), low, min(high, lmax)) * band(get(x, b, b), low, min(high, lmax))) for x in runs]
            cells.append(spread(r) if lmax > low else "-")
        print(f"| {a} x {b} | " + " | ".join(cells) + " |")
    print("\n| map | mean | std | skewness | D_100 | D_500 | D_1000 |\n|---|---|---|---|---|---|---|")
    for name in ("kappa", "tsz", "ksz", "cib", "radio"):
        cells = [spread([r["moments"][name][i] for r in runs]) for i in range(3)]
        for ell in (100, 500, 1000):
            d = [ell * (ell + 1) / 2 / math.pi * band(get(r, name, name), int(0.9 * ell), int(1.1 * ell)) for r in runs]
            cells.append(spread(d) if 1.1 * ell < lmax else "-")
        print(f"| {name} | " + " | ".join(cells) + " |")


def of_one_shell(nside: int, index: int, folder: Path) -> None:
    """CPU seconds of what is the same at every NSIDE, of one shell and of one transform of the end; memory, with the
    maps in a folder."""
    from sundog.simulate.sky import simulator as making
    from sundog.simulate.sky.sources import DustShell, RadioCounts

    region, start = making.Region(nside), time.process_time()
    sky = making._Builder.start(0, cosmology(), making.new_maps(folder, region.pixels, making.NAMES), region, 1e13,
                                RadioCounts(), 0.0, 1, folder)
    velocities = making.matter.draw_velocities(sky.power, sky.shells, 0, sky.lmax)
    fixed = time.process_time() - start
    for i in (index, index + 1):  # the second finds the tables of the first
        start = time.process_time()
        sky.add(sky.shells[i], DustShell.of(sky.power, sky.shells[i]), 1.0, velocities[i])
    shell, start = time.process_time() - start, time.process_time()
    sky.synthesis(sky._adjoint(sky.sums["ksz"], 3 * nside - 1))
    both = time.process_time() - start
    bins = math.log2(nside) - 4  # of angular size: five at NSIDE 512
    whole = fixed + len(sky.shells) * shell + (3 * bins + 4) / 2 * both
    print(f"NSIDE {nside}, shell {index}: {fixed:.1f} CPU s once, {shell:.2f} a shell, {both:.2f} a transform there "
          f"and back; whole sky {whole:.0f}, extrapolated; "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nside", type=int, nargs="+", default=[512])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--cosmology", default="wmap5")
    parser.add_argument("--out", type=Path, default=Path("sky_benchmark"))
    parser.add_argument("--shell", type=int)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shell is not None:
        for nside in options.nside:
            of_one_shell(nside, options.shell, options.out / f"shells_{nside}")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path = lambda nside, seed: options.out / f"{options.cosmology}_{nside}_{seed}.json"  # noqa: E731
    if options.one is not None:
        found = measured(options.nside[0], options.one, options.cosmology, options.out)
        path(options.nside[0], options.one).write_text(json.dumps(found))
        return
    costs = []
    for nside in options.nside:
        for seed in options.seeds:
            if not path(nside, seed).exists():
                subprocess.run([sys.executable, __file__, "--nside", str(nside), "--cosmology", options.cosmology,
                                "--out", str(options.out), "--one", str(seed)], check=True)
        runs = [json.loads(path(nside, seed).read_text()) for seed in options.seeds]
        table(runs)
        costs.append([np.mean([run[name] for run in runs]) for name in ("cpu", "rss_gb")])
    for low, high, before, after in zip(options.nside, options.nside[1:], costs, costs[1:]):
        cpu, memory = np.log(np.divide(after, before)) / math.log(high / low)
        print(f"\nfrom NSIDE {low} to {high}: CPU s as NSIDE^{cpu:.2f}, memory as NSIDE^{memory:.2f}")


if __name__ == "__main__":
    main()
