"""Optimal transport between the two sides of a gap in the context, read off along the paths.

    pi = argmin sum_ij pi_ij |x_i - y_j|^2,    x(m) = (1 - t) x_i + t y_j,    t = (m - m_i) / (m_j - m_i)

with x_i of context m_i below the gap and y_j of context m_j above it. Nothing is trained. A finite sample has no exact
partner for x_i, only a near one: the path then carries noise that narrows the law half-way (a third of the events
beyond 3 sigma are missing with batches of 1000 in four dimensions), and tails are what a search looks at. So the
way d(x) = y - x is averaged over neighbours, and events of both sides are carried along it, x + t d(x) or
y - (1 - t) d(y).

Source: Leigh, Sengupta, Nachman & Golling 2024 (RAD-OT), abstract; slices and neighbours are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sundog.errors import ShapeError
from sundog.models.base import Model, Objective, RowNoise
from sundog.models.transport.movers import one_context
from sundog.random import stream
from sundog.statistics.samples.distance import energy_distance


class OptimalPairs(Model):
    """Events interpolated along optimal-transport paths across a gap of the context. Nothing is trained.

    Both sides are cut into ``slices`` of equally many rows, ordered outwards from the gap, and slice k below is paired
    with slice k above, batch by batch.

    Parameters
    ----------
    shape : (d,)
    context_dim : 1, the mass
    split : the context at which the gap lies
    slices, batch : of each side; rows paired at once
    neighbours : over which the way is averaged; 1 for the straight path from each row to its partner
    pairing : seed of the batches

    Example
    -------
    >>> model = OptimalPairs((1,), 1, slices=1, batch=2, neighbours=1)
    >>> model.prepare(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[-1.0], [-1.0], [1.0], [1.0]]))
    >>> drawn = model.sample(50, torch.zeros(50, 1), torch.Generator().manual_seed(0))
    >>> sorted(set(drawn[:, 0].tolist()))
    [1.0, 2.0]
    """

    family: ClassVar[str] = "optimal pairs"

    def __init__(self, shape: Sequence[int], context_dim: int = 1, *, split: float = 0.0, slices: int = 8,
                 batch: int = 1000, neighbours: int = 100, pairing: int = 0) -> None:
        super().__init__()
        self.split, self.slices, self.batch, self.neighbours, self.pairing = split, slices, batch, neighbours, pairing
        self.pairs: tuple[Tensor, ...] = ()

    def config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("split", "slices", "batch", "neighbours", "pairing")}

    def objectives(self) -> list[Objective]:
        return []

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Pair the rows x (n, d) below the gap with those above."""
        mass = one_context(context)[:, 0].double()
        outwards = [torch.nonzero(side)[:, 0] for side in (mass < self.split, mass > self.split)]
        outwards = [rows[(mass[rows] - self.split).abs().argsort()] for rows in outwards]
        parts = []
        for k, (low, high) in enumerate(zip(*[rows.tensor_split(self.slices) for rows in outwards])):
            for i, j in _paired(x, low, high, self.batch, stream(self.pairing, "pairs", k)):
                way = x[j] - x[i]
                parts.append((i, j, self._averaged(way, x[i]), self._averaged(way, x[j])))
        i, j, from_low, from_high = (torch.cat(part) for part in zip(*parts))
        self.pairs = x[i], x[j], mass[i], mass[j], from_low, from_high

    def draw(self, noise: RowNoise, context: Tensor | None) -> Tensor:
        """Rows (n, d) on the paths of pairs drawn with replacement, read off at the context (n, 1)."""
        x, y, start, end, from_low, from_high = self.pairs
        pick = noise.choice(len(x))
        t = ((one_context(context)[:, 0] - start[pick]) / (end - start)[pick]).to(x.dtype)[:, None]
        # The nearer side more often: at either end its events are carried nowhere.
        lower = noise.uniform(1) >= t
        return torch.where(lower, x[pick] + t * from_low[pick], y[pick] - (1 - t) * from_high[pick])

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Energy distance of held-out rows and rows read off at their contexts."""
        return energy_distance(x, self.sample(len(x), context, stream(self.pairing, "score", 0)))

    def _averaged(self, way: Tensor, place: Tensor) -> Tensor:
        """The way (n, d) averaged over the nearest places (n, d), each its own nearest."""
        if self.neighbours == 1:
            return way
        near = torch.cdist(place, place).topk(min(self.neighbours, len(place)), largest=False).indices
        return way[near].mean(1)


def optimal_pairs(x: Tensor, y: Tensor) -> Tensor:
    """The partner of each row of x among the rows of y, (n,) indices, each used once.

    argmin over permutations s of sum_i |x_i - y_s(i)|^2: for equally many points of equal weight the optimal
    transport plan is such a permutation.

    x, y : (n, d)

    Example
    -------
    >>> optimal_pairs(torch.tensor([[0.0], [5.0]]), torch.tensor([[6.0], [1.0]])).tolist()
    [1, 0]
    """
    if x.shape != y.shape or x.ndim != 2:
        raise ShapeError("points cannot be paired", got=f"{tuple(x.shape)} and {tuple(y.shape)}",
                         expected="(n, d) twice", do="draw as many points from each side")
    cost = torch.cdist(x.double(), y.double()).square()
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _paired(x: Tensor, low: Tensor, high: Tensor, batch: int, generator: torch.Generator
            ) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of rows and their partners; the smaller side is used again until the larger one is spent."""
    n = max(len(low), len(high))
    batch = min(batch, len(low), len(high))
    order = [torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-n // len(rows)))])
             for rows in (low, high)]
    for first in range(0, n - batch + 1, batch):
        i, j = order[0][first : first + batch], order[1][first : first + batch]
        yield i, j[optimal_pairs(x[i], x[j])]
