"""Fractional noise as a sum of Ornstein-Uhlenbeck processes whose weights are differentiable in the Hurst exponent."""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor, nn

from sundog.solve.fractional import markov_weights, root_of

HURST = (0.03, 0.97)  # where the weights are known
ORDER = 40  # of the polynomials in H that interpolate them, to 1e-8
SLOWEST, FASTEST = 0.01, 20.0  # rates, per length of the series and per step


class MarkovNoise(nn.Module):
    """Steps of B^H ~ sum_k omega_k(H) (Y_k(t) - Y_k(0)) with dY_k = -gamma_k Y_k dt + dW, Y in equilibrium (kind I).

    Exact over a step of one: Y' = D Y + R e with e standard normal (K,), D = exp(-gamma) and
    (R R')_kl = (1 - exp(-gamma_k - gamma_l)) / (gamma_k + gamma_l).

    Parameters
    ----------
    steps, terms : of the series; K

    Source: Daems, Opper, Crevecoeur & Birdal 2024 (arXiv 2310.12975), section 3.
    """

    decay: Tensor
    root: Tensor
    start: Tensor
    table: Tensor

    def __init__(self, steps: int, terms: int) -> None:
        super().__init__()
        fastest, slowest = FASTEST, SLOWEST / steps
        nodes = np.cos(np.pi * (np.arange(ORDER + 1) + 0.5) / (ORDER + 1))
        middle, half = sum(HURST) / 2, (HURST[1] - HURST[0]) / 2
        found = [markov_weights(middle + half * x, terms, horizon=float(steps), kind="I", fastest=fastest,
                                slowest=slowest) for x in nodes]
        rates = found[0].rates.double()
        sums = rates[:, None] + rates
        weights = np.stack([one.weights.numpy() for one in found])
        self.register_buffer("decay", torch.exp(-rates))
        self.register_buffer("root", root_of(-torch.expm1(-sums) / sums))
        self.register_buffer("start", root_of(1 / sums))
        self.register_buffer("table", torch.from_numpy(chebyshev.chebfit(nodes, weights, ORDER)))

    def weights(self, hurst: Tensor) -> Tensor:
        """omega (K,) at H."""
        x = (2 * hurst - sum(HURST)) / (HURST[1] - HURST[0])
        angle = torch.arccos(x.clamp(-1 + 1e-12, 1 - 1e-12))
        return torch.cos(angle * torch.arange(ORDER + 1, dtype=x.dtype)) @ self.table.to(x)
