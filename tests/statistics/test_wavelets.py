"""Morlet wavelets against their definition in space, and the properties that the transforms rely on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sundog.errors import OptionError, ShapeError
from sundog.statistics.wavelets import angles, default_scales, frequencies, grid_size, morlet, morlet_bank


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
    bank = morlet_bank((ny, nx), 3, L).numpy()
    for j in range(3):
        for ell, theta in enumerate(angles(L)):
            direct = np.fft.fft2(in_space(ny, nx, j, theta, 4 / L))
            direct[0, 0] = 0
            assert np.abs(direct.imag).max() < 1e-6
            assert np.abs(bank[j, ell] - direct.real).max() < 1e-6
    assert np.abs(bank[0, 0] - bank[0, 1]).max() > 0.1  # the comparison can fail


def test_wavelets_are_blind_to_the_mean_and_turn_with_their_angle() -> None:
    k = frequencies(32)
    assert morlet_bank((32, 32), 3, 4)[..., 0, 0].abs().max() == 0
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
        morlet_bank(shape, J, L)


def test_tiny_maps_are_refused() -> None:
    with pytest.raises(ShapeError):
        morlet_bank((2, 50), 1, 4)
    assert default_scales((4, 4)) == 1
