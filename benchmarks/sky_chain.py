"""The published chain from end to end: kappa -> PIXGAN -> VAEGAN -> stitched sky -> other frequencies, judged.

Two simulated skies teach. PIXGAN (`translate`, a GAN without noise) makes tSZ, kSZ, CIB and radio of kappa on tiles;
VAEGAN (`refine`) corrects its maps of Gaussian kappas towards simulated ones, unpaired; five skies are stitched from
Gaussian kappas, scaled to 217 GHz, and compared with five simulated ones. The last arm is no network: the law of
`noise="heavy-tailed"`, untrained. Smoothed with a beam of two pixels, all of them.

    OMP_NUM_THREADS=1 python benchmarks/sky_chain.py --nside 64 --steps 300 --out DIR

Parts are kept in DIR and not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

import sundog
from sundog.data.sky.sphere import analysis, angular_spectrum, gaussian_alm, synthesis
from sundog.data.sky.tiles import TileLayout
from sundog.random import numpy_stream
from sundog.simulate.sky import SkyMaps, simulate_sky
from sundog.tasks.sky import generate_sky, geometric_edges, judge_skies, rescale, sky_patches, sky_spectra, with_beam

NAMES, UNITS = ("kappa", "tsz", "ksz", "cib", "radio"), ("", "uK", "uK", "uK", "uK")
TAUGHT, TRUTH, MADE = (0, 1), (2, 3, 4, 5, 6), (0, 1, 2, 3, 4)
ARMS = ("PIXGAN", "PIXGAN + VAEGAN", "start with tails")


def kept(path: Path, make) -> SkyMaps:
    """A sky of a folder, made when it is not there."""
    if not (path / "sky.json").exists():
        make().save(path)
    return SkyMaps.load(path)


def simulated_sky(o: argparse.Namespace, seed: int, beam: float) -> SkyMaps:
    return kept(o.out / f"sky{seed}", lambda: with_beam(simulate_sky(o.nside, seed), beam))


def tiles(skies: list, layout: TileLayout) -> torch.Tensor:
    number = len(skies) * sum(layout.count(row) for row in range(layout.rows))
    return sky_patches([dict(sky) for sky in skies], number, layout).values


def dataset(values: torch.Tensor, prefix: tuple[str, ...] = ("",)) -> sundog.Dataset:
    names = [p + name for p in prefix for name in NAMES]
    return sundog.Dataset.from_arrays(values, names=names, units=UNITS * len(prefix), held_out_fraction=0.0)


def networks(o: argparse.Namespace, learn: torch.Tensor, power: np.ndarray, layout: TileLayout) -> dict:
    """The three translators, and the CPU seconds of their training."""
    plan, costs = sundog.Plan(steps=o.steps, batch=16, validate_every=o.steps), {}
    options = {"parameters": 4e5, "symmetry": "dihedral"}

    def trained(name: str, family: str, data: sundog.Dataset, plan: sundog.Plan, **more):
        start, path = time.process_time(), o.out / name
        run = sundog.load_run(path) if path.exists() else sundog.fit(family, data, plan=plan, seed=0, out=path, **more)
        cost = o.out / f"{name}.cpu"
        if not cost.exists():
            cost.write_text(f"{time.process_time() - start:.0f}")
        costs[name] = float(cost.read_text())
        return run

    pixgan = trained("pixgan", "translate", dataset(learn), plan, method="gan", noise="none", **options)
    alms = [gaussian_alm(power, numpy_stream(9, "chain", i), np.complex64) for i in TAUGHT]
    kappas = [{"kappa": synthesis(alm, o.nside)} for alm in alms]
    fakes = pixgan.translate(sky_patches(kappas, len(learn), layout).values, seed=0).values[: len(learn)]
    both = dataset(torch.cat([fakes, learn[: len(fakes)].flip(0)], 1), ("fake ", ""))
    vaegan = trained("vaegan", "refine", both, plan, parameters=4e5)
    tails = trained("tails", "translate", dataset(learn), sundog.Plan(steps=0), noise="heavy-tailed", method="gan",
                    **options)

    def of(run, refine=None):
        def translator(kappa: torch.Tensor, g: torch.Generator) -> torch.Tensor:
            seed = int(torch.randint(2**31, (), generator=g))
            found = run.translate(kappa, seed=seed).values
            return found if refine is None else refine.translate(found, seed=seed).values[:, len(NAMES) :]
        return translator

    return {"PIXGAN": of(pixgan), "PIXGAN + VAEGAN": of(pixgan, vaegan), "start with tails": of(tails), "costs": costs}


def numbers(sky: SkyMaps, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Spectra, correlation with kappa, skewness and kurtosis of each map."""
    found = sky_spectra(dict(sky), edges)
    centred = [(x - x.mean()) / x.std() for x in (np.asarray(values, float) for _, values in sky)]
    shape = {name: np.array([(x**n).mean() for x in centred]) for name, n in (("skewness", 3), ("kurtosis", 4))}
    return {"power": np.einsum("iib->ib", found.power), "r": found.correlation[0], **shape}


def table(arm: str, ghz: float, real: list, made: list, edges: np.ndarray) -> None:
    """Rows of one arm at one frequency."""
    true, fake = ([numbers(sky if ghz == 148 else rescale(sky, ghz), edges) for sky in group] for group in (real, made))
    for i, name in enumerate(NAMES):
        if ghz != 148 and name in ("kappa", "ksz"):
            continue
        t, f = ({key: np.mean([x[key][i] for x in group], 0) for key in group[0]} for group in (true, fake))
        spread = [np.std([x["power"][i] for x in group], 0, ddof=1) / math.sqrt(len(group)) for group in (true, fake)]
        ratio = f["power"] / t["power"]
        error = ratio * np.hypot(spread[0] / t["power"], spread[1] / f["power"])
        cells = [arm, f"{ghz:g}", name, ", ".join(f"{a:.2f} ± {b:.2f}" for a, b in zip(ratio, error)),
                 *(", ".join(f"{v:.2f}" for v in x["r"]) for x in (t, f)),
                 *(f"{t[key]:.1f}, {f[key]:.1f}" for key in ("skewness", "kurtosis"))]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nside", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    pixel = 60 * math.degrees(math.sqrt(math.pi / 3) / o.nside)
    layout = TileLayout(32, pixel, 8)
    simulated = {seed: simulated_sky(o, seed, 2 * pixel) for seed in (*TAUGHT, *TRUTH)}
    real = [simulated[seed] for seed in TRUTH]
    harmonics = [analysis(simulated[i].kappa - simulated[i].kappa.mean(), 2 * o.nside) for i in TAUGHT]
    power = np.mean([angular_spectrum(alm) for alm in harmonics], 0)
    power[0] = 0
    made = networks(o, tiles([simulated[i] for i in TAUGHT], layout), power, layout)
    edges = geometric_edges(20, 3 * o.nside // 2, 3)
    print(f"NSIDE {o.nside}, {o.steps} steps; CPU s of training {json.dumps(made['costs'])}")
    print("| arm | GHz | map | spectrum over simulated, three bands | r with kappa: simulated | made | skewness: "
          "simulated, made | kurtosis |\n|---|---|---|---|---|---|---|---|")
    verdicts = []
    for arm in o.arms:
        skies = [kept(o.out / f"{arm.replace(' ', '')}{i}", lambda i=i, arm=arm: SkyMaps(generate_sky(
            made[arm], power, o.nside, i, layout=layout).maps)) for i in MADE]
        for ghz in (148.0, 217.0):
            table(arm, ghz, real, skies, edges)
        verdicts.append(f"{arm}: {judge_skies(real, skies, layout=layout, patches=100, statistics='deciding')}")
    print("\n" + "\n\n".join(verdicts))


if __name__ == "__main__":
    main()
