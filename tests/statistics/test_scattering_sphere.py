"""Scattering covariances on the sphere: transforms, rotation invariance, Gaussian skies in closed form, masks."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError

ducc0 = pytest.importorskip("ducc0")

from sundog.statistics.sphere.envelopes import envelopes, steering  # noqa: E402
from sundog.statistics.sphere.scattering import SphereScatteringCovariance, expected_power  # noqa: E402
from sundog.statistics.sphere.transforms import (  # noqa: E402
    _synthesis,
    analyse,
    analyse_healpix,
    degrees,
    grid_vectors,
    grid_weights,
    pixel_vectors,
    ring_order,
    synthesise,
)

NSIDE, LMAX = 16, 32


def gaussian(n: int, power: Tensor, seed: int = 0) -> Tensor:
    """Coefficients (n, k) of Gaussian skies with C_l = power."""
    lmax, g = len(power) - 1, torch.Generator().manual_seed(seed)
    alm = torch.randn(n, (lmax + 1) * (lmax + 2) // 2, 2, generator=g, dtype=torch.float64)
    alm[:, lmax + 1 :] /= math.sqrt(2)
    alm[:, : lmax + 1, 1] = 0
    return torch.view_as_complex(alm) * power.sqrt()[degrees(lmax)]


def skies(alm: Tensor, nside: int = NSIDE) -> Tensor:
    lmax = (math.isqrt(8 * alm.shape[-1] + 1) - 3) // 2
    return torch.stack([torch.from_numpy(_synthesis(one.numpy(), nside, lmax)) for one in alm])


def red(lmax: int = LMAX) -> Tensor:
    power = 1 / (torch.arange(lmax + 1).double() + 3) ** 2
    power[0] = 0
    return power


def skewed(seed: int = 0) -> tuple[np.ndarray, Tensor]:
    """Coefficients and map of a band-limited sky with a strongly skewed distribution."""
    x = (1.5 * skies(gaussian(1, red(), seed))).exp()
    alm = analyse_healpix(x, LMAX)
    return alm[0].numpy(), skies(alm)[0]


def test_transforms_are_exact_on_gauss_legendre_grids() -> None:
    assert float(grid_weights((9, 18)).expand(9, 18).sum()) == pytest.approx(4 * math.pi)
    alm = gaussian(2, torch.ones(9).double())[:, None]
    assert (analyse(synthesise(alm, 0, 8, (9, 18)), 0, 8) - alm).abs().max() < 1e-12
    z = synthesise(torch.eye(45, dtype=torch.complex128)[1][None, None], 0, 8, (9, 18))[0, 0]
    assert np.allclose(z.numpy(), math.sqrt(3 / (4 * math.pi)) * grid_vectors((9, 18))[..., 2])
    both = alm.reshape(1, 2, -1) * (degrees(8) >= 2)
    assert (analyse(synthesise(both, 2, 8, (9, 18)), 2, 8) - both).abs().max() < 1e-12
    assert (analyse_healpix(skies(gaussian(1, red())), LMAX) - gaussian(1, red())).abs().max() < 1e-4


@pytest.mark.parametrize(("spin", "c"), [(0, 1), (1, 1), (2, 2), (3, 1)])
def test_gradient_of_transforms(spin: int, c: int) -> None:
    mask = ((degrees(4) >= spin)[:, None] & torch.stack([torch.ones(15), torch.arange(15) > 4], 1).bool()).double()
    v = torch.randn(1, c, 15, 2, dtype=torch.float64, requires_grad=True)
    to_field = lambda v: synthesise(torch.view_as_complex((v * mask).contiguous()), spin, 4, (5, 9))  # noqa: E731
    assert torch.autograd.gradcheck(to_field, v)
    if spin in (0, 2):
        field = torch.randn(1, c, 5, 9, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda f: torch.view_as_real(analyse(f, spin, 4)), field)


def test_envelope_equals_the_wavelet_laid_on_the_pole() -> None:
    """A_0 at a point, from the sky turned so that the point is the pole: W(chi) = sum_lm a_lm b_lm(chi)^*."""
    lmax, L, K = 16, 4, 48
    alm, psi = gaussian(1, red(lmax))[0], torch.exp(-((degrees(lmax) - 8.0) ** 2) / 20)
    grid = (20, 40)
    fields = torch.cat([synthesise((alm * psi)[None, None], s, lmax, grid) for s in range(L + 1)], 1).flatten(2)
    found = envelopes(fields, L, K)[0, 0].view(grid)
    c, chi = steering(L), math.pi * torch.arange(K, dtype=torch.float64) / K
    vectors = grid_vectors(grid)
    for row, column in ((2, 5), (9, 31), (17, 0)):
        x, y, z = vectors[row, column]
        turned = torch.from_numpy(ducc0.sht.rotate_alm(alm.numpy(), lmax, -math.atan2(y, x), -math.acos(z), 0.0))
        W = torch.zeros(K, dtype=torch.complex128)
        start = 0
        for m in range(L + 1):
            ell = torch.arange(m, lmax + 1)
            at = slice(start, start + len(ell))
            a = turned[at] * psi[at] * ((2 * ell + 1) / (4 * math.pi)).sqrt()
            start += len(ell)
            for sign in (1, -1) if m else (1,):
                value = a.sum() if sign > 0 else (-1) ** m * a.sum().conj()
                W += c[m] * (1j ** (sign * m)) * torch.exp(1j * sign * m * chi) * value
        assert float(W.abs().mean()) == pytest.approx(float(found[row, column]), rel=1e-6)


def test_a_plane_wave_is_seen_from_its_direction_alone() -> None:
    """cos(l phi) at the equator is a wave along phi: |W(chi)| follows cos^(L-1)(chi - pi/2) and does not ripple."""
    lmax, L = 128, 4
    alm = torch.zeros(1, 1, (lmax + 1) * (lmax + 2) // 2, dtype=torch.complex128)
    alm[0, 0, -1] = 1
    fields = torch.cat([synthesise(alm, s, lmax, (129, 512))[:, :, 64] for s in range(L + 1)], 1)
    across, spread = [], []
    for k in range(8):
        M = _modulus(fields, L, 8, k)
        across.append(float(M.mean()))
        spread.append(float(M.std() / M.mean()))
    assert np.argmax(across) == 4  # chi = pi / 2
    assert across[3] / across[4] == pytest.approx(math.cos(math.pi / 8) ** 3, rel=0.02)
    assert across[2] / across[4] == pytest.approx(math.cos(math.pi / 4) ** 3, rel=0.05)
    assert across[0] < 0.05 * across[4]
    assert spread[4] < 0.01


def _modulus(fields: Tensor, L: int, K: int, k: int) -> Tensor:
    from sundog.statistics.sphere.envelopes import mixing

    real, imaginary = mixing(L, K)
    return torch.hypot(real[k] @ fields[0], imaginary[k] @ fields[0])


def test_gradient() -> None:
    phi = SphereScatteringCovariance(2, J=1, L=2, lmax=4)
    x = torch.randn(48, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: phi(x).normalised().vector, x, atol=1e-6)
    mask = torch.ones(192)
    mask[3] = 0
    phi = SphereScatteringCovariance(4, J=1, lmax=8, mask=mask)
    y = torch.randn(192, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
    weights, direction = torch.randn(len(phi.labels)).double(), torch.randn(192).double()
    start = y.clone().requires_grad_()
    (grad,) = torch.autograd.grad((phi(start).vector * weights).sum(), start)
    up, down = ((phi(y + s * direction).vector * weights).sum() for s in (1e-5, -1e-5))
    assert float((grad * direction).sum()) == pytest.approx(float(up - down) / 2e-5, rel=1e-6)
    assert grad[3] == 0


@pytest.mark.parametrize(("accuracy", "tolerance"), [("fast", 1e-2), ("default", 1e-3), ("accurate", 3e-4)])
def test_rotations_of_the_sky_change_nothing(accuracy: str, tolerance: float) -> None:
    alm, x = skewed()
    turned = ducc0.sht.rotate_alm(alm, LMAX, 0.3, 1.1, 2.0)
    phi = SphereScatteringCovariance(NSIDE, accuracy=accuracy)
    one, two = phi(x).normalised(), phi(skies(torch.from_numpy(turned)[None])[0]).normalised()
    assert (one.vector - two.vector).abs().max() < tolerance
    other = phi(skewed(1)[1]).normalised()
    assert (one.vector - other.vector).abs().max() > 0.05


def test_gaussian_skies_have_closed_form_values() -> None:
    """S2 is a sum over C_l, |W| is Rayleigh (S1^2 = pi/4 S2), S3 vanishes; 4 sigma over 40 skies."""
    phi = SphereScatteringCovariance(NSIDE, J=3)
    c = phi(skies(gaussian(40, red())))
    expected = expected_power(red(), phi)
    error = c["S2"].std(0) / 40**0.5
    assert ((c["S2"].mean(0) - expected).abs() < 4 * error).all()
    assert not ((c["S2"].mean(0) - 1.4 * expected).abs() < 4 * error).any()
    assert ((c["S1"] ** 2).mean(0) / c["S2"].mean(0) / (math.pi / 4) - 1)[:2].abs().max() < 0.02
    s3 = c.normalised()["S3"]
    assert (s3.mean(0).abs() < 4.5 * s3.std(0) / 40**0.5).all()
    bent = phi((1.5 * skies(gaussian(20, red()))).exp()).normalised()["S3"]
    assert ((bent.mean(0) / bent.std(0)).abs() * 20**0.5).max() > 10


def test_masked_values_have_no_influence() -> None:
    x = skewed()[1]
    hole = torch.from_numpy(pixel_vectors(NSIDE)[:, 2] > 0.93)
    broken = torch.where(hole, math.nan, x)
    phi, plain = (SphereScatteringCovariance(NSIDE, J=2, mask=m) for m in ((~hole).double(), None))
    full = SphereScatteringCovariance(NSIDE, J=2, mask=torch.ones(12 * NSIDE**2))
    assert torch.equal(phi(x).vector, phi(broken).vector)
    assert (full(x).normalised().vector - plain(x).normalised().vector).abs().max() < 2e-3
    bright = torch.where(hole, x + 30, x)
    clean, dirty = plain(x).normalised().vector, plain(bright).normalised().vector
    assert (phi(bright).normalised().vector - clean).abs().max() < 0.3 * (dirty - clean).abs().max()


def test_nested_maps_batches_and_units() -> None:
    x = torch.stack([skewed(s)[1] for s in range(2)])
    ring, nested = SphereScatteringCovariance(NSIDE, J=2), SphereScatteringCovariance(NSIDE, J=2, nested=True)
    mixed = torch.empty_like(x).index_copy_(1, ring_order(NSIDE), x)
    assert torch.allclose(nested(mixed).vector, ring(x).vector, rtol=1e-12)
    assert (ring(mixed)["S2"] / ring(x)["S2"]).log().abs().max() > 0.5
    c = ring(x[:, None])
    assert c.vector.shape == (2, 1, len(ring.labels))
    assert torch.allclose(ring(1e3 * x + 7).normalised()["S4"], c.normalised()["S4"][:, 0], rtol=1e-9)
    assert torch.allclose(ring(x.float()).normalised().vector, c.normalised().vector[:, 0].float(), atol=1e-4)
    hole = torch.zeros(12 * NSIDE**2, dtype=torch.bool)
    hole[100:140] = True
    one = SphereScatteringCovariance(NSIDE, J=1, mask=(~hole)[ring_order(NSIDE).argsort()], nested=True)
    two = SphereScatteringCovariance(NSIDE, J=1, mask=~hole)
    assert torch.allclose(one(mixed).vector, two(x).vector, rtol=1e-12)
    assert set(c.table()["angle"]) == {"harmonic"}


@pytest.mark.parametrize("name", ["empty", "constant", "delta"])
def test_awkward_maps_have_finite_values_and_gradients(name: str) -> None:
    x = torch.full((192,), 3.7 if name == "constant" else 0.0)
    x[5] += name == "delta"
    x.requires_grad_()
    c = SphereScatteringCovariance(4, J=2)(x).normalised()
    (grad,) = torch.autograd.grad(c.vector.square().sum(), x)
    assert torch.isfinite(c.vector).all()
    assert torch.isfinite(grad).all()


def test_bad_input_is_named() -> None:
    phi = SphereScatteringCovariance(4, J=2)
    with pytest.raises(ShapeError):
        phi(torch.zeros(193))
    with pytest.raises(DataError):
        phi(torch.full((192,), math.nan))
    for options in ({"J": 3}, {"lmax": 12}, {"L": 1}, {"accuracy": "best"}, {"lmax": 2}):
        with pytest.raises(OptionError):
            SphereScatteringCovariance(4, **options)
    with pytest.raises(OptionError):
        SphereScatteringCovariance(0)
    with pytest.raises(DataError):
        SphereScatteringCovariance(4, mask=torch.zeros(192))
    with pytest.raises(ShapeError):
        SphereScatteringCovariance(4, mask=torch.ones(48))
    few = torch.zeros(192)
    few[:10] = 1
    with pytest.raises(OptionError):
        SphereScatteringCovariance(4, mask=few)
    integers = torch.arange(192) % 7
    assert torch.equal(phi(integers).vector, phi(integers.double()).vector)


@pytest.mark.slow
def test_a_real_nested_sky_is_skewed_and_smooth() -> None:
    """Large-scale structure: in the wrong order most power leaves the band; S3 is positive, as of a lognormal sky."""
    path = Path(os.environ.get("SUNDOG_DATA", "../shared/data")) / "fields" / "lss_sphere_nside128_nest.npy"
    if not path.exists():
        pytest.skip("no large-scale-structure map in SUNDOG_DATA")
    x = torch.from_numpy(np.load(path)).double()
    right, wrong = (SphereScatteringCovariance(128, J=4, nested=nested)(x) for nested in (True, False))
    assert right["S2"].sum() > 2 * wrong["S2"].sum()
    assert (right.normalised()["S3"][::2][:4] > 0).all()
