"""What load says of what it read: the notes of a Dataset, and what it was told in place of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sundog.data.dataset import Dataset
from sundog.data.files import load, save
from sundog.errors import ShapeError


@pytest.mark.parametrize(("shape", "doubted"), [((20, 8, 30), True), ((20, 30, 8), True), ((20, 9, 30), False)])
def test_a_stack_that_may_be_particles_says_so(tmp_path: Path, shape: tuple[int, ...], doubted: bool) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=shape))
    notes = " ".join(load(tmp_path / "a.npz").provenance["notes"])
    assert ("particles" in notes) == doubted and f"20 maps of {shape[1]} x {shape[2]} pixels" in notes


@pytest.mark.parametrize(("given", "units", "said"), [
    ({"unit": "GeV"}, ("GeV", "GeV"), ["the unit GeV was given in place of the file's TeV (m)"]),
    ({"units": {"m": "GeV"}}, ("GeV", ""), ["the unit GeV was given in place of the file's TeV (m)"]),
    ({"units": ("GeV", "s")}, ("GeV", "s"), ["the unit GeV was given in place of the file's TeV (m)"]),
    ({"units": {"k": "s"}}, ("TeV", "s"), []), ({}, ("TeV", ""), [])])
def test_a_unit_in_place_of_another_is_said(given, units, said, tmp_path) -> None:
    (tmp_path / "a.csv").write_text("m [TeV],k\n3.4,1\n3.5,2\n")
    data = load(tmp_path / "a.csv", **given)
    assert data.units == units and data.provenance.get("notes", []) == said


def test_a_unit_in_place_of_the_one_of_a_map_is_said(tmp_path) -> None:
    save(Dataset.from_arrays(np.ones((2, 8, 8)), units="uK"), tmp_path / "a.fits")
    notes = load(tmp_path / "a.fits", unit="K").provenance["notes"]
    assert notes == ["the unit K was given in place of the file's uK (map)"]


def test_a_table_has_no_mask_be_it_an_array_or_a_file(tmp_path) -> None:
    np.save(tmp_path / "mask.npy", np.ones((3, 3)))
    np.save(tmp_path / "a.npy", np.ones((3, 3)))
    for mask in (tmp_path / "mask.npy", str(tmp_path / "mask.npy"), np.ones((3, 3))):
        with pytest.raises(ShapeError, match="a table has no mask"):
            load(tmp_path / "a.npy", mask=mask)
    assert load(tmp_path / "a.npy", mask="missing").kind == "events"


def test_one_column_may_be_named_without_a_list(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("m,k,mk\n3.4,1,5\n3.5,2,6\n")
    assert load(tmp_path / "a.csv", columns="mk").names == ("mk",)


def test_columns_of_a_file_of_ours_may_name_its_context(tmp_path) -> None:
    data = Dataset.from_arrays(np.arange(6.0).reshape(3, 2), np.ones((3, 1)), ("a", "b"), context_names=("m",))
    found = load(save(data, tmp_path / "a.npz"), columns=["b", "m"])
    assert (found.names, found.context_names) == (("b",), ("m",)) and found.values[:, 0].tolist() == [1, 3, 5]
