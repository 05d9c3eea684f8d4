"""Functions with a hand-written gradient, a few maps at a time: their pieces stay in cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Forward = Callable[[Tensor, bool], tuple[tuple[Tensor, ...], list[Tensor]]]
Backward = Callable[..., Tensor]


def in_parts(x: Tensor, size: int, forward: Forward, backward: Backward) -> tuple[Tensor, ...]:
    """Outputs (n, ...) of ``forward`` for x (n, ...), ``size`` rows at a time on a CPU and all at once elsewhere.

    Differentiable once: ``forward(part, keep)`` gives its outputs and what ``backward(saved, *grads)`` needs of it.
    """
    return _InParts.apply(x, size, forward, backward)  # type: ignore[no-any-return]


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, forward: Forward, backward: Backward) -> tuple[Tensor, ...]:
        parts = x.split(size) if x.device.type == "cpu" else [x]
        outs, saved = [], []
        for part in parts:
            out, memory = forward(part, x.requires_grad)
            outs.append(out)
            saved += memory if x.requires_grad else []
        ctx.back, ctx.counts = backward, [len(part) for part in parts]
        ctx.save_for_backward(*saved)
        return tuple(torch.cat(column) for column in zip(*outs))

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, each = ctx.saved_tensors, len(ctx.saved_tensors) // len(ctx.counts)
        rows = zip(*(grad.split(ctx.counts) for grad in grads))
        moved = [ctx.back(saved[i * each : (i + 1) * each], *row) for i, row in enumerate(rows)]
        return torch.cat(moved), None, None, None
