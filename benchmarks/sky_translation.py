"""From convergence to microwave maps: conditional GAN, flow matching and Gaussian on patches of simulated skies.

Two skies of NSIDE 512 are simulated (one to learn, one to test), smoothed with a beam, and cut into tangent-plane
tiles of 64 x 64 pixels. Every generator gets kappa and draws tSZ, kSZ, CIB and radio maps. On the other sky:

* r: largest difference of the correlation coefficient with kappa over the rings of |k|, fake minus true;
* residual: variance of the part that kappa does not predict, sum over rings of P (1 - r^2), fake over true;
* spectrum: mean of |P_fake / P_true - 1| over the rings, and the largest;
* kurtosis: <x^4> / <x^2>^2 of the pixels, fake over true: the shape, which no spectrum sees;
* square: correlation coefficient of the pixels with the square of kappa, fake minus true: whether peaks lie where they
  should, which no start knows.

Errors are bootstraps over tiles. The nulls take the true tiles that the generators are tested on, so that what is rare
among these tiles is in the nulls too: one half of them against the other half, and the first sky against them.

    OMP_NUM_THREADS=1 python benchmarks/sky_translation.py --out FOLDER --steps 200 1000 [--methods ...] [--show]
    OMP_NUM_THREADS=1 python benchmarks/sky_translation.py --out FOLDER --steps 100 --size 32 --steps-per-draw 6

--size takes a corner of each tile.

Parts are stored one by one, so a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sundog
from sundog.data.atomic import write_text
from sundog.data.scaling.chain import named_scaling
from sundog.data.sky.sphere import analysis, gaussian_beam, scaled
from sundog.data.sky.tiles import TileLayout, read_row
from sundog.simulate.sky import simulate_sky

NSIDE, LMAX, BEAM, LAYOUT = 512, 1024, 12.0, TileLayout(size=64, pixel_arcmin=6.0, overlap=8)
NAMES, UNITS = ("kappa", "tsz", "ksz", "cib", "radio"), ("", "uK", "uK", "uK", "uK")
METHODS: dict[str, dict[str, object]] = {
    "gaussian": {"method": "gan"},  # this and its variants below are never trained: the network adds nothing
    "gaussian with tails": {"method": "gan", "noise": "heavy-tailed"},
    "flow-matching": {"method": "flow-matching"},
    "flow-matching from tails": {"method": "flow-matching", "noise": "heavy-tailed"},
    "flow-matching from white noise": {"method": "flow-matching", "noise": "white"},
    "gan": {"method": "gan"},
    "gan from tails": {"method": "gan", "noise": "heavy-tailed"},
    **{f"gan without noise, weight {weight}": {"method": "gan", "noise": "none", "variance_weight": weight}
       for weight in (0, 10, 100, 1000)},  # published: 100
    "gaussian on a log-modulus scale": {"method": "gan", "scaling": "log-modulus"},
    "gaussian without a window": {"method": "gan", "periodic": True},
}
UNTRAINED = [name for name in METHODS if name.startswith("gaussian")]
RINGS, TESTED, BOOTSTRAPS = 8, 400, 200


def tiles(seed: int, folder: Path, size: int) -> np.ndarray:
    """All tiles of one sky, (n, 5, size, size) float32; kept whole in the folder."""
    path = folder / f"tiles-{seed}.npy"
    if not path.exists():
        sky = simulate_sky(NSIDE, seed=seed)
        beam = gaussian_beam(LMAX, BEAM)
        alms = [scaled(analysis(values, LMAX), beam) for _, values in sky]
        rows = [np.stack([read_row(alm, LAYOUT, row) for alm in alms], 1) for row in range(LAYOUT.rows)]
        np.save(path, np.concatenate(rows).astype(np.float32))
    return np.ascontiguousarray(np.load(path, mmap_mode="r")[..., :size, :size])


def rings(size: int) -> Tensor:
    """Which Fourier modes belong to which ring of |k|, logarithmic from 2 to a third of the size: (modes, rings)."""
    freq = torch.fft.fftfreq(size) * size
    k = (freq[:, None] ** 2 + freq[None] ** 2).sqrt().flatten()
    ring = torch.bucketize(k, torch.logspace(np.log10(2), np.log10(size / 3), RINGS + 1)) - 1
    return (ring[:, None] == torch.arange(RINGS)).float()


def spectra(maps: Tensor) -> tuple[Tensor, ...]:
    """Ring means of P_kk (n, rings), P_yy and P_ky (n, 4, rings) of each tapered tile; means of x^2, x^4, x q and q^2
    (n, 4, 4), q the square of kappa less its mean; modes of the rings."""
    size = maps.shape[-1]
    window = torch.hann_window(size, periodic=False)
    f = torch.fft.fft2((maps - maps.mean((-1, -2), keepdim=True)) * window[:, None] * window)
    members = rings(size)
    modes = members.sum(0)
    mean = members / modes
    power = f.abs().square().flatten(2) @ mean
    cross = (f[:, 1:] * f[:, :1].conj()).real.flatten(2) @ mean
    x = (maps - maps.mean((0, -1, -2), keepdim=True)).double()
    k, x = x[:, :1], x[:, 1:]
    q = k**2 - (k**2).mean()
    moments = torch.stack([y.mean((-1, -2)) for y in (x**2, x**4, x * q, (q**2).expand_as(x))], -1)
    return power[:, 0], power[:, 1:], cross, moments, modes


def compared(true: tuple[Tensor, ...], fake: tuple[Tensor, ...]) -> dict[str, list[float]]:
    """Per channel: largest |r_fake - r_true|, residual ratio, mean and largest error of the spectrum."""
    def laws(parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        kk, yy, ky = (part.mean(0) for part in parts[:3])
        return yy, ky / (kk * yy).sqrt()

    (p, r), (q, s) = laws(true), laws(fake)
    a, b = (parts[3].mean(0) for parts in (true, fake))
    modes = true[4]
    return {
        "r": (s - r).abs().amax(1).tolist(),
        "residual": ((q * (1 - s**2) * modes).sum(1) / (p * (1 - r**2) * modes).sum(1)).tolist(),
        "spectrum": (q / p - 1).abs().mean(1).tolist(),
        "worst": (q / p - 1).abs().amax(1).tolist(),
        "kurtosis": ((b[:, 1] / b[:, 0] ** 2) / (a[:, 1] / a[:, 0] ** 2)).tolist(),
        "square": (b[:, 2] / (b[:, 0] * b[:, 3]).sqrt() - a[:, 2] / (a[:, 0] * a[:, 3]).sqrt()).tolist(),
    }


def with_errors(true: tuple[Tensor, ...], fake: tuple[Tensor, ...]) -> dict[str, list[list[float]]]:
    """(value, bootstrap error over tiles) per channel of every number."""
    rng = torch.Generator().manual_seed(0)
    n = len(true[0])
    draws = []
    for _ in range(BOOTSTRAPS):
        rows = torch.randint(n, (n,), generator=rng)
        draws.append(compared(*((*(part[rows] for part in parts[:4]), parts[4]) for parts in (true, fake))))
    found = compared(true, fake)
    return {key: [[value, float(np.std([d[key][i] for d in draws]))] for i, value in enumerate(values)]
            for key, values in found.items()}


def averaged(found: list[dict[str, list[list[float]]]]) -> dict[str, list[list[float]]]:
    """Mean over trainings; its error is that of the tiles, which all share, and the scatter of the trainings."""
    numbers = {key: np.array([one[key] for one in found]) for key in found[0]}  # (trainings, channels, 2)
    return {key: np.stack([x[..., 0].mean(0), np.hypot(x[..., 1].mean(0), x[..., 0].std(0, ddof=1) / len(x) ** 0.5
                                                       if len(x) > 1 else 0)], -1).tolist()
            for key, x in numbers.items()}


def part(o: argparse.Namespace, method: str, steps: int, seed: int) -> dict[str, object]:
    learn, test = tiles(0, o.out, o.size), tiles(1, o.out, o.size)
    truth = tested(test)
    data = sundog.Dataset.from_arrays(learn, names=NAMES, units=UNITS, held_out_fraction=0.0,
                                      pixel_arcmin=LAYOUT.pixel_arcmin)
    options = {"parameters": o.parameters, "symmetry": "dihedral", **METHODS[method]}
    if options["method"] == "flow-matching":
        options["sampling_steps"] = o.steps_per_draw
    scaling = named_scaling(str(options.pop("scaling", "standard")))
    start = time.process_time()
    plan = sundog.Plan(steps=steps, batch=32, validate_every=max(1, steps), ema=0.995)
    run = sundog.fit("translate", data, plan=plan, seed=seed, scaling=scaling, **options)
    trained = time.process_time() - start
    start = time.process_time()
    fakes = run.translate(truth[:, :1], seed=seed + 1).values
    drawn = time.process_time() - start
    return {"method": method, "steps": steps, "cpu_s": trained, "drawing_ms": 1e3 * drawn / TESTED,
            "found": with_errors(spectra(truth), spectra(fakes))}


def tested(test: np.ndarray) -> Tensor:
    """The tiles of the second sky that generators are compared with."""
    return torch.from_numpy(test[np.random.default_rng(0).permutation(len(test))[:TESTED]])


def null(o: argparse.Namespace) -> dict[str, list[list[float]]]:
    """One half of the tested tiles against the other: what the sample alone gives."""
    one, other = tested(tiles(1, o.out, o.size)).chunk(2)
    return with_errors(spectra(one), spectra(other))


def other_sky(o: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Tiles of the sky that taught against the tested ones: what one sky can teach about another."""
    return with_errors(spectra(tested(tiles(1, o.out, o.size))), spectra(tested(tiles(0, o.out, o.size))))


def show(o: argparse.Namespace) -> None:
    parts = [json.loads(path.read_text()) for path in sorted(o.out.glob(f"part-*-{o.size}.json"))]
    parts.sort(key=lambda p: (list(METHODS).index(p["method"]), p["steps"]))
    print("| generator | CPU s | channel | r: largest error | residual variance | spectrum: mean, largest error | "
          "kurtosis | with the square of kappa |\n|---|---|---|---|---|---|---|---|")
    rows = []
    for (method, steps), group in groupby(parts, key=lambda p: (p["method"], p["steps"])):
        same = list(group)
        rows.append((method, f"{np.mean([p['cpu_s'] for p in same]):.0f} ({steps} steps, {len(same)} seeds)",
                     averaged([p["found"] for p in same])))
    nulls = [("*true against true*", "", null(o)), ("*sky that taught, against the other*", "", other_sky(o))]
    for name, cost, found in [*rows, *nulls]:
        for i, channel in enumerate(NAMES[1:]):
            cells = ["{:.3f} ± {:.3f}".format(*found[key][i]) for key in
                     ("r", "residual", "spectrum", "worst", "kurtosis", "square")]
            print(f"| {name} | {cost} | {channel} | {cells[0]} | {cells[1]} | {cells[2]}, {cells[3]} | {cells[4]} | "
                  f"{cells[5]} |")
            name = cost = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--parameters", type=float, default=400_000)
    parser.add_argument("--size", type=int, default=LAYOUT.size)
    parser.add_argument("--steps-per-draw", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training")
    parser.add_argument("--show", action="store_true")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for budget in [] if o.show else o.steps:
        for method in o.methods:
            steps = 0 if method in UNTRAINED else budget
            for seed in o.seeds:
                path = o.out / f"part-{method}-{steps}-{seed}-{o.size}.json"
                if not path.exists():
                    write_text(path, json.dumps(part(o, method, steps, seed)))
                    print(f"{method}, {steps} steps, seed {seed}: done", flush=True)
    show(o)


if __name__ == "__main__":
    main()
