"""RAD-OT: events of the two sidebands paired by optimal transport, and read off between them.

    pi = argmin sum_ij pi_ij |x_i - y_j|^2,    x(m) = (1 - t) x_i + t y_j,    t = (m - m_i) / (m_j - m_i)

with x_i of mass m_i below the window and y_j of mass m_j above it. Nothing is trained. A finite sample has no exact
partner for x_i, only a near one: the path then carries noise that narrows the law half-way (a third of the events
beyond 3 sigma are missing with batches of 1000 in four dimensions), and tails are what a search looks at. So the
way d(x) = y - x is averaged over neighbours, and events of both sides are carried along it, x + t d(x) or
y - (1 - t) d(y).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.models.classifier import Classifier
from sundog.random import stream
from sundog.tasks.anomaly.background.transport import Carry, TransportDetector, TransportTemplate
from sundog.tasks.anomaly.regions import FEWEST_BESIDE, SignalRegion, mass_column


@dataclass(eq=False)
class RadOT(TransportDetector):
    """Classifier between the data and events interpolated along optimal-transport paths through the window.

    Both sidebands are cut into ``slices`` of equally many events, ordered outwards from the window, and slice k
    below is paired with slice k above, batch by batch: events of one slice have nearly one mass, so the pairing
    cannot mistake the trend within a sideband for the change across the window. Assumes that p(x | m) changes
    linearly *along the paths*, as under a shift of the mean or a change of resolution.

    Parameters
    ----------
    region : the signal region
    seed : of batches, samples and classifier
    reach : how far beyond the window events are used; the whole sidebands when None
    slices : of each sideband
    batch : events paired at once; pairs are closer in larger batches, time grows as its square and more
    neighbours : over which the way is averaged; 1 for the published straight path from each event to its partner
    oversampling : template events per data event inside the window
    members : boostings in the ensemble
    masses : law of the template's masses, ``smooth`` or the published ``histogram`` and ``kde``
    with_mass : whether the classifier also sees the mass (risks sculpting the spectrum)
    check : whether to test the template on sideband events; beyond a pair's masses the paths are extended there

    Source: Leigh, Sengupta, Nachman & Golling 2024 (RAD-OT), abstract; slices and neighbours are ours.

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> events = ResonantToy().events(6000, 0.05, seed=0)
    >>> search = RadOT(SignalRegion(3.3, 3.7), members=1).fit(events)
    >>> search.score_samples(events[:5]).shape, len(search.sample_background(10, seed=1))
    (torch.Size([5]), 10)
    """

    region: SignalRegion
    seed: int = 0
    reach: float | None = None
    slices: int = 8
    batch: int = 1000
    neighbours: int = 100
    oversampling: float = 3.0
    members: int = 10
    masses: str = "smooth"
    with_mass: bool = False
    check: bool = True
    template_: TransportTemplate | None = None
    classifier_: Classifier | None = None

    def __post_init__(self) -> None:
        if self.slices < 1 or self.batch < 2 or self.neighbours < 1:
            raise OptionError("RAD-OT cannot pair events", expected="slices >= 1, batch >= 2, neighbours >= 1",
                              got=f"slices {self.slices}, batch {self.batch}, neighbours {self.neighbours}",
                              do="leave them at 8, 1000 and 100")

    def learn(self, beside: Dataset) -> Carry:
        """Pairs of sideband events, and the way to read them at a mass."""
        mass = mass_column(beside)
        below, above = mass <= self.region.lo, mass >= self.region.hi
        if min(int(below.sum()), int(above.sum())) < FEWEST_BESIDE // 2:
            raise SampleSizeError("too few events within reach of the window", expected=f"{FEWEST_BESIDE} on each side",
                                  got=f"{int(below.sum())} and {int(above.sum())}", do="pass a longer reach")
        outwards = [torch.nonzero(side)[:, 0] for side in (below, above)]
        outwards = [rows[(mass[rows] - self.region.centre).abs().argsort()] for rows in outwards]
        size = beside.values / beside.values.std(0)
        parts = []
        for k, (low, high) in enumerate(zip(*[rows.tensor_split(self.slices) for rows in outwards])):
            for i, j in _paired(size, low, high, self.batch, stream(self.seed, "pairs", k)):
                way = beside.values[j] - beside.values[i]
                parts.append((i, j, self._averaged(way, size[i]), self._averaged(way, size[j])))
        i, j, from_low, from_high = (torch.cat(part) for part in zip(*parts))
        x, y, m_i, m_j = beside.values[i], beside.values[j], mass[i], mass[j]

        def carry(m: Tensor, seed: int) -> Tensor:
            g = stream(seed, "carry", 0)
            pick = torch.randint(len(i), (len(m),), generator=g)
            t = ((m - m_i[pick]) / (m_j - m_i)[pick]).float()[:, None]
            # The nearer side more often: at either end its events are carried nowhere.
            lower = torch.rand(len(m), 1, generator=g) >= t
            return torch.where(lower, x[pick] + t * from_low[pick], y[pick] - (1 - t) * from_high[pick])

        return carry

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
