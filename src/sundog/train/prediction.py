"""What an emulator answers in physical units: mean, standard deviation, and where it had to extrapolate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

PLACES = 7  # of Gauss-Hermite: exact for scalings that are polynomials up to degree 6 (mean), 6 in all (variance)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Mean and standard deviation of outputs; ``mean, std = prediction`` takes it apart.

    Attributes
    ----------
    mean, std : (n, *shape) in physical units
    outside : (n,) True where an input lies outside the box of the runs learned: extrapolated
    """

    mean: Tensor
    std: Tensor
    outside: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.mean, self.std))

    def __repr__(self) -> str:
        far = int(self.outside.sum())
        return (f"Prediction({len(self.mean)} outputs"
                + (f", {far} of them extrapolated: outside the box of the runs)" if far else ")"))


def physical_moments(mean: Tensor, std: Tensor, physical: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of physical(z), z normal with this mean and standard deviation, number by number.

    Example
    -------
    >>> import math, torch
    >>> mean, std = physical_moments(torch.zeros(1, 1), torch.ones(1, 1), torch.exp)
    >>> bool(abs(mean - math.exp(0.5)) < 1e-4)
    True
    """
    places, weights = hermegauss(PLACES)
    weights = weights / np.sqrt(2 * np.pi)
    at = [physical(mean + float(z) * std) for z in places]
    centre = at[PLACES // 2]
    first = sum((float(w) * (x - centre) for w, x in zip(weights, at)), start=centre * 0)
    second = sum((float(w) * (x - centre - first).square() for w, x in zip(weights, at)), start=centre * 0)
    return centre + first, second.sqrt()
