"""Where a separation starts: a constrained Gaussian map, and guesses for pixels that are missing."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.statistics.bands import BandPowers
from sundog.statistics.morphology import gaussian_smooth


def gaussian_start(d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator) -> Tensor:
    """A draw of the signal if all were Gaussian: W d + sqrt(W P_c) white, band by band, per channel (C, ny, nx).

    W = P_s / (P_s + P_c) with P_s = P_d - P_c; d (C, ny, nx), noise (n, C, ny, nx). Maps with open edges are mirrored
    first, or their jumps would be taken for power.
    """
    ny, nx = d.shape[-2:]
    if not periodic:
        d, noise = mirrored(d), mirrored(noise)
    bands = BandPowers((d.shape[-2], d.shape[-1]), bins)
    contamination, total = bands(noise - noise.mean((-2, -1), keepdim=True)).mean(0), bands(d)
    share = ((total - contamination) / total).clamp(1e-3, 1.0)
    shape = *d.shape[:-1], d.shape[-1] // 2 + 1
    wiener, width = bands.spread(share).reshape(shape), bands.spread((share * contamination).sqrt()).reshape(shape)
    white = torch.randn(d.shape, generator=generator, dtype=d.dtype).to(d.device)
    centre = d.mean((-2, -1), keepdim=True)
    f = torch.fft.rfft2(d - centre, norm="ortho") * wiener + torch.fft.rfft2(white, norm="ortho") * width
    u = torch.fft.irfft2(f, s=tuple(d.shape[-2:]), norm="ortho")
    return (u + centre - noise.mean((0, -2, -1))[:, None, None])[..., :ny, :nx]


def mirrored(x: Tensor) -> Tensor:
    """Maps (..., ny, nx) reflected to (..., 2 ny, 2 nx), periodic without a jump."""
    x = torch.cat([x, x.flip(-1)], -1)
    return torch.cat([x, x.flip(-2)], -2)


def filled(x: Tensor, mask: Tensor) -> Tensor:
    """Maps (..., ny, nx) with missing pixels (mask 0) set to the smooth average of the nearest known ones."""
    known = (mask != 0).to(x)
    out, weight = torch.where(known > 0, x, torch.zeros_like(x)), known
    side = max(x.shape[-2:])
    sigma = 1.0
    while bool((weight <= 0).any()):
        values, weights = (gaussian_smooth(m, sigma, periodic=True) for m in (out * weight, weight))
        near = (weight <= 0) & (weights > 1e-2)
        out = torch.where(near, values / weights.clamp_min(1e-6), out)
        weight = torch.where(near, torch.ones_like(weight), weight)
        sigma *= 1.5
        if sigma > side:
            return torch.where(weight > 0, out, out[..., weight > 0].mean(-1)[..., None, None])
    return out
