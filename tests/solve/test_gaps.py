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


def test_constrained_draws_have_the_power_of_their_law_in_the_gap() -> None:
    """Projected on the eigenvectors of C_gg, draws have its eigenvalues as variances; the likeliest numbers have not.

    Whole maps are drawn from the law, so that what fills their gap is N(0, C_gg) where it is a draw of the posterior.
    """
    n, side = 400, 24
    g = torch.Generator().manual_seed(1)
    k = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    power = (0.05 + k) ** -3
    power[0, 0] = power.max()
    valid = torch.ones(side, side, dtype=torch.bool)
    valid[6:16, 7:17] = False

    def draws(count: int) -> torch.Tensor:
        white = torch.randn(count, side, side, generator=g)
        return torch.fft.irfft2(torch.fft.rfft2(white) * power.sqrt(), s=(side, side))

    maps, start = draws(n), draws(n)
    row = torch.fft.irfft2(power, s=(side, side))
    place = torch.nonzero(~valid)
    apart = (place[:, None] - place[None]) % side
    values, vectors = torch.linalg.eigh(row[apart[..., 0], apart[..., 1]].double())

    def pulls(filled: torch.Tensor) -> torch.Tensor:
        """Of the variance in bands of 5, 15, 30, 50 modes from the strongest, in standard errors of a mean over n."""
        modes = ((filled[:, ~valid].double() @ vectors).square() / values).flip(1)
        return torch.stack([(b.mean() - 1) / (2 / b.numel()) ** 0.5 for b in modes.split([5, 15, 30, 50], 1)])

    known = torch.where(valid, maps, 0.0)
    assert pulls(maps).abs().max() < 4
    assert pulls(start + fill_gaps(torch.where(valid, known - start, 0.0), valid, power)).abs().max() < 4
    assert (pulls(fill_gaps(known, valid, power)) < -15).all()  # the conditional mean alone
    one = start[:1].expand_as(start)  # one noise for all maps is one draw, however many maps there are
    assert pulls(one + fill_gaps(torch.where(valid, known - one, 0.0), valid, power)).abs().max() > 6
