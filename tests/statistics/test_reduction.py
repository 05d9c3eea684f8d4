"""Reduced scattering covariances: an orthonormal map, few numbers for smooth functions, and an honest selection."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import FileError, OptionError, SampleSizeError, ShapeError
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.reduction import ReducedCoefficients, Reduction, cosines, real_fourier


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PHI = ScatteringCovariance((32, 32), 3, 4)


@pytest.mark.parametrize("L", [3, 4, 5, 8])
@pytest.mark.parametrize("odd", [False, True])
def test_harmonics_are_orthonormal_and_have_their_frequency(L: int, odd: bool) -> None:
    matrix, f = real_fourier(L, odd=odd)
    assert torch.allclose(matrix @ matrix.T, torch.eye(L, dtype=torch.float64), atol=1e-12)
    assert (f % 2 == (1 if odd else 0)).all()
    theta = math.pi * torch.arange(L, dtype=torch.float64) / L
    for row, frequency in zip(matrix, f.tolist()):
        wave = torch.cos(frequency * theta) if frequency >= 0 else torch.sin(-frequency * theta)
        assert torch.allclose(row, wave / wave.norm(), atol=1e-12)
    assert torch.allclose(cosines(L) @ cosines(L).T, torch.eye(L, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("isotropic", [True, False])
def test_nothing_is_lost_before_the_selection(isotropic: bool) -> None:
    c = PHI(noise(2, 32, 32)).normalised()
    c = c.iso() if isotropic else c
    reduction = Reduction(c.labels)
    reduced = reduction(c)
    assert torch.allclose(reduction.expand(reduced), c.vector, atol=1e-12)
    assert torch.allclose(reduced.vector.norm(dim=-1), c.vector.norm(dim=-1))
    assert (reduced.vector - c.vector).abs().max() > 0.1


def test_smooth_functions_of_angle_and_scale_are_few_numbers() -> None:
    """S1 = 3 + j-independent cos 2 theta, S3 im = cos(3 theta_3): one number each where the label says so."""
    labels = PHI.labels
    theta1, theta3 = (math.pi * labels.angles[:, i] / 4 for i in (0, 2))
    values = np.where(labels.kind == "S1", 3 + np.cos(2 * theta1), 0.0)
    values = np.where((labels.kind == "S3") & (labels.part == "im"), np.cos(3 * theta3), values)
    c = ScatteringCoefficients(torch.from_numpy(values), labels)
    table = c.reduce().table()
    alive = np.abs(table["value"]) > 1e-9
    first = alive & (table["kind"] == "S1")
    assert [(int(q), int(f)) for q, f in zip(table["q"][first], table["f1"][first])] == [(0, 0), (0, 2)]
    third = alive & (table["kind"] == "S3")
    assert set(table["f3"][third]) == {3}
    assert set(table["f2"][third]) == {0}
    assert set(table["q"][third]) == {0}
    assert third.sum() == 3  # one per difference of octaves
    assert table["value"][third].min() > 0


def test_selection_keeps_what_the_null_does_not_have() -> None:
    null, other = PHI(noise(60, 32, 32)).normalised().iso(), PHI(noise(20, 32, 32, seed=1)).normalised().iso()
    shares = [len(one.reduce(null).labels) / len(null.labels) for one in map(other.with_vector, other.vector)]
    assert 0.02 < np.mean(shares) < 0.12  # 4.6 % of a Gaussian lies beyond 2 sigma
    x = noise(32, 32, seed=2)
    skewed = PHI((x + x.roll(1, 0) + x.roll(1, 1)).exp()).normalised().iso()
    reduction = Reduction(null.labels).select(skewed, null)
    kept = reduction(skewed)
    assert len(kept.labels) > 3 * 0.05 * len(null.labels)
    assert torch.allclose(reduction(other).vector[3], reduction(other.with_vector(other.vector[3])).vector, atol=1e-14)
    lost = (reduction.expand(kept) - skewed.vector).norm() / skewed.vector.norm()
    assert lost < 0.1
    assert sum(kept[kind].shape[-1] for kind in ("mean", "var", "S1", "S2", "S3", "S4")) == len(kept.labels)


def test_gradients_flow_through() -> None:
    x = noise(32, 32).requires_grad_()
    c = PHI(x).normalised()
    (direct,) = torch.autograd.grad(c.vector.square().sum(), x, retain_graph=True)
    (through,) = torch.autograd.grad(c.reduce().vector.square().sum(), x)
    assert torch.allclose(direct, through, atol=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_reductions_come_back(tmp_path: Path, suffix: str) -> None:
    reduced = PHI(noise(2, 32, 32)).normalised().reduce(scales=False)
    back = ReducedCoefficients.load(reduced.save(tmp_path / f"phi{suffix}"))
    assert torch.equal(back.vector, reduced.vector)
    assert np.array_equal(back.labels.numbers, reduced.labels.numbers)
    assert not back.labels.scales
    (tmp_path / f"bad{suffix}").write_text("{}")
    with pytest.raises(FileError):
        ReducedCoefficients.load(tmp_path / f"bad{suffix}")


def test_bad_input_is_named() -> None:
    c = PHI(noise(3, 32, 32)).normalised()
    with pytest.raises(SampleSizeError):
        c.reduce(c)
    with pytest.raises(ShapeError):
        Reduction(c.labels)(c.iso())
    with pytest.raises(OptionError):
        c.reduce()["S5"]
