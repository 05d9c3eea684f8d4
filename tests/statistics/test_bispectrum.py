"""The bispectrum against a direct sum over triangles, a local quadratic field, and the variance of Gaussian maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics import bispectrum, power_spectrum
from sundog.statistics.maps.bispectrum import gaussian_error


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coloured(n: int, shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gaussian maps, and the power of every mode (ny, nx) they are drawn with."""
    ky, kx = (torch.fft.fftfreq(side, dtype=torch.float64) for side in shape)
    power = torch.exp(-40 * (ky[:, None] ** 2 + kx**2))
    return torch.fft.ifft2(torch.fft.fft2(noise(n, *shape, seed=seed)) * power.sqrt()).real, power


@pytest.mark.parametrize("shape", [(12, 12), (11, 14)])
def test_equals_the_sum_over_triangles(shape: tuple[int, int]) -> None:
    x = noise(*shape).exp()
    edges = torch.tensor([0.05, 0.15, 0.25, 1 / 3], dtype=torch.float64)
    found = bispectrum(x, bins=edges)
    f = np.fft.fft2(x.numpy())
    ky, kx = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
    band = np.digitize(np.hypot(ky, kx), edges.numpy()) - 1
    sums = {tuple(t): [0.0, 0] for t in found.bands.tolist()}
    modes = [(y, z) for y in range(shape[0]) for z in range(shape[1]) if 0 <= band[y, z] < 3]
    for a in modes:
        for b in modes:
            c = (-a[0] - b[0]) % shape[0], (-a[1] - b[1]) % shape[1]
            key = band[a], band[b], band[c]
            if key in sums:
                sums[key][0] += (f[a] * f[b] * f[c]).real
                sums[key][1] += 1
    for i, key in enumerate(map(tuple, found.bands.tolist())):
        assert round(float(found.triangles[i])) == sums[key][1]
        assert float(found.value[i]) == pytest.approx(sums[key][0] / sums[key][1] / x.numel(), rel=1e-9)
    assert len(found.bands) >= 8


def test_local_quadratic_field_has_its_closed_form() -> None:
    """x = g + f (g^2 - <g^2>): B = 2 f (P1 P2 + P2 P3 + P3 P1) + O(f^3); +f and -f of one g cancel the noise of g."""
    shape, f = (48, 48), 0.02
    g, power = coloured(120, shape)
    variance = power.mean()
    edges = torch.linspace(0.02, 0.3, 6, dtype=torch.float64)
    up, down = (bispectrum(g + s * f * (g**2 - variance), bins=edges) for s in (1, -1))
    half = (up.value - down.value) / 2
    # Exact mean of P1 P2 + ... over the triangles of a bin: triple products of band-passed P and delta functions.
    k = torch.hypot(torch.fft.fftfreq(48)[:, None], torch.fft.fftfreq(48)[None]).double()
    masks = [((k >= a) & (k < b)).double() for a, b in zip(edges[:-1], edges[1:])]
    ones, weighted = ([torch.fft.ifft2(m * w, norm="forward").real for m in masks] for w in (1.0, power))
    expected = []
    for i, (a, b, c) in enumerate(up.bands.tolist()):
        pairs = weighted[a] * weighted[b] * ones[c] + ones[a] * weighted[b] * weighted[c]
        pairs = pairs + weighted[a] * ones[b] * weighted[c]
        expected.append(2 * f * float(pairs.mean() / up.triangles[i]))
    truth, error = torch.tensor(expected, dtype=torch.float64), half.std(0) / 120**0.5
    pull = (half.mean(0) - truth) / error
    assert pull.abs().max() < 4
    assert pull.square().mean() < 2
    assert ((half.mean(0) - 0.5 * truth) / error).abs().max() > 20
    assert (error / truth).median() < 0.05  # the test could see a deviation of some per cent
    quadratic = bispectrum(g + f * (g**2 - variance), bins=edges)
    assert abs(float(quadratic.reduced.mean(0)[:10].mean() / (2 * f)) - 1) < 1


def test_gaussian_maps_have_none_and_their_variance() -> None:
    g, _ = coloured(300, (32, 32), seed=1)
    found = bispectrum(g, bins=5)
    predicted = gaussian_error(found, 1024).square().mean(0).sqrt()
    pull = found.value.mean(0) / (found.value.std(0) / 300**0.5)
    assert pull.abs().max() < 4.5
    assert pull.square().mean() < 1.6
    ratio = found.value.std(0) / predicted
    many = found.triangles > 1000  # in few triangles the same mode often stands twice
    assert many.sum() >= 8
    assert (ratio - 1)[many].abs().max() < 0.25  # and P falls within a band, which the formula ignores
    assert abs(float(ratio[many].mean()) - 1) < 0.1
    skewed = bispectrum(g + g**2, bins=5)
    assert (skewed.value.mean(0) / (skewed.value.std(0) / 300**0.5)).median() > 10


def test_power_is_that_of_the_power_spectrum_and_gradients_flow() -> None:
    x = noise(2, 24, 20).exp().requires_grad_()
    edges = torch.tensor([0.02, 0.1, 0.2, 0.33], dtype=torch.float64)
    found = bispectrum(x, bins=edges)
    assert torch.allclose(found.power, power_spectrum(x, bins=edges).power)
    small = noise(6, 7).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: bispectrum(x, bins=2).normalised, small)
    assert torch.allclose(bispectrum(x[1], bins=edges).value, found.value[1], rtol=1e-12)
    shifted = bispectrum(x.roll((3, 4), (-2, -1)) + 7, bins=edges)
    assert torch.allclose(shifted.value, found.value, rtol=1e-8)
    assert torch.allclose(bispectrum(2 * x, bins=edges).normalised, found.normalised)


def test_windows_keep_the_level() -> None:
    """Independent pixels of third moment m have B = m, with and without a window; 4 sigma over 400 maps."""
    x = noise(400, 32, 32, seed=2).exp()
    third = float((x - math.exp(0.5)).pow(3).mean())
    edges = torch.tensor([0.1, 0.2, 0.33], dtype=torch.float64)
    for periodic in (True, False):
        found = bispectrum(x, bins=edges, periodic=periodic).value
        assert ((found.mean(0) - third).abs() < 4 * (found.std(0) / 20 + 0.02 * third)).all()


def test_bad_input_is_named() -> None:
    x = noise(16, 16)
    for bins in (0, torch.tensor([0.1, 0.5]), torch.tensor([0.2, 0.1]), torch.tensor([0.1, 0.1001, 0.3])):
        with pytest.raises(OptionError):
            bispectrum(x, bins=bins)
    with pytest.raises(OptionError):
        bispectrum(x, bins=torch.tensor([0.0, 0.05]))
    with pytest.raises(OptionError):
        bispectrum(x, periodic=False, window="box")
    with pytest.raises(DataError):
        bispectrum(torch.full((8, 8), math.nan))
    with pytest.raises(ShapeError):
        bispectrum(noise(2, 2))
    empty = bispectrum(torch.zeros(16, 16))
    assert (empty.normalised == 0).all()
    assert (empty.reduced == 0).all()
    integers = torch.arange(256).reshape(16, 16) % 7
    assert torch.equal(bispectrum(integers).value, bispectrum(integers.double()).value)
