"""A non-linear elliptic equation by the descent of a proof and by a network; every number of docs/models/elliptic.md.

    python benchmarks/elliptic.py

    -laplace u + u^3 = f  on the unit square, u = 0 on its edge,     f such that u = sin(pi x) sin(pi y)
    E[u] = integral |grad u|^2 / 2 + u^4 / 4 - f u

Descent: u <- u - eta (1 - laplace)^-1 (-laplace u + u^3 - f), in sines. Network: E of a layer of tanh times
x (1 - x) y (1 - y), its parameters moved by L-BFGS (deep Ritz). Source: arXiv 2210.12101.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dstn, idstn

from sundog.random import stream

GRID = 63  # inner points a side
UNITS, NODES, STEPS = 64, 24, 400
Array = NDArray[np.float64]


def exact(x: Array, y: Array) -> Array:
    return np.asarray(np.sin(np.pi * x) * np.sin(np.pi * y))


def force(x: Array, y: Array) -> Array:
    return 2 * np.pi**2 * exact(x, y) + exact(x, y) ** 3


def descent(eta: float, shift: float, steps: int) -> list[float]:
    """Relative L2 error after each step; shift 1 is the proof's (1 - laplace)^-1, infinite is plain descent."""
    line = np.arange(1, GRID + 1) / (GRID + 1)
    x, y = np.meshgrid(line, line, indexing="ij")
    k = np.pi * np.arange(1, GRID + 1)
    laplace = k[:, None] ** 2 + k**2
    inverse = 1 / (shift + laplace) if np.isfinite(shift) else np.ones_like(laplace)
    truth, f, u, errors = exact(x, y), force(x, y), np.zeros_like(x), []
    for _ in range(steps):
        # dstn of type 1 diagonalises the Laplacian with zeros on the edge.
        residual = laplace * dstn(u, 1) + dstn(u**3 - f, 1)
        u = u - eta * idstn(inverse * residual, 1)
        errors.append(float(np.linalg.norm(u - truth) / np.linalg.norm(truth)))
    return errors


def ritz(seed: int = 0, units: int = UNITS) -> tuple[float, float, float]:
    """Relative L2 error of the network, its Barron norm sum_j |c_j| (|w_j|_1 + |b_j|), CPU seconds."""
    start = time.process_time()
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    line, weight = torch.tensor((nodes + 1) / 2), torch.tensor(weights / 2)
    places, area = torch.cartesian_prod(line, line), torch.outer(weight, weight).flatten()
    f = torch.tensor(force(*places.T.numpy()))
    w = 3 * torch.randn(units, 2, generator=stream(seed, "w"), dtype=torch.float64)
    b = torch.randn(units, generator=stream(seed, "b"), dtype=torch.float64)
    c = torch.zeros(units, dtype=torch.float64)
    parameters = [part.requires_grad_() for part in (w, b, c)]

    def network(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """u and its gradient (n, 2): the edge is zero by the factor."""
        t = torch.tanh(at @ w.T + b)
        value, slope = t @ c, ((1 - t**2) * c) @ w
        rim = at * (1 - at)
        edge, inner = rim.prod(1), (1 - 2 * at) * rim.flip(1)
        return edge * value, inner * value[:, None] + edge[:, None] * slope

    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def energy() -> torch.Tensor:
        optimiser.zero_grad()
        u, slope = network(places)
        loss = (area * (slope.square().sum(1) / 2 + u**4 / 4 - f * u)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(energy)  # type: ignore[no-untyped-call]
    fine = torch.cartesian_prod(*[torch.linspace(0, 1, 101, dtype=torch.float64)] * 2)
    with torch.no_grad():
        truth, found = torch.tensor(exact(*fine.T.numpy())), network(fine)[0]
        barron = (c.abs() * (w.abs().sum(1) + b.abs())).sum()
    return float((found - truth).norm() / truth.norm()), float(barron), time.process_time() - start


def main() -> None:
    start = time.process_time()
    good, seconds = descent(1.0, 1.0, 12), time.process_time() - start
    rates = [b / a for a, b in zip(good, good[1:]) if b > 1e-13]
    print(f"descent with (1 - laplace)^-1: error {good[0]:.2g} after 1 step, {good[-1]:.2g} after 12, rate "
          f"{min(rates):.3f} to {max(rates):.3f}; {seconds:.2f} CPU s")
    plain = descent(2 / (2 * np.pi**2 * GRID**2), float("inf"), 12)
    print(f"without: error {plain[-1]:.3f} after 12 steps of the largest stable size")
    for units in (8, 64):
        found = [ritz(seed, units) for seed in range(3)]
        print(f"network of {units} units, 3 seeds: error {', '.join(f'{e:.2g}' for e, _, _ in found)}; Barron norm "
              f"{', '.join(f'{norm:.3g}' for _, norm, _ in found)}; {found[0][2]:.1f} CPU s each")


if __name__ == "__main__":
    main()
