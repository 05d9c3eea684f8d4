"""Curved scalings: logit for bounded features; log-modulus, asinh and tanh for heavy tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import (
    Numbers,
    along,
    columns_of,
    given,
    median,
    moments,
    numbers_of,
    per_number,
    positive,
    scale,
)
from sundog.data.scaling.contract import Scaling
from sundog.data.scaling.edges import edges
from sundog.errors import OptionError

_TANH_END = 8.0


@dataclass(frozen=True)
class ClippedLogit(Scaling):
    """z = ln(u / (1 - u)),  u = epsilon + (1 - 2 epsilon) (x - low) / (high - low),  low <= x <= high.

    ``low`` and ``high`` are the extremes of the training data (``edges="hard"``). With ``edges="auto"`` they lie a
    hair beyond the extreme where the data pile up against it, and a whole range beyond where they thin out: a mass
    that begins at zero keeps its edge, a Gaussian is left nearly as it is. The unit interval is squeezed into
    [epsilon, 1 - epsilon] rather than cut there: minimum and maximum of the training data then come back
    exactly and have a finite density. Numbers outside [low, high] are clipped to it (``outside`` counts
    them) and have density zero; the inverse never leaves [low, high].

    What a hard edge is, and what a hair: ``sundog.data.scaling.edges.edges_of``.
    """

    epsilon: float = 1e-6
    edges: str = "hard"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 0.5:
            raise OptionError("epsilon out of range", got=self.epsilon, expected="0 < epsilon < 0.5", do="use 1e-6")
        if self.edges not in ("hard", "auto"):
            raise OptionError("unknown edges", got=self.edges, expected="hard | auto", do="choose one of these")

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = columns_of(x, names), per_number(weights, x)
        if self.edges == "hard":
            return replace(self, low=numbers_of(columns.amin(1)), high=numbers_of(columns.amax(1)))
        found = [edges(column, weights) for column in columns]
        return replace(self, low=tuple(low for (low, _), _ in found), high=tuple(high for _, (high, _) in found))

    def _unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u and 1 - u, each without cancellation near its own end."""
        low, high = along(self.low, x), along(self.high, x)
        stretch = (1 - 2 * self.epsilon) / (high - low)
        x = x.clamp(low, high)
        return self.epsilon + stretch * (x - low), self.epsilon + stretch * (high - x)

    def _forward(self, x: Tensor) -> Tensor:
        u, rest = self._unit(x)
        return u.log() - rest.log()

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        low, high = along(self.low, z), along(self.high, z)
        from_low = (torch.sigmoid(z) - self.epsilon) / (1 - 2 * self.epsilon) * (high - low)
        from_high = (torch.sigmoid(-z) - self.epsilon) / (1 - 2 * self.epsilon) * (high - low)
        return torch.where(z < 0, low + from_low, high - from_high).clamp(low, high)

    def _log_slope(self, x: Tensor) -> Tensor:
        low, high = along(self.low, x), along(self.high, x)
        u, rest = self._unit(x)
        slope = math.log1p(-2 * self.epsilon) - (high - low).log() - u.log() - rest.log()
        return slope.masked_fill((x < low) | (x > high), -math.inf)


@dataclass(frozen=True)
class LogModulus(Scaling):
    """z = sign(x) ln(|x| / sigma + 1) / std: linear below sigma, logarithmic above, sign kept.

    ``sigma`` is one number, one per column, or None (fitted: the standard deviation of x, or
    half the width of its middle 68 % where a few numbers far out make the deviation 20 times as large); ``std`` is the
    fitted standard deviation of the logarithm. Add ``Standard`` in a ``Chain`` to take the mean out.

    Source: John & Draper 1980 (modulus transformation); sigma as in Han, Sehgal & Villaescusa-Navarro 2021.
    """

    sigma: Numbers = None
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", positive("sigma", self.sigma))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = columns_of(x, names), per_number(weights, x)
        sigma = given(self.sigma, columns, "sigma")
        sigma = scale(columns, weights) if sigma is None else sigma
        log = columns.sign() * torch.log1p(columns.abs() / sigma[:, None])
        return replace(self, sigma=numbers_of(sigma), std=numbers_of(moments(log, weights)[1]))

    def _forward(self, x: Tensor) -> Tensor:
        return x.sign() * torch.log1p(x.abs() / along(self.sigma, x)) / along(self.std, x)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return z.sign() * torch.expm1(z.abs() * along(self.std, z)) * along(self.sigma, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return -(x.abs() + along(self.sigma, x)).log() - along(self.std, x).log()


@dataclass(frozen=True)
class Asinh(Scaling):
    """z = asinh(x / softening): linear within the softening, logarithmic beyond it, negatives kept.

    ``softening`` is one number, one per column, or None (fitted: 3 robust rms, 3 x 1.4826 median
    |x - median|; 3 standard deviations where more than half of the numbers are equal).

    Source: Lupton, Gunn & Szalay 1999, eq. 3 (asinh magnitudes).
    """

    softening: Numbers = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "softening", positive("softening", self.softening))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = columns_of(x, names), per_number(weights, x)
        softening = given(self.softening, columns, "softening")
        if softening is None:
            robust = 1.4826 * median((columns - median(columns, weights)[:, None]).abs(), weights)
            softening = 3 * torch.where(robust > 0, robust, moments(columns, weights)[1])
        return replace(self, softening=numbers_of(softening))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x / along(self.softening, x))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return torch.sinh(z) * along(self.softening, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return -torch.hypot(x, along(self.softening, x)).log()


@dataclass(frozen=True)
class ScaledTanh(Scaling):
    """z = tanh(x / scale), bounded to (-1, 1), for |x| <= 8 scale.

    ``scale`` is one number, one per column, or None (fitted: 3 standard deviations). Numbers beyond
    8 scale are clipped to it (``outside`` counts them) and have density zero: float32 cannot tell tanh(9)
    from 1. Near the ends little survives the rounding of z: the error bound of this module is 0.002 % of x
    at 4 scale, and 3 % at 8 scale. Prefer ``Asinh`` or ``LogModulus`` for heavy tails.
    """

    scale: Numbers = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", positive("scale", self.scale))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns = columns_of(x, names)
        width = given(self.scale, columns, "scale")
        width = 3 * scale(columns, per_number(weights, x)) if width is None else width
        return replace(self, scale=numbers_of(width))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x / along(self.scale, x)).clamp(-_TANH_END, _TANH_END))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        end = math.tanh(_TANH_END)
        return torch.atanh(z.clamp(-end, end)).clamp(-_TANH_END, _TANH_END) * along(self.scale, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        scale = along(self.scale, x)
        y = (x / scale).abs()
        slope = 2 * (math.log(2) - y - torch.log1p(torch.exp(-2 * y)))  # ln(1 / cosh^2 y), no cancellation
        return (slope - scale.log()).masked_fill(y > _TANH_END, -math.inf)
