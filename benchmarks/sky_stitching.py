"""What stitching costs and what it loses: identity networks, pure noise, patches per second, time at 2 arcmin.

    python benchmarks/sky_stitching.py identity | noise | patches | transforms | cost [--bands 3]

identity: a Gaussian sky with a band limit of 0.3 of the tiles' Nyquist frequency goes through tiles and back.
noise: every tile is independent noise; variance where 1, 2, 3 and more tiles meet, and at the poles.
patches: crops per second from a strip, and memory beyond it. transforms: our calls against ducc0 called by hand.
cost: the first bands of a sky of NSIDE 2048 at 2 arcmin, from a pole and at the equator; CPU time per tile, summed over
the sky for an identity network of five channels. Seeds are fixed; times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import math
import resource
import time

import numpy as np
import torch

from sundog.data.sky.sphere import adjoint, analysis, angular_spectrum, ducc, gaussian_alm, pixelisation, synthesis
from sundog.data.sky.strips import SkyPatches, Strip
from sundog.data.sky.tiles import Blend, TileLayout, read_row
from sundog.tasks.sky import assemble

ZONES = ((0, 3), (3, 30), (30, 60), (60, 120), (120, 177), (177, 180))


def memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def identity(_: argparse.Namespace) -> None:
    layout, nside = TileLayout(64, 15.0, 20), 256
    lmax = int(0.3 * math.pi / layout.pixel)
    alm = gaussian_alm(1 / (10.0 + np.arange(lmax + 1)) ** 1.5, np.random.default_rng(0), np.complex64)
    truth = synthesis(alm, nside)
    start = time.process_time()
    sky = assemble(lambda kappa, g: kappa, alm, nside, layout=layout, names=("kappa",))["kappa"]
    spent = time.process_time() - start
    error = (sky - truth) / truth.std()
    theta = np.degrees(pixelisation(nside).pix2ang(np.arange(len(truth)))[:, 0])
    print(f"{layout.number} tiles of 64 x 64 pixels of 15', lmax {lmax}, NSIDE {nside}, {spent:.1f} CPU s")
    print("\n| colatitude | rms error / rms | largest error / rms |\n|---|---|---|")
    for low, high in ZONES:
        here = error[(theta >= low) & (theta < high)]
        print(f"| {low} to {high} | {here.std():.1e} | {np.abs(here).max():.1e} |")
    ratio = angular_spectrum(analysis(sky, lmax)) / angular_spectrum(alm)
    half = ratio[2 : lmax // 2]
    print(f"\nspectrum ratio, 2 <= l < {lmax // 2}: {half.min():.5f} to {half.max():.5f}")


def noise(_: argparse.Namespace) -> None:
    layout, nside, draws = TileLayout(64, 30.0, 20), 64, 100
    theta, phi = pixelisation(nside).pix2ang(np.arange(12 * nside**2)).T
    meeting = np.zeros(len(theta))
    for row in range(layout.rows):
        for place, *_, weight in layout.covering(row, theta, phi):
            meeting[place] += weight
    rng, square = np.random.default_rng(1), {"paired": np.zeros(len(theta)), "plain": np.zeros(len(theta))}
    for _i in range(draws):
        blends = {name: Blend.empty(1, len(theta)) for name in square}
        for row in range(layout.rows):
            tiles = rng.standard_normal((2, layout.count(row), 1, 64, 64)).astype(np.float32)
            blends["paired"].add(layout, row, (theta, phi), tiles)
            blends["plain"].add(layout, row, (theta, phi), tiles[:1])
        for name, blend in blends.items():
            square[name] += blend.result()[0] ** 2 / draws
    groups = [("one tile", meeting < 1.001), ("sum of weights 1 to 1.3", (meeting >= 1.001) & (meeting < 1.3)),
              ("1.3 to 1.7", (meeting >= 1.3) & (meeting < 1.7)), ("above 1.7", meeting >= 1.7),
              ("within 5 degrees of a pole", np.abs(theta - math.pi / 2) > math.pi / 2 - math.radians(5))]
    base = {name: v[groups[0][1]].mean() for name, v in square.items()}
    print(f"{draws} draws of white noise\n\n| where | share of sky | paired | plain averaging |\n|---|---|---|---|")
    for name, here in groups:
        error = math.sqrt(2 / (draws * here.sum()))
        cells = " | ".join(f"{v[here].mean() / base[k]:.4f} +- {error:.4f}" for k, v in square.items())
        print(f"| {name} | {here.mean():.3f} | {cells} |")


def patches(_: argparse.Namespace) -> None:
    values = np.random.default_rng(0).normal(size=(5, 600, 10_800)).astype(np.float32)
    strip = Strip(values, tuple("abcde"), 2.0, (0.0, 0.0))
    for size in (64, 128):
        crops, before = SkyPatches([strip], size), memory_gb()
        start = time.process_time()
        for i in range(8000):
            crops[i]
        rate = 8000 / (time.process_time() - start)
        print(f"{size} x {size} x 5: {rate:.0f} patches per CPU second, {1e3 * (memory_gb() - before):.0f} MB")


def transforms(_: argparse.Namespace) -> None:
    nside, lmax = 512, 1024
    alm = gaussian_alm(np.ones(lmax + 1), np.random.default_rng(0), np.complex64)
    values = synthesis(alm, nside)
    rings = pixelisation(nside).sht_info()
    ours = {"synthesis": lambda: synthesis(alm, nside), "adjoint": lambda: adjoint(values, lmax)}
    hand = {"synthesis": lambda: ducc().sht.synthesis(alm=alm[None], spin=0, lmax=lmax, **rings),
            "adjoint": lambda: ducc().sht.adjoint_synthesis(map=values[None], spin=0, lmax=lmax, **rings)}
    for name in ours:
        spent = {"ours": 0.0, "hand": 0.0}
        for _i in range(8):
            for who, calls in (("ours", ours), ("hand", hand)):
                start = time.process_time()
                calls[name]()
                spent[who] += time.process_time() - start
        print(f"{name} NSIDE {nside}, lmax {lmax}: {spent['ours'] / 8:.3f} CPU s, ducc0 alone {spent['hand'] / 8:.3f}, "
              f"ratio {spent['ours'] / spent['hand']:.3f}")


def cost(options: argparse.Namespace) -> None:
    layout, nside, channels = TileLayout(128, 2.0, 20), 2048, 5
    alm = gaussian_alm(1e-7 / (1 + np.arange(5401.0)), np.random.default_rng(0), np.complex64)
    print(f"{layout.number} tiles in {layout.rows} rows; network: identity, {channels} channels, paired (two draws)")
    rows = [layout.rows // 2 + i for i in range(options.bands)]
    spent = {"read kappa": 0.0, "blend": 0.0}
    tiles_read = pixels = 0
    grid = pixelisation(nside)
    rings = grid.sht_info()
    ends = np.append(rings["ringstart"].astype(np.int64), 12 * nside**2)
    for row in rows:
        start = time.process_time()
        kappa = read_row(alm, layout, row)
        spent["read kappa"] += time.process_time() - start
        tiles_read += len(kappa)
        tiles = np.repeat(np.repeat(kappa[None, :, None], channels, 2), 2, 0)
        held = np.flatnonzero(np.rint(rings["theta"] / layout.step) == row)
        first, last = int(ends[held[0]]), int(ends[held[-1] + 1])
        theta, phi = grid.pix2ang(np.arange(first, last)).T
        blend = Blend.empty(channels, last - first)
        start = time.process_time()
        blend.add(layout, row, (theta, phi), tiles)
        for beside in (row - 1, row + 1):
            n = layout.count(beside)
            blend.add(layout, beside, (theta, phi), tiles[:, np.arange(n) % len(kappa)])
        blend.result()
        spent["blend"] += time.process_time() - start
        pixels += last - first
    per_row = spent["read kappa"] / len(rows)
    whole = {"read kappa": per_row * layout.rows, "blend": spent["blend"] / pixels * 12 * nside**2}
    print(f"{len(rows)} rows at the equator: {tiles_read} tiles, {pixels} pixels, {spent}, {memory_gb():.2f} GB")
    print(f"whole sky: {', '.join(f'{k} {v:.0f}' for k, v in whole.items())} CPU s; network on top: "
          f"{2 * layout.number} tiles, each 0.01 s adds {0.02 * layout.number:.0f} CPU s")
    finer = TileLayout(128, 0.5, 20)
    print(f"0.5 arcmin: {finer.number} tiles; blend x 16: {16 * whole['blend']:.0f} CPU s; read between x 16 (spline) "
          f"and x 64 (harmonics): {16 * whole['read kappa']:.0f} to {64 * whole['read kappa']:.0f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["identity", "noise", "patches", "transforms", "cost"])
    parser.add_argument("--bands", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"identity": identity, "noise": noise, "patches": patches, "transforms": transforms, "cost": cost}[options.part](
        options)


if __name__ == "__main__":
    main()
