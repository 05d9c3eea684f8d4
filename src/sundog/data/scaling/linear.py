"""Linear scalings: identity, standard, and minimum to maximum, per set or per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import (
    along,
    check_ends,
    columns_of,
    moments,
    numbers_of,
    per_number,
    planes,
    without_far,
)
from sundog.data.scaling.contract import Scaling
from sundog.errors import DataError, OptionError, ShapeError


@dataclass(frozen=True)
class Identity(Scaling):
    """z = x."""

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        return self

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return z

    def _log_slope(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Standard(Scaling):
    """z = (x - mean) / std, with the (weighted) mean and standard deviation of the training data.

    In events, the numbers beyond 100 half widths of the middle 68 % have no say where they are less than 1 % of a
    column: one absurd number among thousands sets no scale. Maps of few bright pixels keep the plain moments.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = columns_of(x, names), per_number(weights, x)
        if x.ndim == 2:
            columns = without_far(columns, weights)
        mean, std = moments(columns, weights)
        return replace(self, mean=numbers_of(mean), std=numbers_of(std))

    def _forward(self, x: Tensor) -> Tensor:
        return (x - along(self.mean, x)) / along(self.std, x)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return along(self.mean, z) + along(self.std, z) * z

    def _log_slope(self, x: Tensor) -> Tensor:
        return -along(self.std, x).log().expand_as(x)


@dataclass(frozen=True)
class MinMaxPerSet(Scaling):
    """z = bottom + (top - bottom) (x - low) / (high - low), with the extremes of the training set."""

    bottom: float = -1.0
    top: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_ends(self.bottom, self.top)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns = columns_of(x, names)
        return replace(self, low=numbers_of(columns.amin(1)), high=numbers_of(columns.amax(1)))

    def _stretch(self, x: Tensor) -> Tensor:
        return (self.top - self.bottom) / (along(self.high, x) - along(self.low, x))

    def _forward(self, x: Tensor) -> Tensor:
        return self.bottom + self._stretch(x) * (x - along(self.low, x))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return along(self.low, z) + (z - self.bottom) / self._stretch(z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return self._stretch(x).log().expand_as(x)


@dataclass(frozen=True)
class MinMaxPerImage(Scaling):
    """z = bottom + (top - bottom) (x - low_k) / (high_k - low_k), with the extremes of image k itself.

    The flux memory: z has lost the brightness of each image. ``memory(x)`` returns it, (n, 2c) minima and
    maxima per channel, to be generated or given as context; ``inverse`` refuses to guess it. The density
    is that of the image given its extremes.

    Example
    -------
    >>> x = torch.rand(2, 4, 4) * 50
    >>> scaling = MinMaxPerImage().fit(x)
    >>> bool(torch.allclose(scaling.inverse(scaling.forward(x), scaling.memory(x)), x))
    True
    """

    bottom: float = -1.0
    top: float = 1.0

    def __post_init__(self) -> None:
        check_ends(self.bottom, self.top)

    def memory(self, x: Tensor) -> Tensor:
        """Minima and maxima of every image and channel, (n, 2c): all minima first, units of x."""
        pixels = planes(x)
        return torch.cat([pixels.amin(2), pixels.amax(2)], 1)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        self._log_slope(x)
        return self

    def _extremes(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        count = x.shape[1] if x.ndim == 4 else 1
        if memory.shape != (len(x), 2 * count):
            raise ShapeError("the extremes do not fit the images", got=tuple(memory.shape),
                             expected=(len(x), 2 * count), do="pass scaling.memory(x) of the same rows")
        low, high = (part.view(len(x), *[count] * (x.ndim == 4), 1, 1) for part in memory.split(count, 1))
        if not (high > low).all():
            row = int((high <= low).flatten(1).any(1).nonzero()[0])
            raise DataError("an image is constant", got=f"image {row}", expected="a minimum below the maximum",
                            do="drop the image, or scale per set")
        return low, high

    def _forward(self, x: Tensor) -> Tensor:
        low, high = self._extremes(x, self.memory(x))
        return self.bottom + (self.top - self.bottom) * ((x - low) / (high - low))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        if memory is None:
            raise OptionError("scaling per image lost the flux", got="no extremes",
                              expected="minimum and maximum of each image",
                              do="pass memory=scaling.memory(x), or scale with MinMaxPerSet")
        low, high = self._extremes(z, memory)
        return low + (high - low) * ((z - self.bottom) / (self.top - self.bottom))

    def _log_slope(self, x: Tensor) -> Tensor:
        low, high = self._extremes(x, self.memory(x))
        return ((self.top - self.bottom) / (high - low)).log().expand_as(x)
