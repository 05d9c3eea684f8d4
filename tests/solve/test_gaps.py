"""fill_gaps: the likeliest numbers in a gap, however the spectrum lies in memory."""

from __future__ import annotations

import torch

from sundog.solve.gaps import fill_gaps


def conditional_mean(x: torch.Tensor, valid: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """The same from the covariance matrix: C_gv C_vv^-1 x_v."""
    size = tuple(valid.shape)
    unit = torch.eye(valid.numel(), dtype=x.dtype).reshape(-1, *size)
    covariance = torch.fft.irfftn(torch.fft.rfftn(unit, dim=(-2, -1)) * power, s=size).reshape(valid.numel(), -1)
    v = valid.flatten()
    filled = x.flatten().clone()
    filled[~v] = covariance[~v][:, v] @ torch.linalg.solve(covariance[v][:, v], filled[v])
    return filled.reshape(size)


def test_transposed_and_expanded_spectra_fill_like_plain_ones() -> None:
    g = torch.Generator().manual_seed(0)
    k = torch.hypot(torch.fft.fftfreq(8)[:, None], torch.fft.rfftfreq(8)[None]).double()
    power = (0.05 + k) ** -2
    power[0, 0] = 0.0  # taken to be that of the strongest mode
    whole = power.clone()
    whole[0, 0] = power.max()
    x = torch.randn(8, 8, generator=g, dtype=torch.float64)
    valid = torch.rand(8, 8, generator=g) > 0.2
    right = conditional_mean(x, valid, whole)
    assert torch.allclose(fill_gaps(x, valid, power), right, atol=1e-8)
    transposed = power.T.contiguous().T
    assert not transposed.is_contiguous()
    before = transposed.clone()
    assert torch.allclose(fill_gaps(x, valid, transposed), right, atol=1e-8)
    assert torch.equal(transposed, before)
    many = fill_gaps(x.expand(3, 8, 8).clone(), valid, power[None].expand(3, 8, 5))
    assert torch.allclose(many, right.expand(3, 8, 8), atol=1e-8)
    assert not torch.allclose(torch.where(valid, x, 0.0), right, atol=1e-2)  # the control: something was filled
