"""Morlet wavelets against their definition in space, and the properties that the transforms rely on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sundog.errors import OptionError, ShapeError
from sundog.statistics.wavelets.filters import (
    ACCURACY,
    angles,
    bump,
    bump_angles,
    default_scales,
    frequencies,
    full_bank,
    grid_size,
    low_pass,
    morlet,
    octave_filters,
)

# filter_bank(32, 32, J=3, L=4) of kymatio 0.3.0, psi[j][theta] at rows and columns (1, 2), (3, 30), (6, 1), (27, 4),
# (10, 12); the numbers of Cheng's code are the same. It periodises over 5 x 5 copies in single precision.
KYMATIO = [
    [[0.13874, 0.03513, 0.35697, -0.00847, 0.82594], [0.05219, 0.20154, 0.52197, -0.03204, 0.15879],
     [-0.02909, 0.26604, 0.19937, -0.08388, 0.18605], [-0.05972, 0.11262, -0.02458, -0.04396, 0.12448]],
    [[0.33216, 0.04633, 0.48381, -0.00766, 0.01], [0.10683, 0.43741, 0.92462, -0.02122, 0.00037],
     [-0.04524, 0.63389, 0.19393, -0.02186, 0.0], [-0.09177, 0.20212, -0.01218, -0.02028, 0.0]],
    [[0.7149, 0.01704, 0.03993, -3e-05, 0.0], [0.14309, 0.44105, 0.1388, -5e-05, 0.0],
     [-0.03577, 0.84317, 0.00739, -5e-05, 0.0], [-0.05717, 0.12591, -8e-05, -5e-05, 0.0]],
]  # fmt: skip


def in_space(ny: int, nx: int, j: int, theta: float, slant: float) -> np.ndarray:
    """The definition: a Gabor function summed over 5 x 5 copies of the map, minus its mean times the envelope."""
    sigma, xi = 0.8 * 2**j, 0.75 * math.pi / 2**j
    gabor, envelope = np.zeros((ny, nx), complex), np.zeros((ny, nx))
    for ey in range(-2, 3):
        for ex in range(-2, 3):
            y, x = np.mgrid[ey * ny : (ey + 1) * ny, ex * nx : (ex + 1) * nx].astype(float)
            along, across = y * math.cos(theta) + x * math.sin(theta), x * math.cos(theta) - y * math.sin(theta)
            g = np.exp(-(along**2 + slant**2 * across**2) / (2 * sigma**2)) * slant / (2 * math.pi * sigma**2)
            envelope += g
            gabor += g * np.exp(1j * xi * along)
    return gabor - gabor.sum() / envelope.sum() * envelope


@pytest.mark.parametrize(("ny", "nx", "L"), [(32, 32, 4), (33, 48, 8), (40, 27, 3)])
def test_transform_equals_the_definition_in_space(ny: int, nx: int, L: int) -> None:
    bank = full_bank("morlet", (ny, nx), 3, L).numpy()
    for j in range(3):
        for ell, theta in enumerate(angles(L)):
            direct = np.fft.fft2(in_space(ny, nx, j, theta, 4 / L))
            direct[0, 0] = 0
            assert np.abs(direct.imag).max() < 1e-6
            assert np.abs(bank[j, ell] - direct.real).max() < 1e-6
    assert np.abs(bank[0, 0] - bank[0, 1]).max() > 0.1  # the comparison can fail


def test_morlet_wavelets_are_those_of_kymatio() -> None:
    places = ([1, 3, 6, 27, 10], [2, 30, 1, 4, 12])
    found = full_bank("morlet", (32, 32), 3, 4).numpy()[:, :, *places]
    assert np.abs(found - np.array(KYMATIO)).max() < 5e-5
    assert np.abs(found[:, ::-1] - np.array(KYMATIO)).max() > 0.1


@pytest.mark.parametrize("L", [3, 4, 8])
def test_bump_wavelets_cover_the_circle_evenly(L: int) -> None:
    """sum_l cos^(2L-2) over 2 L orientations is constant: the power of all angles depends on |k| alone."""
    power = (full_bank("bump", (48, 48), 2, L, turn=2)[1] ** 2).sum(0)
    k = frequencies(48)
    size = (k[:, None] ** 2 + k**2).sqrt()
    xi = 0.85 * math.pi / 2
    inside = (size > 0) & (size < 2 * xi)
    away = (size - xi) ** 2
    expected = torch.where(inside, torch.exp(-2 * away / (xi**2 - away).clamp_min(1e-9)), 0.0) / 1.29**2
    # c^2 sum_l cos^(2L-2) over a half circle = 1 / 1.29^2 (the number that makes the bank nearly a frame)
    assert torch.allclose(power, expected, atol=1e-9)
    assert bump_angles(L)[0] == math.pi / 2
    assert full_bank("bump", (48, 48), 2, L)[..., 0, 0].abs().max() == 0


def test_bump_wavelet_has_its_definition_at_a_point() -> None:
    k = torch.tensor([0.3], dtype=torch.float64)
    away = (math.hypot(0.3, 0.3) - 0.85 * math.pi) ** 2
    c = 8 * 6 / (1.29 * math.sqrt(4 * 720))
    value = c * math.exp(-away / ((0.85 * math.pi) ** 2 - away)) * math.cos(math.pi / 4 - 0.2) ** 3
    assert float(bump(k, k, 0, 0.2, 4)) == pytest.approx(value, rel=1e-12)
    assert float(bump(k, k, 0, 0.2 + math.pi, 4)) == 0


def test_low_pass_is_a_sampled_gaussian_of_integral_one() -> None:
    sigma = 2 / (0.496 * 2**-0.55 * 0.85 * math.pi)
    y = np.minimum(np.arange(32), 32 - np.arange(32))
    direct = np.fft.fft2(np.exp(-(y[:, None] ** 2 + y**2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)).real
    assert np.abs(low_pass(frequencies(32), frequencies(32), 1).numpy() - direct).max() < 1e-6


def test_wavelets_are_blind_to_the_mean_and_turn_with_their_angle() -> None:
    k = frequencies(32)
    assert full_bank("morlet", (32, 32), 3, 4)[..., 0, 0].abs().max() == 0
    along_y, along_x = morlet(k, k, 1, 0.0, 1.0), morlet(k, k, 1, math.pi / 2, 1.0)
    assert torch.allclose(along_y, along_x.T, atol=1e-12)
    opposite = morlet(k, k, 1, math.pi, 1.0)
    assert torch.allclose(opposite, along_y.flip((0, 1)).roll((1, 1), (0, 1)), atol=1e-12)


def test_small_grids_hold_the_low_frequencies() -> None:
    full, small = frequencies(50), frequencies(50, 20)
    assert torch.allclose(small[:10], full[:10])
    assert torch.allclose(small[-10:], full[-10:])
    assert grid_size(64, 2) == 64
    assert all(grid_size(1024, j + 1) <= grid_size(1024, j) <= 1024 for j in range(8))


@pytest.mark.parametrize(("shape", "J", "L"), [((16, 16), 5, 4), ((16, 64), 5, 4), ((16, 16), 0, 4), ((16, 16), 2, 1)])
def test_impossible_banks_are_refused(shape: tuple[int, int], J: int, L: int) -> None:
    with pytest.raises(OptionError):
        full_bank("morlet", shape, J, L)


def test_tiny_maps_are_refused() -> None:
    with pytest.raises(ShapeError):
        full_bank("morlet", (2, 50), 1, 4)
    assert default_scales((4, 4)) == 1


def test_the_sum_of_the_octaves_is_no_tiling() -> None:
    """Half the sum over octaves and directions of |psi(k)|^2 + |psi(-k)|^2: what docs/scattering.md says of it."""
    n, total = 256, torch.zeros(256, 256, dtype=torch.float64)
    for j in range(7):
        square = octave_filters((n, n), "morlet", j, 4, ACCURACY["accurate"][0]).double().square().sum(0)
        at = (torch.fft.fftfreq(len(square)) * len(square)).round().long() % n
        total[at[:, None], at] += square
    total = (total + total.flip(0, 1).roll((1, 1), (0, 1))) / 2
    k = torch.hypot(torch.fft.fftfreq(n)[:, None].expand(n, n), torch.fft.fftfreq(n).expand(n, n))
    inside = total[(k > 8 / n) & (k < 0.35)]
    found = [float(x) for x in (inside.min(), inside.max(), total[0, n // 2], total[n // 2, n // 2])]
    assert found == pytest.approx([0.59, 0.91, 0.72, 0.13], abs=0.01)
