"""What does knowing positions cost? Forward and backward of the attention layers beside torch's own.

    python benchmarks/attention.py    milliseconds of CPU time, one thread, 32 x length tokens of 64 channels, 4 heads
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sundog.nets.attention import RelativePositionAttention, UniversalRPEAttention


class Torch(nn.Module):
    """The same projections around scaled_dot_product_attention; no positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def milliseconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    spent = []
    for _ in range(8):
        start = time.process_time()
        layer(x).square().mean().backward()
        spent.append(time.process_time() - start)
    return 1e3 * min(spent)


def main() -> None:
    torch.set_num_threads(1)
    print("| length | torch | relative positions | universal | ratios |\n|---|---|---|---|---|")
    for length in (32, 128, 256):
        x = torch.randn(32, length, 64, generator=torch.Generator().manual_seed(0))
        layers = Torch(), RelativePositionAttention(64, 4), UniversalRPEAttention(64, 4)
        plain, relative, universal = (milliseconds(layer, x) for layer in layers)
        print(f"| {length} | {plain:.1f} | {relative:.1f} | {universal:.1f} | {relative / plain:.2f}, "
              f"{universal / plain:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
