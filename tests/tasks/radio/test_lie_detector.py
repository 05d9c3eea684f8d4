"""The lie detector measures in bins, keeps quiet on equal laws, and catches what was changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sundog.errors import SampleSizeError, ShapeError
from sundog.simulate.radio import radio_galaxies
from sundog.tasks.radio import lie_detector
from sundog.tasks.radio.lie_detector import distance, histograms


def scaled(n: int, seed: int, **options: float) -> torch.Tensor:
    x = radio_galaxies(n, size=40, seed=seed, **options).values.clamp(min=0)  # type: ignore[arg-type]
    return x / x.amax((1, 2), keepdim=True)


def test_a_shift_by_k_bins_is_k() -> None:
    a = np.random.default_rng(0).integers(1, 50, size=30).astype(float)
    wide = np.concatenate([a, np.zeros(5)])
    for k in (0, 1, 5):
        assert distance(wide, np.roll(wide, k))[0] == pytest.approx(k, abs=1e-12)
    assert distance(wide, 3 * wide) == pytest.approx((0, distance(wide, 3 * wide)[1], 0), abs=1e-12)


def test_every_published_metric_with_its_bins() -> None:
    found = histograms(scaled(3, 0))
    bins = {name: part.shape[1] for name, part in found.items()}
    assert (bins["pixel intensity"], bins["active pixels"], bins["scatter"]) == (256, 256, 256)
    assert (bins["angle"], bins["centre angle"], bins["centre radius"]) == (18, 36, 30)
    assert [bins[f"{word} in bin 4"] for word in ("count", "mean", "sigma")] == [32, 128, 128]
    assert len(found) == 4 + 3 * 4 + 5
    assert all((part.sum(1) == (1600 if name == "pixel intensity" else 1)).all() for name, part in found.items())


@pytest.mark.slow
def test_equal_laws_pass_and_changed_ones_are_caught() -> None:
    real = scaled(200, 0)
    fair = lie_detector(real, scaled(100, 1))
    # 21 metrics at the 5 % level, partly dependent: more than 6 has a probability below 1e-3.
    assert len(fair.caught) <= 6 and fair.n == 100
    noisy = lie_detector(real, scaled(100, 1, rms_mjy=0.6))
    assert {"image mean", "pixel intensity", "scatter"} <= set(noisy.caught)
    assert noisy.rmae > fair.rmae and "<-" in str(noisy)


def test_bad_input_is_explained() -> None:
    with pytest.raises(ShapeError):
        lie_detector(torch.rand(9, 8, 8), torch.rand(9, 8, 9))
    with pytest.raises(SampleSizeError):
        lie_detector(torch.rand(3, 8, 8), torch.rand(9, 8, 8))
