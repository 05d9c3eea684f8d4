"""Attention between the members of a sequence or a set, with learnt dependence on how far apart they stand."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sundog.checks import at_least, whole
from sundog.errors import OptionError, ShapeError

_CACHED = 2**19  # weights at once: more leave the cache of a processor, at half the speed (benchmarks/attention.py)


class _Relative(nn.Module, ABC):
    """Attention whose weights know how far apart two tokens stand."""

    def __init__(self, channels: int, heads: int = 4, *, reach: int = 32, causal: bool = False) -> None:
        super().__init__()
        self.channels, self.heads = at_least(channels, 1, "channels"), at_least(heads, 1, "heads")
        if channels % heads:
            raise OptionError("channels do not divide among the heads", got=f"{channels} channels, {heads} heads",
                              expected="a multiple of heads", do=f"pass channels={heads * -(-channels // heads)}")
        self.reach, self.causal = whole(reach, "reach", least=0), causal
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * self.reach + 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (n, l, channels) to tokens of the same shape.

        mask: (n, l), True for tokens that are there. Padding is neither seen nor answered: its outputs are 0.

        Errors: ShapeError for tokens or a mask of another shape, or a mask that is not True and False.
        """
        self._admit(x, mask)
        n, length, _ = x.shape
        x = x if mask is None else x.masked_fill(~mask[..., None], 0)  # padding may hold anything, NaN too
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, self.channels // self.heads).permute(2, 0, 3, 1, 4)
        apart = self._distances(length, x.device)
        bias, gain = self.bias[:, apart], self._gain(apart)
        rows = max(1, _CACHED // (self.heads * max(1, length) ** 2))
        pieces = [part.split(rows) for part in (q * q.shape[-1] ** -0.5, k, v)]
        masks = [None] * len(pieces[0]) if mask is None else mask.split(rows)
        weights = (self._hidden((a @ b.transpose(-1, -2)).add_(bias), m).softmax(-1)
                   for a, b, m in zip(*pieces[:2], masks))  # fmt: skip
        seen = torch.cat([(w if gain is None else w * gain) @ c for w, c in zip(weights, pieces[2])])
        seen = self.out(seen.transpose(1, 2).reshape(x.shape))
        return seen if mask is None else seen * mask[..., None]

    @abstractmethod
    def _gain(self, apart: Tensor) -> Tensor | None:
        """What the softmax is multiplied by, (heads, l, l), from the index of i - j (l, l); None for nothing."""

    def _hidden(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        # The lowest number, not -inf: a row of padding would become NaN, and 0 * NaN in its gradient too.
        lowest = torch.finfo(scores.dtype).min
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), lowest)
        return scores if mask is None else scores.masked_fill(~mask[:, None, None, :], lowest)

    def _distances(self, length: int, device: torch.device) -> Tensor:
        """Index of i - j among the learnt distances, (l, l)."""
        place = torch.arange(length, device=device)
        return (place[:, None] - place).clamp(-self.reach, self.reach) + self.reach

    def _admit(self, x: Tensor, mask: Tensor | None) -> None:
        if x.ndim != 3 or x.shape[-1] != self.channels:
            raise ShapeError("tokens of another shape", got=tuple(x.shape), expected=f"(n, l, {self.channels})",
                             do="put channels on the last axis")  # fmt: skip
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
            raise ShapeError("mask of the tokens", got=f"{tuple(mask.shape)}, {mask.dtype}",
                             expected=f"{tuple(x.shape[:2])}, True where a token is", do="pass e.g. pt > 0")


class RelativePositionAttention(_Relative):
    """Multi-head self-attention softmax(Q K^T / sqrt(d) + B) V, with B_ij = b_{i-j} learnt per head.

    The rows of the softmax add up to 1: tokens that are all equal give outputs that are all equal, whatever b is, so
    this layer alone cannot tell positions (`UniversalRPEAttention` can).

    Parameters
    ----------
    channels : of each token, a multiple of heads.
    heads : attention heads of channels / heads dimensions d each.
    reach : distances i - j from -reach to reach have a b of their own, farther ones share that of the end. 0 knows no
        positions: the layer is then equivariant under permutations, as sets of particles want it.
    causal : whether token i sees the tokens j <= i only.

    b starts at 0.
    Source: Raffel et al. 2020, JMLR 21, 140, section 2.1; Luo et al. 2022 (NeurIPS, arXiv 2205.13401), eq. 2.

    Example
    -------
    >>> layer = RelativePositionAttention(16, heads=2, reach=8)
    >>> layer(torch.ones(3, 10, 16)).shape
    torch.Size([3, 10, 16])
    """

    def _gain(self, apart: Tensor) -> None:
        return None


class UniversalRPEAttention(_Relative):
    """Multi-head self-attention (softmax(Q K^T / sqrt(d) + B) o C) V, with C_ij = c_{i-j} learnt per head as B is.

    The rows no longer add up to 1, which lets even equal tokens know where they stand. c starts at 1, where the layer
    is `RelativePositionAttention` to the last bit.

    Parameters, errors: those of `RelativePositionAttention`.
    Source: Luo et al. 2022 (NeurIPS, arXiv 2205.13401), eq. 5.

    Example
    -------
    >>> layer = UniversalRPEAttention(16, heads=2, reach=8)
    >>> sorted(name for name, _ in layer.named_parameters() if "." not in name)
    ['bias', 'gain']
    """

    def __init__(self, channels: int, heads: int = 4, *, reach: int = 32, causal: bool = False) -> None:
        super().__init__(channels, heads, reach=reach, causal=causal)
        self.gain = nn.Parameter(torch.ones(heads, 2 * self.reach + 1))

    def _gain(self, apart: Tensor) -> Tensor:
        return self.gain[:, apart]
