"""Write the embedded sample set (src/sundog/data/samples/*.npz) from the simulators, with fixed seeds.

    python scripts/make_samples.py [folder]

Numbers are rounded before they are stored, because noise does not compress: dust to 10 significant bits, events to
16, radio maps to 1/64 mJy/beam (a tenth of their noise). Radio maps, half of the wheel, are packed by LZMA, to 63 %
of what deflate makes of them.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.files import save
from sundog.simulate.dijets import dijets
from sundog.simulate.fields import filamentary_field
from sundog.simulate.radio import radio_galaxies

FOLDER = Path(__file__).resolve().parents[1] / "src" / "sundog" / "data" / "samples"
SEED = 20_260


def significant(x: Tensor, bits: int) -> Tensor:
    """``x`` rounded to that many significant bits, so that the last bytes of its floats compress."""
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


def dijet_sample() -> Dataset:
    """20 000 events, 200 of them signal (which ones: ``dijet_truth(19_800, 200, SEED)``)."""
    events = dijets(19_800, 200, seed=SEED)
    return replace(events, values=significant(events.values, 16), context=significant(_given(events), 16))


def dust_sample(n: int = 48) -> Dataset:
    """48 dust-like maps of 128 x 128 pixels."""
    maps = filamentary_field(n, 128, seed=SEED, pixel_arcmin=0.5)
    return replace(maps, values=significant(maps.values, 10))


def radio_sample() -> Dataset:
    """400 radio galaxies of 80 x 80 pixels."""
    images = radio_galaxies(400, 80, seed=SEED)
    return replace(images, values=(images.values * 64).round() / 64)


def _given(events: Dataset) -> Tensor:
    return torch.empty(len(events), 0) if events.context is None else events.context


def pack(path: Path) -> None:
    """Write the arrays of an npz file anew, by LZMA."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in held.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_LZMA)


SAMPLES: dict[str, Callable[[], Dataset]] = {"dijets": dijet_sample, "dust": dust_sample, "radio": radio_sample}


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, sample in SAMPLES.items():
        path = save(sample(), folder / f"{name}.npz")
        if name == "radio":
            pack(path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {Dataset.load(path)}")


if __name__ == "__main__":
    main(*(Path(folder) for folder in sys.argv[1:2]))
