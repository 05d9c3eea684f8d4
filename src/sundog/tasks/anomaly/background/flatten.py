"""Features whose marginals no longer know the mass: what is left for a generator to learn, and to interpolate.

    y_j = Phi^-1( F_j(x_j | m) ),    F_j the distribution of feature j at mass m

Sharp edges and ridges, and edges that move with the mass (the distance of two jets cannot exceed what the mass
allows), are gone: every y_j is standard normal at every mass. Linear correlations are taken out; the rest stays for
the generator.

F_j is known by its quantiles at fixed levels; each quantile is a polynomial in the logarithm of the mass, of the lowest
degree that describes the whole spectrum. A resonance is narrower than such a polynomial can follow: of a signal that
changes the marginals at its peak, a part of what its share would do is followed (docs/anomaly_methods.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.data.scaling import Scaling
from sundog.data.scaling.chain import named_scaling
from sundog.train.run import DensityRun, Run

HIGHEST = 5  # degree of the quantiles in ln m
CENTRAL = 2.0  # quantiles up to so many standard deviations decide the degree
SLACK = 2.0  # of Mallows' criterion: what a higher degree has to gain
LEVELS = 400  # quantiles of each feature, all masses together; a quarter as many at each mass
NODES = 65  # masses of the table: between two the quantiles are straight lines
BINS, FEWEST_IN_BIN = 60, 400  # of equal counts, in which quantiles are measured
RAREST = 2e-4  # probability beyond the last quantile of a mass; from there on the map only shifts
BEYOND = 20.0  # how far it shifts
APART = 1e-9  # between neighbouring quantiles, in standard deviations: equal numbers in the data have no slope


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Piecewise linear maps z -> y of each feature, one at every mass.

    Attributes
    ----------
    levels : (k,) increasing y
    table : (d, nodes, k) the z that become these y at equally spaced ln m; increasing along the last axis
    low, high : ln m of the first and the last node; masses beyond have the same map
    """

    levels: Tensor
    table: Tensor
    low: float
    high: float

    def forward(self, z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """y and dy/dz of z (n, d) at masses m (n,), float64."""
        where = self._where(m)
        below, above = torch.zeros_like(z, dtype=torch.long), torch.full_like(z, len(self.levels) - 1, dtype=torch.long)
        while bool((above - below > 1).any()):
            middle = (below + above) // 2
            left = z < self._quantile(middle, where)
            below, above = torch.where(left, below, middle), torch.where(left, middle, above)
        start, stop = self._quantile(below, where), self._quantile(below + 1, where)
        slope = (self.levels[below + 1] - self.levels[below]) / (stop - start)
        return self.levels[below] + (z - start) * slope, slope

    def inverse(self, y: Tensor, m: Tensor) -> Tensor:
        """z of y (n, d) at masses m (n,), float64."""
        where = self._where(m)
        k = (torch.bucketize(y, self.levels, right=True) - 1).clamp(0, len(self.levels) - 2)
        share = (y - self.levels[k]) / (self.levels[k + 1] - self.levels[k])
        return torch.lerp(self._quantile(k, where), self._quantile(k + 1, where), share)

    def _where(self, m: Tensor) -> tuple[Tensor, Tensor]:
        """The node below each mass (n, 1), and the share of the way to the next."""
        nodes = self.table.shape[1]
        place = (m.double().reshape(-1, 1).log() - self.low) / (self.high - self.low) * (nodes - 1)
        place = place.clamp(0, nodes - 1)
        node = place.floor().clamp(max=nodes - 2)
        return node.long(), place - node

    def _quantile(self, k: Tensor, where: tuple[Tensor, Tensor]) -> Tensor:
        """Quantiles number k (n, d) at the masses of the rows."""
        (d, nodes, count), (node, share) = self.table.shape, where
        at = (torch.arange(d) * nodes + node) * count + k
        flat = self.table.flatten()
        return torch.lerp(flat[at], flat[at + count], share)


@dataclass(frozen=True, eq=False)
class Flattening:
    """Invertible map between features x (n, d) and y (n, d), standard normal in every column at every mass m (n,).

    Attributes
    ----------
    scaling : applied first, fitted
    pooled : the map of all masses together; it takes the sharp edges away, so that what follows is smooth
    local : what is left to do at each mass
    mean, factor : (d,) and (d, d) lower triangular: of what then comes out, to take its correlations away

    Example
    -------
    >>> from sundog.simulate.densities import ResonantToy
    >>> toy = ResonantToy().background(20_000, seed=0)
    >>> flat = Flattening.fit(toy.values, toy.context[:, 0])
    >>> y = flat.forward(toy.values, toy.context[:, 0])
    >>> again = flat.inverse(y, toy.context[:, 0])
    >>> bool((y.std(0) - 1).abs().max() < 0.02), torch.allclose(again, toy.values, atol=1e-5)
    (True, True)
    """

    scaling: Scaling
    pooled: Quantiles
    local: Quantiles
    mean: Tensor
    factor: Tensor

    @staticmethod
    def fit(x: Tensor, m: Tensor, scaling: Scaling | None = None, highest: int = HIGHEST) -> Flattening:
        """The flattening of events x (n, d) with masses m (n,).

        Parameters
        ----------
        scaling : unfitted, standard when None
        highest : degree of the quantiles in ln m; 0 leaves the mass out
        """
        scaling = (scaling or named_scaling("standard")).fit(x)
        z = scaling.forward(x.double())
        pooled = _pooled(z)
        y, _ = pooled.forward(z, m)
        local = _local(y, m.double().log(), highest)
        y, _ = local.forward(y, m)
        covariance = torch.cov(y.T).reshape(x.shape[1], x.shape[1])
        return Flattening(scaling, pooled, local, y.mean(0), torch.linalg.cholesky(covariance + 1e-6 * torch.eye(
            x.shape[1], dtype=torch.float64)))

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """y (n, d), in the type of x."""
        y, _ = self.pooled.forward(self.scaling.forward(x.double()), m)
        y, _ = self.local.forward(y, m)
        return torch.linalg.solve_triangular(self.factor, (y - self.mean).T, upper=False).T.to(x.dtype)

    def inverse(self, y: Tensor, m: Tensor) -> Tensor:
        """x (n, d), in the type of y, never beyond the range of the data that were fitted."""
        mixed = y.double() @ self.factor.T + self.mean
        between = self.local.inverse(mixed, m).clamp(self.pooled.levels[0], self.pooled.levels[-1])
        return self.scaling.inverse(self.pooled.inverse(between, m)).to(y.dtype)

    def log_slope(self, x: Tensor, m: Tensor) -> Tensor:
        """log |det dy/dx| of each row, float64 (n,); -inf outside the range of the data."""
        z = self.scaling.forward(x.double())
        y, first = self.pooled.forward(z, m)
        _, second = self.local.forward(y, m)
        inside = ((y >= self.pooled.levels[0]) & (y <= self.pooled.levels[-1])).all(1)
        total = (first.log() + second.log()).sum(1) + self.scaling.log_abs_det(x.double())
        return (total - self.factor.diagonal().log().sum()).masked_fill(~inside, -torch.inf)

    def applied(self, events: Dataset) -> Dataset:
        """The events (with their masses as context) with flattened features."""
        return self._with(events, self.forward)

    def restored(self, events: Dataset) -> Dataset:
        """Events with flattened features, in the units of the data again."""
        return self._with(events, self.inverse)

    def _with(self, events: Dataset, move: Callable[[Tensor, Tensor], Tensor]) -> Dataset:
        assert events.context is not None  # every dataset of a search carries its mass
        return replace(events, values=move(events.values, events.context[:, 0]))


def _pooled(z: Tensor) -> Quantiles:
    """The map that makes every column of z (n, d) standard normal, from its smallest number to its largest."""
    n = len(z)
    ordered = z.sort(0).values
    end = float(torch.special.ndtri(torch.tensor(0.5 / n, dtype=torch.float64)))
    levels = torch.linspace(end, -end, LEVELS, dtype=torch.float64)
    place = (torch.special.ndtr(levels) * n - 0.5).clamp(0, n - 1)
    first = place.floor().long().clamp(max=n - 2)
    quantiles = torch.lerp(ordered[first], ordered[first + 1], (place - first)[:, None])
    return Quantiles(levels, _increasing(quantiles.T[:, None].expand(-1, 2, -1)), 0.0, 1.0)


def _local(y: Tensor, log_m: Tensor, highest: int) -> Quantiles:
    """The map that makes every column of y (n, d), nearly standard normal, so at every mass."""
    bins = max(highest + 2, min(BINS, len(y) // FEWEST_IN_BIN))
    rarest = torch.tensor(min(0.1, max(RAREST, 3 * bins / len(y))), dtype=torch.float64)
    end = -float(torch.special.ndtri(rarest))
    levels = torch.linspace(-end, end, LEVELS // 4, dtype=torch.float64)
    parts = torch.argsort(log_m).tensor_split(bins)
    centres = torch.stack([log_m[p].mean() for p in parts])
    low, high = float(centres[0]), float(centres[-1])
    share = torch.special.ndtr(levels)
    measured = torch.stack([torch.quantile(y[p], share, dim=0) for p in parts]).permute(2, 0, 1)  # (d, bins, k)
    known = _powers(2 * (centres - low) / (high - low) - 1, highest)
    wanted = _powers(torch.linspace(-1, 1, NODES, dtype=torch.float64), highest)
    table = torch.stack([_smooth(known, q, wanted, levels.abs() < CENTRAL) for q in measured])
    table = _increasing(table)
    table = torch.cat([table[..., :1] - BEYOND, table, table[..., -1:] + BEYOND], -1)
    return Quantiles(torch.cat([levels[:1] - BEYOND, levels, levels[-1:] + BEYOND]), table.contiguous(), low, high)


def _smooth(known: Tensor, measured: Tensor, wanted: Tensor, central: Tensor) -> Tensor:
    """Quantiles at the nodes (nodes, k) from those in bins (bins, k), by polynomials of the lowest degree that will do.

    Mallows' C_p = RSS / s^2 - bins + 2 (degree + 1), with s^2 from the highest degree, summed over central quantiles.
    """
    bins, count = known.shape
    fits = [torch.linalg.lstsq(known[:, : d + 1], measured).solution for d in range(count)]
    left = torch.stack([(known[:, : d + 1] @ fit - measured)[:, central].square().sum() for d, fit in enumerate(fits)])
    noise = (left[-1] / (bins - count)).clamp(min=1e-30)
    worth = left / noise + 2 * torch.arange(1, count + 1)
    degree = int((worth <= worth.min() + SLACK).nonzero()[0])
    return wanted[:, : degree + 1] @ fits[degree]


def _increasing(table: Tensor) -> Tensor:
    return table.cummax(-1).values + APART * torch.arange(table.shape[-1])


@dataclass(frozen=True, eq=False, repr=False)
class FlatRun(DensityRun):
    """A run that was trained on flattened features; it draws and judges events in the units of the data."""

    flat: Flattening | None = None

    @staticmethod
    def of(run: Run, flat: Flattening) -> FlatRun:
        """The run, trained on features that ``flat`` has flattened, in the units of the data."""
        return FlatRun(**{f.name: getattr(run, f.name) for f in fields(run)}, flat=flat)

    def sample(self, n: int, context: Any = None, seed: int = 0, **options: Any) -> Dataset:
        """n fakes in physical units; see ``Run.sample``."""
        drawn = super().sample(n, context, seed, **options)
        return drawn if self.flat is None else self.flat.restored(drawn)

    def log_prob(self, dataset: Dataset) -> Tensor:
        """Natural log of the density of each row in physical units, (n,), float64; see ``DensityRun.log_prob``."""
        if self.flat is None:
            return super().log_prob(dataset)
        rows = self._aligned(dataset)
        assert rows.context is not None  # made of events with masses
        return super().log_prob(self.flat.applied(rows)) + self.flat.log_slope(rows.values, rows.context[:, 0])


def _powers(u: Tensor, degree: int) -> Tensor:
    """Chebyshev polynomials 0..degree at u (n,) in [-1, 1]: (n, degree + 1)."""
    return torch.cos(torch.arange(degree + 1) * torch.arccos(u.clamp(-1, 1))[:, None])
