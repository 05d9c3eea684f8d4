"""Wavelet phase harmonics against pywph's values, direct sums, and the closed form of Gaussian fields."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, FileError, OptionError, ShapeError
from sundog.statistics.harmonics.labels import COLUMNS, HarmonicCoefficients
from sundog.statistics.harmonics.products import phase_harmonic
from sundog.statistics.harmonics.transform import PhaseHarmonics
from sundog.statistics.wavelets.filters import full_bank

PEER = json.loads((Path(__file__).parent / "peers" / "pywph.json").read_text())


def field(shape: tuple[int, ...], seed: int = 7, complex_maps: bool = False) -> Tensor:
    """Skewed maps, correlated over few pixels: those of the peer's recipe."""
    r = np.random.default_rng(seed)
    x = r.standard_normal(shape)
    x = x + 1j * r.standard_normal(shape) if complex_maps else x
    x = np.roll(x, 1, -2) + x + 0.5 * np.roll(x, 2, -1)
    return torch.from_numpy(x + 0.5 * np.abs(x) ** 2)


def by_label(c: HarmonicCoefficients) -> dict[tuple[int, ...], complex]:
    """Complex value of each (is low-pass, *COLUMNS)."""
    table, found = c.table(), {}
    for i in range(len(c.labels)):
        key = (int(table["kind"][i] == "L"), *(int(table[name][i]) for name in COLUMNS))
        found[key] = found.get(key, 0) + table["value"][i] * (1 if table["part"][i] == "re" else 1j)
    return found


@pytest.mark.parametrize("name", ["real", "complex"])
def test_equals_pywph(name: str) -> None:
    peer = PEER[name]
    shape, low = tuple(peer["shape"]), [[int(n) for n in row.split()] for row in peer["low"]]
    rows = [[int(n) for n in row.split()] for row in peer["rows"]]
    keys = [(0, *row) for row in rows] + [(1, j, -1, p1, j, -1, p2, 0, 0, c) for j, p1, p2, c in low]
    values = (np.array(peer["re"]) + 1j * np.array(peer["im"])) * 1e-9
    complex_maps = name == "complex"
    phi = PhaseHarmonics(shape, peer["J"], peer["L"], translations=1, complex_maps=complex_maps)
    found, other = by_label(phi(field(shape, 7, complex_maps))), by_label(phi(field(shape, 8, complex_maps)))
    assert np.abs(np.array([found[key] for key in keys]) - values).max() < 2e-9
    assert np.abs(np.array([other[key] for key in keys]) - values).max() > 0.1
    single = by_label(phi(field(shape, 7, complex_maps).to(torch.complex64 if complex_maps else torch.float32)))
    assert np.abs(np.array([single[key] for key in keys]) - values).max() < 3e-6
    # With an odd number of angles pywph leaves out pairs farther than pi (L // 2) / L; nothing else differs.
    assert len(found) == len(keys) or peer["L"] % 2


def direct(x: np.ndarray, phi: PhaseHarmonics, psi: np.ndarray, key: tuple[int, ...]) -> complex:
    """One covariance as the papers write it: convolutions in space, powers by their angle, a roll for the lag."""
    _, j1, l1, p1, j2, l2, p2, n, a, conjugate = key

    def harmonic(j: int, ell: int, p: int) -> np.ndarray:
        kernel = np.fft.ifft2(psi[j, ell])
        w = sum(kernel[y, z] * np.roll(x, (y, z), (0, 1)) for y in range(x.shape[0]) for z in range(x.shape[1]))
        return np.abs(w) * np.exp(1j * p * np.angle(w))

    f, g = harmonic(j1, l1, p1), harmonic(j2, l2, p2)
    g = np.conj(g) if conjugate else g
    alpha = math.pi * l2 / phi.L - math.pi * a / phi.model.directions
    step = [round(2.0**n * math.sin(alpha)), round(2.0**n * math.cos(alpha))] if n else [0, 0]
    moved = np.roll(f, [-s for s in step], (0, 1))
    return np.mean(moved * np.conj(g)) - f.mean() * np.conj(g.mean())


def test_equals_direct_sums_with_two_lags() -> None:
    shape, x = (12, 16), field((12, 16))
    phi = PhaseHarmonics(shape, 3, 4, translations=2, kinds=("S11", "S00", "S01", "C00", "C01", "Cphase"))
    found, psi = by_label(phi(x)), full_bank("bump", shape, 3, 4).numpy()
    keys = sorted(found)[:: len(found) // 40]
    assert {key[3] for key in keys} == {0, 1}
    for key in keys:
        assert abs(found[key] - direct(x.numpy(), phi, psi, key)) < 1e-12


@pytest.mark.parametrize("wavelet", ["bump", pytest.param("morlet", marks=pytest.mark.slow)])
def test_gaussian_noise_has_closed_form_values(wavelet: str) -> None:
    """S11 is the mean of psi^2; |W| of circular W is Rayleigh: S00 = (1 - pi/4) S11; the rest vanishes. 4 sigma."""
    x = torch.randn(100, 24, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    phi = PhaseHarmonics((24, 24), 2, 4, wavelet)
    bank = full_bank(wavelet, (24, 24), 2, 4)
    c, spectrum = phi(x), (bank**2).mean((-2, -1)).flatten()
    error = c.vector.std(0) / 100**0.5
    truth = torch.zeros(len(phi.labels), dtype=torch.float64)
    truth[phi.labels.span("S11")] = spectrum
    # W is circular where psi(k) psi(-k) = 0: always for bump, but for a tail for morlet.
    mirrored = bank.flip((-2, -1)).roll((1, 1), (-2, -1))
    circular = ((bank * mirrored).mean((-2, -1)) / (bank**2).mean((-2, -1))).flatten() < 1e-3
    truth[phi.labels.span("S00")] = (1 - math.pi / 4) * spectrum
    checked = torch.from_numpy(phi.labels.kind != "L")
    checked[phi.labels.span("S00")] &= circular
    assert circular[4:].all()
    pull = ((c.vector.mean(0) - truth) / error)[checked]
    assert pull.abs().max() < 4.5
    assert pull.square().mean() < 1.5
    skewed = phi(x + 0.3 * x**2)
    pull = (skewed["S01"].mean(0) / skewed["S01"].std(0)) * 100**0.5
    assert pull.abs().max() > 20


def slope_error(phi: PhaseHarmonics, x: Tensor) -> float:
    """Relative difference of the gradient's projection on a direction from the central difference, worst of two."""
    worst = 0.0
    for seed in range(2):
        g = torch.Generator().manual_seed(seed)
        weights = torch.randn(len(phi.labels), generator=g, dtype=torch.float64)
        direction = torch.randn(x.shape, generator=g, dtype=x.dtype)
        start = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad((phi(start).normalised().vector * weights).sum(), start)
        slope = float((grad.conj() * direction).real.sum())
        up, down = ((phi(x + s * direction).normalised().vector * weights).sum() for s in (1e-5, -1e-5))
        worst = max(worst, abs(slope - float(up - down) / 2e-5) / abs(slope))
    return worst


ALL = ("S11", "S00", "S01", "C00", "C01", "Cphase", "L")


def test_gradient() -> None:
    """Against central differences along random directions, all kinds and lags at once."""
    x = field((2, 8, 9))
    assert slope_error(PhaseHarmonics((8, 9), 2, 3, translations=1, kinds=ALL), x) < 1e-6
    z = field((8, 9), complex_maps=True)
    assert slope_error(PhaseHarmonics((8, 9), 2, 2, translations=1, kinds=ALL, complex_maps=True), z) < 1e-6
    mask = torch.ones(12, 12)
    mask[5, 5] = 0
    phi = PhaseHarmonics((12, 12), 2, 2, translations=1, kinds=ALL, mask=mask)
    assert slope_error(phi, field((12, 12))) < 1e-6
    x = field((12, 12)).requires_grad_()
    assert torch.autograd.grad(phi(x).vector.sum(), x)[0][5, 5] == 0


@pytest.mark.slow
def test_gradient_of_every_coefficient() -> None:
    phi = PhaseHarmonics((8, 7), 2, 2, translations=1, kinds=ALL)
    x = field((8, 7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: phi(x).normalised().vector, x, atol=1e-6)


def test_phase_harmonic_at_zero_has_no_nan() -> None:
    z = torch.zeros(4, dtype=torch.complex128, requires_grad=True)
    (grad,) = torch.autograd.grad(phase_harmonic(z, 4).abs().square().sum() + phase_harmonic(z, 4).real.sum(), z)
    assert torch.isfinite(torch.view_as_real(grad)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["empty", "constant", "delta", "tiny units", "huge units"])
def test_awkward_maps_have_finite_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    x = torch.zeros(16, 16, dtype=dtype)
    x = {"constant": x + 3.7, "tiny units": field((16, 16)).to(dtype) * 1e-15,
         "huge units": field((16, 16)).to(dtype) * 1e15}.get(name, x)  # fmt: skip
    if name == "delta":
        x[5, 6] = 1
    x.requires_grad_()
    c = PhaseHarmonics((16, 16), 3, 4, translations=1)(x).normalised()
    (grad,) = torch.autograd.grad(c.vector.square().sum(), x)
    assert torch.isfinite(c.vector).all()
    assert torch.isfinite(grad).all()


def test_batches_units_shifts_and_rotations() -> None:
    x = field((2, 3, 16, 16))
    phi = PhaseHarmonics((16, 16), 3, 4, translations=1)
    c = phi(x)
    assert c.vector.shape == (2, 3, len(phi.labels))
    assert torch.allclose(c.vector[1, 2], phi(x[1, 2]).vector, rtol=1e-10, atol=1e-13)
    assert torch.allclose(phi(1e3 * x + 5).normalised()["C01"], c.normalised()["C01"], atol=1e-10)
    assert torch.allclose(phi(x.roll((3, 5), (-2, -1))).vector, c.vector, atol=1e-12)
    stripes = x[0, 0] + 2 * torch.sin(torch.arange(16) * math.pi / 4)[:, None]
    turned = stripes.rot90(1, (-2, -1))
    assert torch.allclose(phi(stripes).iso().vector, phi(turned).iso().vector, atol=1e-10)
    assert (phi(stripes).vector - phi(turned).vector).abs().max() > 0.1
    assert len(phi(stripes).iso().labels) < len(phi.labels) / 4


def test_a_real_map_is_a_complex_map_without_imaginary_part() -> None:
    x = field((16, 12))
    real, full = PhaseHarmonics((16, 12), 2, 4)(x), PhaseHarmonics((16, 12), 2, 4, complex_maps=True)(x)
    a, b = by_label(real), by_label(full)
    low = [key for key in a if key in b]
    assert len(low) == len(a)
    assert max(abs(a[key] - b[key]) for key in low) < 1e-12
    key = next(key for key in b if key[-1] == 1 and not key[0])
    assert abs(b[key] - a[(*key[:5], key[2], *key[6:9], 0)]) < 1e-12  # W_(l+L) = W_l^* where the map is real


def test_masks_hide_what_they_cover() -> None:
    mask = torch.ones(32, 32)
    mask[10:14, 20:24] = 0
    x, other = field((32, 32)), field((32, 32))
    other[mask == 0] = 50.0
    phi = PhaseHarmonics((32, 32), 2, 4, translations=1, mask=mask)
    assert torch.allclose(phi(x).vector, phi(other).vector, rtol=1e-9, atol=1e-12)
    plain = PhaseHarmonics((32, 32), 2, 4, translations=1)
    clean, dirty = plain(x).normalised().vector, plain(other).normalised().vector
    assert (phi(other).normalised().vector - clean).abs().max() < 0.3 * (dirty - clean).abs().max()
    everything = PhaseHarmonics((32, 32), 2, 4, translations=1, mask=torch.ones(32, 32))
    assert torch.allclose(everything(x).vector, plain(x).vector, atol=1e-12)
    edges = PhaseHarmonics((32, 32), 2, 4, translations=1, boundary="edge-mask")
    assert torch.isfinite(edges(x + torch.arange(32.0)[:, None]).vector).all()


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_saved_coefficients_come_back(tmp_path: Path, suffix: str) -> None:
    c = PhaseHarmonics((16, 16), 2, 4)(field((3, 16, 16)))
    back = HarmonicCoefficients.load(c.save(tmp_path / f"phi{suffix}"))
    assert torch.equal(back.vector, c.vector)
    assert (back - c).vector.abs().max() == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"phi{suffix}"]
    with pytest.raises(FileError):
        c.save(tmp_path / "phi.pickle")
    (tmp_path / f"bad{suffix}").write_text("{}")
    with pytest.raises(FileError):
        HarmonicCoefficients.load(tmp_path / f"bad{suffix}")


def test_bad_input_is_named() -> None:
    phi = PhaseHarmonics((16, 12), 2, 4)
    with pytest.raises(ShapeError):
        phi(torch.zeros(16, 17))
    with pytest.raises(DataError):
        phi(torch.full((16, 12), math.nan))
    with pytest.raises(DataError):
        phi(field((16, 12), complex_maps=True))
    with pytest.raises(DataError):
        PhaseHarmonics((16, 12), 2, 4, complex_maps=True)(torch.full((16, 12), complex(0, math.nan)))
    for options in ({"J": 5}, {"wavelet": "haar"}, {"boundary": "open"}, {"kinds": ("S12",)}, {"translations": 4}):
        with pytest.raises(OptionError):
            PhaseHarmonics((16, 12), **options)
    with pytest.raises(DataError):
        PhaseHarmonics((16, 12), 2, mask=torch.zeros(16, 12))
    with pytest.raises(ShapeError):
        PhaseHarmonics((16, 12), 2, mask=torch.ones(16, 16))
    with pytest.raises(OptionError):
        PhaseHarmonics((16, 12), 3, boundary="edge-mask")
    with pytest.raises(ShapeError):
        phi(field((16, 12))) - phi(field((16, 12))).iso()
    integers = torch.arange(192).reshape(16, 12) % 7
    assert torch.equal(phi(integers).vector, phi(integers.double()).vector)
