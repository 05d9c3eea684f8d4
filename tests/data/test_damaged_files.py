"""Damaged files, every kind: a named error or the same numbers; other numbers only where a format has no checksum.

Bytes are flipped and cut at places that hypothesis chooses, the same ones on every run: libraries in C may fall into
endless loops on damaged files, and such a place is to be met once, here, by us.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sundog.data.dataset import Dataset
from sundog.data.files import load
from sundog.data.sky.healpix import HealpixMap, write_healpix
from sundog.errors import FileError, SundogError

RNG = np.random.default_rng(0)
EVENTS = Dataset.from_arrays(RNG.normal(size=(20, 3)), RNG.normal(size=(20, 1)), ("a", "b", "c"), ("GeV", "", "m"),
                             weights=RNG.random(20), context_names=("m",))
MAPS = Dataset.from_arrays(RNG.normal(size=(3, 6, 6)), pixel_arcmin=0.5)
FRAME = pd.DataFrame(RNG.normal(size=(20, 3)), columns=list("xyz"))


def _groups(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in FRAME:
            file.create_dataset(name, data=FRAME[name].to_numpy(), compression="gzip")


def _picture(path: Path) -> None:
    Image.fromarray((255 * RNG.random((8, 8))).astype("u1")).save(path)


WRITERS: dict[str, Callable[[Path], Any]] = {  # those with a checksum first
    "ours.npz": EVENTS.save, "ours.h5": EVENTS.save, "ours.fits": EVENTS.save, "ours.parquet": EVENTS.save,
    "maps.npz": MAPS.save, "maps.fits": MAPS.save,
    "sky.fits": lambda path: write_healpix(path, HealpixMap(RNG.normal(size=48), "K", "galactic")),
    "others.npz": lambda path: np.savez(path, x=FRAME.to_numpy()), "ours.csv": EVENTS.save,
    "others.csv": lambda path: FRAME.to_csv(path),
    "others.parquet": lambda path: FRAME.to_parquet(path), "others.npy": lambda path: np.save(path, FRAME.to_numpy()),
    "others.h5": _groups, "picture.png": _picture, "picture.tif": _picture,
}
CHECKED = list(WRITERS)[:9]
FACTS = ("values", "context", "weights", "names", "units", "context_names", "context_units")
DAMAGE = {"place": st.floats(0, 1, exclude_max=True), "cut": st.booleans(), "bit": st.integers(0, 7)}


def _fuzz(name: str, folder: Path, examples: int) -> None:
    whole, hurt = folder / name, folder / f"hurt-{name}"
    WRITERS[name](whole)
    content, good = whole.read_bytes(), load(whole)

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(**DAMAGE)
    def named_or_harmless(place: float, cut: bool, bit: int) -> None:
        at = int(place * len(content))
        hurt.write_bytes(content[:at] if cut else
                         content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        try:
            found = load(hurt)
        except SundogError:
            return
        told = any("its checksum differs" in note for note in found.provenance.get("notes", ()))  # of a header
        for part in FACTS if name in CHECKED and not told else ():
            a, b = getattr(good, part), getattr(found, part)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b, \
                f"{part} of {name}: byte {at}, bit {bit}, {cut=}"

    named_or_harmless()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_a_flipped_bit_or_a_cut_is_named_or_harmless(name: str, tmp_path: Path) -> None:
    _fuzz(name, tmp_path, 20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_many_flipped_bits_and_cuts_are_named_or_harmless(name: str, tmp_path: Path) -> None:
    _fuzz(name, tmp_path, 200)


@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_no_bit_of_a_file_under_one_checksum_changes_what_is_read(suffix: str, tmp_path: Path) -> None:
    whole, hurt = EVENTS.save(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}"
    content = whole.read_bytes()
    for at in range(0, len(content), 61):
        hurt.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        try:
            found = load(hurt)
        except SundogError:
            continue
        assert found.fingerprint() == EVENTS.fingerprint() and found.units == EVENTS.units, at


def test_text_that_was_edited_on_purpose_is_read_without_its_checksum(tmp_path: Path) -> None:
    path = EVENTS.save(tmp_path / "a.csv")
    head, names, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, names, *rows[:5]]) + "\n")
    with pytest.raises(FileError, match="take crc32 out of its first line"):
        load(path)
    path.write_text("\n".join([re.sub(r', "crc32": \d+', "", head), names, *rows[:5]]) + "\n")
    assert len(load(path)) == 5


def test_a_loaded_file_owns_its_numbers(tmp_path: Path) -> None:
    array = np.arange(12.0, dtype="f4").reshape(4, 3)
    np.save(tmp_path / "a.npy", array)
    load(tmp_path / "a.npy").values.zero_()
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    load(array).values.zero_()
    assert np.array_equal(array, np.arange(12.0).reshape(4, 3))
