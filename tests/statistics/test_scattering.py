"""Scattering covariances against a slow direct float64 reference, their gradient, and awkward maps."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, FileError, OptionError, ShapeError
from sundog.statistics.maps.bispectrum import bispectrum
from sundog.statistics.maps.spectra import power_spectrum
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.wavelets.filters import ACCURACY, full_bank


def field(shape: tuple[int, ...], seed: int = 0, slope: float = 1.5) -> Tensor:
    """Non-Gaussian float64 maps: exponential of a red Gaussian field, mean 0, variance 1."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ky, kx = torch.fft.fftfreq(shape[-2])[:, None], torch.fft.fftfreq(shape[-1])[None]
    k = (ky**2 + kx**2).sqrt().double().clamp_min(1 / max(shape))
    x = torch.fft.ifft2(torch.fft.fft2(x) * k**-slope).real
    x = (x / x.std((-2, -1), keepdim=True)).exp()
    return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)


def reference(x: Tensor, J: int, L: int, wavelet: str = "morlet") -> dict[tuple, complex]:
    """Every coefficient by its definition: full-size transforms, third layer in space, loops; no trick."""
    psi = full_bank(wavelet, tuple(x.shape), J, L)
    W = torch.fft.ifft2(torch.fft.fft2(x) * psi)
    M = W.abs()
    out: dict[tuple, complex] = {("mean", "re"): x.mean().item(), ("var", "re"): x.var(correction=0).item()}
    for j3 in range(J):
        for l3 in range(L):
            out["S1", j3, l3], out["S2", j3, l3] = M[j3, l3].mean().item(), (M[j3, l3] ** 2).mean().item()
            second = torch.fft.ifft2(torch.fft.fft2(M[: j3 + 1]) * psi[j3, l3])
            first = torch.fft.ifft2(torch.fft.fft2(x) * psi[j3, l3])
            s3 = (first * second.conj()).mean((-2, -1))
            flat = second.flatten(0, 1).flatten(1)
            s4 = (flat @ flat.mH / flat.shape[1]).view(j3 + 1, L, j3 + 1, L)
            for j2 in range(j3 + 1):
                for l2 in range(L):
                    out["S3", j2, l2, j3, l3] = s3[j2, l2].item()
                    for j1 in range(j2 + 1):
                        for l1 in range(L):
                            out["S4", j1, l1, j2, l2, j3, l3] = s4[j1, l1, j2, l2].item()
    return out


def as_vector(values: dict[tuple, complex], like: ScatteringCoefficients) -> ScatteringCoefficients:
    """The reference in the order of the labels."""
    found, labels = [], like.labels
    for i in range(len(labels)):
        kind, part, j, ell = labels.kind[i], labels.part[i], labels.scales[i].tolist(), labels.angles[i].tolist()
        pairs = [n for a, b in zip(j, ell) if a >= 0 for n in (a, b)]
        value = values[(kind, *pairs)] if pairs else values[kind, "re"]
        found.append(value.imag if part == "im" else complex(value).real)
    return like.with_vector(torch.tensor(found, dtype=torch.float64))


def largest_error(x: Tensor, J: int, L: int, accuracy: str, isotropic: bool = False) -> float:
    """Largest difference of normalised coefficients from the reference."""
    measured = ScatteringCovariance(tuple(x.shape), J, L, accuracy=accuracy)(x)
    truth = as_vector(reference(x.double(), J, L), measured)
    if isotropic:
        measured, truth = ScatteringCovariance(tuple(x.shape), J, L, isotropic=True, accuracy=accuracy)(x), truth.iso()
    return (measured.normalised().vector - truth.normalised().vector).abs().max().item()


@pytest.mark.parametrize(("shape", "L"), [((64, 64), 4), ((63, 48), 3), ((50, 81), 2)])
def test_equals_direct_sums(shape: tuple[int, int], L: int) -> None:
    x = field(shape)
    assert largest_error(x, 3, L, "default") < 1e-4
    assert largest_error(x, 3, L, "accurate") < 1e-5
    assert largest_error(x, 3, L, "default", isotropic=True) < 1e-4
    assert largest_error(x + 0.02 * field(shape, seed=1), 3, L, "default") < 1e-4


@pytest.mark.parametrize("mask", [None, torch.ones(48, 40)])
def test_bump_wavelets_give_their_own_direct_sums(mask: Tensor | None) -> None:
    x = field((48, 40))
    measured = ScatteringCovariance((48, 40), 3, 4, "bump", accuracy="accurate", mask=mask)(x)
    truth = as_vector(reference(x, 3, 4, "bump"), measured)
    assert (measured.normalised().vector - truth.normalised().vector).abs().max() < 1e-5
    assert (measured.normalised() - ScatteringCovariance((48, 40), 3, 4)(x).normalised()).vector.abs().max() > 0.05


def test_the_comparison_can_fail() -> None:
    x = field((32, 32))
    measured = ScatteringCovariance((32, 32), 2, 4)(x)
    other = as_vector(reference(field((32, 32), seed=1), 2, 4), measured)
    assert (measured.normalised().vector - other.normalised().vector).abs().max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 1.5])
def test_equals_direct_sums_at_full_size(slope: float) -> None:
    x = field((256, 256), slope=slope)
    assert largest_error(x, 7, 4, "default") < 1e-4
    assert largest_error(x, 7, 4, "accurate") < 1e-5
    assert largest_error(x.float(), 7, 4, "accurate", isotropic=True) < 1e-4
    assert largest_error(x, 7, 4, "fast", isotropic=True) < 1e-3


@pytest.mark.parametrize(("shape", "isotropic"), [((8, 8), False), ((9, 10), True), ((10, 7), False)])
def test_gradient_in_float64(shape: tuple[int, int], isotropic: bool) -> None:
    phi = ScatteringCovariance(shape, 2, 2, isotropic=isotropic, accuracy="fast")
    x = field(shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: phi(x).normalised().vector, x, eps=1e-6, atol=1e-6, rtol=1e-6)


def test_gradient_through_small_grids_and_batches() -> None:
    """Directional derivatives where grids are cropped (gradcheck on 256^2 pixels would take hours)."""
    phi = ScatteringCovariance((144, 150), 6, 2)
    x = field((2, 144, 150)).requires_grad_()
    weights = torch.randn(len(phi.labels), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction, step = field((2, 144, 150), seed=2), 1e-5
    loss = lambda x: (phi(x).normalised().vector * weights).sum()  # noqa: E731
    slope = (torch.autograd.grad(loss(x), x)[0] * direction).sum()
    with torch.no_grad():
        numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    assert abs(slope - numeric) < 1e-6 * abs(numeric)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["empty", "constant", "sparse", "delta", "tiny units", "huge units"])
def test_awkward_maps_have_finite_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    x = torch.zeros(32, 32, dtype=dtype)
    if name == "constant":
        x += 3.7
    elif name == "sparse":
        x[4:9, 20:30] = field((5, 10)).to(dtype)
    elif name == "delta":
        x[5, 6] = 1
    elif name.endswith("units"):
        x = field((32, 32)).to(dtype) * (1e-15 if name == "tiny units" else 1e15)
    x.requires_grad_()
    c = ScatteringCovariance((32, 32), 3, 4)(x).normalised()
    (grad,) = torch.autograd.grad(c.vector.square().sum(), x)
    assert torch.isfinite(c.vector).all()
    assert torch.isfinite(grad).all()


def test_batches_equal_single_maps_and_units_come_out() -> None:
    x = field((2, 3, 24, 20))
    phi = ScatteringCovariance((24, 20), 2, 4)
    c = phi(x)
    assert c.vector.shape == (2, 3, len(phi.labels))
    assert torch.allclose(c.vector[1, 2], phi(x[1, 2]).vector, rtol=1e-12, atol=1e-15)
    scaled = phi(1e3 * x + 5)
    assert torch.allclose(scaled["S1"], 1e3 * c["S1"])
    assert torch.allclose(scaled["S4"], 1e6 * c["S4"])
    assert torch.allclose(scaled.normalised()["S3"], c.normalised()["S3"], atol=1e-10)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_units_whose_squares_float32_cannot_hold(unit: float) -> None:
    """W/m2 or Jy/sr: normalised numbers are those of any other unit, not zeros."""
    x = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(3)).exp()
    mask = torch.ones(32, 32)
    mask[3:6, 4:7] = 0
    for measure in (ScatteringCovariance((32, 32), 3), ScatteringCovariance((32, 32), 2, mask=mask),
                    lambda v: ScatteringCovariance((32, 32), 3)(v[0], v[1])):
        plain, scaled = measure(x).normalised(), measure(unit * x).normalised()
        assert torch.allclose(scaled["S4"].float(), plain["S4"], atol=1e-6)
        assert float(plain["S4"].abs().max()) > 0.005
    assert torch.allclose(bispectrum(unit * x, bins=4).normalised.float(), bispectrum(x, bins=4).normalised, atol=1e-4)
    power = [power_spectrum(v, bins=4).power for v in (x, unit * x)]
    assert torch.allclose(power[1].double() / unit**2, power[0].double(), rtol=1e-5)


def test_white_noise_has_the_power_of_its_filters() -> None:
    """<S2> of unit white noise is the mean of psi^2 over the Fourier plane, and no S3; 4 sigma over 200 maps."""
    x = torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    c = ScatteringCovariance((32, 32), 3, 4)(x)
    expected = (full_bank("morlet", (32, 32), 3, 4) ** 2).mean((-2, -1)).flatten()
    error = c["S2"].std(0) / 200**0.5
    assert ((c["S2"].mean(0) - expected).abs() < 4 * error).all()
    assert not ((c["S2"].mean(0) - 1.3 * expected).abs() < 4 * error).any()
    assert (c["S3"].mean(0).abs() < 5 * c["S3"].std(0) / 200**0.5 + 1e-15).all()


def test_rotation_leaves_isotropic_coefficients_alone() -> None:
    x = field((32, 32))
    x = x + 2 * torch.sin(torch.arange(32) * math.pi / 4)[:, None]
    phi = ScatteringCovariance((32, 32), 3, 4)
    turned = x.rot90(1, (-2, -1))
    assert torch.allclose(phi(x).iso().vector, phi(turned).iso().vector, atol=1e-10)
    assert (phi(x)["S2"] - phi(turned)["S2"]).abs().max() > 0.1
    direct = ScatteringCovariance((32, 32), 3, 4, isotropic=True)(x)
    assert torch.allclose(direct.vector, phi(x).iso().vector, atol=1e-12)
    assert direct.labels.same_as(phi(x).iso().labels)


def test_sizes_follow_the_formula() -> None:
    J, L = 5, 4
    iso = ScatteringCovariance((64, 64), J, L, isotropic=True).labels
    assert len(iso) == 2 + 2 * J + L * J * (J + 1) // 2 + L**2 * J * (J + 1) * (J + 2) // 6
    full = ScatteringCovariance((64, 64), J, L).labels
    assert len(full) == 2 + 2 * J * L + L**2 * J * (J + 1) + 2 * L**3 * J * (J + 1) * (J + 2) // 6


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_coefficients_come_back(tmp_path: Path, suffix: str) -> None:
    c = ScatteringCovariance((16, 16), 2, 4, isotropic=True)(field((3, 16, 16)))
    back = ScatteringCoefficients.load(c.save(tmp_path / f"phi{suffix}"))
    assert torch.equal(back.vector, c.vector)
    assert back.labels.same_as(c.labels)
    assert (back - c).vector.abs().max() == 0
    (tmp_path / f"bad{suffix}").write_text("{}")
    with pytest.raises(FileError):
        ScatteringCoefficients.load(tmp_path / f"bad{suffix}")
    with pytest.raises(FileError):
        c.save(tmp_path / "phi.pickle")


def test_bad_input_is_named() -> None:
    phi = ScatteringCovariance((16, 16), 2, 4)
    with pytest.raises(ShapeError):
        phi(torch.zeros(16, 17))
    with pytest.raises(DataError):
        phi(torch.full((16, 16), math.nan))
    with pytest.raises(OptionError):
        ScatteringCovariance((16, 16), 5)
    for option in ("wavelet", "boundary", "accuracy"):
        with pytest.raises(OptionError):
            ScatteringCovariance((16, 16), **{option: "other"})
    with pytest.raises(ShapeError):
        phi(field((16, 16))) - phi(field((16, 16))).iso()
    integers = torch.from_numpy(np.arange(256).reshape(16, 16) % 7)
    assert torch.equal(phi(integers).vector, phi(integers.double()).vector)


def dust() -> Tensor:
    """A simulated dust map on 256 x 256 pixels, float64."""
    path = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields" / "mhd_dust_I_1.npy"
    if not path.exists():
        pytest.skip("no dust map in SUNDOG_DATA")
    x = torch.from_numpy(np.load(path)).double().view(256, 2, 256, 2).mean((1, 3))
    return (x - x.mean()) / x.std()


@pytest.mark.slow
@pytest.mark.parametrize(("accuracy", "tolerance"), [("default", 5e-4), ("accurate", 1e-4)])
@pytest.mark.parametrize("name", ["lognormal", "noise", "dust"])
def test_gradient_equals_that_of_full_grids(
    monkeypatch: pytest.MonkeyPatch, name: str, accuracy: str, tolerance: float
) -> None:
    """Float32 gradient on small grids against float64 on full grids without cuts, 256 x 256, relative in L2."""
    x = dust() if name == "dust" else field((256, 256), slope=1.5 if name == "lognormal" else 0.0)

    def gradient(x: Tensor, accuracy: str) -> Tensor:
        phi = ScatteringCovariance((256, 256), 7, 4, isotropic=True, accuracy=accuracy)
        weights = torch.randn(len(phi.labels), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x = x.clone().requires_grad_()
        return torch.autograd.grad((phi(x).normalised().vector * weights.to(x)).sum(), x)[0].double()

    found = gradient(x.float(), accuracy)
    monkeypatch.setitem(ACCURACY, "accurate", (100.0, 0.0))
    truth = gradient(x, "accurate")
    assert (found - truth).norm() < tolerance * truth.norm()
    fast = gradient(x.float(), "fast")
    assert (found - truth).norm() < (fast - truth).norm()
