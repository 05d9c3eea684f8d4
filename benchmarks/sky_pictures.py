"""The pictures of docs/sky.md: one simulated sky, whole and as a patch, and its spectra.

    python benchmarks/sky_pictures.py [--nside 256] [--out docs/images]
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sundog.data.sky.car import car_map
from sundog.data.sky.sphere import analysis
from sundog.data.sky.tiles import TileLayout, read_row
from sundog.simulate.sky import SkyMaps, simulate_sky
from sundog.tasks.sky import geometric_edges, sky_spectra

DATA = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "sky"
SHOWN = {"kappa": ("convergence", "RdBu_r", 2.5), "tsz": ("thermal SZ, uK", "magma", 4.0),
         "ksz": ("kinetic SZ, uK", "RdBu_r", 3.0),
         "cib": ("CIB, uK", "viridis", 3.0), "radio": ("radio sources, uK", "viridis", 4.0)}


def limits(name: str, values: np.ndarray) -> tuple[float, float]:
    middle, spread = float(np.median(values)), float(values.std())
    if name in ("kappa", "ksz"):
        return -SHOWN[name][2] * spread, SHOWN[name][2] * spread
    return (middle - SHOWN[name][2] * spread, middle + 0.5 * spread) if name == "tsz" else (
        max(0.0, middle - SHOWN[name][2] * spread), middle + SHOWN[name][2] * spread)


def maps(sky: SkyMaps, path: Path) -> None:
    figure, axes = plt.subplots(2, 5, figsize=(15, 5.2), height_ratios=(1, 1.75), layout="constrained")
    layout = TileLayout(96, 12.0, 12)
    row = layout.rows // 2
    for column, (name, values) in zip(axes.T, sky):
        title, colours, _ = SHOWN[name]
        low, high = limits(name, values)
        whole = car_map(values, 60.0, point_like=name in ("cib", "radio"))
        column[0].imshow(whole, cmap=colours, vmin=low, vmax=high, extent=(0, 360, -90, 90), interpolation="none")
        patch = read_row(analysis(np.asarray(values)), layout, row)[3]
        shown = column[1].imshow(patch, cmap=colours, vmin=low, vmax=high, extent=(-9.6, 9.6, -9.6, 9.6))
        column[0].set_title(title, fontsize=10)
        figure.colorbar(shown, ax=column[1], orientation="horizontal", shrink=0.9)
        for axis in column:
            axis.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("latitude, deg")
    axes[1, 0].set_ylabel("a patch of 19 degrees")
    figure.savefig(path / "sky_maps.png", dpi=90)


def spectra(sky: SkyMaps, path: Path) -> None:
    found = sky_spectra(dict(sky), geometric_edges(10, 2 * sky.nside, 18))
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    ell = found.ell
    unit = ell * (ell + 1) / (2 * math.pi)
    if DATA.exists():
        reference = np.load(DATA / "s10_clkk.npz")
        axes[0].loglog(reference["l"][10:1500], reference["clkk"][10:1500], color="0.6", label="Sehgal et al. 2010")
    axes[0].errorbar(ell, found.between("kappa", "kappa"), found.error[0, 0], fmt="o", ms=3, label="simulated")
    axes[0].set(xlabel="l", ylabel="C_l of kappa")
    for i, name in enumerate(found.names[1:], 1):
        axes[1].errorbar(ell, unit * found.power[i, i], unit * found.error[i, i], fmt="o-", ms=3, label=name)
    axes[1].set(xscale="log", yscale="log", xlabel="l", ylabel="D_l at 148 GHz, uK^2")
    for a, b in (("kappa", "cib"), ("kappa", "radio"), ("kappa", "tsz"), ("tsz", "cib"), ("kappa", "ksz")):
        i, j = found.names.index(a), found.names.index(b)
        r, error = found.correlation[i, j], found.correlation_error[i, j]
        axes[2].errorbar(ell, r, error, fmt="o-", ms=3, label=f"{a} x {b}")
    axes[2].axhline(0, color="0.7", lw=0.8)
    axes[2].set(xscale="log", xlabel="l", ylabel="correlation coefficient")
    for axis in axes:
        axis.legend(fontsize=8)
    figure.savefig(path / "sky_spectra.png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nside", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    sky = simulate_sky(options.nside, seed=0)
    maps(sky, options.out)
    spectra(sky, options.out)


if __name__ == "__main__":
    main()
