"""The residual network gated by its context: the velocity field published with SIGMA, and its interpolation.

h_0 = relu(W [x, e]);   h_{b+1} = h_b + (U_b relu(T_b relu(h_b))) * sigmoid(g_b);   v = V relu(h_last)

with g_b = relu(G_b e) and e the harmonics of time and context. Batch-norm and dropout of the publication are left out:
running means smooth the weights already, and without them one row's velocity does not depend on its neighbours.

Source: the layout published with SIGMA (Das & Shih 2024): 4 blocks of width 256, about 0.56 million parameters
for four features; harmonics k = 1..3 of the time and octaves 0..8 of the mass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sundog.errors import OptionError
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
        given = self.given(t, context)
        return self.onward(torch.relu(self.enter(torch.cat([x, given], -1))), self.gates(given))

    def given(self, t: Tensor, context: Tensor | None) -> Tensor:
        """The harmonics e of time (n, 1) and context (n, c): (n, k)."""
        return self.time(t) if context is None else torch.cat([self.time(t), self.condition(context)], -1)

    def gates(self, given: Tensor) -> list[Tensor]:
        """The context activations g_b of every block, each (n, width)."""
        return [torch.relu(block.gate(given)) for block in self.blocks]  # type: ignore[union-attr, operator]

    def onward(self, h: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """v (n, d) from the entrance activations h_0 (n, width) and the context activations."""
        for block, gate in zip(self.blocks, gates):
            h = block(h, gate)
        return self.leave(torch.relu(h))


class _Block(nn.Module):
    def __init__(self, width: int, given: int) -> None:
        super().__init__()
        self.gate = nn.Linear(given, width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor, gate: Tensor) -> Tensor:
        change = self.second(torch.relu(self.first(torch.relu(h))))
        return torch.addcmul(h, change, torch.sigmoid(gate))


class InterpolatedField(nn.Module):
    """A velocity field between two contexts c_1 and c_2, made of what a trained field knows at these two alone.

    With s = (c - c_2) / (c_1 - c_2) for each row:

        linear :  v(x, t, c) = s v(x, t, c_1) + (1 - s) v(x, t, c_2)
        context:  h_0 and g_b of the gated network are so interpolated, and the rest of the network runs once

    ``context`` costs one pass through the blocks, and its gates are those of two contexts, not of n.

    Parameters
    ----------
    field : a trained network of one context column; for ``context`` a ``GatedResidualMLP``
    first, second : c_1 and c_2, in the units of the field's context

    Called with x (n, d), t (n, 1) **equal in all rows**, as a solver does, and context (n, 1). Returns (n, d).

    Source: Das & Shih 2024 (SIGMA).

    Example
    -------
    >>> net = GatedResidualMLP(2, 1, width=8, blocks=1, context_frequencies=2)
    >>> x, t, c = torch.zeros(3, 2), torch.zeros(3, 1), torch.full((3, 1), 0.7)
    >>> between = InterpolatedField(net, 0.7, 1.5, how="context")
    >>> torch.allclose(between(x, t, c), net(x, t, c), atol=1e-6)   # nothing to interpolate at the ends
    True
    """

    first: Tensor
    second: Tensor

    def __init__(self, field: nn.Module, first: float, second: float, *, how: str = "context") -> None:
        super().__init__()
        if how not in ("linear", "context") or first == second:
            raise OptionError("interpolation is unusable", got=f"'{how}' between {first:g} and {second:g}",
                              expected="linear | context, between two different contexts", do="pass how='context'")
        if how == "context" and not isinstance(field, GatedResidualMLP):
            raise OptionError("only a gated network has context activations", got=type(field).__name__,
                              expected="GatedResidualMLP", do="fit with network='residual', or pass how='linear'")
        self.field, self.how = field, how
        self.register_buffer("first", torch.tensor([[first]], dtype=torch.float32), persistent=False)
        self.register_buffer("second", torch.tensor([[second]], dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        share = (context - self.second) / (self.first - self.second)
        if self.how == "linear":
            far, near = (self.field(x, t, c.expand(len(x), 1)) for c in (self.second, self.first))
            return torch.lerp(far, near, share.to(far.dtype))
        net = self.field
        assert isinstance(net, GatedResidualMLP)  # checked at the door
        # One row of harmonics per end: time and end are the same for all rows, so only x @ W is done n times.
        given = [net.given(t[:1], c) for c in (self.second, self.first)]
        weight, d = net.enter.weight, x.shape[1]
        shared = x @ weight[:, :d].T
        share = share.to(shared.dtype)  # autocast has chosen it
        far, near = (torch.relu(shared + nn.functional.linear(e, weight[:, d:], net.enter.bias)) for e in given)
        gates = [torch.lerp(a, b, share) for a, b in zip(*(net.gates(e) for e in given))]
        return net.onward(torch.lerp(far, near, share), gates)
