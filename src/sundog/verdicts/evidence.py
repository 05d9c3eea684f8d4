"""Evidence: what a report draws of the two samples, and what the fakes are worth. Numbers only; no plotting here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Curve:
    """Mean of a vector statistic over both samples, with the standard errors of a sample of size n.

    Attributes
    ----------
    name, axis_label, value_label : for the figure
    components : (k,) names of the entries
    axis : (k,) abscissae, or None when the components are just a list
    real, real_error, fake, fake_error : (k,) float64
    """

    name: str
    axis_label: str
    value_label: str
    components: tuple[str, ...]
    axis: Tensor | None
    real: Tensor
    real_error: Tensor
    fake: Tensor
    fake_error: Tensor


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the two samples look like: curves for both kinds, columns of events, a few images.

    Attributes
    ----------
    curves : one per vector statistic that compares means
    real, fake : events (m, d) with the context columns behind the values, or images (m, [channels,] ny, nx)
    names, units : of the columns or channels
    pixel_arcmin : side of a pixel, or None
    telling : of images, the fakes that give themselves away most, or None
    weights : of the rows of real and of fake, or None where all count once
    """

    curves: tuple[Curve, ...]
    real: Tensor
    fake: Tensor
    names: tuple[str, ...]
    units: tuple[str, ...]
    pixel_arcmin: float | None = None
    telling: Tensor | None = None
    weights: tuple[Tensor | None, Tensor | None] = (None, None)

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """What each shown row of real and of fake counts, float64."""
        real, fake = (np.ones(len(x)) if w is None else w.double().numpy()
                      for x, w in zip((self.real, self.fake), self.weights))
        return real, fake

    def labels(self) -> tuple[str, ...]:
        """Axis labels, such as ``m_jj [TeV]``."""
        return tuple(f"{name} [{unit}]" if unit else name for name, unit in zip(self.names, self.units))


@dataclass(frozen=True, eq=False)
class Worth:
    """Equivalent sample size of an endless sample of fakes.

    Attributes
    ----------
    n : rows that the generators learned from
    equivalent : true events that would know shares of events as well, over all regions
    low, high : 68 % interval of ``equivalent``
    regions : (d, cells) the same for every cell of every column
    edges : (d, cells - 1) between the cells

    ``equivalent`` above n is amplification: what the generator knows beyond the events (smoothness, its form). A bias
    that all generators share is not seen here; that is what ``judge`` is for.
    """

    n: int
    equivalent: float
    low: float
    high: float
    regions: np.ndarray
    edges: np.ndarray

    @property
    def factor(self) -> float:
        """Equivalent events per event learned from."""
        return self.equivalent / self.n

    def to_json(self) -> dict[str, float]:
        """The numbers that a verdict keeps."""
        return {"n": self.n, "equivalent": self.equivalent, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return (f"endless fakes know shares of events as well as {self.equivalent:.0f} true events would "
                f"({self.low:.0f} to {self.high:.0f}); learned from {self.n}")
