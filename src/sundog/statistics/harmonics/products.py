"""Averages of products of phase harmonics, with gradients that stay finite where a wavelet transform vanishes.

[z]^p = |z| exp(i p arg z). Its differential is d[z]^p = (1 + p)/2 u^(p-1) dz + (1 - p)/2 u^(p+1) dz^*, u = z / |z|;
here u = z / max(|z|, tiny), so that both factors are 0 and not NaN at z = 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.statistics.wavelets.waves import TINY


def phase_harmonic(z: Tensor, p: int) -> Tensor:
    """Return [z]^p = |z| exp(i p arg z), p = 1, 2, 4, 8 ...

    Source: Mallat, Zhang & Rochette 2020, Information and Inference 9, 721.

    Example
    -------
    >>> phase_harmonic(torch.tensor([2j, 0j]), 2).tolist()
    [(-2+0j), 0j]
    """
    return _Harmonic.apply(z, p)  # type: ignore[no-any-return]


def phase_product(a: Tensor, z: Tensor, p: int, weights: Tensor | None) -> Tensor:
    """Return < a ([z]^p)^* >, (...), of complex a and z (..., ny, nx); the harmonic itself is not kept in memory."""
    return _Product.apply(a, z, p, weights)  # type: ignore[no-any-return]


def products(a: Tensor, b: Tensor, weights: Tensor | None) -> Tensor:
    """Return < a_p b_q^* >, (n, p, q), of real a (n, p, ny, nx) and b (n, q, ny, nx), real or complex."""
    a, b = a.flatten(2), (b / b[0, 0].numel() if weights is None else b * weights).flatten(2)
    if not b.is_complex():
        return a @ b.mT
    return torch.complex(a @ b.real.mT, -(a @ b.imag.mT))


def average(x: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of x over pixels, weighted where weights (ny, nx), which sum to 1, are given."""
    return x.mean((-2, -1)) if weights is None else (x * weights).sum((-2, -1))


def lagged_products(a: Tensor, b: Tensor, lags: Tensor) -> Tensor:
    """Return < a(r + tau) b(r)^* > for the lags of each orientation, complex (..., R, T).

    Parameters
    ----------
    a, b: (..., R, ny, nx), real or complex. lags: (R, T, 2) whole pixels (ty, tx); the maps wrap around.
    """
    return _Lagged.apply(a, b, lags)  # type: ignore[no-any-return]


def _unit(z: Tensor) -> tuple[Tensor, Tensor]:
    size = z.abs()
    return size, z / size.clamp_min(TINY[size.dtype])


def _power(u: Tensor, p: int) -> Tensor:
    """u^p for unit numbers by squaring, p >= 0."""
    out = torch.ones_like(u)
    while p:
        if p & 1:
            out = out * u
        u, p = u * u, p >> 1
    return out


def _harmonic_backward(u: Tensor, below: Tensor, grad: Tensor, p: int) -> Tensor:
    """Gradient for z from that for [z]^p, with u = z / |z| and ``below`` = u^(p-1)."""
    return (1 + p) / 2 * below.conj() * grad + (1 - p) / 2 * (below * u * u) * grad.conj()


class _Harmonic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, p: int) -> Tensor:
        ctx.save_for_backward(z)
        ctx.p = p
        size, u = _unit(z)
        return size * _power(u, p)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _, u = _unit(ctx.saved_tensors[0])
        return _harmonic_backward(u, _power(u, ctx.p - 1), grad, ctx.p), None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, z: Tensor, p: int, weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, z)
        ctx.p, ctx.weights = p, weights
        size, u = _unit(z)
        if weights is not None:
            size = size * weights
        # vdot of complex maps: conj(second) . first
        total = torch.linalg.vecdot((size * _power(u, p)).flatten(-2), a.flatten(-2))
        return total if weights is not None else total / z[..., 0, 0].new_tensor(z.shape[-1] * z.shape[-2]).real

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, z = ctx.saved_tensors
        scale = ctx.weights if ctx.weights is not None else 1.0 / (z.shape[-1] * z.shape[-2])
        g = grad[..., None, None] * scale
        size, u = _unit(z)
        below = _power(u, ctx.p - 1)
        return g * (size * (below * u)), _harmonic_backward(u, below, a * g.conj(), ctx.p), None, None


class _Lagged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, lags: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, lags)
        spread = torch.fft.ifft2(torch.fft.fft2(a) * torch.fft.fft2(b).conj(), norm="backward")
        return spread[_places(lags, a)] / (a.shape[-1] * a.shape[-2])

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, lags = ctx.saved_tensors
        points = grad.new_zeros(torch.broadcast_shapes(a.shape, b.shape))
        cells = (lags[..., 0] % a.shape[-2]) * a.shape[-1] + lags[..., 1] % a.shape[-1]
        where = cells.expand(grad.shape)  # equal lags add up
        points.flatten(-2).scatter_add_(-1, where, grad / (a.shape[-1] * a.shape[-2]))
        moved = torch.fft.fft2(points)
        to_a = torch.fft.ifft2(moved * torch.fft.fft2(b))
        to_b = torch.fft.ifft2(moved.conj() * torch.fft.fft2(a))
        return _like(to_a, a), _like(to_b, b), None


def _places(lags: Tensor, a: Tensor) -> tuple[Any, ...]:
    orientation = torch.arange(len(lags), device=lags.device)[:, None]
    return ..., orientation, lags[..., 0] % a.shape[-2], lags[..., 1] % a.shape[-1]


def _like(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient summed over the axes that were broadcast, real where x is."""
    grad = grad.sum_to_size(x.shape)
    return grad if x.is_complex() else grad.real
