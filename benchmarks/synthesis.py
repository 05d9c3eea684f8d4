"""How well does a synthesis from scattering statistics reproduce its example, and what does it cost?

    python benchmarks/synthesis.py dust       three MHD dust maps (log): spectrum, Minkowski, bispectrum, scattering
    python benchmarks/synthesis.py spread     spread between samples: mean field against one target for every map
    python benchmarks/synthesis.py channels   I, Q, U of the MHD dust: spectra, coherence, cross statistics
    python benchmarks/synthesis.py open       the Planck CIB patch, which does not wrap around, on a larger canvas
    python benchmarks/synthesis.py gaps       a dust map with gaps, against constrained Gaussian fields
    python benchmarks/synthesis.py canvas     canvases twice as wide as their examples: the longest filaments, the judge
    python benchmarks/synthesis.py line       a helium-jet signal: increments, their skewness and flatness
    python benchmarks/synthesis.py cube       a lognormal cube 64^3
    python benchmarks/synthesis.py sky        large-scale structure on the sphere, nside 64, against Gaussian skies
    python benchmarks/synthesis.py side       512^2 and 1024^2 with and without coarse grids

Options: --data FOLDER (default SUNDOG_DATA or ../shared/data), --seeds N, --part I (one map, law ...). Each
line of output is one JSON object; times are CPU seconds of this process on one thread, allocator as shipped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import find_objects, label
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.simulate.fields import filamentary_field
from sundog.solve.gaps import fill_gaps
from sundog.statistics.maps.bispectrum import bispectrum
from sundog.statistics.maps.morphology import gaussian_smooth, minkowski_functionals
from sundog.statistics.maps.spectra import correlation_coefficient, power_spectrum
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.transform import WaveletScattering
from sundog.verdicts.compare import judge

Facts = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Folder of the data, number of seeds, and the one part of the work to do (None for all)."""

    data: Path
    seeds: int
    part: int | None

    def chosen(self, items: Iterable[Any]) -> list[Any]:
        """The items of this part."""
        return [item for i, item in enumerate(items) if self.part is None or i == self.part]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dust(data: Path, name: str, side: int = 256) -> Tensor:
    """An MHD dust map binned from 512 x 512 (still periodic)."""
    path = data / "fields" / f"mhd_dust_{name}.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    return torch.from_numpy(np.load(path)).float().reshape(side, 512 // side, side, 512 // side).mean((1, 3))


def standard(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std()


def surrogates(x: Tensor, n: int, seed: int = 100) -> Tensor:
    """The amplitudes of x with random phases (n, ...); channels share theirs."""
    grid = x.shape[-2:]
    w = torch.fft.rfft2(torch.randn(n, *[1] * (x.ndim - 2), *grid, generator=generator(seed)))
    return torch.fft.irfft2(torch.fft.rfft2(x) * w / w.abs(), s=grid)


def moment(x: Tensor, p: int) -> float:
    return float((standard(x) ** p).mean())


def errors(x: Tensor, truth: Tensor) -> Facts:
    """Root-mean-square error of each statistic of standardised maps (n, ny, nx), mean over the maps.

    V0, V1, V2: Minkowski functionals after smoothing by 1.5 pixels, 19 thresholds, relative to the largest true value.
    bispectrum: B / sqrt(P P P) over all triangles of 6 bands, relative to its root mean square in the truth.
    s2: log2 S2 / S1 of the wavelet scattering transform, which the synthesis never sees, J = 5, L = 4.
    """
    smooth = [gaussian_smooth(y, 1.5, periodic=True) for y in (x, truth[None])]
    found = [minkowski_functionals(y, torch.linspace(-2, 2.5, 19), periodic=True) for y in smooth]
    out = {}
    for name in ("v0", "v1", "v2"):
        a, b = (getattr(f, name) for f in found)
        out[name.upper()] = float((a - b).square().mean(1).sqrt().mean() / b.abs().max())
    a, b = (bispectrum(y, bins=6).normalised for y in (x, truth[None]))
    out["bispectrum"] = float((a - b).square().mean(1).sqrt().mean() / b.square().mean().sqrt())
    phi = WaveletScattering(tuple(truth.shape), J=5)  # type: ignore[arg-type]
    a, b = (phi(y).vector[:, 20:] for y in (x, truth[None]))
    out["s2"] = float((a - b).square().mean(1).sqrt().mean())
    return {name: round(value, 4) for name, value in out.items()}


def synthesised(model: MicrocanonicalModel, seeds: int, first: int = 0) -> tuple[Tensor, Facts]:
    """Maps of seeds first, first + 1 ... and CPU seconds per map, largest energy, evaluations."""
    start = time.process_time()
    found = [model.synthesise(1, generator(first + seed))[0] for seed in range(seeds)]
    cpu = (time.process_time() - start) / seeds
    return torch.stack([f.x for f in found])[:, 0], {
        "cpu_s": round(cpu, 1), "energy": max(f.loss for f in found), "evaluations": found[0].evaluations,
    }  # fmt: skip


def fitted(maps: Tensor, **options: Any) -> MicrocanonicalModel:
    model = MicrocanonicalModel(tuple(maps.shape[1:]), **options)
    model.prepare(maps, None)
    return model


def ratios(x: Tensor, truth: Tensor) -> list[float]:
    ratio = power_spectrum(x, bins=20).power / power_spectrum(truth, bins=20).power
    return [round(float(ratio.min()), 4), round(float(ratio.max()), 4)]


def bench_dust(o: Options) -> Iterator[Facts]:
    every = [standard(dust(o.data, f"I_{i}").log()) for i in (1, 2, 3)]
    for number, truth in o.chosen(enumerate(every, 1)):
        maps, cost = synthesised(fitted(truth[None]), o.seeds)
        coherent = [0.0]
        for i, j in itertools.combinations(range(len(maps)), 2):
            r = correlation_coefficient(maps[i], maps[j])
            coherent.append(float((r.power * (r.modes / 2).sqrt())[8:].abs().max()))
        kin = torch.stack([other for other in every if other is not truth])
        yield {
            "map": number, **cost, "power_ratio": ratios(maps, truth), "synthesis": errors(maps, truth),
            "random_phase": errors(surrogates(truth, 10), truth), "other_real_maps": errors(kin, truth),
            "largest_coherence_sigmas_k_above_8": round(max(coherent), 2), "rings": len(r.power) - 8,
            "skewness": [round(moment(truth, 3), 2), round(moment(maps, 3), 2)],
            "kurtosis": [round(moment(truth, 4), 2), round(moment(maps, 4), 2)],
        }  # fmt: skip


def bench_spread(o: Options) -> Iterator[Facts]:
    """Spread of log P_b and of the scattering coefficients between samples over that between draws of the law."""
    n, side = 64, 64
    g = torch.randn(4 * n, side, side, generator=generator(3))
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    gauss = torch.fft.irfft2(torch.fft.rfft2(g) / k, s=(side, side)) / 8
    laws = {"gaussian": gauss, "lognormal": (0.8 * gauss / gauss.std()).exp()}
    phi = ScatteringCovariance((side, side), 4, isotropic=True, accuracy="fast")
    for (name, law), size in o.chosen(itertools.product(laws.items(), (n, 0))):
        examples, others = law[:n], law[n:]
        model = fitted(examples, mean_field=size, iterations=40, bins=8)
        start = time.process_time()
        maps = model.sample(n, None, generator(1)).detach()
        cpu = time.process_time() - start
        pairs = [model.constraints.bands(y).log().std(0) for y in (maps, others)]
        deep = [phi(y).normalised().vector[:, 2:].std(0) for y in (maps, others)]
        power = pairs[0] / pairs[1]
        mean = model.constraints.bands(maps).mean(0) / model.constraints.bands(examples).mean(0)
        yield {
            "law": name, "mean_field": size, "cpu_s_per_map": round(cpu / n, 2),
            "std_log_power_over_truth": [round(float(power.min()), 2), round(float(power.max()), 2)],
            "std_scattering_over_truth": round(float((deep[0] / deep[1]).median()), 2),
            "error_of_a_ratio": round(math.sqrt(0.5 / n + 0.5 / len(others)), 2),
            "mean_power_ratio": [round(float(v), 3) for v in mean.aminmax()],
        }  # fmt: skip


def bench_channels(o: Options) -> Iterator[Facts]:
    truth = torch.stack([standard(dust(o.data, f"{c}_1")) for c in "IQU"])
    model = fitted(truth[None], iterations=150)
    start = time.process_time()
    (found,) = model.synthesise(1, generator(0))
    x, fake = found.x, surrogates(truth, 1)[0]
    phi = ScatteringCovariance((256, 256), 6, isotropic=True)

    def cross(y: Tensor) -> Tensor:
        return torch.cat([c.normalised().vector for c in phi.channels(y)[1].values()])

    def coherence(y: Tensor) -> Tensor:
        return torch.stack([correlation_coefficient(y[a], y[b], bins=20).power for a, b in ((0, 1), (0, 2), (1, 2))])

    p = [(y[1] ** 2 + y[2] ** 2).sqrt() for y in (truth, x, fake)]
    yield {
        "cpu_s": round(time.process_time() - start, 1), "energy": found.loss, "evaluations": found.evaluations,
        "power_ratio": ratios(x, truth),
        "coherence_error": [round(float((coherence(y) - coherence(truth)).abs().max()), 4) for y in (x, fake)],
        "cross_rms_error": [round(float((cross(y) - cross(truth)).square().mean().sqrt()), 4) for y in (x, fake)],
        "cross_rms_truth": round(float(cross(truth).square().mean().sqrt()), 4),
        "kurtosis_IQU": [[round(moment(c, 4), 1) for c in y] for y in (truth, x, fake)],
        "kurtosis_of_polarised_intensity": [round(moment(v, 4), 1) for v in p],
        "order": "synthesis, random phases" if len(p) == 3 else "",
    }  # fmt: skip


def bench_open(o: Options) -> Iterator[Facts]:
    path = o.data / "fields" / "planck_cib_256.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    truth = standard(torch.from_numpy(np.load(path)).float())
    for boundary in o.chosen(("edge-mask", "periodic")):
        model = fitted(truth[None], boundary=boundary, canvas=(384, 384), iterations=100)
        maps, cost = synthesised(model, 1)
        parts = torch.stack([maps[0, :256, :256], maps[0, 128:, 128:]])
        spectra = [power_spectrum(y, bins=14, periodic=False).power for y in (parts, truth)]
        ratio = (spectra[0].mean(0) / spectra[1])[3:]
        yield {"boundary": boundary, **cost, "J": model.config()["J"],
               "power_ratio_above_bin_3": [round(float(ratio.min()), 3), round(float(ratio.max()), 3)],
               "skewness": [round(moment(y, 3), 2) for y in (truth, maps)],
               "kurtosis": [round(moment(y, 4), 2) for y in (truth, maps)]}  # fmt: skip


def dust_gaps(o: Options) -> Facts:
    truth = standard(dust(o.data, "I_1").log())
    mask = torch.ones(256, 256)
    mask[60:130, 60:150] = 0
    mask[180:190, 20:220] = 0
    gap = torch.zeros(256, 256, dtype=torch.bool)
    gap[62:128, 62:148] = True
    model = fitted(torch.where(mask > 0, truth, 0.0)[None], mask=mask, inpaint=True)
    maps, cost = synthesised(model, o.seeds)
    power = model.constraints.bands.spread(model.constraints.powers[0]).view(256, 129)
    start = model.constraints.start(model.row_noise(10, generator(5)))[:, 0]
    gauss = start + fill_gaps(torch.where(mask > 0, truth, 0.0) - start * mask, mask > 0, power.clamp_min(1e-6))

    def tails(y: Tensor) -> list[float]:
        """Kurtosis of increments at 1, 2, 4 pixels inside the large gap, which is 3 for Gaussian fields."""
        inside = y[..., 62:128, 62:148]
        return [round(moment(inside[..., lag:] - inside[..., :-lag], 4), 2) for lag in (1, 2, 4)]

    known = bool((maps[:, mask > 0] == truth[mask > 0]).all())
    return {**cost, "known_pixels_exact": known, "increment_kurtosis_truth": tails(truth),
           "increment_kurtosis_filled": tails(maps), "increment_kurtosis_constrained_gaussian": tails(gauss)}


def gap_patches(seed: int) -> dict[str, Tensor]:
    """What stands in 20 gaps, filled in several ways or true, and "real" patches cut elsewhere in the maps."""
    maps, hole = filamentary_field(20, 96, seed=7 + seed).values.log(), torch.ones(96, 96)
    hole[32:64, 32:64] = 0

    def filled(iterations: int, noises: range) -> Tensor:
        return torch.cat([synthesised(fitted(x[None], mask=hole, inpaint=True, iterations=iterations), 1, i)[0]
                          for x, i in zip(maps, noises or [0] * 20)])  # fmt: skip

    own, same = range(1000 * (1 + seed), 1000 * (1 + seed) + 20), range(0)
    sets = {
        "filled": filled(40, own), "start": filled(1, own), "start_of_one_noise": filled(1, same), "true": maps,
        "random_phases": torch.cat([surrogates(x, 1, i) for x, i in zip(maps, own)]),
        "real": torch.cat([maps.roll(shift, (1, 2)) for shift in ((0, 48), (48, 0), (48, 48))]),
    }  # fmt: skip
    return {name: x[:, 32:64, 32:64] for name, x in sets.items()}


def gap_facts(sets: dict[str, Tensor]) -> Facts:
    """p of the judge against the real patches, power in eight bands over theirs, spread of its logarithm."""
    facts: Facts = {"gaps": len(sets["true"])}
    mean = power_spectrum(sets["real"], bins=8, periodic=False).power.mean(0)
    for name, x in sets.items():
        ratio = power_spectrum(x, bins=8, periodic=False).power / mean
        facts[f"spread_of_log_power_{name}"] = [round(float(v), 2) for v in ratio.log().std(0)]
        if name != "real":
            facts[f"judge_p_{name}"] = judged(sets["real"], x)
            facts[f"power_{name}"] = [f"{m:.2f} +- {e:.2f}" for m, e in
                                      zip(ratio.mean(0), ratio.std(0) / len(ratio) ** 0.5)]  # fmt: skip
    return facts


def bench_gaps(o: Options) -> Iterator[Facts]:
    if o.part in (None, o.seeds):
        yield dust_gaps(o)
    every = []
    for seed in o.chosen(range(o.seeds)):
        every.append(gap_patches(seed))
        yield {"seed": seed, **gap_facts(every[-1])}
    if o.part is None:
        yield {"seed": "all", **gap_facts({name: torch.cat([sets[name] for sets in every]) for name in every[0]})}


def judged(real: Tensor, other: Tensor) -> float:
    sets = [Dataset.from_arrays(x, held_out_fraction=0.0) for x in (real, other)]
    return float(judge(*sets, statistics="deciding").p_value)


def pieces(x: Tensor) -> np.ndarray:
    """Extent in pixels of the longest connected piece of the brightest 5 % of each map, and its slenderness: (n, 2).

    Slenderness is extent over the root of the area, the largest of the pieces of more than 15 pixels.
    """
    found = []
    for high in (x > x.flatten(1).quantile(0.95, 1)[:, None, None]).numpy():
        every, _ = label(high, np.ones((3, 3)))
        extent = [math.hypot(*(s.stop - s.start for s in piece)) for piece in find_objects(every)]
        area = np.bincount(every.ravel())[1:]
        found.append((max(extent), max((e / a**0.5 for e, a in zip(extent, area) if a > 15), default=0.0)))
    return np.array(found)


def bench_canvas(o: Options) -> Iterator[Facts]:
    """Patches cut from canvases twice the side of their example, beside others of the law: filaments, judge."""
    for seed in o.chosen(range(o.seeds)):
        examples = filamentary_field(8, 64, seed=70 + seed).values.log()
        real = filamentary_field(96, 64, seed=170 + seed).values.log()
        maps = torch.cat([synthesised(fitted(x[None], canvas=(128, 128), iterations=30), 1, 8 * seed + i)[0]
                          for i, x in enumerate(examples)])  # fmt: skip
        sets = {"real": real, "canvas": torch.cat([maps[:, :64, :64], maps[:, 64:, 64:]]),
                "random_phases": torch.cat([surrogates(x, 8, 100 + i) for i, x in enumerate(examples)])}  # fmt: skip
        yield {"of": "filaments 64 -> 128", "seed": seed, **filament_facts(sets)}
        sets["canvas"] = torch.cat([maps[:, 32 * i : 32 * i + 32, 32 * i : 32 * i + 32] for i in range(4)])
        sets["examples"] = torch.cat([examples[:, a : a + 32, b : b + 32] for a in (0, 32) for b in (0, 32)])
        yield {f"judge_p_{name}": judged(real[:, :32, :32], x[:48, :32, :32]) for name, x in sets.items()
               if name != "real"}  # fmt: skip
    skies = [standard(dust(o.data, f"I_{i}").log()) for i in (1, 2, 3)]
    real = torch.cat([quarters(x[None]) for x in skies])
    ways: dict[str, tuple[list[Tensor], Facts]] = {
        "a quarter, to 256": (list(real[::4]), {"boundary": "edge-mask", "canvas": (256, 256)}),
        "the whole, same size": (skies, {}), "the whole, same size, L = 8": (skies, {"L": 8}),
        "the whole, same size, 240 steps": (skies, {"iterations": 240}),
        "a quarter, to 256, 240 steps": (list(real[::4]), {"boundary": "edge-mask", "canvas": (256, 256),
                                                          "iterations": 240}),
    }  # fmt: skip
    for place, (name, (examples, options)) in enumerate(ways.items(), o.seeds):
        if o.part in (None, place):
            maps = torch.cat([synthesised(fitted(x[None], **{"iterations": 60, **options}), 1, i)[0]
                              for i, x in enumerate(examples)])  # fmt: skip
            yield {"of": f"dust, {name}", **filament_facts({
                   "real": real, "canvas": quarters(maps),
                   "random_phases": quarters(torch.cat([surrogates(x, 4, 100 + i) for i, x in enumerate(skies)]))})}


def quarters(maps: Tensor) -> Tensor:
    return torch.cat([maps[:, a : a + 128, b : b + 128] for a in (0, 128) for b in (0, 128)])


def filament_facts(sets: dict[str, Tensor]) -> Facts:
    """Mean of the longest and of the slenderest piece, and their errors."""
    every = {name: pieces(x) for name, x in sets.items()}
    return {f"longest_slenderest_{name}": [f"{m:.2f} +- {e:.2f}" for m, e in
                                           zip(v.mean(0), v.std(0, ddof=1) / len(v) ** 0.5)]
            for name, v in every.items()}  # fmt: skip


def bench_line(o: Options) -> Iterator[Facts]:
    path = o.data / "fields" / "heliumjet_turbulence_1d.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    truth = standard(torch.from_numpy(np.load(path)).float())
    count = 4 * o.seeds
    model = fitted(truth[None], boundary="edge-mask", iterations=200)
    start = time.process_time()
    x = torch.stack([d.x[0] for d in model.synthesise(count, generator(0))])
    cpu = (time.process_time() - start) / count
    gauss = model.constraints.start(model.row_noise(count, generator(1)))[:, 0]
    halves = torch.stack([truth[:2048], truth[2048:]])  # what another stretch of the truth would say
    lags = (1, 4, 16, 64, 256)

    def tails(y: Tensor, p: int) -> list[list[float]]:
        each = [[moment(row[lag:] - row[:-lag], p) for lag in lags] for row in y]
        return [np.round(np.mean(each, 0), 2).tolist(), np.round(np.std(each, 0), 2).tolist()]

    yield {"cpu_s": round(cpu, 2), "J": model.config()["J"], "lags": list(lags),
           **{f"{word}_{name}": tails(y, p) for p, word in ((3, "skewness"), (4, "kurtosis"))
              for name, y in (("truth", truth[None]), ("halves", halves), ("synthesis", x), ("gaussian", gauss))},
           "as": "mean over samples, spread between them"}  # fmt: skip


def cube_of(side: int) -> Tensor:
    """A lognormal cube with P(k) ~ k^-3 of its logarithm."""
    x = torch.randn(side, side, side, generator=generator(0))
    k2 = [torch.fft.fftfreq(side) ** 2, torch.fft.fftfreq(side) ** 2, torch.fft.rfftfreq(side) ** 2]
    k = (k2[0][:, None, None] + k2[1][:, None] + k2[2]).sqrt().clamp_min(1 / side)
    return (standard(torch.fft.irfftn(torch.fft.rfftn(x) * k**-1.5, s=(side,) * 3)) * 0.8).exp()


def bench_cube(o: Options) -> Iterator[Facts]:
    truth = standard(cube_of(64))
    model = fitted(truth[None], domain="volume", iterations=60)
    start = time.process_time()
    (found,) = model.synthesise(1, generator(0))
    cpu, c = time.process_time() - start, model.constraints
    gauss = c.start(1, generator(1))[0, 0]
    ratio = (c.bands(found.x[None]) / c.bands(truth[None, None]))[0, 0]
    yield {"cpu_s": round(cpu, 1), "evaluations": found.evaluations, "energy": found.loss,
           "power_ratio": [round(float(v), 3) for v in ratio.aminmax()],
           **{f"{word}_truth_synthesis_gaussian": [round(moment(y, p), 2) for y in (truth, found.x, gauss)]
              for p, word in ((3, "skewness"), (4, "kurtosis"))}}  # fmt: skip


def base_faces(sky: Tensor) -> Tensor:
    """HEALPix skies (n, pixels) in NESTED order as images of the 12 base faces, (12 n, nside, nside)."""
    nside = math.isqrt(sky.shape[-1] // 12)
    place = np.arange(nside**2)
    x, y = (sum(((place >> (2 * b + odd)) & 1) << b for b in range(nside.bit_length())) for odd in (0, 1))
    image = torch.empty(*sky.shape[:-1], 12, nside, nside)
    image[..., y, x] = sky.unflatten(-1, (12, nside**2)).float()
    return image.flatten(0, -3)


def face_errors(sky: Tensor, truth: Tensor) -> Facts:
    """Root-mean-square errors of V0, V1, V2 as in `errors`, on the base faces, which are alike for all skies."""
    found = []
    for x in (sky, truth[None]):
        smooth = gaussian_smooth(base_faces(x), 1.5, periodic=False)
        each = minkowski_functionals(smooth, torch.linspace(-2, 2.5, 19), periodic=False)
        found.append([getattr(each, name).unflatten(0, (-1, 12)).mean(1) for name in ("v0", "v1", "v2")])
    return {name: round(float((a - b).square().mean(1).sqrt().mean() / b.abs().max()), 4)
            for name, a, b in zip(("V0", "V1", "V2"), *found)}  # fmt: skip


def bench_sky(o: Options) -> Iterator[Facts]:
    path = o.data / "fields" / "lss_sphere_nside128_nest.npy"
    if not path.exists():
        sys.exit(f"skipped: {path} is absent; set SUNDOG_DATA or --data")
    truth = standard(torch.from_numpy(np.load(path)).float().reshape(-1, 4).mean(1))
    model = fitted(truth[None], domain="sphere", nested=True, iterations=100)
    start = time.process_time()
    found = [model.synthesise(1, generator(seed))[0] for seed in range(o.seeds)]
    cpu, sky = (time.process_time() - start) / o.seeds, model.constraints
    maps, gauss = torch.stack([f.x.flatten() for f in found]), sky.start(10, generator(100))[:, 0]

    def power(x: Tensor) -> Tensor:
        return sky._powers(sky._analysed(x))  # type: ignore[union-attr, return-value]

    yield {
        "nside": 64, "cpu_s": round(cpu, 1), "evaluations": found[0].evaluations, "energy": max(f.loss for f in found),
        "energy_of_the_start": float(sky.energies(gauss[:1, None])),
        "power_ratio": [round(float(v), 4) for v in (power(maps) / power(truth[None])).aminmax()],
        "synthesis": face_errors(maps, truth), "gaussian": face_errors(gauss, truth),
        **{f"{word}_truth_synthesis_gaussian": [round(moment(x, p), 2) for x in (truth, maps, gauss)]
           for p, word in ((3, "skewness"), (4, "kurtosis"))},
        "correlation_of_two_seeds": round(float((maps[0] * maps[-1]).mean()), 3),
    }  # fmt: skip


def bench_side(o: Options) -> Iterator[Facts]:
    for side, coarse, iterations in o.chosen(((512, 512, 60), (512, 0, 80), (1024, 512, 30), (1024, 0, 40))):
        if side == 512:
            truth = standard(dust(o.data, "I_1", 512).log())
        else:
            truth = standard(filamentary_field(1, 1024, seed=0).values[0].log())
        model = fitted(truth[None], coarse_from=coarse, iterations=iterations)
        maps, cost = synthesised(model, 1)
        yield {"side": side, "coarse_grids": list(model.factors[:-1]), "iterations_per_grid": iterations, **cost,
               "power_ratio": ratios(maps, truth), "errors": errors(maps, truth)}  # fmt: skip


BENCHES = {name.removeprefix("bench_"): job for name, job in list(globals().items()) if name.startswith("bench_")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(BENCHES))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SUNDOG_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--part", type=int, help="only this part of the work, from 0")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    for facts in BENCHES[chosen.what](Options(chosen.data, chosen.seeds, chosen.part)):
        print(json.dumps({"bench": chosen.what, **facts}), flush=True)
    spent = round(time.process_time() - start)
    print(json.dumps({"bench": chosen.what, "torch": torch.__version__, "cpu_s_in_all": spent}))


if __name__ == "__main__":
    main()
