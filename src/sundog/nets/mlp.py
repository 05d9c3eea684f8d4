"""The multilayer perceptron: plain, and driven by a time and a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from sundog.nets.embed import HarmonicEmbedding

M = TypeVar("M", bound=nn.Module)


def mlp(n_in: int, n_out: int, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected network n_in -> hidden -> n_out with SiLU between the layers.

    Example
    -------
    >>> mlp(3, 2, (16, 16))(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """
    widths = [n_in, *hidden]
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:]):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_out))


def still(layer: M) -> M:
    """The layer itself, all its parameters set to zero: a network that ends in it answers 0 until it has learned."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class TimeMLP(nn.Module):
    """Velocity field v(x, t, context) of vectors: one MLP on [x, harmonics of t, harmonics of context].

    x: (n, d); t: (n, 1) in [0, 1]; context: (n, c) or None. Returns (n, d).

    The last layer starts at zero, so an untrained field stands still.

    Example
    -------
    >>> TimeMLP(4, 1)(torch.zeros(7, 4), torch.zeros(7, 1), torch.zeros(7, 1)).shape
    torch.Size([7, 4])
    """

    def __init__(
        self,
        dim: int,
        context_dim: int = 0,
        *,
        hidden: Sequence[int] = (128, 128, 128),
        time_frequencies: int = 3,
        context_frequencies: int = 0,
    ) -> None:
        super().__init__()
        self.time = HarmonicEmbedding(1, frequencies=time_frequencies)
        self.condition = HarmonicEmbedding(context_dim, frequencies=context_frequencies, octaves=True)
        self.net = mlp(dim + self.time.width + self.condition.width, dim, hidden)
        still(self.net[-1])

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        parts = [x, self.time(t)]
        if context is not None:
            parts.append(self.condition(context))
        return self.net(torch.cat(parts, -1))
