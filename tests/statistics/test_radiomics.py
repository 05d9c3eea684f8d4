"""Radiomic features equal pyradiomics on stored images; the Fréchet distance of them knows its null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sundog.errors import DataError, OptionError, ShapeError
from sundog.simulate.radio import radio_galaxies
from sundog.statistics import frechet_radiomic_distance, radiomic_features
from sundog.statistics.objects.cooccurrence import cooccurrence, directions

# Values of pyradiomics 3.0.1 (numpy 1.26, SimpleITK 2.5): scripts/radiomics_reference.py made the file.
REFERENCE = json.loads((Path(__file__).parent / "radiomics_reference.json").read_text())["cases"]


def pictures() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Images of whole-number arithmetic, the same on every machine, and a disc."""
    iy, ix = np.mgrid[:20, :24]
    r = np.sqrt((iy - 9.0) ** 2 + (ix - 14.0) ** 2)
    made = {"rough": ((iy * 37 + ix * 91 + iy * ix * 13) % 251) * 1.25 - 80.0,
            "source": 400.0 / (1 + r**2) + ((iy * 29 + ix * 53 + iy * ix * 7) % 17) * 0.5,
            "flat": np.full((20, 24), 7.25)}
    return {name: torch.from_numpy(x) for name, x in made.items()}, torch.from_numpy(r < 7)


CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "rough, width 25": ("rough", False, {"bin_width": 25}),
    "rough, width 40, distances 1 and 2, disc": ("rough", True, {"bin_width": 40, "distances": (1, 2)}),
    "rough, 16 levels, distance 3": ("rough", False, {"bin_count": 16, "distances": (3,)}),
    "source, 32 levels": ("source", False, {"bin_count": 32}),
    "source, width 10, disc": ("source", True, {"bin_width": 10}),
    "source, normalised to 100, width 25": ("source", False, {"bin_width": 25, "normalise": 100}),
    "flat, width 25": ("flat", False, {"bin_width": 25}),
}


def deviations(case: str, **changes: Any) -> dict[str, float]:
    """|ours - pyradiomics| / max(1, |pyradiomics|) of every feature."""
    name, masked, options = CASES[case]
    images, disc = pictures()
    found = radiomic_features(images[name], mask=disc if masked else None, pixel=1.5, **(options | changes))
    assert set(found) == set(REFERENCE[case])
    return {key: abs(float(found[key]) - value) / max(1, abs(value)) for key, value in REFERENCE[case].items()}


@pytest.mark.parametrize("case", CASES)
def test_every_feature_equals_pyradiomics(case: str) -> None:
    assert max(deviations(case).values()) < 1e-10


@pytest.mark.parametrize("change", [{"bin_width": 24.9}, {"distances": (2,)}, {"normalise": 10.0}])
def test_other_settings_are_noticed(change: dict[str, Any]) -> None:
    assert max(deviations("rough, width 25", **change).values()) > 1e-3


def test_a_batch_is_its_images() -> None:
    images, _ = pictures()
    x = torch.stack([images["flat"], images["source"], images["rough"], 0.1 * images["source"]])
    together = radiomic_features(x, bin_width=10)  # 1, 41, 32 and 5 levels: blocks are sorted by them
    for i in range(len(x)):
        alone = radiomic_features(x[i], bin_width=10)
        for name, value in alone.items():
            assert float(value) == pytest.approx(float(together[name][i]), rel=1e-10, abs=1e-9), name


def test_one_mask_per_image_hides_what_is_outside() -> None:
    images, disc = pictures()
    spoiled = torch.where(disc, images["source"], 1e6)
    for name, value in radiomic_features(spoiled, mask=disc[None], bin_width=10).items():
        assert float(value) == pytest.approx(REFERENCE["source, width 10, disc"][name], rel=1e-10) \
            or name == "firstorder_TotalEnergy"  # the reference has pixels of side 1.5


def test_cooccurrence_counts_every_pair_twice() -> None:
    levels = torch.randint(1, 5, (2, 6, 7), generator=torch.Generator().manual_seed(0))
    counts = cooccurrence(levels, (1, 2))
    expected = [2 * (6 - dy) * (7 - abs(dx)) for dy, dx in directions((1, 2))]
    assert len(expected) == 12
    assert counts.sum((2, 3)).tolist() == [expected, expected]
    skimage = pytest.importorskip("skimage.feature")
    oracle = skimage.graycomatrix((levels[0] - 1).byte().numpy(), [1], [0], levels=4, symmetric=True)[:, :, 0, 0]
    assert np.array_equal(counts[0, directions((1, 2)).index((0, 1))].numpy(), oracle)


def test_bad_input_is_explained() -> None:
    x = torch.rand(3, 8, 8)
    with pytest.raises(OptionError):
        radiomic_features(x, bin_width=0)
    with pytest.raises(OptionError):
        radiomic_features(x, distances=())
    with pytest.raises(DataError, match="too many levels"):
        radiomic_features(x, bin_width=1e-5)
    with pytest.raises(DataError, match="mask is empty"):
        radiomic_features(x, mask=torch.zeros(8, 8))
    with pytest.raises(ShapeError, match="mask does not fit"):
        radiomic_features(x, mask=torch.ones(7, 8))
    with pytest.raises(DataError, match="NaN"):
        radiomic_features(x / 0)
    with pytest.raises(ShapeError, match="single-channel"):
        radiomic_features(x[None])
    a, b = radiomic_features(x), radiomic_features(x, bin_count=8)
    with pytest.raises(OptionError, match="scale"):
        frechet_radiomic_distance(a, b, scale="log")
    with pytest.raises(DataError, match="too little"):
        frechet_radiomic_distance(a, b)
    with pytest.raises(ShapeError, match="other features"):
        frechet_radiomic_distance(a, {"x": torch.zeros(3)})


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["robust", "zscore"])
def test_the_distance_knows_its_null_and_sees_a_change(scale: str) -> None:
    real = radiomic_features(radio_galaxies(200, size=48, seed=0).values)
    same = radiomic_features(radio_galaxies(100, size=48, seed=1).values)
    noisy = radiomic_features(radio_galaxies(100, size=48, seed=2, rms_mjy=0.3).values)
    fair = frechet_radiomic_distance(real, same, scale=scale)
    assert fair.n == 100 and fair.features == 42
    # One real set shares its outliers with all splits, so its null is not that of another set: seeds 1 to 5 gave
    # 0.43 to 0.89 of it.
    assert 0.3 * fair.null < fair.value < fair.null_high
    assert frechet_radiomic_distance(real, noisy, scale=scale).value > 5 * fair.null_high
