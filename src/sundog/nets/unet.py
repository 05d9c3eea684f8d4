"""The one U-Net: images in, images out, given a noise level (or time) and a context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.nn import functional as F

from sundog.errors import OptionError
from sundog.nets.embed import HarmonicEmbedding
from sundog.nets.mlp import still

MULTIPLIERS = (1, 2, 2, 3)  # channels of each level in units of the width
TWO_BLOCKS_FROM = 2_000_000  # parameters; below, one narrow block per level at full resolution learns faster
COARSEST = 4  # pixels: no level is smaller than this
HARMONICS = 16


class UNet(nn.Module):
    """Image-to-image network with levels of halved resolution, skip connections and attention at the bottom.

    x: (n, channels, ny, nx); t: (n, 1) of order one, e.g. log(sigma) / 4; context: (n, c) or None.
    Returns (n, channels_out, ny, nx). The last layer starts at zero, so an untrained network returns zeros.

    Of maps of one row, which series are, ``line`` has the convolutions along the row alone: a 1-D U-Net.

    Any size of image will do: it is padded to a multiple of 2^(levels - 1) and cut again. bf16 autocast works, and
    gives the same numbers to rounding.

    Parameters
    ----------
    channels, channels_out : of the images
    context_dim : c, 0 for none
    parameters : about how many (0.4e6 .. 30e6); decides the width (a multiple of 4) and the blocks per level
    levels : resolutions, each half of the one before; see `levels_for`
    attention : how many of the coarsest levels have attention after every block (the middle always has)
    periodic : wrap around at the edges instead of padding with zeros (centred objects)
    line : maps have one row, levels halve its length alone
    patch : squares of so many pixels a side are channels of one pixel inside: the first level, where most of the time
        goes, is that much smaller

    Raises
    ------
    OptionError : sizes that make no network.

    Source: Ronneberger et al. 2015 (U-Net); Song et al. 2021, appendix H (blocks with noise embedding).

    Example
    -------
    >>> net = UNet(1, 1, parameters=5e5, levels=2)
    >>> net(torch.zeros(3, 1, 10, 9), torch.zeros(3, 1), None).shape
    torch.Size([3, 1, 10, 9])
    """

    def __init__(self, channels: int, channels_out: int, *, context_dim: int = 0, parameters: float = 600_000,
                 levels: int = 4, attention: int = 1, periodic: bool = False, line: bool = False,
                 patch: int = 1) -> None:
        super().__init__()
        if line and patch > 1:
            raise OptionError("series have no squares of pixels", got=f"patch = {patch}", expected="1",
                              do="leave patch out")
        if not 1 <= levels <= 8 or not 1e4 <= parameters <= 1e9:
            raise OptionError("impossible U-Net", got=f"{levels} levels, {parameters:g} parameters",
                              expected="1 to 8 levels, 1e4 to 1e9 parameters", do="pass e.g. parameters=600_000")
        blocks = 1 if parameters < TWO_BLOCKS_FROM else 2
        shape: dict[str, Any] = {"channels": channels * patch**2, "channels_out": channels_out * patch**2,
                                 "context_dim": context_dim, "blocks": blocks, "levels": levels, "attention": attention,
                                 "edge": _Edge(periodic, line)}
        self.body = _Body(_width(parameters, shape), **shape)
        self.multiple, self.periodic, self.line, self.patch = patch * 2 ** (levels - 1), periodic, line, patch

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        ny, nx = x.shape[-2:]
        more = (0, -nx % self.multiple, 0, 0 if self.line else -ny % self.multiple)
        if any(more):
            x = F.pad(x, more, mode="circular" if self.periodic else "constant")
        if self.patch > 1:
            x = F.pixel_shuffle(self.body(F.pixel_unshuffle(x, self.patch), t, context), self.patch)
        else:
            x = self.body(x, t, context)
        return x[..., :ny, :nx]


def levels_for(ny: int, nx: int) -> int:
    """Number of levels for images of this size: up to four, the coarsest no smaller than 4 pixels; of maps of one row,
    by its length.

    Example
    -------
    >>> levels_for(8, 8), levels_for(80, 80), levels_for(1, 80)
    (2, 4, 4)
    """
    levels, side = 1, nx if ny == 1 else min(ny, nx)
    while levels < len(MULTIPLIERS) and side >> levels >= COARSEST:
        levels += 1
    return levels


@dataclass(frozen=True)
class _Edge:
    """What convolutions do at the edges, and whether they go along one axis or two."""

    periodic: bool
    line: bool

    def kernel(self, size: int) -> tuple[int, int]:
        return (1 if self.line else size), size

    def conv(self, n_in: int, n_out: int) -> nn.Conv2d:
        return nn.Conv2d(n_in, n_out, self.kernel(3), padding=(0 if self.line else 1, 1),
                         padding_mode="circular" if self.periodic else "zeros")

    def halved(self, n_in: int, n_out: int) -> nn.Conv2d:
        return nn.Conv2d(n_in, n_out, self.kernel(2), stride=self.kernel(2))


class _Body(nn.Module):
    """The U-Net of one width, on images that need no padding."""

    def __init__(self, width: int, *, channels: int, channels_out: int, context_dim: int, blocks: int, levels: int,
                 attention: int, edge: _Edge) -> None:
        super().__init__()
        self.doubled = edge.kernel(2)
        sizes = [width * m for m in (*MULTIPLIERS, *[MULTIPLIERS[-1]] * 4)[:levels]]
        knows = 4 * width
        self.level = HarmonicEmbedding(1, frequencies=HARMONICS)
        self.embed = nn.Sequential(nn.Linear(self.level.width, knows), nn.SiLU(), nn.Linear(knows, knows))
        self.context = nn.Sequential(nn.Linear(context_dim, knows), nn.SiLU(), nn.Linear(knows, knows)) \
            if context_dim else None
        self.first = edge.conv(channels, width)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        here, kept = width, []
        for i, size in enumerate(sizes):
            sees = i >= levels - attention
            if i > 0:
                self.down.append(edge.halved(here, size))
                here = size
            for _ in range(blocks):
                self.down.append(_Block(here, size, knows, sees, edge))
                here = size
                kept.append(size)
        self.middle = nn.ModuleList([_Block(here, here, knows, True, edge),
                                     _Block(here, here, knows, False, edge)])
        for i, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks):
                self.up.append(_Block(here + kept.pop(), size, knows, i >= levels - attention, edge))
                here = size
            if i > 0:
                self.up.append(nn.Conv2d(here, sizes[i - 1], 1))
                here = sizes[i - 1]
        self.norm = _norm(here)
        self.last = still(edge.conv(here, channels_out))

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        known = self.embed(self.level(t))
        if self.context is not None and context is not None:
            known = known + self.context(context)
        known = F.silu(known)
        x, kept = _arranged(self.first(_arranged(x))), []
        for step in self.down:
            x = step(x, known) if isinstance(step, _Block) else step(x)
            if isinstance(step, _Block):
                kept.append(x)
        for step in self.middle:
            x = step(x, known)
        for step in self.up:
            if isinstance(step, _Block):
                x = step(torch.cat([x, kept.pop()], 1), known)
            else:
                # Channels are mixed before pixels are doubled: a quarter of the work, the same map.
                x = F.interpolate(_pointwise(step, x), scale_factor=self.doubled, mode="nearest")
        return self.last(F.silu(self.norm(x)))


class _Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))) (1 + a) + b)), with (a, b) linear in what is known; then attention."""

    def __init__(self, n_in: int, n_out: int, knows: int, sees: bool, edge: _Edge) -> None:
        super().__init__()
        self.norm_in, self.conv_in = _norm(n_in), edge.conv(n_in, n_out)
        self.modulate = nn.Linear(knows, 2 * n_out)
        self.norm_out, self.conv_out = _norm(n_out), still(edge.conv(n_out, n_out))
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)
        self.attention = _Attention(n_out) if sees else nn.Identity()

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        a, b = self.modulate(known)[:, :, None, None].chunk(2, 1)
        h = F.silu(self.norm_out(h) * (1 + a) + b)
        kept = x if isinstance(self.skip, nn.Identity) else _pointwise(self.skip, x)
        return self.attention(kept + self.conv_out(h))


class _Attention(nn.Module):
    """x plus self-attention between all pixels, heads of at most 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(h for h in range(max(1, channels // 32), channels + 1) if channels % h == 0)
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = still(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, ny, nx = x.shape
        qkv = _pointwise(self.qkv, self.norm(x)).reshape(n, 3, self.heads, c // self.heads, ny * nx).contiguous()
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(n, c, ny, nx)
        return x + _pointwise(self.out, seen)


def _arranged(x: Tensor) -> Tensor:
    """The same numbers, channels next to each other in memory where that is faster: on processors in float32.

    There convolutions gain more than group norms lose; in bf16 the norms have no fast kernel for it, and in forward
    mode none. By permutations, which vmap knows.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or unpack_dual(x).tangent is not None:
        return x
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _pointwise(conv: nn.Module, x: Tensor) -> Tensor:
    """A 1 x 1 convolution, as one matrix product where channels lie together: torch is slow at it on few images."""
    assert isinstance(conv, nn.Conv2d)
    last = x.permute(0, 2, 3, 1)
    return F.linear(last, conv.weight[:, :, 0, 0], conv.bias).permute(0, 3, 1, 2) if last.is_contiguous() else conv(x)


def _norm(channels: int) -> nn.GroupNorm:
    groups = [g for g in range(1, 33) if channels % g == 0 and (channels // g >= 4 or g == 1)]
    return nn.GroupNorm(max(groups), channels)


def _width(parameters: float, shape: dict[str, Any]) -> int:
    """The width (a multiple of 4) whose network has the number of parameters nearest to the wanted one."""
    def count(width: int) -> int:
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            return sum(p.numel() for p in _Body(width, **shape).parameters())

    below, above = 4, 8
    while count(above) <= parameters:
        below, above = above, 2 * above
    while above - below > 4:
        middle = (below + above) // 8 * 4
        below, above = (middle, above) if count(middle) <= parameters else (below, middle)
    return min((below, above), key=lambda width: abs(count(width) - parameters))
