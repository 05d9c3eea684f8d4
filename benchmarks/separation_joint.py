"""What do several maps of one sky add to a separation? Numbers of docs/separation.md.

    python benchmarks/separation_joint.py patches        MHD dust, 128 x 128, one by one and four at once
    python benchmarks/separation_joint.py frequencies    dust at 353 and 545 GHz, 128 x 128, independent noise
    python benchmarks/separation_joint.py aim            signal-to-noise from which a power can be known to 0.01

Options as in benchmarks/separation.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from separation import Bench, clouds, dust, generator, minkowski_errors, run
from torch import Tensor

from sundog.simulate.frequency import greybody
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.tasks.separation import HalfMissions, Match, separate
from sundog.tasks.separation.observed import periodic_part

SIDE = 128
QUICK: dict[str, Any] = {"eras": 4, "iterations": 25, "polish": 10}
RANGES = ((1, 1e9), (0.3, 1), (0.1, 0.3), (0.03, 0.1))  # of the signal-to-noise of a band
CONTAMINATIONS = {"noise": lambda n, g: torch.randn(n, SIDE, SIDE, generator=g),
                  "cib": lambda n, g: clouds(n, g, SIDE)}  # fmt: skip


def sparsities(x: Tensor) -> Tensor:
    """log S1^2 / S2 per octave (J,), S1 and S2 in the mean over maps (P, ny, nx)."""
    found = ScatteringCovariance((SIDE, SIDE), 6, 4, isotropic=True)(x).iso()
    return (found["S1"].mean(0) ** 2 / found["S2"].mean(0)).log()


def cuts(data: Path, name: str, count: int) -> Tensor:
    """The first disjoint patches (count, 128, 128) of the dust map, made periodic; their mean variance is 1."""
    rows = dust(data, name, 512).unflatten(1, (-1, SIDE)).unflatten(0, (-1, SIDE)).transpose(1, 2).flatten(0, 1)
    maps = periodic_part(rows[:count])
    maps = maps - maps.mean((-2, -1), keepdim=True)
    return maps / maps.square().mean().sqrt()


def offs(found: Tensor, truth: Tensor, other: Tensor, mean: Tensor, bands: BandPowers) -> dict[str, Any]:
    """How far powers (P, b) are off, in chance bounds: of the mean over patches, of each patch, by exact subtraction.

    mean : (b,) mean power of the contamination
    """
    u, s, d = bands(found), bands(truth), bands(truth + other)
    bound = 2 * (s * mean / bands.modes).sqrt()  # of one patch
    together = bound.square().mean(0).sqrt() / len(s) ** 0.5
    return {
        "snr": (s.mean(0) / mean).tolist(), "mean": ((u - s).mean(0) / together).tolist(),
        "each": ((u - s) / bound).square().mean(0).sqrt().tolist(), "bound": (together / s.mean(0)).tolist(),
        "relative": ((u - s).mean(0) / s.mean(0)).tolist(),
        "exact": ((d - bands(other) - s).mean(0) / together).tolist(),
        "sparsity": (sparsities(found) - sparsities(truth)).tolist(), "error": float((found - truth).square().mean()),
        "minkowski": np.mean([minkowski_errors(x, t) for x, t in zip(found, truth)], 0).tolist(),
    }  # fmt: skip


def filtered(d: Tensor, power: Tensor, noise: Tensor, bands: BandPowers) -> Tensor:
    """The filter that knows both mean spectra."""
    share = bands.spread(power / (power + noise)).reshape(SIDE, -1)
    return torch.fft.irfft2(torch.fft.rfft2(d) * share.float(), s=(SIDE, SIDE))


def patches(bench: Bench, data: Path, seeds: int, count: int = 4) -> None:
    bands = BandPowers((SIDE, SIDE))
    for kind, law in CONTAMINATIONS.items():
        for snr in (0.5, 0.3):
            rows: dict[str, list[dict[str, Any]]] = {}
            for seed in range(seeds):
                truth = cuts(data, f"I_{1 + seed % 3}", count)
                draw = lambda n, g, law=law, snr=snr: law(n, g) / snr  # noqa: E731
                other, mean = draw(count, generator(1100 + seed)), bands(draw(256, generator(5))).mean(0)
                d = truth + other
                for size in (1, count, 0):
                    def job(size=size, seed=seed, d=d, truth=truth,  # type: ignore[no-untyped-def]
                            other=other, mean=mean, draw=draw):  # fmt: skip
                        if size == 0:
                            found = filtered(d, bands(truth).mean(0), mean, bands)
                        elif size == 1:
                            found = torch.stack([separate(x, draw, seed=seed + 50 * i, **QUICK).signal
                                                 for i, x in enumerate(d)])
                        else:
                            found = torch.cat([separate(x, draw, seed=seed + 50 * i, patches=True, **QUICK).signal
                                               for i, x in enumerate(d.split(size))])
                        return offs(found, truth, other, mean, bands)  # fmt: skip

                    part = bench.part(f"patches-{kind}-{snr}-{size}-{seed}", job)
                    if part:
                        rows.setdefault("Wiener" if size == 0 else f"{size} at once", []).append(part)
            told(f"{count} patches, {kind}, map S/N {snr}", rows)


def frequencies(bench: Bench, data: Path, seeds: int) -> None:
    """The same dust at two frequencies, in units of the first: d2 / a has the noise of the second over a."""
    bands = BandPowers((SIDE, SIDE))
    a = float(greybody(545, 19.6, 1.53) / greybody(353, 19.6, 1.53))  # Planck 2018 XI, A&A 641, A11
    sigma, scale, rows = torch.tensor([2.0, 3.0]), torch.tensor([1.0, a])[:, None, None], {}
    weight = sigma**-2 / (sigma**-2).sum()
    for seed in range(seeds):
        truth = dust(data, f"I_{1 + seed % 3}", SIDE)
        noise = sigma[:, None, None, None] * torch.randn(2, 65, SIDE, SIDE, generator=generator(1200 + seed))
        d, mean = truth + noise[:, 0], (weight * sigma).square().sum().expand(len(bands.k))
        best, draws = torch.einsum("f,fyx->yx", weight, d), torch.einsum("f,fnyx->nyx", weight, noise[:, 1:])
        pair = HalfMissions(*d, *noise[:, 1:])
        for name in ("353 GHz alone", "two channels", "weighted mean", "weighted mean, with their cross-statistics",
                     "Wiener of the weighted mean"):
            def job(name=name, d=d, noise=noise, best=best, draws=draws,  # type: ignore[no-untyped-def]
                    pair=pair, truth=truth, mean=mean, seed=seed):  # fmt: skip
                extra = {}
                if name.startswith("Wiener"):
                    found = filtered(best, bands(truth), mean, bands)
                elif name == "353 GHz alone":
                    found = separate(d[0], noise[0, 1:], seed=seed, **QUICK).signal
                elif name == "two channels":
                    both = separate(scale * d, (scale * noise[:, 1:].transpose(0, 1)), seed=seed, **QUICK).signal
                    found = torch.einsum("f,fyx->yx", weight, both / scale)
                    slope = (both[0] * both[1]).mean() - both[0].mean() * both[1].mean()
                    direct = bands.average(bands.transform(d[0]), bands.transform(scale[1] * d[1])) * bands.modes
                    extra = {"ratio": float(slope / both[0].var() / a),
                             "direct": float(direct.sum() / ((bands(d[0]) - sigma[0] ** 2) * bands.modes).sum() / a)}
                else:
                    losses = [Match(), pair] if "cross" in name else [Match()]
                    found = separate(best, draws, losses, seed=seed, **QUICK).signal
                facts = offs(found[None], truth[None], (best - truth)[None], mean, bands)
                return facts | extra  # fmt: skip

            part = bench.part(f"frequencies-{name.replace(' ', '').replace(',', '')}-{seed}", job)
            if part:
                rows.setdefault(name, []).append(part)
    told(f"two frequencies, a = {a:.2f}", rows)
    for word in ("ratio", "direct"):
        values = [part[word] for part in rows.get("two channels", [])]
        if values:
            print(f"    amplitude over the true one, {word}: {np.mean(values):.3f} +- "
                  f"{np.std(values, ddof=1) / len(values) ** 0.5:.3f}")  # fmt: skip


def aim(bench: Bench, data: Path, seeds: int) -> None:
    """Chance bounds 2 / sqrt(S/N modes) of 1 and 12 patches of 256 x 256, and S/N where 0.01 can be reached."""
    bands = BandPowers((256, 256))
    for i in range(3, len(bands.k), 4):
        n = float(bands.modes[i])
        bounds = [f"{2 / (snr * n * P) ** 0.5:.3f}" for P in (1, 12) for snr in (10, 1, 0.1)]
        reached = ", ".join(f"{4e4 / (n * P):.3g}" for P in (1, 12))
        print(f"k {float(bands.k[i]):.3f}: {n:.0f} modes; bounds at S/N 10, 1, 0.1, of 1 patch and of 12: "
              + ", ".join(bounds) + f"; 0.01 from S/N {reached}")  # fmt: skip
    for snr in (10, 3, 1, 0.5):
        power = bands(dust(data, "I_1", 256)[None])[0] * snr**2
        for P in (1, 12):
            bound = 2 / (power * bands.modes * P).sqrt()
            best = int(bound.argmin())
            print(f"dust of map S/N {snr}, {P} patches: best bound {float(bound[best]):.3f} at k "
                  f"{float(bands.k[best]):.3f} (S/N {float(power[best]):.2g}); {int((bound < 0.01).sum())} of "
                  f"{len(bound)} bands below 0.01, {int((bound < 0.03).sum())} below 0.03")  # fmt: skip


def told(title: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Root mean squares over bands and mixtures, by signal-to-noise, with errors from the mixtures."""
    print(title)
    for name, parts in rows.items():
        x = {word: np.array([part[word] for part in parts]) for word in ("snr", "mean", "each", "exact", "relative",
                                                                         "bound")}  # fmt: skip
        for low, high in RANGES:
            kept = (x["snr"] > low) & (x["snr"] <= high)
            if kept.any():
                rms = {word: np.sqrt((x[word][kept] ** 2).mean()) for word in x}
                print(f"    {name:44s} S/N {low:g} to {high:g}: {kept.sum():3d} bands, mean off {rms['mean']:.2f} "
                      f"+- {rms['mean'] / (2 * kept.sum()) ** 0.5:.2f} bounds (exact {rms['exact']:.2f}), a map "
                      f"{rms['each']:.2f}; relative {rms['relative']:.3f}, its mean "
                      f"{x['relative'][kept].mean():+.3f}, bound {rms['bound']:.3f}")  # fmt: skip
        table = np.array([[*part["sparsity"], part["error"], *part["minkowski"]] for part in parts])
        spread = table.std(0, ddof=1) / len(parts) ** 0.5 if len(parts) > 1 else 0 * table[0]
        print("        log sparsities off, squared error, V0, V1, V2: " + ", ".join(
            f"{m:.3f} +- {e:.3f}" for m, e in zip(table.mean(0), spread))
            + f"; {np.mean([part['cpu'] for part in parts]):.0f} CPU s", flush=True)  # fmt: skip


if __name__ == "__main__":
    run(__doc__, {"patches": patches, "frequencies": frequencies, "aim": aim})
