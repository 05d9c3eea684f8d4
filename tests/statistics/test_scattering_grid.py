"""Lines and cubes: agreement with the maps' transform, Gaussian closed forms, gradients, masks, rotations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import hyp2f1
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.fields import grid_covariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.line import LineScatteringCovariance
from sundog.statistics.scattering.moments.grid import round_morlet
from sundog.statistics.scattering.volume import VolumeScatteringCovariance
from sundog.statistics.wavelets.directions import axis_turns, icosahedral_axes
from sundog.statistics.wavelets.filters import angles, frequencies


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filters(shape: tuple[int, ...], j: int, direction: tuple[float, ...]) -> Tensor:
    return round_morlet([frequencies(n) for n in shape], j, direction)


@pytest.mark.parametrize("boundary", ["periodic", "edge-mask"])
def test_two_dimensional_grids_give_the_coefficients_of_maps(boundary: str) -> None:
    x = noise(1, 20, 17).exp()
    directions = np.array([(math.cos(t), math.sin(t)) for t in angles(4)])
    grid = grid_covariance((20, 17), directions, 1, isotropic=False, boundary=boundary, mask=None,
                          accuracy="accurate", what="maps", word="half-turn")  # fmt: skip
    maps = ScatteringCovariance((20, 17), J=1, L=4, boundary=boundary, accuracy="accurate")
    ours, theirs = grid.measure(x), maps(x)
    assert ours.labels.same_as(theirs.labels)
    assert (ours.normalised().vector - theirs.normalised().vector).abs().max() < 1e-6
    assert (ours.normalised().vector - maps(x.mT.reshape(1, 20, 17)).normalised().vector).abs().max() > 1e-2


def expected_gaussian(shape: tuple[int, ...], j: int, j3: int, direction: tuple[float, ...]) -> tuple[float, float]:
    """S2(j) and S4(j, j, j3) of white noise of variance 1, one direction.

    <M(x) M(x + r)> = pi/4 S2 2F1(-1/2, -1/2; 1; |rho(r)|^2) for a circular Gaussian W of correlation rho.
    """
    psi, third = filters(shape, j, direction), filters(shape, j3, direction)
    covariance = torch.fft.ifftn(psi**2)
    s2 = float(covariance.real.flatten()[0])
    product = math.pi / 4 * s2 * hyp2f1(-0.5, -0.5, 1.0, (covariance.abs() / s2).numpy() ** 2)
    return s2, float((torch.fft.fftn(torch.from_numpy(product)).real * third**2).mean())


def within(values: Tensor, truth: float) -> bool:
    return bool(abs(values.mean() - truth) < 4 * values.std() / math.sqrt(len(values)))


@pytest.mark.parametrize(("shape", "J"), [((256,), 4), ((12, 12, 12), 2)])
def test_gaussian_closed_forms(shape: tuple[int, ...], J: int) -> None:
    n = 200 if len(shape) == 1 else 30
    x = noise(n, *shape, seed=3)
    if len(shape) == 1:
        c, direction = LineScatteringCovariance(shape[0], J, accuracy="accurate")(x), (1.0,)
    else:
        c = VolumeScatteringCovariance(shape, J, accuracy="accurate")(x)  # type: ignore[arg-type]
        direction = tuple(icosahedral_axes()[0])
    j, j3 = J - 2, J - 1

    def pick(c: ScatteringCoefficients, kind: str, scales: tuple[int, int, int]) -> Tensor:
        lab = c.labels
        same = (lab.angles <= 0).all(1)  # every wavelet along the first direction
        at = (lab.kind == kind) & (lab.part == "re") & (lab.scales == scales).all(1) & same
        return c.vector[:, np.flatnonzero(at)[0]]

    s2, s4 = expected_gaussian(shape, j, j3, direction)
    assert within(pick(c, "S2", (j, -1, -1)), s2)
    assert abs(pick(c, "S1", (j, -1, -1)).mean() - math.sqrt(math.pi * s2 / 4)) < 0.02 * math.sqrt(s2)
    assert within(pick(c, "S4", (j, j, j3)), s4)
    assert within(pick(c, "S3", (-1, j, j3)), 0.0)
    heavy = LineScatteringCovariance(shape[0], J) if len(shape) == 1 else VolumeScatteringCovariance(shape, J)  # type: ignore[arg-type]
    skewed = heavy((x.exp() - math.exp(0.5)) / math.sqrt(math.e**2 - math.e))
    assert not within(pick(skewed, "S4", (j, j, j3)), s4)
    assert not within(pick(skewed, "S3", (-1, j, j3)), 0.0)


@pytest.mark.parametrize("boundary", ["periodic", "edge-mask"])
@pytest.mark.parametrize("shape", [(41,), (40,), (5, 6, 7)])
def test_gradcheck(shape: tuple[int, ...], boundary: str) -> None:
    phi = LineScatteringCovariance(shape[0], 2, boundary=boundary) if len(shape) == 1 else VolumeScatteringCovariance(
        shape, 1, isotropic=True, boundary=boundary)  # fmt: skip
    x, w = noise(*shape).requires_grad_(), noise(len(phi.labels), seed=1)
    close = {"atol": 1e-7, "rtol": 1e-6, "fast_mode": True}
    assert torch.autograd.gradcheck(lambda x: (phi(x).normalised().vector * w).sum(), x, **close)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_gradients_of_empty_and_sparse_fields_are_finite(value: float) -> None:
    for phi, shape in ((LineScatteringCovariance(64, 3), (64,)), (VolumeScatteringCovariance((8, 8, 8), 1), (8, 8, 8))):
        flat = torch.full(shape, value)
        sparse = flat.clone()
        sparse[(1,) * len(shape)] = 7.0
        for x in (flat, sparse):
            x.requires_grad_()
            v = phi(x).normalised().vector
            assert torch.isfinite(v).all() and torch.isfinite(torch.autograd.grad(v.sum(), x)[0]).all()


def test_time_reversal_changes_the_sign_of_imaginary_parts_alone() -> None:
    x = noise(256).cumsum(0)
    x = torch.where(x.roll(1) > x, x.exp().clamp(max=5), x)  # rises and falls differ
    phi = LineScatteringCovariance(256, 4, accuracy="accurate")
    c, back = phi(x), phi(x.flip(0))
    sign = torch.from_numpy(np.where(c.labels.part == "im", -1.0, 1.0))
    assert torch.allclose(back.vector, c.vector * sign, atol=1e-5)
    assert c.vector[sign < 0].abs().max() > 1e-3
    assert torch.allclose(c.iso().vector, back.iso().vector, atol=1e-5)


def test_quarter_turns_of_a_cube_leave_the_isotropic_average() -> None:
    """A cyclic exchange of the array axes is a rotation of the icosahedron; the full vector moves, the average not."""
    x = (0.5 * noise(12, 12, 12)).exp() * torch.linspace(1, 2, 12, dtype=torch.float64)
    phi = VolumeScatteringCovariance((12, 12, 12), 2)
    c, turned = phi(x), phi(x.permute(2, 0, 1))
    assert (c.vector - turned.vector).abs().max() > 1e-3
    assert torch.allclose(c.iso().vector, turned.iso().vector, rtol=1e-6, atol=1e-8)
    small = VolumeScatteringCovariance((12, 12, 12), 2, isotropic=True)(x)
    assert torch.allclose(small.vector, c.iso().vector, rtol=1e-6, atol=1e-8)
    assert len(axis_turns()) == 60


def test_masked_points_have_no_influence_and_labels_survive_a_file(tmp_path: Path) -> None:
    mask = torch.ones(128)
    mask[30:40] = 0
    phi = LineScatteringCovariance(128, 2, mask=mask)
    x, y = noise(128), noise(128)
    y[30:40] += 100.0
    y[:30], y[40:] = x[:30], x[40:]
    assert torch.allclose(phi(x).vector, phi(y).vector)
    plain = LineScatteringCovariance(128, 2)
    assert not torch.allclose(plain(x).vector, plain(y).vector)
    c = VolumeScatteringCovariance((8, 8, 8), 1)(noise(8, 8, 8))
    back = ScatteringCoefficients.load(c.save(tmp_path / "c.npz"))
    assert back.labels.same_as(c.labels)
    assert torch.allclose(back.iso().vector, c.iso().vector)
    assert set(c.table()["angle"]) == {"axis"}


def test_bad_input_is_named() -> None:
    with pytest.raises(OptionError, match="J"):
        LineScatteringCovariance(64, 7)
    with pytest.raises(OptionError, match="accuracy"):
        LineScatteringCovariance(64, accuracy="best")
    with pytest.raises(OptionError, match="no pixel"):
        LineScatteringCovariance(16, 3, boundary="edge-mask")
    with pytest.raises(ShapeError):
        VolumeScatteringCovariance((2, 8, 8))
    with pytest.raises(ShapeError):
        LineScatteringCovariance(64)(torch.zeros(32))
    with pytest.raises(ShapeError, match="mask"):
        LineScatteringCovariance(64, mask=torch.ones(32))
    with pytest.raises(DataError, match="hides"):
        VolumeScatteringCovariance((8, 8, 8), mask=torch.zeros(8, 8, 8))
    with pytest.raises(DataError, match="NaN"):
        LineScatteringCovariance(64)(torch.full((64,), math.nan))
    assert LineScatteringCovariance(64)(torch.arange(64)).vector.dtype == torch.float64
