"""Random features: a layer of random sigmoid units of bounded weights, and least squares on them.

    y(c) = sum_j b_j s(w_j c + a_j),     w_j, a_j ~ U(-bandwidth, bandwidth),     s(x) = 1 / (1 + exp(-x))

A bandwidth too small for the function leaves an error that no number of units removes; one too large asks for more.

Source: arXiv 2008.08427 (bandlimited random weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.models.emulators.base import LinearEmulator, LinearOptions
from sundog.models.options import Options, option

BANDWIDTHS = (0.3, 1.0, 3.0, 10.0, 30.0)  # tried when none is given, in units of 1 / the spread of an input
PENALTIES = [10.0**k for k in range(-14, 1)]  # tried when none is given, over the mean of |phi|^2


@dataclass(frozen=True)
class RandomFeaturesOptions(LinearOptions):
    """Options of `RandomFeatureEmulator`."""

    units: int = option(400, "number of random units", least=1)
    bandwidth: float = option(None, "bound of weights and biases, inputs standardised; the one of 0.3, 1, 3, 10, 30 "
                              "with the least leave-one-out error when None", above=0)
    penalty: float = option(None, "of the squares of b, over the mean of |phi|^2; by leave-one-out error when None",
                            above=0)


class RandomFeatureEmulator(LinearEmulator):
    """Penalised least squares on random sigmoid units.

    weights: (c + 1, units) uniform on [-1, 1], the last row biases; band: (); axes: (units, r) and shrunk: (r,) of g;
    level: penalty, ()

    Example
    -------
    >>> c = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]
    >>> emulator = RandomFeatureEmulator((1,), 1)
    >>> emulator.prepare(c.sin(), c)
    >>> round(float(emulator.predict(torch.tensor([[0.5]]))[0]), 4)
    0.4794
    """

    family: ClassVar[str] = "random-features"
    takes: ClassVar[type[Options]] = RandomFeaturesOptions
    options: RandomFeaturesOptions
    weights: Tensor
    band: Tensor
    axes: Tensor
    shrunk: Tensor
    level: Tensor

    def __init__(self, shape: tuple[int, ...], context_dim: int = 0, **options: Any) -> None:
        super().__init__(shape, context_dim, **options)
        self.register_buffer("weights", 2 * torch.rand(self.context_dim + 1, self.options.units) - 1)
        for name, size in (("band", ()), ("axes", (0, 0)), ("shrunk", (0,)), ("level", ())):
            self.register_buffer(name, torch.zeros(size))

    def learn(self, context: Tensor, y: Tensor, weights: Tensor) -> None:
        self.weights = self.weights.double()
        root = weights.sqrt()[:, None]
        bands = BANDWIDTHS if self.options.bandwidth is None else (self.options.bandwidth,)
        self._keep_best([fit for band in bands for fit in self._fits(context, root * y, band, root)])

    def _fits(self, context: Tensor, y: Tensor, band: float, root: Tensor) -> list[dict[str, Tensor]]:
        """Fits of one bandwidth and every penalty p: alpha = (phi phi^T + p)^-1 y, left-out error alpha_i / A_ii.

        y and phi are times root (n, 1), the square root of the weights.
        """
        phi = root * random_units(context, self.weights, band)
        u, s, v = torch.linalg.svd(phi, full_matrices=False)
        typical = float(phi.square().sum(1).mean())
        beyond = (1 - u.square().sum(1, keepdim=True)).clamp(min=0)
        fits = []
        for penalty in PENALTIES if self.options.penalty is None else [self.options.penalty]:
            p = penalty * typical
            inside, kept = u.T @ y, p / (s.square() + p)
            scaled = u @ (kept[:, None] * inside) + y - u @ inside  # p alpha
            own = u.square() @ kept[:, None] + beyond  # p A_ii
            residuals = scaled / own.sqrt() / math.sqrt(p * len(y))
            fits.append({"band": s.new_tensor(band), "axes": v.T, "shrunk": kept, "level": s.new_tensor(p),
                         "coefficients": v.T @ ((s / (s.square() + p))[:, None] * inside),
                         "residuals": residuals, "error": (scaled / own).square().sum(0)})
        return fits

    def features(self, context: Tensor) -> Tensor:
        return random_units(context, self.weights, float(self.band))

    def inflation(self, features: Tensor, context: Tensor) -> Tensor:
        """Standard deviation of the process with kernel phi phi^T given the runs, before its scale."""
        along = (features @ self.axes).square()
        beside = (features.square().sum(1) - along.sum(1)).clamp(min=0)
        return (beside + along @ self.shrunk + self.level).sqrt()


def random_units(x: Tensor, weights: Tensor, bandwidth: float) -> Tensor:
    """Outputs (n, units) of sigmoid units at x (n, d); weights and biases are (d + 1, units), times bandwidth.

    Example
    -------
    >>> random_units(torch.zeros(1, 2), torch.zeros(3, 4), 10.0)
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """
    return torch.sigmoid(bandwidth * (x @ weights[:-1] + weights[-1]))
