"""The wavelet scattering transform against direct sums, and what its reduced forms say."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import OptionError, ShapeError
from sundog.statistics.scattering.transform import WaveletScattering
from sundog.statistics.wavelets.filters import full_bank


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("shape", "L", "tolerance"), [((48, 40), 4, 1e-3), ((31, 36), 3, 1e-3)])
def test_equals_direct_sums(shape: tuple[int, int], L: int, tolerance: float) -> None:
    x, psi = noise(*shape), full_bank("morlet", shape, 3, L)
    first = torch.fft.ifft2(torch.fft.fft2(x) * psi).abs()
    found = WaveletScattering(shape, 3, L)(x)
    assert (found.s1 / first.mean((-2, -1)) - 1).abs().max() < tolerance
    for j1 in range(3):
        for j2 in range(j1 + 1, 3):
            second = torch.fft.ifft2(torch.fft.fft2(first[j1])[:, None] * psi[j2]).abs().mean((-2, -1))
            assert (found.s2[j1, :, j2] / second - 1).abs().max() < tolerance
    assert found.vector.shape == (3 * L + 3 * L**2,)


def test_gradient_and_awkward_maps() -> None:
    phi = WaveletScattering((9, 10), 2, 2)
    assert torch.autograd.gradcheck(lambda x: phi(x).vector, noise(2, 9, 10).requires_grad_())
    for x in (torch.zeros(9, 10), torch.ones(9, 10), torch.eye(9, 10)):
        x = x.requires_grad_()
        (grad,) = torch.autograd.grad(phi(x).vector.sum(), x)
        assert torch.isfinite(grad).all()


def test_sparse_maps_are_sparse_and_stripes_are_lines() -> None:
    phi = WaveletScattering((64, 64), 4)
    gaussian = noise(20, 64, 64)
    spots = torch.zeros(20, 64, 64, dtype=torch.float64)
    spots[torch.rand(20, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.005] = 1
    assert (phi(spots).s21().nanmean(0) > 1.3 * phi(gaussian).s21().nanmean(0))[0, 1:].all()
    y = torch.arange(64, dtype=torch.float64)
    lines = (torch.sin(2 * math.pi * y / 8)[:, None] * (1 + torch.sin(2 * math.pi * y / 32))[:, None]).expand(64, 64)
    assert phi(lines + 0.01 * gaussian[0]).s22()[1, 3] > 2
    assert abs(phi(gaussian).s22()[:, 0, 2].mean() - 1) < 0.1


def test_bad_input_is_named() -> None:
    with pytest.raises(OptionError):
        WaveletScattering((16, 16), 9)
    with pytest.raises(OptionError):
        WaveletScattering((16, 16), accuracy="best")
    with pytest.raises(ShapeError):
        WaveletScattering((16, 16))(torch.zeros(16, 18))
    with pytest.raises(OptionError):
        WaveletScattering((16, 16), 2, 3)(torch.ones(16, 16)).s22()
