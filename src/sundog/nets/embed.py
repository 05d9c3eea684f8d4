"""Embeddings of numbers that a network must resolve finely: times, masses, noise levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class HarmonicEmbedding(nn.Module):
    """The numbers themselves followed by cos and sin of their multiples.

    For each column t of the input: (t, cos(pi k t), sin(pi k t)) for k = 1..n, or k = 1, 2, 4, ... 2^(n-1)
    when ``octaves`` is set. With n = 0 the input is returned unchanged.

    t: (n, c), of order one. Returns (n, c (1 + 2 frequencies)).

    Source: Tancik et al. 2020, eq. 5 (with fixed frequencies).

    Example
    -------
    >>> HarmonicEmbedding(1, frequencies=3)(torch.zeros(2, 1)).shape
    torch.Size([2, 7])
    """

    omega: Tensor

    def __init__(self, columns: int, *, frequencies: int, octaves: bool = False) -> None:
        super().__init__()
        k = torch.arange(frequencies, dtype=torch.float32)
        self.register_buffer("omega", math.pi * (2.0**k if octaves else k + 1), persistent=False)
        self.width = columns * (1 + 2 * frequencies)

    def forward(self, t: Tensor) -> Tensor:
        if self.omega.numel() == 0:
            return t
        angle = (t[..., None] * self.omega.to(t.dtype)).flatten(-2)
        return torch.cat([t, angle.cos(), angle.sin()], -1)
