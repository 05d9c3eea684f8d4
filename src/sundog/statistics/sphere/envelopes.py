"""Envelopes of directional wavelets on the sphere, as fields that do not depend on the frame.

A directional wavelet psi_j(l) g(phi - chi) is a sum of spins: W(chi) = sum_s c_s e^(-i s chi) W_s with
g(phi) = sum_s c_s e^(i s phi). W_s is a field of spin s, and W_-s = (-1)^s W_s^* for a real map; so even spins give the
real part of W(chi) and odd ones its imaginary part. The modulus M(chi) = |W(chi)| becomes fields of spin 0 and 2 again:
A_0 = mean of M over chi, A_1 = mean of M e^(2 i chi).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.statistics.wavelets.filters import bump_constant
from sundog.statistics.wavelets.waves import TINY


def steering(L: int) -> Tensor:
    """Return c_0 ... c_L of g(phi) = c cos^(L-1)(phi) within a quarter turn of 0, else 0; float64.

    c is that of the planar bump-steerable wavelet. The spins beyond L hold less than 1e-3 of the power for L >= 3.

    Example
    -------
    >>> c = steering(4)
    >>> whole = bump_constant(4) ** 2 * 5 / 32  # mean of cos^6 over half of the circle
    >>> bool(abs((c[0] ** 2 + 2 * (c[1:] ** 2).sum()) / whole - 1) < 1e-3)
    True
    """
    nodes = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096 * math.pi - math.pi / 2
    profile = bump_constant(L) * torch.cos(nodes) ** (L - 1)
    return torch.stack([(profile * torch.cos(s * nodes)).mean() / 2 for s in range(L + 1)])


def mixing(L: int, K: int) -> tuple[Tensor, Tensor]:
    """Return matrices (K, 1 + 2 L) from the fields of spin 0, 1 ... L to Re W and Im W at chi = pi k / K.

    Columns: f of spin 0, then f1 and f2 of each spin, in the sign convention of `sphere_transforms`, for which
    W_s = - i^s (f1 + i f2), s > 0.
    """
    c = steering(L)
    chi = math.pi * torch.arange(K, dtype=torch.float64) / K
    real, imaginary = (torch.zeros(K, 1 + 2 * L, dtype=torch.float64) for _ in range(2))
    real[:, 0] = c[0]
    for s in range(1, L + 1):
        # 2 c_s times Re (even s) or Im (odd s) of - i^s e^(-i s chi) (f1 + i f2)
        turn = -(1j**s) * torch.exp(-1j * s * chi)
        into = real if s % 2 == 0 else imaginary
        into[:, 2 * s - 1] = 2 * c[s] * (turn.real if s % 2 == 0 else turn.imag)
        into[:, 2 * s] = 2 * c[s] * (-turn.imag if s % 2 == 0 else turn.real)
    return real, imaginary


def envelopes(fields: Tensor, L: int, K: int) -> Tensor:
    """Return A_0, Re A_1, Im A_1 and the mean of M^2, (n, 4, P), of spin fields (n, 1 + 2 L, P) at K orientations."""
    return _Envelopes.apply(fields, L, K)  # type: ignore[no-any-return]


class _Envelopes(torch.autograd.Function):
    """One orientation at a time, forward and backward, so that only the spin fields are kept."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor, L: int, K: int) -> Tensor:
        ctx.save_for_backward(fields)
        ctx.setting = L, K
        real, imaginary = (m.to(fields) for m in mixing(L, K))
        out = fields.new_zeros(len(fields), 4, fields.shape[-1])
        for k in range(K):
            square = (real[k] @ fields).square() + (imaginary[k] @ fields).square()
            size = square.sqrt()
            chi = 2 * math.pi * k / K
            out[:, 0] += size / K
            out[:, 1].add_(size, alpha=math.cos(chi) / K)
            out[:, 2].add_(size, alpha=math.sin(chi) / K)
            out[:, 3] += square / K
        return out

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (fields,) = ctx.saved_tensors
        L, K = ctx.setting
        real, imaginary = (m.to(fields) for m in mixing(L, K))
        out = torch.zeros_like(fields)
        for k in range(K):
            parts = real[k] @ fields, imaginary[k] @ fields
            size = torch.hypot(*parts).clamp_min(TINY[fields.dtype])
            chi = 2 * math.pi * k / K
            slope = (grad[:, 0] + math.cos(chi) * grad[:, 1] + math.sin(chi) * grad[:, 2]) / size + 2 * grad[:, 3]
            for part, row in zip(parts, (real[k], imaginary[k])):
                out += (slope * part / K)[:, None] * row[:, None]
        return out, None, None
