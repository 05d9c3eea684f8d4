"""A small transformer over the tokens of a series or a set, told a level of noise or a time, and a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sundog.nets.attention import RelativePositionAttention, UniversalRPEAttention
from sundog.nets.embed import HarmonicEmbedding

DEPTH, HEADS = 3, 4
PER_BLOCK = 14  # parameters of a block over the square of its width


class Transformer(nn.Module):
    """Maps of one row (n, channels, 1, l), or tokens (n, channels, l), to as many channels of the same length.

    Each block adds attention, then a two-layer network, of tokens that are normalised, scaled and shifted by what is
    known of the row (adaptive layer norm); the output starts at zero.

    Parameters
    ----------
    n_in, n_out : channels
    context_dim : columns of the context
    parameters : about how many
    reach : of learnt relative positions (`UniversalRPEAttention`); 0 for sets, equivariant under permutations
    attention : False leaves every token alone with what is known of its row: the control of what attention is worth

    Source: Vaswani et al. 2017 (blocks); Peebles & Xie 2023, arXiv 2212.09748, section 3.2 (adaptive norm).

    Example
    -------
    >>> net = Transformer(3, 3, parameters=2e4, reach=0)
    >>> net(torch.zeros(5, 3, 7), torch.zeros(5, 1), None).shape
    torch.Size([5, 3, 7])
    """

    def __init__(self, n_in: int, n_out: int, *, context_dim: int = 0, parameters: float = 600_000, reach: int = 64,
                 attention: bool = True) -> None:
        super().__init__()
        width = HEADS * max(2, round((parameters / (PER_BLOCK * DEPTH)) ** 0.5 / HEADS))
        self.level = HarmonicEmbedding(1, frequencies=8)
        self.known = nn.Sequential(nn.Linear(self.level.width + context_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.first, self.last = nn.Linear(n_in, width), nn.Linear(width, n_out)
        self.blocks = nn.ModuleList(_Block(width, reach, attention) for _ in range(DEPTH))
        for p in self.last.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """t (n, 1), context (n, c) or None, mask (n, l): True where a token is; outputs of others are 0."""
        level = self.level(t)
        known = self.known(level if context is None else torch.cat([level, context], 1))
        h = self.first(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            h = block(h, known, mask)
        out = self.last(F.layer_norm(h, h.shape[-1:])).transpose(1, 2)
        return (out if mask is None else out * mask[:, None]).reshape(len(x), -1, *x.shape[2:])


class _Block(nn.Module):
    """h + attention(n_1(h)), then h + net(n_2(h)), each norm n(h) (1 + a) + b with (a, b) linear in what is known."""

    def __init__(self, width: int, reach: int, attention: bool) -> None:
        super().__init__()
        layer = UniversalRPEAttention if reach else RelativePositionAttention
        self.attention = layer(width, HEADS, reach=reach) if attention else None
        self.modulate = nn.Linear(width, 4 * width)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, known: Tensor, mask: Tensor | None) -> Tensor:
        a, b, c, d = self.modulate(F.silu(known))[:, None].chunk(4, -1)
        if self.attention is not None:
            h = h + self.attention(F.layer_norm(h, h.shape[-1:]) * (1 + a) + b, mask)
        return h + self.net(F.layer_norm(h, h.shape[-1:]) * (1 + c) + d)
