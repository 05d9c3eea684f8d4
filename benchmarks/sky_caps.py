"""Small scales of simulated skies, on caps: convergence against the non-linear spectrum, kinetic SZ, cost of a cap.

Maps of caps are apodised, and their pseudo-spectra compared with those of Gaussian caps drawn from the non-linear
spectrum of the convergence with the same pixels, window and band limit. Each seed leaves a json file in the folder of
--out and is not run again.

    OMP_NUM_THREADS=1 python benchmarks/sky_caps.py --nside 2048 --cap 20 --seeds 0 1 2 3 --out DIR
    python benchmarks/sky_caps.py --law --out DIR
    python benchmarks/sky_caps.py --causes --nside 2048 --out DIR
    python benchmarks/sky_caps.py --limit --nside 512 --out DIR     (DIR of sky_simulator.py, same NSIDE)

The kinetic SZ is compared with its law, sum over shells of (T tau)^2 <v^2> (C_l of two halos + gas of one halo); --law
prints it with the gas outside of halos above 1e13 solar masses smoothed over a comoving radius. Where caps of half
the NSIDE and the same seeds are in the folder, the spectra of these are compared with the same skies' here.
--causes says by their laws what two parts of former versions did: the Gaussian of a lognormal field cut at the band
limit as it was, and resolved halos smoothed with a pixel, which left their power to the field around them.
--limit says what the kinetic SZ lacks below the band limit of the matter: velocities mix multipoles.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from sundog.data.sky.sphere import (
    adjoint,
    angular_spectrum,
    gaussian_alm,
    legendre_power,
    legendre_sum,
    pixelisation,
    synthesis,
)  # fmt: skip
from sundog.simulate.frequency import T_CMB
from sundog.simulate.sky import simulate_sky
from sundog.simulate.sky.cosmology import cosmology, matter_power
from sundog.simulate.sky.halos import NEAREST, HaloLaw, concentration, nfw_window, one_halo_power, virial_radius
from sundog.simulate.sky.points import Region
from sundog.simulate.sky.pressure import gas_window
from sundog.simulate.sky.shells import (
    density_power,
    lensing_power,
    lognormal_power,
    optical_depth,
    shells,
    variance,
    velocity_power,
)  # fmt: skip
from sundog.simulate.sky.simulator import RESOLVED

BANDS = [400, 600, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000, 4500, 5000]
GAUSSIAN = 4  # caps of Gaussian fields for every seed


def pseudo(values: np.ndarray, cap: Region, lmax: int) -> np.ndarray:
    """C_l of a map times a cosine window, over the mean square of the window."""
    theta = pixelisation(cap.nside).pix2ang(np.arange(cap.pixels))[:, 0]
    window = np.cos(0.5 * math.pi * theta / theta.max()).astype(np.float32) ** 2
    area = 4 * math.pi / (12 * cap.nside**2)
    mean = (values * window).sum() / window.sum()
    alm = adjoint((values - mean) * window * np.float32(area), lmax, nside=cap.nside, rings=cap.rings)
    return angular_spectrum(alm) * 4 * math.pi / ((window**2).sum() * area)


def banded(power: np.ndarray) -> list[float]:
    weight = 2 * np.arange(len(power)) + 1
    return [float((power * weight)[a:b].sum() / weight[a:b].sum()) for a, b in zip(BANDS, BANDS[1:]) if b < len(power)]


def measured(nside: int, degrees: float, seed: int) -> dict:
    start = time.process_time()
    sky = simulate_sky(nside, seed, cap=degrees)
    spent, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cap, lmax = Region(nside, math.radians(degrees)), 5 * nside // 2
    found = {name: banded(pseudo(sky[name][: cap.pixels], cap, lmax)) for name in ("kappa", "ksz")}
    target, rng = lensing_power(matter_power(cosmology()), lmax), np.random.default_rng(seed)
    gaussian = [banded(pseudo(synthesis(gaussian_alm(target, rng, np.complex64), nside, rings=cap.rings), cap, lmax))
                for _ in range(GAUSSIAN)]
    return {"cpu": spent, "rss_gb": memory, "ksz_rms": float(sky.ksz[: cap.pixels].std()),
            **found, "gaussian": gaussian}


def ksz_law(ell: np.ndarray, radius: float = 0.0, limit: int | None = None) -> np.ndarray:
    """C_l of the kinetic SZ by its law, uK^2, the gas outside of placed halos smoothed over a radius in Mpc; with a
    limit, of a matter field that ends there, its multipoles mixed by those of the velocities."""
    power = matter_power(cosmology())
    model, layers = power.cosmology, shells(power.cosmology)
    found = np.zeros(len(ell))
    for shell, velocity in zip(layers, np.einsum("lss->sl", velocity_power(power, layers))):
        halos = HaloLaw.of(power, shell)
        one = np.zeros((2, len(ell)))
        for log_mass, number in zip(halos.log_mass[::4], 4 * halos.number[::4]):
            mass, z = math.exp(log_mass), shell.z
            theta = float(virial_radius(model, np.array(mass), z)) * (1 + z) / max(shell.distance, 150.0)
            windows = nfw_window(ell, theta, concentration(model, mass, z)), gas_window(ell, theta, mass, z)
            one += number * (mass / model.density) ** 2 * np.square(windows) * 4 * math.pi / shell.volume**2
        whole = density_power(power, shell, int(ell[-1]))[ell]
        two = np.maximum(whole - one[0], 0.1 * whole) * np.exp(-((ell * radius / shell.distance) ** 2))
        scale = (T_CMB * 1e6 * optical_depth(model, shell)) ** 2
        field = variance(velocity) * two if limit is None else mixed(velocity, ell, two, limit)
        found += scale * (field + variance(velocity) * one[1])
    return found


def mixed(velocity: np.ndarray, ell: np.ndarray, power: np.ndarray, limit: int) -> np.ndarray:
    """C_l at ``ell`` of the product of two fields, of which the second ends at a limit: xi = xi_1 xi_2."""
    l_ = np.arange(2 * limit)
    field = np.interp(l_, ell, power) * ((l_ > 0) & (l_ <= limit))
    xi = legendre_sum(np.pad(velocity, (0, len(l_) - len(velocity)))) * legendre_sum(field)
    return np.interp(ell, l_, legendre_power(xi))


def limited(nside: int, folder: Path) -> None:
    """Table of the kinetic SZ below the band limit over its law: of a field that ends there, and of simulated maps."""
    limit = 5 * nside // 2
    ell = np.union1d(np.geomspace(2, limit, 90).astype(int), np.arange(4 * limit // 5, limit + 1, 4))
    law_, ends = (np.interp(np.arange(limit + 1), ell, ksz_law(ell, limit=x)) for x in (None, limit))
    runs = [np.array(json.loads(path.read_text())["power"]["ksz ksz"])
            for path in sorted(folder.glob(f"wmap5_{nside}_*.json"))]
    print(f"NSIDE {nside}, {len(runs)} skies\n| l | field that ends at l = {limit} | maps |\n|---|---|---|")
    edges = [round(x * nside) for x in (1.2, 1.6, 1.95, 2.15, 2.34, 2.42, 2.5)]
    for low, high in zip(edges, edges[1:]):
        mean = [(x * np.arange(len(x)) * np.arange(1, len(x) + 1))[low:high].sum() for x in (law_, ends, *runs)]
        maps = np.array(mean[2:]) / mean[0]
        error = f"{maps.mean():.3f} ± {maps.std(ddof=1) / math.sqrt(len(maps)):.3f}" if len(maps) > 1 else "-"
        print(f"| {low}-{high} | {mean[1] / mean[0]:.3f} | {error} |", flush=True)


def law() -> None:
    """Table of the kinetic SZ by its law."""
    ell = np.unique(np.geomspace(2, 24_000, 90).astype(int))
    wide, pixel = np.arange(2, 24_000), math.radians(0.5 / 60)
    print("| smoothed over, Mpc | " + " | ".join(f"D_{x}" for x in (1000, 2000, 3000, 5000)) + " | rms, 0.5 arcmin |")
    for radius in (0.0, 0.2, 0.5, 0.8):
        found = ksz_law(ell, radius)
        seen = np.interp(wide, ell, found) * (2 * wide + 1) / (4 * math.pi) * np.exp(-wide * (wide + 1) * pixel**2 / 12)
        d = np.interp((1000, 2000, 3000, 5000), ell, ell * (ell + 1) * found / (2 * math.pi))
        cells = [f"{radius:g}", *(f"{x:.2f}" for x in d), f"{math.sqrt(seen.sum()):.2f} uK"]
        print(f"| {' | '.join(cells)} |", flush=True)


def causes(nside: int) -> None:
    """Table of kappa and kinetic SZ by their laws, over what is wanted: of former versions and of this one."""
    power, lmax = matter_power(cosmology()), 5 * nside // 2
    model, layers, pixel = power.cosmology, shells(power.cosmology), math.sqrt(math.pi / 3) / nside
    ell, kappa = np.unique(np.geomspace(50, lmax, 40).astype(int)), np.zeros((3, lmax + 1))
    ksz, smooth = np.zeros((3, len(ell))), np.exp(-ell * (ell + 1) * pixel**2 / (8 * math.log(2)))
    for shell, velocity in zip(layers, np.einsum("lss->sl", velocity_power(power, layers))):
        whole, halos = density_power(power, shell, lmax), HaloLaw.of(power, shell)
        placed = one_halo_power(power, shell, lmax, resolution=RESOLVED * pixel)
        two = np.maximum(whole - placed, 0.1 * whole)
        cut = np.clip(legendre_power(np.log1p(np.maximum(legendre_sum(two), -0.999))), 0, None)
        made = [legendre_power(np.expm1(legendre_sum(np.pad(g, (0, 3 * lmax)))))[: lmax + 1]
                for g in (cut, lognormal_power(two))]
        kappa += shell.weight**2 * (np.stack([*made, two]) + placed)
        one = np.zeros((2, 3, len(ell)))  # points, resolved; as points, of mass, of gas
        for log_mass, number in zip(halos.log_mass[::4], 4 * halos.number[::4]):
            mass, z = math.exp(log_mass), shell.z
            for chi in np.cbrt(np.linspace(max(shell.low, NEAREST) ** 3, shell.high**3, 7)[1::2]):
                theta = float(virial_radius(model, np.array(mass), z)) * (1 + z) / chi
                u = [np.ones(len(ell)), nfw_window(ell, theta, concentration(model, mass, z)),
                     gas_window(ell, theta, mass, z)]
                one[int(theta >= RESOLVED * pixel)] += number / 3 * (mass / model.density) ** 2 * np.square(u)
        (dots, dots_mass, dots_gas), (_, mass_, gas) = one * 4 * math.pi / shell.volume**2
        fields = [dots + mass_ * smooth, dots + mass_, dots_mass + mass_]
        scale = (T_CMB * 1e6 * optical_depth(model, shell)) ** 2 * variance(velocity)
        for i, (taken, put) in enumerate(zip(fields, (gas * smooth, gas, gas))):
            ksz[i] += scale * (np.maximum(whole[ell] - taken, 0.1 * whole[ell]) + dots_gas + put)
    ratios = []
    for found in (kappa, [np.interp(np.arange(lmax + 1), ell, x) for x in ksz]):
        *versions, wanted = (np.array(banded(x)) for x in found)
        ratios += [x / wanted for x in versions]
    print(f"NSIDE {nside}\n| l | kappa: former | now | kSZ: former | now |\n|---|---|---|---|---|")
    for low, high, *row in zip(BANDS, BANDS[1:], *ratios):
        print(f"| {low}-{high} | {' | '.join(f'{x:.3f}' for x in row)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nside", type=int, default=2048)
    parser.add_argument("--cap", type=float, default=20.0, help="degrees")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--law", action="store_true")
    parser.add_argument("--causes", action="store_true")
    parser.add_argument("--limit", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.law:
        law()
        return
    if o.limit:
        limited(o.nside, o.out)
        return
    if o.causes:
        causes(o.nside)
        return
    o.out.mkdir(parents=True, exist_ok=True)
    path = lambda seed: o.out / f"cap_{o.nside}_{o.cap:g}_{seed}.json"  # noqa: E731
    if o.one is not None:
        path(o.one).write_text(json.dumps(measured(o.nside, o.cap, o.one)))
        return
    for seed in o.seeds:
        if not path(seed).exists():
            subprocess.run([sys.executable, __file__, "--nside", str(o.nside), "--cap", str(o.cap), "--out", str(o.out),
                            "--one", str(seed)], check=True)
    runs = [json.loads(path(seed).read_text()) for seed in o.seeds]
    get = lambda name: np.array([run[name] for run in runs])  # noqa: E731
    print(f"NSIDE {o.nside}, caps of {o.cap:g} degrees: CPU s {get('cpu').round(1).tolist()}, "
          f"GB {get('rss_gb').max():.2f}, kSZ rms {get('ksz_rms').mean():.3f} uK")
    if len(runs) < 2:
        return
    root = math.sqrt(len(runs))
    gaussian = get("gaussian").reshape(-1, len(runs[0]["kappa"]))
    target, drawn = gaussian.mean(0), gaussian.std(0, ddof=1) / math.sqrt(len(gaussian))
    kappa, error = get("kappa").mean(0) / target, np.hypot(get("kappa").std(0, ddof=1) / root, drawn) / target
    ell = np.unique(np.geomspace(100, BANDS[len(target)], 40).astype(int))
    expected = banded(np.interp(np.arange(BANDS[len(target)] + 1), ell, ksz_law(ell)))
    print("\n| l | kappa over target | D_l of kSZ, uK^2 | kSZ over its law |\n|---|---|---|---|")
    for i, (low, high) in enumerate(zip(BANDS, BANDS[1 : len(target) + 1])):
        middle = 0.5 * (low + high)
        d = get("ksz")[:, i] * middle * (middle + 1) / (2 * math.pi)
        ratio = get("ksz")[:, i] / expected[i]
        print(f"| {low}-{high} | {kappa[i]:.3f} +- {error[i]:.3f} | {d.mean():.3f} +- {d.std(ddof=1) / root:.3f} | "
              f"{ratio.mean():.3f} +- {ratio.std(ddof=1) / root:.3f} |")
    coarse = [o.out / f"cap_{o.nside // 2}_{o.cap:g}_{seed}.json" for seed in o.seeds]
    if all(path.exists() for path in coarse):
        print(f"\n| l | kappa at NSIDE {o.nside // 2} over the same skies here | kSZ |\n|---|---|---|")
        half = [json.loads(path.read_text()) for path in coarse]
        for i, (low, high) in enumerate(zip(BANDS, BANDS[1 : len(half[0]["kappa"]) + 1])):
            ratios = [np.array([run[name][i] for run in half]) / get(name)[:, i] for name in ("kappa", "ksz")]
            cells = [f"{x.mean():.3f} +- {x.std(ddof=1) / root:.3f}" for x in ratios]
            print(f"| {low}-{high} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
