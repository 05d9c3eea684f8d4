"""Where a separation starts: a constrained map, Gaussian place by place, and guesses for missing pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sundog.statistics.bands import BandPowers
from sundog.statistics.morphology import gaussian_smooth

REACH = 3.0  # width of the local averages, in widths of the octave; 2 to 4 do as well on dust, 6 does worse
LEAST = 0.02  # of the mean local power; a lower floor leaves holes where nothing can grow back
FEW = 16  # contaminations that are enough for their mean local power


def local_start(d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator) -> Tensor:
    """A draw of the signal if it were Gaussian with a power that varies from place to place, (C, ny, nx).

    The constrained Gaussian map u = W d + sqrt(W P_c) white, W = P_s / P_d band by band and P_s = P_d - P_c, is cut
    into octaves. In octave j the local power of W d in excess of that of W c, relative to its mean, is rho_j(x); where
    the contaminations make it uncertain, that of the next larger octave stands in. With the gain rho S / (rho S + N) in
    place of S / (S + N), both parts are multiplied by the ratio of the two (the white part by its root). At the end the
    band powers are set to P_s. Filaments stay thin, and voids stay empty.

    d (C, ny, nx), noise (n, C, ny, nx). Open maps are mirrored first, or their jumps would be taken for power.
    Source: a locally Gaussian model as in Portilla et al. 2003, IEEE Trans. Image Proc. 12, 1338, drawn from.
    """
    shape = d.shape[-2:]
    if not periodic:
        d, noise = mirrored(d), mirrored(noise[:FEW])
    centre, level = d.mean((-2, -1), keepdim=True), noise.mean((-2, -1), keepdim=True)
    known, free, dirt, target = _gaussian_parts(d - centre, noise - level, bins, generator)
    u = _octaves(known, free, d - centre, (dirt, noise[:FEW] - level[:FEW]))
    bands = BandPowers((d.shape[-2], d.shape[-1]), bins)
    ratio = bands.spread((target / bands(u).clamp_min(1e-30)).sqrt())
    u = _filtered(u, ratio.reshape(*d.shape[:-1], -1))
    return (u + centre - level.mean(0))[..., : shape[0], : shape[1]]


def gaussian_start(d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator) -> Tensor:
    """A draw of the signal if all were Gaussian: W d + sqrt(W P_c) white, see `local_start`."""
    shape = d.shape[-2:]
    if not periodic:
        d, noise = mirrored(d), mirrored(noise[:FEW])
    centre, level = d.mean((-2, -1), keepdim=True), noise.mean((-2, -1), keepdim=True)
    known, free, _, _ = _gaussian_parts(d - centre, noise - level, bins, generator)
    return (known + free + centre - level.mean(0))[..., : shape[0], : shape[1]]


def _gaussian_parts(
    d: Tensor, noise: Tensor, bins: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W d, sqrt(W P_c) white, W c of some contaminations, and P_s, of centred maps."""
    bands = BandPowers((d.shape[-2], d.shape[-1]), bins)
    contamination, total = bands(noise).mean(0), bands(d)
    share = ((total - contamination) / total).clamp(1e-3, 1.0)
    plane = (*d.shape[:-1], d.shape[-1] // 2 + 1)
    wiener, width = (bands.spread(p).reshape(plane) for p in (share, (share * contamination).sqrt()))
    white = torch.randn(d.shape, generator=generator, dtype=d.dtype).to(d.device)
    return _filtered(d, wiener), _filtered(white, width), _filtered(noise[:FEW], wiener), share * total


def _octaves(known: Tensor, free: Tensor, d: Tensor, dirt: tuple[Tensor, Tensor]) -> Tensor:
    """The sum over octaves of both parts, each with its local gain; ``dirt``: W c and c of some contaminations."""
    ny, nx = d.shape[-2:]
    low = [_gaussian(ny, nx, 2.0**j).to(d) for j in range(max(1, int(math.log2(min(ny, nx))) - 3))]
    u = _filtered(known + free, low[-1])
    rho = torch.ones_like(d)
    for j in reversed(range(len(low))):
        octave = (1 - low[0]) if j == 0 else low[j - 1] - low[j]
        near = _gaussian(ny, nx, REACH * 2.0**j).to(d)
        mine, rest = _filtered(known, octave), _filtered(free, octave)
        local = _filtered(_filtered(dirt[0], octave).square(), near)
        excess = _filtered(mine.square(), near) - local.mean(0)
        mean, width = excess.mean((-2, -1), keepdim=True), excess.var((-2, -1), keepdim=True)
        trust = (1 - local.var(0).mean((-2, -1), keepdim=True) / width.clamp_min(1e-30)).clamp(0, 1)
        trust = torch.where(mean > 0, trust, torch.zeros_like(trust))
        rho = (trust * excess / mean.clamp_min(1e-30) + (1 - trust) * rho).clamp_min(LEAST)
        rho = rho / rho.mean((-2, -1), keepdim=True)
        noise = _filtered(dirt[1], octave).square().mean((0, -2, -1))[:, None, None].clamp_min(1e-30)
        power = (_filtered(d, octave).square().mean((-2, -1), keepdim=True) - noise).clamp_min(1e-3 * noise)
        gain = rho * (power + noise) / (rho * power + noise)
        u = u + gain * mine + gain.sqrt() * rest
    return u


def _filtered(x: Tensor, response: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * response, s=tuple(x.shape[-2:]))


def _gaussian(ny: int, nx: int, sigma: float) -> Tensor:
    """Half plane of the transform of a Gaussian of unit sum, ``sigma`` in pixels."""
    square = torch.fft.fftfreq(ny)[:, None] ** 2 + torch.fft.rfftfreq(nx)[None] ** 2
    return torch.exp(-2 * (math.pi * sigma) ** 2 * square)


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
