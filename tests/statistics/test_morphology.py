"""Minkowski functionals against Gaussian closed forms and scikit-image; structure functions against covariances."""

from __future__ import annotations

import math

import pytest
import torch

from sundog.errors import DataError, OptionError
from sundog.statistics import gaussian_smooth, minkowski_functionals, structure_functions

LEVELS = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def closed_forms(gradient_over_spread: float) -> tuple[torch.Tensor, ...]:
    decay = torch.exp(-(LEVELS**2) / 2)
    v0 = torch.erfc(LEVELS / math.sqrt(2)) / 2
    return v0, gradient_over_spread / 8 * decay, gradient_over_spread**2 * (2 * math.pi) ** -1.5 * LEVELS * decay


@pytest.mark.parametrize("spread", [3.0, 4.0])
def test_a_gaussian_field_follows_the_closed_forms(spread: float) -> None:
    field = gaussian_smooth(noise(240, 80, 80), spread, periodic=True)
    # white noise smoothed by s has variance 1/(4 pi s^2) and <x_,1^2> / <x^2> = 1/(2 s^2)
    field = field * math.sqrt(4 * math.pi) * spread
    m = minkowski_functionals(field, LEVELS, periodic=True)
    for value, truth, floor in zip((m.v0, m.v1, m.v2), closed_forms(1 / (math.sqrt(2) * spread)), (0.0, 0.02, 0.03)):
        error = value.std(0) / math.sqrt(len(value))
        # the lattice misses the sharpest corners of a contour: 2 % of V1, 3 % of the largest V2
        assert ((value.mean(0) - truth).abs() < 4 * error + floor * truth.abs().max()).all()
    wrong = closed_forms(1 / (math.sqrt(2) * 1.2 * spread))
    assert ((m.v1.mean(0) - wrong[1]).abs() > 4 * m.v1.std(0) / math.sqrt(240) + 0.02 * wrong[1].max()).any()


def test_euler_number_and_perimeter_agree_with_scikit_image() -> None:
    measure = pytest.importorskip("skimage.measure")
    x = gaussian_smooth(noise(6, 41, 36), 1.2)
    m = minkowski_functionals(x, [0.0, 0.1])
    for image, euler, area in zip(x, m.v2, m.v0):
        for j, level in enumerate((0.0, 0.1)):
            above = (image > level).numpy()
            assert round(float(euler[j]) * image.numel()) == measure.euler_number(above, connectivity=1)
            assert float(area[j]) == pytest.approx(above.mean())


def test_a_disc_and_a_ring() -> None:
    y, x = torch.meshgrid(torch.arange(101.0), torch.arange(101.0), indexing="ij")
    r = ((y - 50.3) ** 2 + (x - 49.8) ** 2).sqrt()
    disc, ring = (r < 30).double(), ((r < 30) & (r > 12)).double()
    m = minkowski_functionals(torch.stack([disc, ring]), [0.5])
    pixels = 101 * 101
    assert m.v0[:, 0] * pixels == pytest.approx([math.pi * 900, math.pi * (900 - 144)], rel=0.01)
    assert 4 * m.v1[:, 0] * pixels == pytest.approx([2 * math.pi * 30, 2 * math.pi * 42], rel=0.03)
    assert (m.v2[:, 0] * pixels).round().tolist() == [1.0, 0.0]


def test_thresholds_keep_their_order_and_wrapping_matters() -> None:
    x = noise(5, 12, 9)
    up, down = minkowski_functionals(x, [-1.0, 0.5]), minkowski_functionals(x, [0.5, -1.0])
    assert torch.equal(up.v2, down.v2.flip(-1)) and down.thresholds.tolist() == [0.5, -1.0]
    assert not torch.equal(minkowski_functionals(x, [0.0], periodic=True).v2, minkowski_functionals(x, [0.0]).v2)
    full = minkowski_functionals(torch.ones(4, 6), [0.0], periodic=True)
    assert (full.v0.item(), full.v1.item(), full.v2.item()) == (1.0, 0.0, 0.0)  # a torus has Euler number 0


def test_structure_functions_of_white_noise_and_of_a_smooth_field() -> None:
    n = 150
    s = structure_functions(noise(n, 40, 30), [1, 3]).value
    gauss = torch.tensor([2 / math.sqrt(math.pi), 2.0, 2**1.5 * math.sqrt(8 / math.pi), 12.0], dtype=torch.float64)
    error = s.std(0) / math.sqrt(n)
    assert ((s.mean(0) - gauss).abs() < 4 * error).all()
    spread = 2.0
    field = gaussian_smooth(noise(n, 64, 64, seed=1), spread, periodic=True) * math.sqrt(4 * math.pi) * spread
    s2 = structure_functions(field, [1, 2, 8], orders=[2], periodic=True).value[..., 0]
    truth = 2 * (1 - torch.exp(-(torch.tensor([1.0, 2.0, 8.0]).double() ** 2) / (4 * spread**2)))
    assert ((s2.mean(0) - truth).abs() < 4 * s2.std(0) / math.sqrt(n)).all()
    assert ((s2.mean(0) - 2.0).abs() > 4 * s2.std(0) / math.sqrt(n))[0]  # negative control: not white


def test_intermittency_shows_in_the_fourth_order() -> None:
    heavy = noise(50, 30, 30) ** 3
    s = structure_functions(heavy, [1], orders=[2, 4]).value.mean(0)[0]
    assert s[1] / s[0] ** 2 > 6  # 3 for a Gaussian


def test_smoothing_keeps_constants_sums_and_gradients() -> None:
    assert torch.allclose(gaussian_smooth(torch.full((5, 40), 3.0), 4.0), torch.tensor(3.0))
    x = noise(7, 9)
    assert torch.allclose(gaussian_smooth(x, 30.0, periodic=True).mean(), x.mean())
    assert gaussian_smooth(x, 30.0, periodic=True).std() < 1e-6
    assert torch.equal(gaussian_smooth(x, 0.0), x)
    v = noise(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: structure_functions(gaussian_smooth(t, 1.0), [1, 2]).value, v)


def test_bad_input() -> None:
    x = noise(6, 6)
    for lags in ([0], [6], []):
        with pytest.raises(OptionError, match="lags"):
            structure_functions(x, lags)
    with pytest.raises(OptionError):
        gaussian_smooth(x, -1.0)
    with pytest.raises(OptionError):
        minkowski_functionals(x, [])
    with pytest.raises(DataError):
        minkowski_functionals(x / 0 * 0, [0.0])
    assert torch.isfinite(minkowski_functionals(torch.zeros(1, 1, 5), [0.0]).v1).all()
