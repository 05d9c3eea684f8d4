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

from sundog.statistics.scattering.moments.plane import (
    Plan,
    Window,
    add_moved,
    picked,
    picked_odd,
    stacked,
    stacked_backward,
    turned_by_i,
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
        outs: list[tuple[Tensor, Tensor, Tensor]] = []
        saved: list[Tensor] = []
        for part in parts:
            size = part.shape[:2]
            s1, s2, f, stacks, directions = stacked(part.flatten(0, 1), plan, keep)
            blocks = [_block(stack, size, pairs, windows, plan.imaginary).flatten(2)
                      for stack, windows in zip(stacks, plan.windows)]  # fmt: skip
            outs.append((s1.unflatten(0, size), s2.unflatten(0, size), torch.cat(blocks, 2)))
            saved += [f, *directions, *stacks] if keep else []
        ctx.plan, ctx.pairs, ctx.counts = plan, pairs, [len(part) for part in parts]
        if keep:
            ctx.save_for_backward(*saved)
        first, second, third = (torch.cat([out[i] for out in outs]) for i in range(3))
        return first, second, third

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, g1: Tensor, g2: Tensor, gb: Tensor) -> tuple[Tensor, None, None]:
        saved, each = ctx.saved_tensors, len(ctx.saved_tensors) // len(ctx.counts)
        pieces = zip(g1.split(ctx.counts), g2.split(ctx.counts), gb.split(ctx.counts))
        grads = []
        for i, (d1, d2, db) in enumerate(pieces):
            mine = saved[i * each : (i + 1) * each]
            moved = _backward(mine, (d1.flatten(0, 1), d2.flatten(0, 1)), db, ctx.pairs, ctx.plan)
            grads.append(moved.unflatten(0, d1.shape[:2]))
        return torch.cat(grads), None, None


def _block(stack: Tensor, size: tuple[int, ...], pairs: Pairs, windows: tuple[Window, ...], imaginary: bool) -> Tensor:
    """(n, P, [2,] L, m, m) of a stack (n C, m, columns, rows, 2)."""

    def products(left: Tensor, right: Tensor) -> Tensor:
        left, right = left.unflatten(0, size), right.unflatten(0, size)
        return torch.stack([left[:, a] @ right[:, b].mT for a, b in pairs], 1)

    even = torch.cat([products(*picked(stack, window)) for window in windows], 2)
    if not imaginary:
        return even
    odd = torch.cat([products(*picked_odd(stack, window)) for window in windows], 2)
    return torch.stack([even, odd], 2)


def _add_block_backward(
    out: Tensor, stack: Tensor, grad: Tensor, pairs: Pairs, windows: tuple[Window, ...], imaginary: bool
) -> None:
    """Add the gradient of a block for the stack, divided by the count of each mode in the full plane."""
    n, first = len(grad), 0
    even = grad[:, :, 0] if imaginary else grad
    for window in windows:
        mine = slice(first, first + len(window.forward))
        first = mine.stop
        right = picked(stack, window)[1].unflatten(0, (n, -1))
        moved = right.new_zeros(*right.shape[:2], len(window.forward), *right.shape[3:])
        for p, (a, b) in enumerate(pairs):
            moved[:, a] += even[:, p, mine] @ right[:, b]
            moved[:, b] += even[:, p, mine].mT @ right[:, a]
        add_moved(out, moved.flatten(0, 1), window)
        if imaginary:
            turned, plain = (side.unflatten(0, (n, -1)) for side in picked_odd(stack, window))
            weighted = plain * window.odd.flatten(1)[:, None]
            moved, back = torch.zeros_like(turned), torch.zeros_like(turned)
            for p, (a, b) in enumerate(pairs):
                moved[:, b] += grad[:, p, 1, mine].mT @ turned[:, a]
                back[:, a] += grad[:, p, 1, mine] @ weighted[:, b]
            place = out[:, :, window.columns, window.rows]
            moved, back = (side.sum(2).flatten(0, 1).view(place.shape) for side in (moved, back))
            place += (moved - turned_by_i(back)) / window.copies


def _backward(saved: tuple[Tensor, ...], grads: tuple[Tensor, Tensor], gb: Tensor, pairs: Pairs, plan: Plan) -> Tensor:
    def add(out: Tensor, stack: Tensor, block: Tensor, j: int) -> None:
        _add_block_backward(out, stack, block, pairs, plan.windows[j], plan.imaginary)

    sizes = [math.prod(shape) for shape in plan.block_shapes]
    blocks = [block.unflatten(2, shape) for block, shape in zip(gb.split(sizes, 2), plan.block_shapes)]
    return stacked_backward(saved, grads, blocks, plan, add)
