"""What must hold at the truth: losses that are means of squared pulls, 1 in expectation at the true signal.

    Match         <Phi(u + c_i)> = Phi(d)
    Residual      Phi(d - u) = <Phi(c_i)>
    Cross         <Phi(u + c_i, a)> = Phi(d, a)                  with ancillary data a
    HalfMissions  <Phi(u + c1_i, u + c2_i)> = Phi(d1, d2)        with two measurements of the same signal
    Independence  Phi(u, d - u) = <Phi(u_0, c_i)>                signal and contamination know nothing of each other

Each coefficient is divided by its standard deviation over the draws. In an era sigma and the bias,
b = <Phi(u_0 + c_i)> - Phi(u_0), are held fixed, so that a loss costs one transform instead of one per draw.

Source: Regaldo-Saint Blancard et al. 2021, A&A 649, L18 (Match, averaged); Delouis et al. 2022, A&A 668, A122 (bias,
half missions, variances); Auclair et al. 2024, A&A 681, A1 (Residual, Cross, Independence).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from sundog.errors import DataError, SampleSizeError, ShapeError
from sundog.tasks.separation.phi import Statistics, measured, measured_cross, spread
from sundog.tasks.separation.sources import FEWEST_DRAWS, as_maps

Measure = Callable[[Tensor], Tensor]  # map (C, ny, nx) -> loss


class Loss(Protocol):
    """What `separate` asks of a loss: functions of the map whose expected value at the truth is 1."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Loss:
        """The loss with its own maps checked against d (C, ny, nx), in the units of the solver, (x - centre) / unit."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        """The loss around map u (C, ny, nx), cheap to evaluate many times; draws (n, C, ny, nx)."""

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        """The same with true averages over ``few`` of the draws."""


class Mixed(ABC):
    """A loss on mixtures of the map with contaminations: <F(u, c_i)> = F_data."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Mixed:
        return self

    @abstractmethod
    def data(self, phi: Statistics, d: Tensor) -> Tensor:
        """F of the data (K,)."""

    @abstractmethod
    def mixed(self, phi: Statistics, u: Tensor, draws: Tensor | None, few: int | None = None) -> Tensor:
        """F of the map with each of the (first ``few``) contaminations (n, K), or alone (1, K) without draws."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        mixed = self.mixed(phi, u, draws)
        target = self.data(phi, d) - (mixed.mean(0) - self.mixed(phi, u, None)[0])
        sigma = spread(mixed)
        return lambda x: phi.distance(self.mixed(phi, x, None)[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        mixed = self.mixed(phi, u, draws)
        # The mean over all draws at u corrects what the few draws miss of it.
        target, sigma = self.data(phi, d) + mixed[:few].mean(0) - mixed.mean(0), spread(mixed)
        return lambda x: phi.distance(self.mixed(phi, x, draws, few).mean(0), target, sigma)


@dataclass(frozen=True)
class Match(Mixed):
    """<Phi(u + c_i)> = Phi(d): the recovered map, contaminated again, looks like the data."""

    def data(self, phi: Statistics, d: Tensor) -> Tensor:
        return phi(d[None])[0]

    def mixed(self, phi: Statistics, u: Tensor, draws: Tensor | None, few: int | None = None) -> Tensor:
        return phi(u[None]) if draws is None else measured(phi, u + draws[:few])


@dataclass(frozen=True, eq=False)
class Cross(Mixed):
    """<Phi(u + c_i, a)> = Phi(d, a): with ancillary data the recovered map shares what the data share.

    Parameters
    ----------
    ancillary : (ny, nx) or (C', ny, nx) maps that know of the signal and not of the contamination (a gas tracer for
        dust), in any unit
    """

    ancillary: Any

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Cross:
        maps = as_maps(self.ancillary, tuple(d.shape[1:]), "ancillary maps").to(d)
        width = maps.std((-2, -1), keepdim=True)
        if not bool((width > 0).all()):
            raise DataError("a constant ancillary map", got="one value", expected="a map that varies", do="drop it")
        return Cross((maps - maps.mean((-2, -1), keepdim=True)) / width)

    def data(self, phi: Statistics, d: Tensor) -> Tensor:
        return phi.cross(d[None], self.ancillary[None])[0]

    def mixed(self, phi: Statistics, u: Tensor, draws: Tensor | None, few: int | None = None) -> Tensor:
        return measured_cross(phi, u[None] if draws is None else u + draws[:few], self.ancillary[None])


@dataclass(frozen=True, eq=False)
class HalfMissions(Mixed):
    """<Phi(u + c1_i, u + c2_i)> = Phi(d1, d2): two measurements share the signal and not their noise.

    Parameters
    ----------
    first, second : maps d1, d2 shaped like the mixture, in its unit
    first_draws, second_draws : (n, ...) contaminations c1_i, c2_i of each, in its unit
    """

    first: Any
    second: Any
    first_draws: Any
    second_draws: Any

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> HalfMissions:
        size = tuple(d.shape[1:])
        halves = [(as_maps(m, size, "half-mission maps").to(d) - centre) / unit for m in (self.first, self.second)]
        noise = [as_maps(m, size, "half-mission noise", len(d)).to(d) / unit
                 for m in (self.first_draws, self.second_draws)]  # fmt: skip
        if min(len(n) for n in noise) < FEWEST_DRAWS or len(noise[0]) != len(noise[1]):
            raise SampleSizeError("half-mission noise", got=f"{len(noise[0])} and {len(noise[1])} maps",
                                  expected=f"equally many, at least {FEWEST_DRAWS}", do="pass more noise maps")
        if any(len(half) != len(d) for half in halves):
            raise ShapeError("half missions and mixture differ in channels", got=len(halves[0]), expected=len(d),
                             do="pass the same channels")
        return HalfMissions(*halves, *noise)

    def data(self, phi: Statistics, d: Tensor) -> Tensor:
        return phi.cross(self.first[None], self.second[None])[0]

    def mixed(self, phi: Statistics, u: Tensor, draws: Tensor | None, few: int | None = None) -> Tensor:
        if draws is None:
            return phi.cross(u[None], u[None])
        return measured_cross(phi, u + self.first_draws[:few], u + self.second_draws[:few])


class Apart(ABC):
    """A loss on the map and what is taken away, against draws of the contamination; it has no bias to correct."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Apart:
        return self

    @abstractmethod
    def apart(self, phi: Statistics, u: Tensor, rest: Tensor) -> Tensor:
        """Statistics (n, K) of the map and of residuals or draws (n, C, ny, nx)."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        alone = self.apart(phi, u, draws)
        target, sigma = alone.mean(0), spread(alone)
        return lambda x: phi.distance(self.apart(phi, x, (d - x)[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        return self.in_era(phi, d, u, draws)


@dataclass(frozen=True)
class Residual(Apart):
    """Phi(d - u) = <Phi(c_i)>: what was taken away looks like the contamination."""

    def apart(self, phi: Statistics, u: Tensor, rest: Tensor) -> Tensor:
        return measured(phi, rest)


@dataclass(frozen=True)
class Independence(Apart):
    """Phi(u, d - u) = <Phi(u_0, c_i)>: signal and contamination are as unrelated as the signal and a fresh draw."""

    def apart(self, phi: Statistics, u: Tensor, rest: Tensor) -> Tensor:
        return measured_cross(phi, u[None], rest)


LOSSES = {"match": Match, "residual": Residual, "independence": Independence}
