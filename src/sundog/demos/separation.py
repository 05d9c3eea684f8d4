"""``sundog demo separation``: filaments under noise and a second sky, recovered without a model of the filaments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import sundog
from sundog.data.dataset import Dataset
from sundog.reports.pages.separation import write_page
from sundog.simulate.fields import filamentary_field
from sundog.tasks.separation import Observed, Separation
from sundog.tasks.separation.result import OUTSIDE

SIDE = 128
NOISE = 0.7  # standard deviation per pixel, in units of that of the filaments
CLOUDS = 0.7


def run_demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What the demo says, line by line, while it works; leaves maps and a page in ``out``.

    A filamentary map is hidden under white noise, known from draws, and under clouds, known from one other patch of sky
    alone. The generator of the clouds is fitted on that patch.

    Parameters
    ----------
    seed : of everything
    quick : smaller and shorter, too poor to judge
    progress : not used; the lines come as the work goes on
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    side = 64 if quick else SIDE
    truth, clouds, patch, noise = _sky(side, seed)
    yield f"mixture   {side} x {side} pixels: filaments (std 1) + clouds ({CLOUDS}) + white noise ({NOISE})"
    generator = Observed(patch, (side, side), periodic=True, count=4 if quick else 16, iterations=20 if quick else 80,
                         seed=seed)
    yield f"clouds    generator fitted on one patch without filaments, {time.monotonic() - start:.0f} s so far"
    found = sundog.separate(
        truth + clouds + noise,
        {"clouds": generator, "noise": lambda n, g: NOISE * torch.randn(n, side, side, generator=g)},
        seed=seed, eras=2 if quick else 5, polish=0 if quick else 10, repeats=0 if quick else 1,
        draws=16 if quick else 64,
    )  # fmt: skip
    maps = {"truth": truth, "mixture": found.mixture, "recovered": found.signal, "residual": found.residual}
    maps |= found.components
    Dataset.from_arrays(torch.stack(list(maps.values()))[None], names=list(maps), periodic=True).save(out / "maps.npz")
    page = write_page(found, out / "report.html", truth=truth)
    yield f"{found.report}\n"
    yield from compared(found, truth)
    yield f"\nreport    {page.resolve()}\n          open it in a browser; {time.monotonic() - start:.0f} s in all"
    if quick:
        yield "          this was --quick: too small to judge"


def compared(found: Separation, truth: Tensor) -> list[str]:
    """Recovered over true power of every scale beside its error and the chance bound, and what one should see."""
    report, pulls = found.report, found.pulls(truth)
    ratio = found.spectrum(found.signal) / found.spectrum(truth)
    lines = ["   k    power / true power  error  of it chance  off by"]
    for k, r, error, chance, pull in zip(report.k, ratio, report.power_error, report.chance, pulls):
        word = "" if abs(pull) < OUTSIDE else "   <- FAIL"
        lines.append(f"{k:6.4f} {r:14.2f} {r * error:14.2f} {r * chance:12.2f} {pull:+8.1f} errors{word}")
    before, after = (float((m - truth).square().mean()) for m in (found.mixture, found.signal))
    passed = int((pulls.abs() < OUTSIDE).sum())
    lines += [
        f"\n{'':36}{'you see':>14}   you should see",
        f"scales within {OUTSIDE:g} errors of the truth {passed:6d} of {len(pulls)}   all",
        f"root mean square of errors off      {float(pulls.square().mean().sqrt()):14.2f}   about 1",
        f"squared error, mixture, recovered   {before:8.2f}, {after:.2f}   the second smaller",
    ]
    return lines


def _sky(side: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Filaments, clouds above them, clouds elsewhere, and noise; (side, side) each."""
    filaments = filamentary_field(1, size=side, seed=seed).values.reshape(side, side)
    generator = torch.Generator().manual_seed(seed + 1)
    k = torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2
    k = k.sqrt().clamp_min(4 / side)  # fewer large clouds than a power law would have
    white = torch.randn(2, side, side, generator=generator)
    clouds = torch.fft.irfft2(torch.fft.rfft2(white) * k**-1.2, s=(side, side))
    clouds = (0.5 * clouds / clouds.std((-2, -1), keepdim=True)).exp()
    above, elsewhere = CLOUDS * (clouds - clouds.mean()) / clouds.std()
    noise = NOISE * torch.randn(side, side, generator=generator)
    return (filaments - filaments.mean()) / filaments.std(), above, elsewhere, noise
