"""Scattering covariances between two maps: against direct sums, their gradient, symmetries, regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, FileError, OptionError, ShapeError
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.wavelets.filters import full_bank


def field(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Non-Gaussian float64 maps: exponential of a red Gaussian field, mean 0, variance 1."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ky, kx = torch.fft.fftfreq(shape[-2])[:, None], torch.fft.fftfreq(shape[-1])[None]
    k = (ky**2 + kx**2).sqrt().double().clamp_min(1 / max(shape))
    x = torch.fft.ifft2(torch.fft.fft2(x) * k**-1.5).real
    x = (x / x.std((-2, -1), keepdim=True)).exp()
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


def plain(x: Tensor, y: Tensor, like: CrossCoefficients, J: int) -> Tensor:
    """Every coefficient by its definition, full-size transforms, automatic gradient, in the order of the labels."""
    psi = full_bank("morlet", (x.shape[-2], x.shape[-1]), J, like.labels.L)
    wave = [torch.fft.ifft2(torch.fft.fft2(m) * psi) for m in (x, y)]
    modulus = [torch.fft.fft2(w.abs()) for w in wave]
    second = {}

    def smooth(side: int, j: int, ell: int, j3: int, l3: int) -> Tensor:
        if (side, j, ell, j3, l3) not in second:
            second[side, j, ell, j3, l3] = torch.fft.ifft2(modulus[side][j, ell] * psi[j3, l3])
        return second[side, j, ell, j3, l3]

    out = []
    for i in range(len(like.labels)):
        (j1, j2, j3), (l1, l2, l3) = like.labels.scales[i].tolist(), like.labels.angles[i].tolist()
        kind = like.labels.kind[i]
        if kind == "cov":
            out.append(((x - x.mean()) * (y - y.mean())).mean())
            continue
        if kind == "S2":
            left, right = wave[0][j1, l1], wave[1][j1, l1]
        else:
            left = smooth(0, j1, l1, j3, l3) if j1 >= 0 else wave[0][j3, l3]
            right = smooth(1, j2, l2, j3, l3) if j2 >= 0 else wave[1][j3, l3]
        value = (left * right.conj()).mean()
        out.append(value.imag if like.labels.part[i] == "im" else value.real)
    return torch.stack(out)


@pytest.mark.parametrize(("shape", "boundary"), [((32, 32), "periodic"), ((27, 36), "periodic"), ((32, 32), "mask")])
def test_equals_direct_sums(shape: tuple[int, int], boundary: str) -> None:
    x, y = field((2, *shape))
    y = 0.5 * x + 3 * y + 2 + x.square()  # an asymmetric pair
    mask = torch.ones(shape) if boundary == "mask" else None
    found = ScatteringCovariance(shape, 2, 2, accuracy="accurate", mask=mask)(x, y)
    scale = (found.vector / found.normalised().vector).detach()
    assert ((found.vector - plain(x, y, found, 2)) / scale).abs().max() < 1e-5
    assert ((found.vector - plain(y, x, found, 2)) / scale).abs().max() > 0.02  # the order matters
    direct = ScatteringCovariance(shape, 2, 2, accuracy="accurate", isotropic=True, mask=mask)(x, y)
    assert torch.allclose(direct.vector, found.iso().vector, atol=1e-12)
    assert direct.labels.same_as(found.iso().labels)
    assert torch.allclose(direct.power_x, found.iso().power_x)


@pytest.mark.parametrize("isotropic", [False, True])
def test_gradient_in_float64(isotropic: bool) -> None:
    phi = ScatteringCovariance((7, 6), 2, 2, isotropic=isotropic, accuracy="fast")
    x, y = (m.clone().requires_grad_() for m in field((2, 7, 6)))
    weights = torch.randn(len(phi.cross_labels), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, y: phi(x, y).normalised().vector @ weights, (x, y), eps=1e-6, atol=1e-6, rtol=1e-6
    )


def test_gradient_equals_that_of_plain_autograd() -> None:
    """With respect to both maps, float32 on cropped grids against float64 automatic differentiation; relative L2."""
    x, y = (m.clone().requires_grad_() for m in field((2, 48, 40)))
    phi = ScatteringCovariance((48, 40), 3, 2)
    found = phi(x.float(), y.float())
    weights = torch.randn(len(found.labels), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scale = (phi(x, y).normalised().vector / phi(x, y).vector).detach()
    ours = torch.autograd.grad((found.vector * (scale * weights).float()).sum(), (x, y))
    truth = torch.autograd.grad((plain(x, y, found, 3) * scale * weights).sum(), (x, y))
    for a, b in zip(ours, truth):
        assert (a - b).norm() < 5e-4 * b.norm()


def test_a_map_with_itself_is_the_map_alone() -> None:
    x = field((24, 24))
    phi = ScatteringCovariance((24, 24), 2, 4)
    cross, alone = phi(x, x), phi(x)
    assert torch.allclose(cross["cov"], alone["var"])
    half = len(cross["S2"]) // 2
    assert torch.allclose(cross["S2"][:half], alone["S2"], rtol=1e-4)
    assert cross["S2"][half:].abs().max() < 1e-12
    assert torch.allclose(cross.normalised()["S2"][:half], torch.ones(half, dtype=torch.float64), atol=1e-4)
    find = {tuple(row): i for i, row in enumerate(zip(cross.labels.kind, cross.labels.part, *cross.labels.scales.T,
                                                      *cross.labels.angles.T))}
    for i, row in enumerate(zip(alone.labels.kind, alone.labels.part, *alone.labels.scales.T, *alone.labels.angles.T)):
        if row[0] in ("S3", "S4"):
            assert torch.isclose(cross.vector[find[tuple(row)]], alone.vector[i], atol=1e-9)


def test_independent_maps_have_no_cross_power_and_dependent_ones_do() -> None:
    """Mean coherence of 36 pairs of independent maps is 0 within 4 standard errors; of correlated maps 0.6."""
    x, y = field((36, 32, 32)), field((36, 32, 32), seed=1)
    phi = ScatteringCovariance((32, 32), 3, 4, isotropic=True)
    c = phi(x, y).normalised()
    error = c.vector.std(0) / 6
    assert (c["S2"].mean(0).abs() < 4 * error[c.labels.span("S2")]).all()
    assert (c["cov"].mean(0).abs() < 4 * error[:1]).all()
    mixed = phi(x, 0.6 * x + 0.8 * y).normalised()["S2"]
    assert ((mixed.mean(0) - 0.6).abs() < 0.15).all()


def test_channels_equal_single_calls_with_gradient() -> None:
    x = field((2, 3, 20, 24)).requires_grad_()
    phi = ScatteringCovariance((20, 24), 2, 4)
    alone, together = phi.channels(x)
    assert list(together) == [(0, 1), (0, 2), (1, 2)]
    one, pair = phi(x[:, 1]), phi(x[:, 0], x[:, 2])
    assert torch.allclose(alone[1].vector, one.vector, atol=1e-12)
    assert torch.allclose(together[0, 2].vector, pair.vector, atol=1e-12)
    first, second = (
        torch.autograd.grad(a.vector.square().sum() + b.vector.sum(), x)[0]
        for a, b in ((alone[1], together[0, 2]), (one, pair))
    )
    assert torch.allclose(first, second, atol=1e-10)


def test_regions_see_their_own_part_of_the_map() -> None:
    """Left half loud, right half quiet: S2 differs by the variance; region weights average to the whole."""
    x = torch.randn(6, 32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[..., :32] *= 3
    sides = torch.zeros(2, 32, 64)
    sides[0, :, 8:24], sides[1, :, 40:56] = 1, 1  # as far from the border as the wavelets reach
    phi, whole = (ScatteringCovariance((32, 64), 2, 4, regions=r, isotropic=True) for r in (sides, None))
    parts = phi(x)
    assert parts.vector.shape == (6, 2, len(phi.labels))
    ratio = parts["S2"][:, 0].mean(0) / parts["S2"][:, 1].mean(0)
    assert ((ratio - 9).abs() < 1.5).all()
    both = ScatteringCovariance((32, 64), 2, 4, regions=torch.ones(1, 32, 64), isotropic=True)(x)
    assert torch.allclose(both.normalised().vector[:, 0], whole(x).normalised().vector, atol=1e-4)
    assert phi(x, x.flip(0)).vector.shape == (6, 2, len(phi.cross_labels))


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_coefficients_come_back(tmp_path: Path, suffix: str) -> None:
    x, y = field((2, 16, 16))
    c = ScatteringCovariance((16, 16), 2, 4, isotropic=True)(x, y)
    back = CrossCoefficients.load(c.save(tmp_path / f"phi{suffix}"))
    assert (back.vector == c.vector).all()
    assert back.labels.same_as(c.labels)
    assert torch.allclose(back.normalised().vector.to(x), c.normalised().vector, rtol=1e-6)
    (tmp_path / f"bad{suffix}").write_text("{}")
    with pytest.raises(FileError):
        CrossCoefficients.load(tmp_path / f"bad{suffix}")
    with pytest.raises(FileError):
        c.save(tmp_path / "phi.txt")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = field((2, 16, 16))
    c = ScatteringCovariance((16, 16), 2, 4, isotropic=True)(x, y)
    path = c.save(tmp_path / "phi.npz")

    def half(file: Path, **columns: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(FileError):
        c.save(path)
    assert torch.equal(CrossCoefficients.load(path).vector, c.vector)
    assert list(tmp_path.iterdir()) == [path]


def test_bad_input_is_named() -> None:
    phi, x = ScatteringCovariance((16, 16), 2, 4), field((16, 16))
    for bad, error in (((x, x[:8]), ShapeError), ((x, x * float("nan")), DataError)):
        with pytest.raises(error):
            phi(*bad)
    with pytest.raises(ShapeError):
        phi.channels(x)
    with pytest.raises(OptionError):
        phi(x, x)["S1"]
    with pytest.raises(ShapeError):
        phi(x, x).normalised(phi(x, x).iso())
    for bad, error in ((torch.ones(1, 16, 8), ShapeError), (torch.zeros(1, 16, 16), DataError)):
        with pytest.raises(error):
            ScatteringCovariance((16, 16), 2, regions=bad)
    zero = torch.zeros(16, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(phi(zero, x).normalised().vector.sum(), zero)
    assert torch.isfinite(grad).all()
