"""Peaks: planted sources are found, stacked and profiled; plateaus and borders are not peaks."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.statistics import find_peaks, matched_filter_peaks, peak_mask, radial_profile, stack_peaks


def beam(ny: int, nx: int, y: float, x: float, sigma: float) -> torch.Tensor:
    r2 = (torch.arange(ny)[:, None] - y) ** 2 + (torch.arange(nx) - x) ** 2
    return torch.exp(-r2.double() / (2 * sigma**2))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_in_nine_independent_pixels_is_a_peak() -> None:
    mask = peak_mask(noise(60, 50, 40), periodic=True).double()
    per_map = mask.mean((1, 2))
    assert abs(per_map.mean() - 1 / 9) < 4 * per_map.std() / math.sqrt(60)
    assert abs(per_map.mean() - 1 / 8) > 4 * per_map.std() / math.sqrt(60)


def test_against_a_plain_loop() -> None:
    x = noise(9, 7).round(decimals=1)
    expected = [[i, j] for i in range(1, 8) for j in range(1, 6)
                if (x[i - 1 : i + 2, j - 1 : j + 2] < x[i, j]).sum() == 8]  # fmt: skip
    assert peak_mask(x).nonzero().tolist() == expected


def test_plateaus_borders_and_thresholds() -> None:
    x = torch.zeros(2, 6, 6)
    x[0, 2, 2:4] = 1.0  # plateau
    x[0, 0, 5] = 2.0  # border
    x[1, 3, 3], x[1, 1, 1] = 3.0, 1.0
    assert len(find_peaks(x[0])) == 0
    assert len(find_peaks(x[0], periodic=True)) == 1
    peaks = find_peaks(x, threshold=1.5)
    assert (peaks.image.tolist(), peaks.y.tolist(), peaks.height.tolist()) == ([1], [3], [3.0])
    assert find_peaks(x).count(2).tolist() == [0, 2]
    assert len(find_peaks(torch.zeros(1, 2, 2))) == 0 and len(find_peaks(torch.ones(3, 3))) == 0


def test_the_matched_filter_finds_planted_sources_in_noise() -> None:
    places = [(20, 20, 8.0), (20, 30, 6.0), (50, 40, 5.0)]  # the first two touch
    clean = sum(a * beam(64, 60, y, x, 2.0) for y, x, a in places)
    error = 1 / math.sqrt(math.pi) / 2.0  # of an amplitude in unit white noise: (sum b^2)^(-1/2), sum b^2 = pi sigma^2
    assert len(matched_filter_peaks(clean, 2.0, threshold=0.5)) == 3
    found = matched_filter_peaks(clean + noise(64, 60), 2.0, threshold=6 * error)
    assert len(found) == 3
    for y, x, a in places:
        i = int(((found.y - y) ** 2 + (found.x - x) ** 2).argmin())
        assert abs(int(found.y[i]) - y) <= 1 and abs(int(found.x[i]) - x) <= 1
        assert abs(float(found.height[i]) - a) < 5 * error
    assert len(matched_filter_peaks(noise(64, 60), 2.0, threshold=6 * error)) == 0  # negative control


def test_the_matched_filter_by_image_and_limit() -> None:
    maps = torch.stack([torch.zeros(20, 20).double(), 3 * beam(20, 20, 9, 4, 1.5), 2 * beam(20, 20, 5, 14, 1.5)])
    found = matched_filter_peaks(maps, 1.5, threshold=1.0)
    assert found.image.tolist() == [1, 2] and found.x.tolist() == [4, 14]
    assert len(matched_filter_peaks(noise(20, 20), 1.0, threshold=0.01, max_peaks=4)) == 4
    with pytest.raises(OptionError):
        matched_filter_peaks(maps, 0.0, threshold=1.0)


def test_stacking_recovers_the_common_profile() -> None:
    maps = torch.stack([a * beam(41, 45, y, x, 2.0) for y, x, a in ((15, 20, 1.0), (20, 30, 2.0), (25, 12, 3.0))])
    stack = stack_peaks(maps, find_peaks(maps), size=11)
    assert torch.allclose(stack, 2 * beam(11, 11, 5, 5, 2.0), atol=1e-12)
    profile = radial_profile(stack)
    assert torch.allclose(profile.value, 2 * torch.exp(-(profile.radius**2) / 8), rtol=0.06)
    assert profile.pixels[0] == 1 and profile.radius[0] == 0


def test_stacking_at_the_border() -> None:
    x = beam(15, 15, 1, 7, 1.0)
    with pytest.raises(SampleSizeError, match="border"):
        stack_peaks(x, find_peaks(x), size=5)
    assert float(stack_peaks(x, find_peaks(x), size=5, periodic=True)[2, 2]) == 1.0
    with pytest.raises(OptionError):
        stack_peaks(x, find_peaks(x), size=4)


def test_profiles_of_even_sizes_and_gradients() -> None:
    even = radial_profile(torch.ones(3, 6, 8))
    assert torch.allclose(even.value, torch.ones(1)) and (even.pixels > 0).all()
    v = noise(5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: radial_profile(t).value, v)
    with pytest.raises(OptionError):
        radial_profile(torch.ones(5, 5), n_rings=0)
    with pytest.raises(DataError):
        find_peaks(torch.full((4, 4), math.nan))
