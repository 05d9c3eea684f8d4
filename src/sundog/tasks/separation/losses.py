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


@dataclass(frozen=True)
class Match:
    """<Phi(u + c_i)> = Phi(d): the recovered map, contaminated again, looks like the data."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Match:
        return self

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        mixed = measured(phi, u + draws)
        target = phi(d[None])[0] - (mixed.mean(0) - phi(u[None])[0])
        sigma = spread(mixed)
        return lambda x: phi.distance(phi(x[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        mixed = measured(phi, u + draws)
        # The mean over all draws at u corrects what the few draws miss of it.
        target = phi(d[None])[0] + mixed[:few].mean(0) - mixed.mean(0)
        sigma = spread(mixed)
        return lambda x: phi.distance(phi(x + draws[:few]).mean(0), target, sigma)


@dataclass(frozen=True)
class Residual:
    """Phi(d - u) = <Phi(c_i)>: what was taken away looks like the contamination."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Residual:
        return self

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        alone = measured(phi, draws)
        target, sigma = alone.mean(0), spread(alone)
        return lambda x: phi.distance(phi((d - x)[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        return self.in_era(phi, d, u, draws)


@dataclass(frozen=True, eq=False)
class Cross:
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

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        a = self.ancillary[None]
        mixed = measured_cross(phi, u + draws, a)
        target = phi.cross(d[None], a)[0] - (mixed.mean(0) - phi.cross(u[None], a)[0])
        sigma = spread(mixed)
        return lambda x: phi.distance(phi.cross(x[None], a)[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        a = self.ancillary[None]
        mixed = measured_cross(phi, u + draws, a)
        target, sigma = phi.cross(d[None], a)[0] + mixed[:few].mean(0) - mixed.mean(0), spread(mixed)
        return lambda x: phi.distance(phi.cross(x + draws[:few], a).mean(0), target, sigma)


@dataclass(frozen=True, eq=False)
class HalfMissions:
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
            raise SampleSizeError(
                "half-mission noise", got=f"{len(noise[0])} and {len(noise[1])} maps",
                expected=f"equally many, at least {FEWEST_DRAWS}", do="pass more noise maps",
            )  # fmt: skip
        if any(len(half) != len(d) for half in halves):
            raise ShapeError(
                "half missions and mixture differ in channels", got=len(halves[0]), expected=len(d),
                do="pass the same channels",
            )  # fmt: skip
        return HalfMissions(*halves, *noise)

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        mixed = measured_cross(phi, u + self.first_draws, u + self.second_draws)
        bias = mixed.mean(0) - phi.cross(u[None], u[None])[0]
        target, sigma = phi.cross(self.first[None], self.second[None])[0] - bias, spread(mixed)
        return lambda x: phi.distance(phi.cross(x[None], x[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        mixed = measured_cross(phi, u + self.first_draws, u + self.second_draws)
        target = phi.cross(self.first[None], self.second[None])[0] + mixed[:few].mean(0) - mixed.mean(0)
        sigma, one, two = spread(mixed), self.first_draws[:few], self.second_draws[:few]
        return lambda x: phi.distance(phi.cross(x + one, x + two).mean(0), target, sigma)


@dataclass(frozen=True)
class Independence:
    """Phi(u, d - u) = <Phi(u_0, c_i)>: signal and contamination are as unrelated as the signal and a fresh draw."""

    def prepared(self, d: Tensor, centre: Tensor, unit: Tensor) -> Independence:
        return self

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        alone = measured_cross(phi, u[None], draws)
        target, sigma = alone.mean(0), spread(alone)
        return lambda x: phi.distance(phi.cross(x[None], (d - x)[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        return self.in_era(phi, d, u, draws)


LOSSES = {"match": Match, "residual": Residual, "independence": Independence}
