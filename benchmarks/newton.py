"""Where does second order win? Gradient-normalised Newton beside L-BFGS and scipy; the table of docs/series.md.

    python benchmarks/newton.py    |g| reached, evaluations of the loss and CPU seconds, one thread, float64
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sundog.random import stream
from sundog.simulate.processes import multifractal_random_walk
from sundog.solve.descend import descend
from sundog.solve.newton import gradient_normalised_least_squares, gradient_normalised_newton

Loss = Callable[[Tensor], Tensor]


def log_sum_exp(mu: float) -> Loss:
    """mu log sum exp((a x - b) / mu), 50 unknowns, 150 terms; minimum at 0."""
    a = 2 * torch.rand(150, 50, generator=stream(0, "a"), dtype=torch.float64) - 1
    b = 2 * torch.rand(150, generator=stream(0, "b"), dtype=torch.float64) - 1
    a = a - torch.softmax(-b / mu, 0) @ a
    return lambda x: mu * torch.logsumexp((a @ x - b) / mu, 0)


def logistic() -> Loss:
    """Mean logistic loss of 5,000 rows, 20 columns of scales from 0.01 to 100."""
    rows = torch.randn(5000, 20, generator=stream(0, "rows"), dtype=torch.float64) * torch.logspace(-2, 2, 20).double()
    truth = torch.randn(20, generator=stream(0, "truth"), dtype=torch.float64) / torch.logspace(-2, 2, 20).double()
    uniform = torch.rand(5000, generator=stream(0, "labels"), dtype=torch.float64)
    sign = torch.where(uniform < torch.sigmoid(rows @ truth), 1.0, -1.0)
    return lambda x: torch.nn.functional.softplus(-sign * (rows @ x)).mean()


def spectrum() -> Loss:
    """Poisson likelihood of a falling mass spectrum, p0 (1 - m)^p1 m^(p2 + p3 log m), 40 bins, Asimov counts."""
    m = torch.linspace(0.1, 0.6, 40, dtype=torch.float64)

    def law(p: Tensor) -> Tensor:
        return torch.exp(p[0] + p[1] * torch.log1p(-m) + (p[2] + p[3] * m.log()) * m.log())

    counts = law(torch.tensor([2.0, 8.0, -4.0, -0.2], dtype=torch.float64))
    return lambda p: (law(p) - counts * law(p).log()).sum() / counts.sum()


PROBLEMS: dict[str, tuple[Loss, Tensor]] = {
    **{f"LogSumExp, mu = {mu}": (log_sum_exp(mu), torch.ones(50, dtype=torch.float64)) for mu in (1.0, 0.1, 0.05)},
    "logistic fit, scales 1e4 apart": (logistic(), torch.zeros(20, dtype=torch.float64)),
    "spectrum fit": (spectrum(), torch.tensor([4.0, 5.0, -3.0, 0.0], dtype=torch.float64)),
}


def by_scipy(method: str) -> Callable[[Loss, Tensor], tuple[Tensor, int]]:
    def work(loss: Loss, start: Tensor) -> tuple[Tensor, int]:
        def both(x: np.ndarray) -> tuple[float, np.ndarray]:
            y = torch.from_numpy(x).requires_grad_()
            value = loss(y)
            return float(value.detach()), torch.autograd.grad(value, y)[0].numpy()

        def hessian(x: np.ndarray) -> np.ndarray:
            return torch.autograd.functional.hessian(loss, torch.from_numpy(x), vectorize=True).numpy()

        found = minimize(both, start.numpy(), jac=True, method=method, hess=hessian if "trust" in method else None,
                         options={"gtol": 1e-10, "maxiter": 3000})  # fmt: skip
        return torch.from_numpy(found.x), found.nfev

    return work


def ours(loss: Loss, start: Tensor) -> tuple[Tensor, int]:
    found = gradient_normalised_newton(loss, start, iterations=1000)
    return found.x, found.evaluations


def first_order(loss: Loss, start: Tensor) -> tuple[Tensor, int]:
    found = descend(loss, start, iterations=3000)
    return found.x, found.evaluations


METHODS = {"gradient-normalised Newton": ours, "L-BFGS (`descend`)": first_order,
           "scipy BFGS": by_scipy("BFGS"), "scipy trust-exact": by_scipy("trust-exact")}  # fmt: skip


def few_statistics() -> None:
    """1,024 steps with the 18 structure functions of a multifractal walk: Gauss-Newton in the dual beside L-BFGS."""
    truth = multifractal_random_walk(1, 1024, intermittency=0.05, seed=0)[0].diff()

    def statistics(z: Tensor) -> Tensor:
        """ln of the mean of |x_(i + r) - x_i|^p, p = 2, 4, 6."""
        x = z.cumsum(0)
        steps = [x[lag:] - x[:-lag] for lag in (1, 2, 4, 8, 16, 32)]
        return torch.stack([(d**p).mean().log() for d in steps for p in (2, 4, 6)])

    wanted = statistics(truth)
    start = torch.randn(len(truth), generator=stream(0, "start"), dtype=truth.dtype)  # Brownian motion
    for method in ("Gauss-Newton, dual", "L-BFGS (`descend`)"):
        began = time.process_time()
        if method == "Gauss-Newton, dual":
            found = gradient_normalised_least_squares(lambda x: statistics(x) - wanted, start, iterations=200)
        else:
            found = descend(lambda x: 0.5 * (statistics(x) - wanted).square().sum(), start, iterations=3000)
        left = float((statistics(found.x) - wanted).norm())
        print(f"| 18 statistics of 1,024 numbers | {method} | {left:.0e} left | {found.evaluations} | "
              f"{time.process_time() - began:.2f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    gradient_normalised_newton(lambda x: x.square().sum(), torch.ones(2))  # the first Hessian loads torch.func
    print("| problem | method | gradient at the end | evaluations | CPU s |\n|---|---|---|---|---|")
    for name, (loss, start) in PROBLEMS.items():
        for method, work in METHODS.items():
            began = time.process_time()
            x, evaluations = work(loss, start)
            spent = time.process_time() - began
            y = x.clone().requires_grad_()
            slope = float(torch.autograd.grad(loss(y), y)[0].norm())
            print(f"| {name} | {method} | {slope:.0e} | {evaluations} | {spent:.2f} |", flush=True)


    few_statistics()


if __name__ == "__main__":
    main()
