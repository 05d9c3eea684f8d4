"""``sundog demo texture``: new maps from one map - another seed, a larger sky, a filled gap - and what they keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import sundog
from sundog.data.dataset import Dataset
from sundog.demos.dijets import one_thread
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.reports.html import Picture, picture_of
from sundog.reports.pages.texture import row_of_maps, write_texture_page
from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.verdicts.textures import Textures, compare_textures

SIDE, QUICK_SIDE = 256, 64
FAKES = 2
FAKE, RANDOM = "synthesis", "random phases"
# Error of the random phases over that of the synthesis that one should see at least; seed 0 gave 4.7, 2.9, 2.1, 1.8
# and 5.1.
EXPECTED = {"area V0": 2.0, "perimeter V1": 2.0, "Euler number V2": 1.5, "bispectrum": 1.2,
            "wavelet scattering S2": 1.5}  # fmt: skip


def run_demo(out: Path, *, seed: int = 0, quick: bool = False, progress: bool = False) -> Iterator[str]:
    """What the demo says, line by line, while it works; leaves the run, the maps and a page in ``out``.

    Parameters
    ----------
    seed : of the example and of the fakes
    quick : 64 x 64 pixels and few steps, too poor to judge
    progress : not used; the lines come as the work goes on
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    side, iterations = (QUICK_SIDE, 20) if quick else (SIDE, 120)
    example = filamentary_field(1, side, seed=seed)
    yield f"example   one map of filaments, {side} x {side} pixels"
    with one_thread():
        run = sundog.fit("scattering", example, seed=seed, log=True, iterations=iterations)
        fakes = run.sample(FAKES, seed=seed + 1)
        fakes.save(out / "fakes.npz")
        yield f"sample    {FAKES} new maps of {iterations} steps each, {time.monotonic() - start:.0f} s so far"
        logs = {"truth": example.values.log(), FAKE: fakes.values.log()}
        logs[RANDOM] = phase_randomised(_dataset(logs["truth"].repeat(8, 1, 1)), seed=seed + 2).values
        found = compare_textures(logs["truth"][0], {FAKE: logs[FAKE], RANDOM: logs[RANDOM]})
        wide, gap, filled = _more(example, iterations // 2, seed)
    yield f"          and a larger sky, and a filled gap, {time.monotonic() - start:.0f} s so far\n"
    yield f"{found}\n"
    yield from compared(found)
    pictures = _pictures(logs, wide, gap, filled)
    run.save(out / "run")
    page = write_texture_page(
        found, out / "report.html", title="New maps from a single one",
        lead=f"{FAKES} fakes of {side} x {side} pixels with the scattering statistics of one map of filaments, beside "
        "8 maps with its spectrum and random phases. Errors are root mean square differences, relative to the size of "
        "the statistic.",
        pictures=pictures, facts={"seed": seed, "seconds": round(time.monotonic() - start)},
    )  # fmt: skip
    yield f"\nreport    {page.resolve()}\n          open it in a browser; {time.monotonic() - start:.0f} s in all"
    if quick:
        yield "          this was --quick: too small to judge"


def compared(found: Textures) -> list[str]:
    """One line per expected number: what came out, and what one should see."""
    lines = [f"{'error of random phases / of synthesis':40}{'you see':>8}   you should see"]
    for measure in found.measures:
        if measure.title in EXPECTED:
            ratio, least = measure.error(RANDOM) / measure.error(FAKE), EXPECTED[measure.title]
            lines.append(f"{measure.title:40}{ratio:8.1f}   over {least}" + ("" if ratio > least else "   <- outside"))
    return lines


def _more(example: Dataset, iterations: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A map on a larger canvas; the pixels of a gap (ny, nx); the example with the gap filled anew. Logarithms."""
    side = example.values.shape[-1]
    wider = sundog.fit("scattering", example, log=True, canvas=(side, 3 * side // 2), iterations=iterations)
    mask = torch.ones(side, side)
    mask[side // 3 : 3 * side // 5, side // 3 : 2 * side // 3] = 0
    model = MicrocanonicalModel((side, side), log=True, mask=mask, inpaint=True, iterations=iterations)
    model.prepare(example.values, None)
    filled = model.sample(1, None, torch.Generator().manual_seed(seed + 3))[0]
    return wider.sample(1, seed=seed).values[0].log(), mask == 0, filled.log()


def _pictures(logs: dict[str, Tensor], wide: Tensor, gap: Tensor, filled: Tensor) -> list[Picture]:
    example = logs["truth"][0]
    rows = {"the example": example, "synthesis": logs[FAKE][0], "another seed": logs[FAKE][1],
            "random phases": logs[RANDOM][0]}  # fmt: skip
    return [
        picture_of("Maps", row_of_maps(rows, label="log intensity"), "One colour scale. Structures are new in every "
                   "fake; with random phases the filaments are gone although the spectrum is the same."),
        picture_of("A larger sky, and a gap", row_of_maps(
            {"half as wide again": wide, "with a gap": example, "filled": filled}, {"with a gap": gap},
            "log intensity"),
            "Left: the same statistics on a larger canvas. Right: the pixels around the gap are those of the example, "
            "bit by bit; inside, one of many possible continuations."),
    ]  # fmt: skip


def _dataset(maps: Tensor) -> Dataset:
    return Dataset.from_arrays(maps, periodic=True, held_out_fraction=0.0)
