"""What does knowing positions cost? Forward and backward of the attention layers beside what torch has for the same.

    python benchmarks/attention.py    milliseconds of CPU time, one thread, 32 x length tokens of 64 channels, 4 heads

A layer of relative positions is measured by torch's scaled_dot_product_attention with the learnt bias as its mask, a
universal one by scaled_dot_product_attention without positions plus the product (weights o C) V with C learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sundog.nets.attention import RelativePositionAttention, UniversalRPEAttention

REACH, ROUNDS = 32, 40
CACHED = 2**19  # weights that the product takes at once, as the layers do


class Torch(nn.Module):
    """The same projections around scaled_dot_product_attention, with a learnt Toeplitz bias or without positions."""

    def __init__(self, biased: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)
        self.bias = nn.Parameter(torch.zeros(4, 2 * REACH + 1)) if biased else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        mask = None if self.bias is None else toeplitz(self.bias, x.shape[1])
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(x.shape))


class Product(nn.Module):
    """(weights o C) V alone."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4, 2 * REACH + 1))
        self.weights = nn.Parameter(torch.rand(32, 4, length, length))
        self.values = nn.Parameter(torch.rand(32, 4, length, 16))

    def forward(self, x: Tensor) -> Tensor:
        gain, rows = toeplitz(self.gain, x.shape[1]), max(1, CACHED // (4 * x.shape[1] ** 2))
        return torch.cat([(w * gain) @ v for w, v in zip(self.weights.split(rows), self.values.split(rows))])


def toeplitz(learnt: Tensor, length: int) -> Tensor:
    """(heads, length, length), entry ij that of distance i - j."""
    place = torch.arange(length)
    return learnt[:, (place[:, None] - place).clamp(-REACH, REACH) + REACH]


def milliseconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    start = time.process_time()
    layer(x).square().mean().backward()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    print("| length | torch | torch, biased | product | relative | universal | relative / biased | "
          "universal / (torch + product) |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for length in (32, 64, 128, 256):
        x = torch.randn(32, length, 64, generator=torch.Generator().manual_seed(0))
        layers = (Torch(False), Torch(True), Product(length), RelativePositionAttention(64, 4, reach=REACH),
                  UniversalRPEAttention(64, 4, reach=REACH))  # fmt: skip
        rounds = [[milliseconds(layer, x) for layer in layers] for _ in range(ROUNDS)]  # they take turns
        plain, biased, product, relative, universal = (min(spent) for spent in zip(*rounds))
        print(f"| {length} | {plain:.1f} | {biased:.1f} | {product:.1f} | {relative:.1f} | {universal:.1f} | "
              f"{relative / biased:.2f} | {universal / (plain + product):.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
