"""The mean-field energy: statistics are matched by the mean over many maps, not by each map.

    E(x_1 ... x_n) = n |(1/n) sum_i features(x_i)|^2,      dE/dx_i = 2 J_i^T (1/n) sum_k features(x_k)

All maps are pushed by the same combination of statistics, so what differs between them stays; a descent of each map
alone would pin every statistic of each map to its target and lose the spread between samples.

Source: Haeggbom, Karlsmark, Andén 2024, arXiv 2403.08362 (mean-field microcanonical gradient descent).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Features = Callable[[Tensor], Tensor]


def mean_field_energy(features: Features, x: Tensor, at_once: int) -> Tensor:
    """Return E of maps x (n, ...), a scalar with a gradient; ``features`` (n, ...) -> (n, K) minus their targets.

    More than ``at_once`` maps are measured twice, once for the mean and once for the gradient, so that memory is that
    of ``at_once`` maps.

    Example
    -------
    >>> x = torch.tensor([[0.0], [4.0]], requires_grad=True)
    >>> E = mean_field_energy(lambda x: x - 1, x, 1)
    >>> E.item(), torch.autograd.grad(E, x)[0].flatten().tolist()
    (2.0, [2.0, 2.0])
    """
    if len(x) <= at_once:
        return len(x) * features(x).mean(0).square().sum()
    return _TwoPasses.apply(x, features, at_once)  # type: ignore[no-any-return]


class _TwoPasses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Features, at_once: int) -> Tensor:
        parts = x.detach().split(at_once)
        with torch.no_grad():
            mean = torch.stack([features(part).sum(0) for part in parts]).sum(0) / len(x)
        slopes = []
        with torch.enable_grad():
            for part in parts:
                leaf = part.clone().requires_grad_()
                slopes.append(torch.autograd.grad(2 * (features(leaf) @ mean).sum(), leaf)[0])
        ctx.save_for_backward(torch.cat(slopes))
        return len(x) * mean.square().sum()

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None
