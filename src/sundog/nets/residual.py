"""The residual network gated by its context: the large velocity field published with SIGMA.

h_0 = W [x, e];   h_{b+1} = h_b + (U_b relu(T_b relu(h_b))) * sigmoid(relu(G_b e));   v = V relu(h_last)

with e the harmonics of time and context. Batch-norm and dropout of the publication are left out: running
means smooth the weights already, and without them one row's velocity does not depend on its neighbours.

Source: the layout published with SIGMA (Das et al. 2024): 4 blocks of width 256, about 0.56 million parameters
for four features; harmonics k = 1..3 of the time and octaves 0..8 of the mass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sundog.nets.embed import HarmonicEmbedding


class GatedResidualMLP(nn.Module):
    """Velocity field v(x, t, context) of vectors by gated residual blocks.

    x: (n, d); t: (n, 1) in [0, 1]; context: (n, c) or None. Returns (n, d).

    Example
    -------
    >>> GatedResidualMLP(4, 1, width=8, blocks=1)(torch.zeros(7, 4), torch.zeros(7, 1), torch.zeros(7, 1)).shape
    torch.Size([7, 4])
    """

    def __init__(
        self,
        dim: int,
        context_dim: int = 0,
        *,
        width: int = 256,
        blocks: int = 4,
        time_frequencies: int = 3,
        context_frequencies: int = 9,
    ) -> None:
        super().__init__()
        self.time = HarmonicEmbedding(1, frequencies=time_frequencies)
        self.condition = HarmonicEmbedding(context_dim, frequencies=context_frequencies, octaves=True)
        given = self.time.width + self.condition.width
        self.enter = nn.Linear(dim + given, width)
        self.blocks = nn.ModuleList(_Block(width, given) for _ in range(blocks))
        self.leave = nn.Linear(width, dim)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        parts = [self.time(t)] if context is None else [self.time(t), self.condition(context)]
        given = torch.cat(parts, -1)
        h = self.enter(torch.cat([x, given], -1))
        for block in self.blocks:
            h = block(h, given)
        return self.leave(torch.relu(h))


class _Block(nn.Module):
    def __init__(self, width: int, given: int) -> None:
        super().__init__()
        self.gate = nn.Linear(given, width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor, given: Tensor) -> Tensor:
        change = self.second(torch.relu(self.first(torch.relu(h))))
        return torch.addcmul(h, change, torch.sigmoid(torch.relu(self.gate(given))))
