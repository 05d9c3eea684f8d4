"""How well are components separated? Numbers of docs/separation.md.

    python benchmarks/separation.py noise        MHD dust + white noise, map signal-to-noise 1 and 0.5, 256 x 256
    python benchmarks/separation.py schemes      the same with each way of solving: bias, average, diffusive
    python benchmarks/separation.py polarised    MHD dust Q and U + white noise, two channels, 256 x 256
    python benchmarks/separation.py halves       dust from two half missions, and with a companion, 128 x 128
    python benchmarks/separation.py real         dust Q, U; dust + CIB: beam, mask and uneven noise together, 128 x 128
    python benchmarks/separation.py cib          MHD dust + a Planck CIB patch, 128 x 128, not periodic
    python benchmarks/separation.py oracle       contaminations drawn by the generator itself, or of known law, 64 x 64
    python benchmarks/separation.py errors       are the errors of the report right? filaments + clouds + noise, 64 x 64

Options: --data FOLDER (default SUNDOG_DATA or ../shared/data), --seeds N, --only PATTERN (of the names of parts), --out
FOLDER (one JSON per part; parts that are there are not done again), --target LOSS of all but `schemes` (1 was the
default before 0.1). Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.simulate.fields import filamentary_field
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.morphology import gaussian_smooth, minkowski_functionals
from sundog.statistics.maps.spectra import correlation_coefficient, power_spectrum
from sundog.tasks.separation import Cross, HalfMissions, Independence, Match, Observed, Residual, separate

BINS = 20


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dust(data: Path, name: str, side: int) -> Tensor:
    """An MHD dust map, 512 x 512 binned (still periodic), standardised."""
    path = data / "fields" / f"mhd_dust_{name}.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    x = torch.from_numpy(np.load(path)).float().reshape(side, 512 // side, side, 512 // side).mean((1, 3))
    return (x - x.mean()) / x.std()


def kurtosis(x: Tensor) -> float:
    return float((((x - x.mean()) / x.std()) ** 4).mean())


def minkowski_errors(x: Tensor, truth: Tensor) -> list[float]:
    """Root-mean-square error over 19 thresholds of V0, V1, V2 (smoothed by 1.5 pixels), over the largest true value."""
    found = []
    for m in (x, truth):
        smooth = gaussian_smooth(m[None], 1.5, periodic=True)
        functionals = minkowski_functionals(smooth, torch.linspace(-2, 2.5, 19), periodic=True)
        found.append([functionals.v0, functionals.v1, functionals.v2])
    return [float((a - b).square().mean().sqrt() / b.abs().max()) for a, b in zip(*found)]


def wiener(d: Tensor, truth: Tensor, noise_power: float) -> Tensor:
    """The filter that knows the true spectrum."""
    bands = BandPowers((d.shape[-2], d.shape[-1]))
    power = bands(truth[None])[0]
    share = bands.spread(power / (power + noise_power)).reshape(d.shape[-2], -1)
    return torch.fft.irfft2(torch.fft.rfft2(d) * share, s=tuple(d.shape[-2:]))


def facts(found: Tensor, truth: Tensor, noise_power: Tensor | float) -> dict[str, Any]:
    """Ratios of P(k) with the signal-to-noise of their bins, correlation with the truth, kurtosis, Minkowski errors."""
    power = power_spectrum(truth, bins=BINS).power
    return {
        "snr": (power / noise_power).tolist(),
        "ratio": (power_spectrum(found, bins=BINS).power / power).tolist(),
        "correlation": correlation_coefficient(found, truth, bins=BINS).power.tolist(),
        "kurtosis": kurtosis(found), "true_kurtosis": kurtosis(truth), "minkowski": minkowski_errors(found, truth),
        "error": float((found - truth).square().mean()),
    }  # fmt: skip


def worst(part: dict[str, Any], above: float) -> tuple[float, float]:
    ratio = np.array(part["ratio"])[np.array(part["snr"]) > above]
    return float(ratio.min()), float(ratio.max())


def told(name: str, part: dict[str, Any], limits: tuple[float, ...] = (0.25, 0.1)) -> str:
    ranges = ", ".join(f"S/N > {a}: {worst(part, a)[0]:.2f}-{worst(part, a)[1]:.2f}" for a in limits)
    return (f"{name:34s} P ratio {ranges}; kurtosis {part['kurtosis']:.1f} ({part['true_kurtosis']:.1f}); Minkowski "
            f"{np.round(part['minkowski'], 3)}; squared error {part['error']:.3f}")  # fmt: skip


class Bench:
    """Runs parts once, keeps their JSON, prints them."""

    def __init__(self, out: Path, only: str) -> None:
        self.out, self.only = out, only
        out.mkdir(parents=True, exist_ok=True)

    def part(self, name: str, job: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        path = self.out / f"{name}.json"
        if self.only and not re.search(self.only, name):
            return None
        if not path.exists():
            began = time.process_time()
            found = job()
            found["cpu"] = time.process_time() - began
            path.write_text(json.dumps(found))
        return dict(json.loads(path.read_text()))


NOISE_VARIANTS: dict[str, dict[str, Any]] = {
    "match": {},
    "gaussian-start": {"start": "gaussian"},
    "gaussian-start-without-levels": {"start": "gaussian", "levels": 0},
    "residual": {"losses": [Match(), Residual()]},
    "full": {"isotropic": False},
}


def noise(bench: Bench, data: Path, seeds: int) -> None:
    truth = dust(data, "I_1", 256)
    for snr in (1.0, 0.5):
        sigma = 1 / snr
        for seed in range(seeds):
            d = truth + sigma * torch.randn(256, 256, generator=generator(500 + seed))
            filtered = facts(wiener(d, truth, sigma**2), truth, sigma**2)
            print(told(f"S/N {snr} seed {seed} Wiener", filtered), flush=True)
            for name, options in NOISE_VARIANTS.items():
                def job(d=d, options=options, sigma=sigma, seed=seed):  # type: ignore[no-untyped-def]
                    found = separate(d, lambda n, g: sigma * torch.randn(n, 256, 256, generator=g), seed=seed,
                                     **options)  # fmt: skip
                    return facts(found.signal, truth, sigma**2) | {"losses": found.report.losses}

                part = bench.part(f"noise-{snr}-{name}-{seed}", job)
                if part:
                    print(told(f"S/N {snr} seed {seed} {name}", part), f"{part['cpu']:.0f} CPU s", part["losses"],
                          flush=True)  # fmt: skip


def schemes(bench: Bench, data: Path, seeds: int) -> None:
    """Every way of solving, and Wiener, on the mixtures of `noise`; the last lines are rows of the table.

    Eras end at a loss of 0.1, the default, and once at 1.
    """
    truth = dust(data, "I_1", 256)
    rows = []
    for snr in (1.0, 0.5):
        sigma = 1 / snr
        for method in ("bias", "bias to 1", "average", "diffusive", "wiener"):
            parts = []
            for seed in range(seeds):
                d = truth + sigma * torch.randn(256, 256, generator=generator(500 + seed))

                def job(d=d, method=method, sigma=sigma, seed=seed):  # type: ignore[no-untyped-def]
                    if method == "wiener":
                        return facts(wiener(d, truth, sigma**2), truth, sigma**2) | {"losses": {}}
                    found = separate(d, lambda n, g: sigma * torch.randn(n, 256, 256, generator=g), seed=seed,
                                     method=method.split()[0], target=1.0 if "to 1" in method else 0.1)  # fmt: skip
                    return facts(found.signal, truth, sigma**2) | {"evaluations": found.report.evaluations,
                                                                   "losses": found.report.losses}  # fmt: skip

                part = bench.part(f"schemes-{snr}-{method.replace(' ', '')}-{seed}", job)
                if part:
                    parts.append(part)
                    print(told(f"S/N {snr} seed {seed} {method}", part), f"{part['cpu']:.0f} CPU s", part["losses"],
                          flush=True)  # fmt: skip
            if parts:
                rows.append((snr, method, parts))
    for snr, method, parts in rows:
        ranges = [[limit for part in parts for limit in worst(part, above)] for above in (0.25, 0.1)]
        kurtoses, errors = [part["kurtosis"] for part in parts], [part["error"] for part in parts]
        minkowski = np.array([part["minkowski"] for part in parts])
        spread = minkowski.std(0, ddof=1) if len(parts) > 1 else np.zeros(3)
        print(f"| {snr:g} | {method} | {len(parts)} | {np.mean([part['cpu'] for part in parts]):.0f} | "
              + " | ".join(f"{min(r):.2f} to {max(r):.2f}" for r in ranges)
              + f" | {min(kurtoses):.1f} to {max(kurtoses):.1f} | "
              + ", ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(minkowski.mean(0), spread))
              + f" | {np.mean(errors):.2f} |")  # fmt: skip


def polarised(bench: Bench, data: Path, seeds: int) -> None:
    truth = torch.stack([dust(data, "Q_1", 256), dust(data, "U_1", 256)])
    for snr in (1.0, 0.5):
        sigma = 1 / snr
        for seed in range(seeds):
            d = truth + sigma * torch.randn(2, 256, 256, generator=generator(600 + seed))

            for name, options in {"one-by-one": {}, "together": {}, "together-full": {"isotropic": False}}.items():
                def job(d=d, options=options, sigma=sigma, seed=seed, name=name):  # type: ignore[no-untyped-def]
                    draw = lambda n, g: sigma * torch.randn(n, 2, 256, 256, generator=g)  # noqa: E731
                    if name == "one-by-one":
                        draw1 = lambda n, g: sigma * torch.randn(n, 256, 256, generator=g)  # noqa: E731
                        signal = torch.stack([separate(x, draw1, seed=seed + 50 * c).signal for c, x in enumerate(d)])
                    else:
                        signal = separate(d, draw, seed=seed, **options).signal
                    cross = power_spectrum(truth.sum(0), bins=BINS).power - power_spectrum(truth[0] - truth[1],
                                                                                         bins=BINS).power  # fmt: skip
                    mine = power_spectrum(signal.sum(0), bins=BINS).power - power_spectrum(signal[0] - signal[1],
                                                                                          bins=BINS).power  # fmt: skip
                    P = power_spectrum(truth, bins=BINS).power
                    coherence = ((mine - cross) / 4 / (P[0] * P[1]).sqrt()).tolist()
                    return {"Q": facts(signal[0], truth[0], sigma**2), "U": facts(signal[1], truth[1], sigma**2),
                            "coherence_error": coherence}  # fmt: skip

                part = bench.part(f"polarised-{snr}-{name}-{seed}", job)
                if part:
                    for stokes in "QU":
                        print(told(f"{stokes} S/N {snr} seed {seed} {name}", part[stokes]))
                    kept = np.array(part["Q"]["snr"]) > 0.1
                    error = np.abs(np.array(part["coherence_error"])[kept]).max()
                    print(f"    error of the coherence of Q and U up to {error:.2f}; {part['cpu']:.0f} CPU s",
                          flush=True)  # fmt: skip
            for stokes, x, t in zip("QU", d, truth):
                print(told(f"{stokes} S/N {snr} seed {seed} Wiener", facts(wiener(x, t, sigma**2), t, sigma**2)))


def halves(bench: Bench, data: Path, seeds: int) -> None:
    """Two half missions of dust I, and a companion (I of dust Q), 128 x 128, map S/N 0.5; means over noise maps."""
    side, sigma, rows = 128, 2.0, {}
    for stokes in "IQ":
        truth, companion = dust(data, f"{stokes}_1", side), dust(data, "I_1", side)
        for seed in range(seeds):
            noise = 2**0.5 * sigma * torch.randn(2, 65, side, side, generator=generator(800 + seed))
            first, second = truth + noise[0, 0], truth + noise[1, 0]
            d, draws = (first + second) / 2, noise[:, 1:].mean(0)
            pair = HalfMissions(first, second, noise[0, 1:], noise[1, 1:])
            variants = {"match": [Match()], "halves": [pair], "match + halves": [Match(), pair]} if stokes == "I" else {
                "match": [Match()], "match + companion": [Match(), Cross(companion)]}  # fmt: skip
            for name, losses in {**variants, "wiener": []}.items():
                def job(losses=losses, d=d, draws=draws, truth=truth, seed=seed):  # type: ignore[no-untyped-def]
                    found = separate(d, draws, losses or [Match()], seed=seed, eras=4 if losses else 1,
                                     iterations=25 if losses else 1, polish=10 if losses else 0)  # fmt: skip
                    signal = found.signal if losses else wiener(d, truth, sigma**2)
                    mine, true = found.spectrum(signal), found.spectrum(truth)
                    exact = found.spectrum(d) - found.spectrum(d - truth)
                    snr, chance = true / sigma**2, 2 * (sigma**2 / true / found.phi.modes).sqrt()
                    return {**facts(signal, truth, sigma**2), "band_snr": snr.tolist(),
                            **{word: (((x - true) / true / chance).tolist()) for word, x in
                               (("off", mine), ("exact", exact))}}  # fmt: skip

                part = bench.part(f"halves-{stokes}-{name.replace(' ', '')}-{seed}", job)
                if part:
                    rows.setdefault((stokes, name), []).append(part)
    print("map, losses: rms off in chance bounds (exact subtraction), S/N > 1, 0.1 to 1; squared error; V0, V1, V2")
    for (stokes, name), parts in rows.items():
        snr, off, exact = (np.array([part[word] for part in parts]) for word in ("band_snr", "off", "exact"))
        told = [f"{np.sqrt((off[kept] ** 2).mean()):.2f} ({np.sqrt((exact[kept] ** 2).mean()):.2f})"
                for kept in (snr > 1, (snr > 0.1) & (snr <= 1))]  # fmt: skip
        columns = np.array([[part["error"], *part["minkowski"]] for part in parts])
        spread = columns.std(0, ddof=1) / len(parts) ** 0.5
        print(f"{stokes} {name:18s} " + ", ".join(told) + "; " + ", ".join(
            f"{m:.3f} ± {e:.3f}" for m, e in zip(columns.mean(0), spread))
            + f"; {np.mean([part['cpu'] for part in parts]):.0f} CPU s", flush=True)  # fmt: skip


def real(bench: Bench, data: Path, seeds: int) -> None:
    """Dust Q and U, and dust I + Planck CIB with open edges: seen by a beam, holes, noise of uneven depth.

    The noise per pixel is between 0.5 and 2 times its mean along the first axis. Power is that of the sky under the
    beam, which `separate` leaves in; the last column divides the beam out where it is over 0.3.
    """
    side = 128
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = torch.ones(side, side)
    for cy, cx, r in ((30, 40, 9), (80, 100, 12), (100, 20, 6)):
        mask[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = 0
    depth = 2 ** torch.sin(2 * torch.pi * y / side)
    patch = torch.from_numpy(np.load(data / "fields" / "planck_cib_256.npy")).float()
    patch = (patch - patch.mean()) / patch.std()
    rows: dict[str, list[dict[str, Any]]] = {}
    fitted: list[Observed] = []
    for seed in range(seeds):
        for case in ("Q, U + noise", "I + CIB + noise"):
            def job(case=case, seed=seed):  # type: ignore[no-untyped-def]
                channels = ["Q_1", "U_1"] if case.startswith("Q") else [f"I_{1 + seed % 3}"]
                sky = torch.stack([dust(data, name, side) for name in channels])
                truth = gaussian_smooth(sky, 1.3, periodic=True)
                noise = 0.5 * depth * torch.randn(65, *sky.shape, generator=generator(900 + seed))
                other, drawn, options = noise[0], noise[1:], {}
                if not case.startswith("Q"):
                    fitted[:] = fitted or [Observed(patch[:, :128], (side, side), count=10, iterations=60)]
                    quarter = seed % 2 * side
                    other = other + patch[quarter : quarter + side, 128:]
                    drawn, options = {"cib": fitted[0], "noise": drawn}, {"boundary": "edge-mask"}
                d = torch.where(mask > 0, truth + other, torch.nan)
                found = separate(d if len(d) > 1 else d[0], drawn, seed=seed, mask=mask, J=4, draws=32, eras=2,
                                 iterations=20, polish=0, **options)  # fmt: skip
                shown = truth if len(d) > 1 else truth[0]
                dirty, sky = (z if len(d) > 1 else z[0] for z in (other, sky))
                mine, true, bare = (found.spectrum(z) for z in (found.signal, shown, sky))
                mixed, noise = found.spectrum(found.mixture), found.spectrum(dirty)
                beam = torch.exp(-((2 * torch.pi * 1.3 * found.report.k) ** 2))
                return {"snr": (true / noise).tolist(), "pull": found.pulls(shown).tolist(),
                        "off": ((mine - true) / mine / found.report.chance).tolist(),
                        "exact": ((mixed - noise - true) / mine / found.report.chance).tolist(),
                        "mixture": ((mixed - true) / mine / found.report.power_error).tolist(),
                        "sky": torch.where(beam > 0.3, mine / beam / bare, torch.nan).tolist()}  # fmt: skip

            part = bench.part(f"real-{case[0]}-{seed}", job)
            if part:
                rows.setdefault(case, []).append(part)
    for case, parts in rows.items():
        z = {name: np.array([part[name] for part in parts]) for name in parts[0] if name != "cpu"}
        print(f"{case}: {len(parts)} mixtures, {np.mean([part['cpu'] for part in parts]):.0f} CPU s each")
        for low, high in ((1, 1e9), (0.3, 1), (0.1, 0.3)):
            kept = (z["snr"] > low) & (z["snr"] <= high)
            rms = {name: np.sqrt((z[name][kept] ** 2).mean()) for name in ("pull", "off", "exact", "mixture")}
            inside, sky = (np.abs(z["pull"][kept]) < 3).mean(), np.nanmedian(z["sky"][kept])
            print(f"    S/N {low:g} to {high:g}: {kept.sum()} bands, in 3 errors {inside:.2f}, rms off "
                  f"{rms['pull']:.2f} errors, {rms['off']:.2f} chance bounds (exact {rms['exact']:.2f}); mixture "
                  f"{rms['mixture']:.1f} errors; sky over truth, median {sky:.2f}", flush=True)  # fmt: skip


def window(side: int) -> Tensor:
    w = torch.hann_window(side, periodic=False)
    w = w[:, None] * w
    return w / w.square().mean().sqrt()


def open_facts(found: Tensor, truth: Tensor, other: Tensor) -> dict[str, Any]:
    """Ratios of P(k) under a Hann window in 13 bands, the signal-to-noise and the modes of each."""
    bands, w = BandPowers((truth.shape[0], truth.shape[1]), 12), window(truth.shape[0])
    power = [bands(((x - x.mean()) * w)[None])[0] for x in (found, truth, other)]
    cross = [bands((((a - a.mean()) + sign * (b - b.mean())) * w)[None])[0]
             for a, b in ((found, truth),) for sign in (1, -1)]  # fmt: skip
    r = (cross[0] - cross[1]) / 4 / (power[0] * power[1]).sqrt()
    # Even a draw of the truth's law would miss the truth's power by the chance correlation of signal and contamination.
    effective = bands.modes * float(w.square().mean() ** 2 / (w**4).mean())
    chance = 2 * (power[2] / power[1] / effective).sqrt()
    return {"k": (bands.k * truth.shape[0]).tolist(), "snr": (power[1] / power[2]).tolist(), "r": r.tolist(),
            "ratio": (power[0] / power[1]).tolist(), "chance": chance.tolist()}  # fmt: skip


CIB_VARIANTS: dict[str, dict[str, Any]] = {
    "match": {},
    "match-residual": {"losses": [Match(), Residual()]},
    "match-residual-independence": {"losses": [Match(), Residual(), Independence()]},
}


def cib(bench: Bench, data: Path, seeds: int) -> None:
    """The generator sees the left half of the patch, mixtures take the quarters of the right half."""
    path = data / "fields" / "planck_cib_256.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    patch = torch.from_numpy(np.load(path))
    kept: list[Observed] = []

    def draw(n: int, g: torch.Generator) -> Tensor:
        if not kept:
            began = time.process_time()
            kept.append(Observed(patch[:, :128], (128, 128)))
            print(f"generator fitted on the left half, 24 maps: {time.process_time() - began:.0f} CPU s", flush=True)
        return kept[0](n, g)

    maps = {"binned": dust(data, "I_1", 128), "cut-out": dust(data, "I_1", 256)[60:188, 60:188],
            "second": dust(data, "I_2", 128)}  # fmt: skip
    for name, options in CIB_VARIANTS.items():
        rows = []
        for sky, truth in maps.items():
            truth = truth / truth.std() * patch.std()
            for quarter in range(min(2, seeds)):
                other = patch[128 * quarter : 128 * (quarter + 1), 128:]

                def job(truth=truth, other=other, options=options):  # type: ignore[no-untyped-def]
                    draw(1, generator(0))
                    found = separate(truth + other, draw, boundary="edge-mask", **options)
                    return open_facts(found.signal, truth, other) | {"losses": found.report.losses}

                part = bench.part(f"cib-{name}-{sky}-{quarter}", job)
                if part:
                    rows.append([part[word] for word in ("k", "snr", "ratio")])
                    table = np.array([part[word] for word in ("k", "snr", "ratio", "chance", "r")])
                    strong = table[1] > 0.3
                    print(f"dust {sky} + CIB quarter {quarter}, {name}: {part['cpu']:.0f} CPU s, {part['losses']}; "
                          f"P ratio where S/N > 0.3: {table[2][strong].min():.2f}-{table[2][strong].max():.2f}, "
                          f"k > 3: {table[2][strong & (table[0] > 3)].min():.2f}-"
                          f"{table[2][strong & (table[0] > 3)].max():.2f}\n"
                          + "\n".join(f"    {word:7s}" + " ".join(f"{v:6.2f}" for v in row)
                                      for word, row in zip(("k", "S/N", "ratio", "chance", "r"), table)),
                          flush=True)  # fmt: skip
        if len(rows) > 1:
            k, snr, ratio = np.array(rows).transpose(1, 0, 2)
            print(f"{name}: mean over {len(rows)} mixtures")
            for i in range(k.shape[1]):
                error = ratio[:, i].std(ddof=1) / len(rows) ** 0.5
                print(f"    k {k[0, i]:5.1f}  S/N {np.median(snr[:, i]):5.2f}  "
                      f"ratio {ratio[:, i].mean():.2f} +- {error:.2f}")  # fmt: skip


def clouds(n: int, g: torch.Generator, side: int = 64) -> Tensor:
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(4 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(torch.randn(n, side, side, generator=g)) * k**-1.2, s=(side, side))
    x = (0.5 * x / x.std((-2, -1), keepdim=True)).exp()
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


def filaments(seed: int) -> Tensor:
    x = filamentary_field(1, size=64, seed=seed).values.reshape(64, 64)
    return (x - x.mean()) / x.std()


def oracle(bench: Bench, data: Path, seeds: int) -> None:
    """Power recovered over true power, summed over mixtures, beside what subtracting the mean power leaves."""
    patch = clouds(1, generator(1))[0]
    drawn = Observed(patch, (64, 64), periodic=True, count=8, iterations=40)
    for name, draw in (("law", clouds), ("generator", drawn)):
        for boundary in ("periodic", "edge-mask"):
            def job(draw=draw, boundary=boundary):  # type: ignore[no-untyped-def]
                g, rows = generator(5), []
                for seed in range(seeds):
                    truth, other = filaments(seed), draw(1, g)[0]
                    found = separate(truth + other, draw, seed=seed, boundary=boundary, eras=3, polish=0)
                    mean = torch.stack([found.spectrum(x) for x in draw(64, generator(seed))]).mean(0)
                    rows.append([found.spectrum(found.signal).tolist(), found.spectrum(truth).tolist(), mean.tolist(),
                                 found.spectrum(found.mixture).tolist()])  # fmt: skip
                return {"rows": rows, "modes": found.phi.modes.tolist()}

            part = bench.part(f"oracle-{name}-{boundary}", job)
            if part:
                u, s, m, d = np.array(part["rows"]).sum(0)
                kept = np.array(part["modes"]) > 50
                print(f"{name:10s} {boundary:10s} mean of the bands of over 50 modes: {np.mean((u / s)[kept]):.2f}, "
                      f"with the mean power subtracted {np.mean(((d - m) / s)[kept]):.2f}", flush=True)  # fmt: skip


def errors(bench: Bench, data: Path, seeds: int) -> None:
    """Pulls of the power, chance bound and agreement by signal-to-noise, with clouds and noise of known law."""
    def draw(n: int, g: torch.Generator) -> Tensor:
        return 0.7 * clouds(n, g) + 0.7 * torch.randn(n, 64, 64, generator=g)

    columns: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        def job(seed=seed):  # type: ignore[no-untyped-def]
            truth, other = filaments(seed), draw(1, generator(1000 + seed))[0]
            found = separate(truth + other, draw, seed=seed, repeats=1)
            mine, true, both = (found.spectrum(x) for x in (found.signal, truth, found.signal + truth))
            noise, mixed, report = found.spectrum(other), found.spectrum(found.mixture), found.report
            return {"snr": report.signal_to_noise.tolist(), "pull": found.pulls(truth).tolist(),
                    "chance": ((mine - true) / mine / report.chance).tolist(),
                    "exact": ((mixed - noise - true) / mine / report.chance).tolist(),
                    "agreement": report.agreement.tolist(),
                    "truth": ((both - mine - true) / 2 / (mine * true).sqrt()).tolist()}  # fmt: skip

        part = bench.part(f"errors-{seed}", job)
        for name, values in (part or {}).items():
            columns.setdefault(name, []).append(values)
    x = {name: np.array(values) for name, values in columns.items() if name != "cpu"}
    print("S/N              bands  rms off [errors]  [chance]  exact subtraction [chance]  agreement  with the truth")
    for low, high in ((3, 1e9), (1, 3), (0.3, 1), (0.1, 0.3), (0.03, 0.1)):
        kept = (x["snr"] > low) & (x["snr"] <= high)
        pull, chance, exact = (np.sqrt((x[name][kept] ** 2).mean()) for name in ("pull", "chance", "exact"))
        print(f"{low:5g} to {high:5g} {kept.sum():9d} {pull:12.2f} {chance:12.2f} {exact:14.2f} "
              f"{x['agreement'][kept].mean():20.2f} {x['truth'][kept].mean():14.2f}")  # fmt: skip


def run(description: str | None, parts: dict[str, Callable[[Bench, Path, int], None]]) -> None:
    """The command line of these benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(parts))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache" / "sundog-benchmarks" / "separation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--target", type=float, default=0.1)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread")
    if chosen.what != "schemes":
        sys.modules["__main__"].separate = partial(separate, target=chosen.target)  # type: ignore[attr-defined]
    parts[chosen.what](Bench(chosen.out, chosen.only), chosen.data, chosen.seeds)


if __name__ == "__main__":
    run(__doc__, {part.__name__: part for part in (noise, schemes, polarised, halves, real, cib, oracle, errors)})
