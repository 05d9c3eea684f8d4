"""Where a separation starts: a constrained map, Gaussian place by place, and guesses for missing pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.morphology import gaussian_smooth

REACH = 2.0  # width of the local averages, in widths of the octave; wider ones leave filaments too faint
LEAST = 0.02  # of the mean local power; a lower floor leaves holes where nothing can grow back
LEVELS = 13  # local powers between which maps are interpolated
FEW = 16  # contaminations that are enough for their mean local power


def local_start(d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator) -> Tensor:
    """A draw of the signal if it were Gaussian with a power that varies from place to place, (C, ny, nx).

    The constrained Gaussian map is u = W d + sqrt(W P_c) white, W = P_s / (P_s + P_c) band by band, P_s = P_d - P_c.
    Here it is built octave by octave with W_rho = rho P_s / (rho P_s + P_c) in place of W. The local power rho_j(x) of
    octave j is that of W d in excess of that of W c, relative to its mean; where the contaminations make it uncertain,
    that of the next larger octave stands in. P_c too varies from place to place where the contaminations do. At the end
    the band powers are set to P_s. Filaments stay thin, and voids stay empty.

    d ([P,] C, ny, nx), noise (n, C, ny, nx). P patches share their powers. Open maps are mirrored first, or their jumps
    would be taken for power.
    Source: a locally Gaussian model as in Portilla et al. 2003, IEEE Trans. Image Proc. 12, 1338, drawn from.
    """
    return _started(d, noise, bins, periodic, generator, lambda parts: _recoloured(_octaves(parts), parts))


def gaussian_start(d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator) -> Tensor:
    """A draw of the signal if all were Gaussian: W d + sqrt(W P_c) white, see `local_start`."""
    return _started(d, noise, bins, periodic, generator, lambda parts: torch.stack(parts.at(1.0)).sum(0))


def _started(
    d: Tensor, noise: Tensor, bins: int, periodic: bool, generator: torch.Generator, draw: Callable[[_Parts], Tensor]
) -> Tensor:
    """A draw from centred, periodic maps, brought back to the mixture's own size and mean."""
    shape, size = d.shape[-2:], d.shape
    d = d.reshape(-1, *d.shape[-3:])
    if not periodic:
        d, noise = mirrored(d), mirrored(noise[:FEW])
    centre, level = d.mean((-2, -1), keepdim=True), noise.mean((-2, -1), keepdim=True)
    u = draw(_Parts(d - centre, noise - level, bins, generator))
    return (u + centre - level.mean(0))[..., : shape[0], : shape[1]].reshape(size)


class _Parts:
    """Band powers of the signal and of the contamination, and what is known and free of the signal given them."""

    def __init__(self, d: Tensor, noise: Tensor, bins: int, generator: torch.Generator) -> None:
        self.bands = BandPowers((d.shape[-2], d.shape[-1]), bins)
        self.contamination, total = self.bands(noise).mean(0), self.bands(d).mean(0)
        self.signal = torch.maximum(total - self.contamination, 1e-3 * total)
        self.d, self.noise = d, noise[:FEW]
        self.white = torch.randn(d.shape, generator=generator, dtype=d.dtype).to(d.device)
        self.plane = (*d.shape[1:-1], d.shape[-1] // 2 + 1)

    def wiener(self, rho: float) -> Tensor:
        """rho P_s / (rho P_s + P_c) as a half plane (C, ny, nx // 2 + 1)."""
        share = rho * self.signal / (rho * self.signal + self.contamination).clamp_min(1e-30)
        return self.bands.spread(share).reshape(self.plane)

    def at(self, rho: float) -> tuple[Tensor, Tensor]:
        """W d and sqrt(W P_c) white for a signal of rho times its mean power."""
        share = self.wiener(rho)
        width = (share * self.bands.spread(self.contamination).reshape(self.plane)).sqrt()
        return _filtered(self.d, share), _filtered(self.white, width)


def _recoloured(u: Tensor, parts: _Parts) -> Tensor:
    """The map with band powers, and cross powers between channels, set to those of d less those of c.

    Per band u -> A u with A = U^(-1/2) (U^(1/2) S U^(1/2))^(1/2) U^(-1/2), the smallest change that turns the
    covariance U of the channels into S.
    """
    target = _covariances(parts.d, parts.bands) - _covariances(parts.noise, parts.bands)
    target.diagonal(dim1=1, dim2=2).copy_(parts.signal.T)
    root = _power(_covariances(u, parts.bands), 0.5)
    back = _power(root, -1.0)
    change = back @ _power(root @ _power(target, 1.0) @ root, 0.5) @ back
    plane = (u.shape[-2], u.shape[-1] // 2 + 1)
    f = torch.fft.rfft2(u)
    planes = parts.bands.spread(change.permute(1, 2, 0)).reshape(u.shape[1], u.shape[1], *plane).to(u)
    return torch.fft.irfft2((planes * f[:, None]).sum(2), s=tuple(u.shape[-2:]))


def _covariances(x: Tensor, bands: BandPowers) -> Tensor:
    """Mean band powers and cross powers (b, C, C) of the channels of maps x (n, C, ny, nx)."""
    f = bands.transform(x)
    return bands.average(f[:, :, None], f[:, None]).mean(0).permute(2, 0, 1)


def _power(matrices: Tensor, exponent: float) -> Tensor:
    """Power of symmetric matrices (b, C, C), eigenvalues held above 1e-3 of the largest."""
    values, vectors = torch.linalg.eigh(matrices)
    values = torch.maximum(values, 1e-3 * values[:, -1:]).clamp_min(1e-30)
    return vectors * values[:, None].pow(exponent) @ vectors.mT


def _octaves(parts: _Parts) -> Tensor:
    """The sum over octaves of what is known and what is free, each at its local power."""
    d = parts.d
    ny, nx = d.shape[-2:]
    low = [_gaussian(ny, nx, 2.0**j).to(d) for j in range(max(1, int(math.log2(min(ny, nx))) - 3))]
    known, dirt = _filtered(d, parts.wiener(1.0)), _filtered(parts.noise, parts.wiener(1.0))
    grid = torch.linspace(math.log(LEAST), -math.log(LEAST), LEVELS, dtype=d.dtype, device=d.device)
    pairs = [parts.at(math.exp(float(g))) for g in grid]
    u = _filtered(sum(parts.at(1.0)), low[-1])  # type: ignore[arg-type]
    rho = torch.ones_like(d)
    for j in reversed(range(len(low))):
        octave = (1 - low[0]) if j == 0 else low[j - 1] - low[j]
        near = _gaussian(ny, nx, REACH * 2.0**j).to(d)
        local = _filtered(_filtered(dirt, octave).square(), near)
        excess = _filtered(_filtered(known, octave).square(), near) - local.mean(0)
        mean, width = excess.mean((0, -2, -1), keepdim=True), excess.var((0, -2, -1), keepdim=True)
        trust = (1 - local.var(0).mean((-2, -1), keepdim=True) / width.clamp_min(1e-30)).clamp(0, 1)
        trust = torch.where(mean > 0, trust, torch.zeros_like(trust))
        rho = (trust * excess / mean.clamp_min(1e-30) + (1 - trust) * rho).clamp_min(LEAST)
        rho = rho / rho.mean((0, -2, -1), keepdim=True)
        level = _level(parts.noise, octave, 4 * REACH * 2.0**j)
        place = (((rho / level).log() - grid[0]) / (grid[1] - grid[0])).clamp(0, LEVELS - 1)
        for i, (one, two) in enumerate(pairs):
            weight = (1 - (place - i).abs()).clamp_min(0)  # linear between the powers of the grid
            u = u + weight * (_filtered(one, octave) + level.sqrt() * _filtered(two, octave))
    return u


def _level(noise: Tensor, octave: Tensor, width: float) -> Tensor:
    """Local power of the contaminations (n, C, ny, nx) in an octave over its mean, smooth: (C, ny, nx)."""
    ny, nx = noise.shape[-2:]
    local = _filtered(_filtered(noise, octave).square().mean(0), _gaussian(ny, nx, width).to(noise))
    return (local / local.mean((-2, -1), keepdim=True).clamp_min(1e-30)).clamp_min(LEAST)


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
