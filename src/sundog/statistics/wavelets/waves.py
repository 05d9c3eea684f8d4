"""The first two layers of the scattering moments of periodic maps: W = x * psi, |W|, its transform, and their adjoint.

Everything lives on half planes, (..., columns, rows) in memory since that is how transforms along the rows leave them.
With e(k) = (psi^(k) + psi^(-k)) / 2 and o(k) = (psi^(k) - psi^(-k)) / 2, the real part of W is the inverse transform of
e x^, the imaginary part that of -i o x^. Transforms are done axis by axis, along the rows only in the columns where
psi^ is not negligible. For the gradient W and 1 / max(|W|, tiny) are kept: d|W| = Re(W^* dW) / |W|, finite everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.statistics.wavelets.filters import octave_filters

TINY = {torch.float32: 1e-20, torch.float64: 1e-150}
NEARLY = 0.75  # share of the columns of a half plane from which all of them are transformed
FAINT = 1e-3  # of the share of psi^2 that is dropped in the third layer: below it psi is dropped from W too


@dataclass(frozen=True)
class Octave:
    """One octave: its grid, its filters there, and its box of the half plane.

    ``filters`` (2 L, width, my), complex, are e, then -i o; ``weights`` (columns,) counts how often a half-plane mode
    stands in the full plane. The box, where psi^2 matters to the third layer, holds ``negative`` rows of negative and
    ``positive`` rows of non-negative ky, and ``columns`` kx; it lies inside that of the octave before.
    """

    grid: tuple[int, int]
    filters: Tensor
    weights: Tensor
    negative: int
    positive: int
    columns: int

    @property
    def width(self) -> int:
        return self.filters.shape[-2]


def make_octave(
    shape: tuple[int, int], j: int, L: int, quality: float, cut: float, like: Tensor, wavelet: str,
    before: Octave | None,
) -> tuple[Octave, Tensor, Tensor]:  # fmt: skip
    """Return an octave, and psi^2(k) and psi^2(-k) (L, columns, rows) in its box, rows in ascending order of ky."""
    psi = octave_filters(shape, wavelet, j, L, quality)
    my, mx = psi.shape[-2:]
    # On a small grid the Nyquist modes are aliases of modes that finer grids hold apart: leave them out.
    top = [n // 2 if m == n else (m - 1) // 2 for m, n in zip((my, mx), shape)]
    ky = (torch.fft.fftfreq(my) * my).round().abs()
    psi[:, ky > top[0]] = 0.0
    mirror = psi.flip((-2, -1)).roll((1, 1), (-2, -1))
    square, mirrored = psi**2, mirror**2
    either = torch.maximum(square, mirrored).amax(0)
    reach, columns = _reach(either, cut, ky, top)
    positive, negative = min(reach + 1, (my + 1) // 2), min(reach, my // 2)
    if before is not None:
        positive, negative = min(positive, before.positive), min(negative, before.negative)
        columns = min(columns, before.columns)
    width = nearly(max(columns, _reach(either, FAINT * cut, ky, top)[1]), mx)
    if width == mx // 2 + 1:
        psi[..., top[1] + 1 : mx - top[1]] = 0.0
        mirror = psi.flip((-2, -1)).roll((1, 1), (-2, -1))
    weights = torch.full((columns,), 2.0)
    weights[0] = 1.0
    if mx == shape[1] and 2 * (columns - 1) == mx:
        weights[-1] = 1.0
    parts = torch.cat([psi + mirror, -1j * (psi - mirror)])[..., :width].mT / 2
    filters = parts.to(like.device, like.dtype.to_complex()).contiguous()
    octave = Octave((my, mx), filters, weights.to(like), negative, positive, columns)
    one, other = (
        torch.cat([p[:, my - negative :, :columns], p[:, :positive, :columns]], 1).mT for p in (square, mirrored)
    )
    return octave, one, other


def _reach(plane: Tensor, cut: float, ky: Tensor, top: list[int]) -> tuple[int, int]:
    """Largest |ky| and number of columns of a full plane with values above a share of the peak."""
    needed = plane > cut * plane.max()
    columns = int(needed[:, : top[1] + 1].any(0).nonzero().max()) + 1
    return min(int(ky[needed.any(1)].max()), top[0]), columns


def nearly(columns: int, nx: int) -> int:
    """So many columns of the half plane, or all of them where that saves filling up with zeros."""
    return nx // 2 + 1 if columns > NEARLY * (nx // 2 + 1) else columns


def half_plane(x: Tensor, columns: int | None = None, norm: str = "forward") -> Tensor:
    """Two-dimensional transform (..., columns, ny) of real maps on the first columns of the half plane."""
    f = torch.fft.rfft(x, dim=-1, norm=norm)
    return torch.fft.fft(f if columns is None else f[..., :columns], dim=-2, norm=norm).mT


def maps_of(f: Tensor, nx: int, norm: str = "backward") -> Tensor:
    """Real maps (..., ny, nx) of half planes (..., columns, ny) of which the first columns are given."""
    f = torch.fft.ifft(f, dim=-1, norm=norm)
    if f.shape[-1] % 64 == 0:  # rows a power of 2 apart share a few lines of the cache: 6 times slower to turn
        f = f.new_empty(*f.shape[:-1], f.shape[-1] + 4)[..., :-4].copy_(f)
    return torch.fft.irfft(f.mT, n=nx, dim=-1, norm=norm)


def transform(
    x: Tensor, octaves: tuple[Octave, ...], keep: bool
) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Measure maps x (n, ny, nx) in two layers.

    Returns S1 and S2 (n, J, L), the half plane of the maps, per octave the transforms of the moduli (n, L, columns,
    my), and if ``keep`` per octave W (n, 2 L, my, mx), real parts before imaginary parts, and 1 / |W|.
    """
    f = half_plane(x)
    s2, spectra, waves = [], [], []
    for octave in octaves:
        wave = maps_of(_cropped(f, octave)[:, None] * octave.filters, octave.grid[1], "forward")
        real, imaginary = wave.chunk(2, 1)
        modulus = real.square().addcmul_(imaginary, imaginary)
        s2.append(modulus.mean((-2, -1)))
        spectra.append(half_plane(modulus.sqrt_(), octave.columns))
        if keep:
            waves += [wave, modulus.clamp_min_(TINY[modulus.dtype]).reciprocal_()]
    s1 = torch.stack([spectrum[..., 0, 0] for spectrum in spectra], 1).real
    return s1, torch.stack(s2, 1), f, spectra, waves


def transform_backward(
    waves: tuple[Tensor, ...], octaves: tuple[Octave, ...], grads: tuple[Tensor, Tensor], grad_f: Tensor,
    grad_spectra: list[Tensor], nx: int,
) -> Tensor:  # fmt: skip
    """Gradient for the maps from those for S1 and S2, for their half planes and for the transforms of the moduli.

    Gradients of half planes come divided by the count of each mode in the full plane; they are changed in place.
    """
    pixels = grad_f.real.new_tensor([math.prod(octave.grid) for octave in octaves])
    powers = (2 * grads[1] / pixels[:, None])[..., None, None].unbind(1)
    pieces = zip(octaves, waves[::2], waves[1::2], grad_spectra, grads[0].unbind(1), powers)
    for octave, wave, inverse, grad, mean, power in pieces:
        grad[..., 0, 0].add_(mean)
        factor = torch.addcmul(power, maps_of(grad, octave.grid[1]), inverse)
        sides = half_plane(wave.unflatten(1, (2, -1)) * factor[:, None], octave.width, "backward")
        real, imaginary = sides.mul_(octave.filters.view(sides.shape[1:])).sum(2).unbind(1)
        _add_cropped(grad_f, real.sub_(imaginary), octave)
    return maps_of(grad_f, nx)


def _cropped(f: Tensor, octave: Octave) -> Tensor:
    """Low frequencies of half planes (n, columns, ny), in the order of the octave's grid."""
    ny, my = f.shape[-1], octave.grid[0]
    f = f[:, : octave.width]
    return f if my == ny else torch.cat([f[..., : (my + 1) // 2], f[..., ny - my // 2 :]], -1)


def _add_cropped(f: Tensor, small: Tensor, octave: Octave) -> None:
    """Adjoint of `_cropped`: f += small, in place."""
    ny, my = f.shape[-1], octave.grid[0]
    f = f[:, : octave.width]
    if my == ny:
        f.add_(small)
        return
    low, high = small.split([(my + 1) // 2, my // 2], -1)
    f[..., : low.shape[-1]].add_(low)
    f[..., ny - high.shape[-1] :].add_(high)


def crop_frequencies(f: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Low frequencies (..., *grid) of a full transform, in the order of a smaller grid."""
    for axis, m in zip(range(-len(grid), 0), grid):
        f = crop_axis(f, axis, m)
    return f


def crop_axis(f: Tensor, axis: int, m: int) -> Tensor:
    """The m lowest frequencies of one axis, in the order of fftfreq."""
    n = f.shape[axis]
    if m >= n:
        return f
    return torch.cat([f.narrow(axis, 0, (m + 1) // 2), f.narrow(axis, n - m // 2, m // 2)], axis)


def safe_modulus(z: Tensor) -> Tensor:
    """Return |z| with a gradient that is 0, not NaN, where z = 0."""
    return _Modulus.apply(z)  # type: ignore[no-any-return]


class _Modulus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.abs()

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return z * (grad / z.abs().clamp_min(TINY[grad.dtype]))
