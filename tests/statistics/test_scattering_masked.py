"""Masked and non-periodic maps: missing values do not matter, and nothing changes where nothing is missing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.line import LineScatteringCovariance
from sundog.statistics.wavelets.filters import full_bank


def red(side: int, seed: int = 0) -> Tensor:
    x = torch.randn(side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    k = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side)[None] ** 2).sqrt().clamp_min(1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(x) / k, s=(side, side))
    return (x / x.std()).exp()


@pytest.mark.parametrize("isotropic", [True, False])
def test_a_mask_that_hides_nothing_changes_nothing(isotropic: bool) -> None:
    x = torch.stack([red(48), red(48, 1)])
    plain = ScatteringCovariance((48, 48), 3, 4, isotropic=isotropic, accuracy="accurate")(x)
    masked = ScatteringCovariance((48, 48), 3, 4, isotropic=isotropic, accuracy="accurate", mask=torch.ones(48, 48))(x)
    assert masked.labels.same_as(plain.labels)
    assert (masked.normalised().vector - plain.normalised().vector).abs().max() < 1e-5


def test_missing_values_have_no_influence() -> None:
    mask = torch.ones(64, 64)
    mask[10:20, 30:40] = 0
    x, other = red(64), red(64)
    other[mask == 0] = 50.0
    phi = ScatteringCovariance((64, 64), 2, 4, mask=mask)
    assert torch.allclose(phi(x).vector, phi(other).vector, rtol=1e-10)
    plain = ScatteringCovariance((64, 64), 2, 4)
    clean, dirty = plain(x).normalised().vector, plain(other).normalised().vector
    assert (phi(other).normalised().vector - clean).abs().max() < 0.3 * (dirty - clean).abs().max()
    x.requires_grad_()
    (grad,) = torch.autograd.grad(phi(x).vector.sum(), x)
    assert grad[mask == 0].abs().max() == 0
    assert torch.isfinite(grad).all()


def test_edges_are_left_out_of_cut_outs() -> None:
    """A cut-out of a large map, against the wavelet transform of the large map averaged over the same inner pixels."""
    ramp = torch.sin(2 * torch.pi * torch.arange(192, dtype=torch.float64) / 192)
    whole = red(192) + 20 * ramp[:, None]
    patch = whole[30:126, 30:126]  # its upper and lower edges differ by about 20
    edged, wrapped = ScatteringCovariance((96, 96), 3, 4, boundary="edge-mask"), ScatteringCovariance((96, 96), 3, 4)
    power = torch.fft.ifft2(torch.fft.fft2(whole) * full_bank("morlet", (192, 192), 3, 4)).abs() ** 2
    inner = [power[j, :, 30 + m : 126 - m, 30 + m : 126 - m].mean((-2, -1)) for j, m in enumerate((2, 4, 8))]
    truth = torch.cat(inner)
    assert (edged(patch)["S2"] / truth).log().abs().max() < 0.1
    assert (wrapped(patch)["S2"] / truth).log().abs().max() > 0.5


def test_gradient() -> None:
    mask = torch.ones(12, 12)
    mask[5, 5] = 0
    x = red(12).requires_grad_()
    phi = ScatteringCovariance((12, 12), 1, 2, mask=mask)
    assert torch.autograd.gradcheck(lambda x: phi(x).normalised().vector, x, atol=1e-6)


def test_bad_masks_are_named() -> None:
    with pytest.raises(DataError):
        ScatteringCovariance((16, 16), 2, mask=torch.zeros(16, 16))
    with pytest.raises(ShapeError):
        ScatteringCovariance((16, 16), 2, mask=torch.ones(16, 8))
    with pytest.raises(OptionError):
        ScatteringCovariance((16, 16), 3, boundary="edge-mask")(torch.randn(16, 16))


@pytest.mark.parametrize(("shape", "make"), [
    ((32, 32), lambda mask: ScatteringCovariance((32, 32), J=2, mask=mask)),
    ((256,), lambda mask: LineScatteringCovariance(256, J=3, mask=mask)),
])
@pytest.mark.parametrize("what", [float("nan"), -1.6375e30])
def test_what_stands_under_the_mask_is_never_seen(shape, make, what):
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(shape)
    mask[4:9] = 0
    nothing, hidden = (torch.where(mask == 0, value, x) for value in (0.0, what))
    torch.testing.assert_close(make(mask)(hidden)["S2"], make(mask)(nothing)["S2"])
    with pytest.raises(DataError):
        make(mask)(torch.where(mask == 1, float("nan"), x))
