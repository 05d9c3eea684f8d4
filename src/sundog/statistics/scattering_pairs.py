"""The third-layer moments of pairs of periodic maps, with a hand-written gradient.

Sums over Fourier space as in `scattering_moments`, with the modulus of one map on the left and that of another on the
right:  sum_k F^a_m(k) F^b_n(k)^* psi^(k)^2.  Every map is transformed once, whatever the number of pairs it is in.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.statistics.scattering_moments import (
    Plan,
    Scale,
    picked,
    stacked,
    transform,
    transform_backward,
    turned_by_i,
    unstacked,
)

Pairs = tuple[tuple[int, int], ...]


def pair_moments(x: Tensor, pairs: Pairs, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, C, J, L) of maps x (n, C, ny, nx) and the blocks (n, P, c) of P pairs of channels (a, b).

    Layout of a block as in `scattering_moments.moments`: entry (l3, m, n) is sum_k F^a_m F^b_n^* psi_(j3,l3)^2, where
    row 0 is the map and row 1 + j L + l the modulus M_(j,l). Differentiable once.
    """
    return _Pairs.apply(x, pairs, plan)  # type: ignore[no-any-return]


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Pairs, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
        parts = x.split(1) if x.device.type == "cpu" else [x]  # one by one on a CPU: the pieces stay in cache
        keep = x.requires_grad
        outs, saved = [], []
        for part in parts:
            s1, s2, fx, waves, spectra = transform(part.flatten(0, 1), plan, keep)
            blocks = _blocks(fx, spectra, part.shape[:2], pairs, plan)
            outs.append([value.unflatten(0, part.shape[:2]) for value in (s1, s2)] + [blocks])
            saved += [fx, *waves, *spectra] if keep else []
        ctx.plan, ctx.pairs, ctx.counts, ctx.channels = plan, pairs, [len(part) for part in parts], x.shape[1]
        if keep:
            ctx.save_for_backward(*saved)
        s1, s2, blocks = (torch.cat([out[i] for out in outs]) for i in range(3))
        return s1, s2, blocks

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g1: Tensor, g2: Tensor, gb: Tensor) -> tuple[Tensor, None, None]:
        saved, each = ctx.saved_tensors, len(ctx.saved_tensors) // len(ctx.counts)
        pieces = zip(g1.split(ctx.counts), g2.split(ctx.counts), gb.split(ctx.counts))
        grads = []
        for i, (d1, d2, db) in enumerate(pieces):
            mine = saved[i * each : (i + 1) * each]
            grads.append(_backward(mine, (d1.flatten(0, 1), d2.flatten(0, 1)), db, ctx.pairs, ctx.plan))
        return torch.cat(grads).unflatten(0, (-1, ctx.channels)), None, None


def _blocks(fx: Tensor, spectra: list[Tensor], size: tuple[int, ...], pairs: Pairs, plan: Plan) -> Tensor:
    half = fx[:, None, :, : plan.shape[1] // 2 + 1]
    out = []
    for j, scale in enumerate(plan.scales):
        real = torch.view_as_real(stacked(half, spectra[: j + 1], scale))
        out.append(_block(real, size, pairs, scale, plan.imaginary).flatten(2))
    return torch.cat(out, 2)


def _block(real: Tensor, size: tuple[int, ...], pairs: Pairs, scale: Scale, imaginary: bool) -> Tensor:
    """(n, P, [2,] L, m, m) of a real-viewed stack (n C, m, rows, columns, 2)."""
    even, odd = [], []
    turned = turned_by_i(real) if imaginary else real
    for window in scale.windows:
        rows = picked(real, window, window.forward).unflatten(0, size)
        even.append(torch.stack([rows[:, a] @ rows[:, b].mT for a, b in pairs], 1))
        if imaginary:
            left = picked(turned, window, window.odd).unflatten(0, size)
            right = real[:, :, window.rows, window.columns].flatten(2).unflatten(0, size)
            odd.append(torch.stack([left[:, a] @ right[:, b].mT for a, b in pairs], 1))
    if not imaginary:
        return torch.stack(even, 2)
    return torch.stack([torch.stack(even, 2), torch.stack(odd, 2)], 2)


def _block_backward(real: Tensor, grad: Tensor, pairs: Pairs, scale: Scale, imaginary: bool) -> Tensor:
    """Gradient of a block for the stack, divided by ``copies``: what irfft2 wants."""
    n, m = len(grad), real.shape[1]
    out = torch.zeros_like(real)
    turned = turned_by_i(real) if imaginary else real
    even = grad[:, :, 0] if imaginary else grad
    for ell, window in enumerate(scale.windows):
        rows = picked(real, window, window.forward).unflatten(0, (n, -1))
        moved = torch.zeros_like(rows)
        for p, (a, b) in enumerate(pairs):
            moved[:, a] += even[:, p, ell] @ rows[:, b]
            moved[:, b] += even[:, p, ell].mT @ rows[:, a]
        place = out[:, :, window.rows, window.columns]
        place.addcmul_(moved.flatten(0, 1).view(-1, m, *window.forward.shape), window.backward)
        if imaginary:
            left = picked(turned, window, window.odd).unflatten(0, (n, -1))
            right = picked(real, window, window.odd).unflatten(0, (n, -1))
            moved, back = torch.zeros_like(left), torch.zeros_like(left)
            for p, (a, b) in enumerate(pairs):
                moved[:, b] += grad[:, p, 1, ell].mT @ left[:, a]
                back[:, a] += grad[:, p, 1, ell] @ right[:, b]
            shape = (-1, m, *window.odd.shape)
            moved = moved.flatten(0, 1).view(shape) - turned_by_i(back.flatten(0, 1).view(shape))
            place += moved / scale.copies[window.columns]
    return torch.view_as_complex(out)


def _backward(saved: tuple[Tensor, ...], grads: tuple[Tensor, Tensor], gb: Tensor, pairs: Pairs, plan: Plan) -> Tensor:
    J, parts = len(plan.scales), 2 if plan.imaginary else 1
    fx, waves, spectra = saved[0], saved[1 : 1 + J], list(saved[1 + J :])
    half = fx[:, None, :, : plan.shape[1] // 2 + 1]
    grad_half, grad_spectra = torch.zeros_like(half), [torch.zeros_like(s) for s in spectra]
    start = 0
    for j, scale in enumerate(plan.scales):
        m = 1 + (j + 1) * plan.L
        shape = (parts, plan.L, m, m) if plan.imaginary else (plan.L, m, m)
        block = gb[:, :, start : start + math.prod(shape)].unflatten(2, shape)
        start += math.prod(shape)
        real = torch.view_as_real(stacked(half, spectra[: j + 1], scale))
        moved = _block_backward(real, block, pairs, scale, plan.imaginary)
        unstacked(moved, [grad_half, *grad_spectra[: j + 1]], scale, plan.L)
    return transform_backward(waves, grad_half[:, 0], grad_spectra, grads, plan)
