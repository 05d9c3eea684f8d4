"""Textures: a copy has no error, random phases lose all but the spectrum, the page holds the numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.demos import texture
from sundog.errors import DataError, OptionError, ShapeError
from sundog.reports.pages.texture import row_of_maps, write_texture_page
from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.verdicts.textures import compare_textures


def filaments(seed: int = 0) -> Tensor:
    return filamentary_field(1, 64, seed=seed).values[0].log()


def test_a_shift_changes_nothing_and_random_phases_keep_the_spectrum_alone(tmp_path: Path) -> None:
    truth = filaments()
    random = phase_randomised(Dataset.from_arrays(truth.repeat(4, 1, 1)), seed=1).values
    found = compare_textures(truth, {"shifted": truth.roll((7, 9), (0, 1))[None], "random": random})
    errors = {m.title: (m.error("shifted"), m.error("random")) for m in found.measures}
    assert max(shifted for shifted, _ in errors.values()) < 1e-3
    assert errors["power spectrum"][1] < 1e-3
    for title in ("histogram", "area V0", "perimeter V1", "bispectrum", "wavelet scattering S2"):
        assert errors[title][1] > 10 * errors[title][0] + 0.01, title
    page = write_texture_page(found, tmp_path / "page.html", title="A & B", lead="lead").read_text()
    payload = re.search(r'id="texture">(.*?)</script>', page, re.S)
    assert payload is not None and "A &amp; B" in page
    assert json.loads(payload[1])["bispectrum"]["random"] == pytest.approx(errors["bispectrum"][1])


def test_bad_input_is_named() -> None:
    x = filaments()
    with pytest.raises(ShapeError, match="one map"):
        compare_textures(x[None], {})
    with pytest.raises(ShapeError, match="'other'"):
        compare_textures(x, {"other": x[None, :32]})
    with pytest.raises(DataError, match="constant"):
        compare_textures(torch.ones(64, 64), {})
    with pytest.raises(OptionError):
        row_of_maps({})


@pytest.mark.slow
def test_the_quick_demonstration_leaves_a_page_and_the_same_numbers(tmp_path: Path) -> None:
    lines = [[line for line in texture.run_demo(tmp_path / str(i), quick=True) if "error" in line] for i in (0, 1)]
    assert lines[0] == lines[1]
    assert {"fakes.npz", "report.html", "run"} <= {path.name for path in (tmp_path / "0").iterdir()}
