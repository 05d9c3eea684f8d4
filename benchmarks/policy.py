"""What is it worth to hold? Right and wrong objectives on an Ornstein-Uhlenbeck process; the table of docs/series.md.

    python benchmarks/policy.py            J = b1 + b2 x^2 for dX = -x/2 dt + dW, reward x^2, discount 1/2: 4/3, 2/3
    python benchmarks/policy.py learned    the same from paths of family sde, fitted to 64 paths of 200 points, dt = 0.1
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

import sundog
from sundog.simulate.processes import ornstein_uhlenbeck
from sundog.tasks.policy import lstd, martingale_loss

RHO = 0.5


def paths(dt: float, n: int = 400, horizon: float = 40.0, seed: int = 0) -> Tensor:
    return ornstein_uhlenbeck(n, round(horizon / dt), rate=0.5, dt=dt, seed=seed)


def features(x: Tensor) -> Tensor:
    return torch.stack([torch.ones_like(x), x**2], -1)


def mean_square_td(x: Tensor, dt: float) -> Tensor:
    """The wrong way: least squares of the TD error."""
    phi = features(x)
    change = phi[:, 1:] - (1 + RHO * dt) * phi[:, :-1]
    return torch.linalg.lstsq(change.flatten(0, 1), -(dt * x[:, :-1] ** 2).reshape(-1, 1)).solution[:, 0]


def by_martingale_loss(x: Tensor, dt: float) -> Tensor:
    """Its exact minimum: the loss is quadratic in the coefficients, apart from the fixed terminal value."""
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(30):  # the terminal value, e^-20 of it, settles at once
        def loss(t: Tensor) -> Tensor:
            return martingale_loss(features(x) @ t, x**2, discount=RHO, dt=dt)

        slope = torch.autograd.functional.jacobian(loss, theta)
        curvature = torch.autograd.functional.hessian(loss, theta)
        step = torch.linalg.solve(curvature, slope)
        theta = (theta - step).detach()
        if float(step.norm()) < 1e-10:
            break
    return theta


def main() -> None:
    torch.set_num_threads(1)
    print("| dt | objective | b1 (1.333) | b2 (0.667) |\n|---|---|---|---|")
    for dt in (0.1, 0.01):
        x = paths(dt)
        for name, theta in (("orthogonality, LSTD(0)", lstd(features(x), x**2, discount=RHO, dt=dt)),
                            ("martingale loss", by_martingale_loss(x, dt)),
                            ("mean-square TD error (wrong)", mean_square_td(x, dt))):  # fmt: skip
            print(f"| {dt} | {name} | {float(theta[0]):.3f} | {float(theta[1]):.3f} |", flush=True)


def learned() -> None:
    """Mean and spread over three data sets."""
    found: dict[str, list[Tensor]] = {"the 64 paths": [], "1,000 paths of the equation": []}
    for seed in range(3):
        seen = ornstein_uhlenbeck(64, 199, rate=0.5, dt=0.1, seed=seed)
        data = sundog.Dataset.from_arrays(seen, time_step=0.1, held_out_fraction=0.0)
        fakes = sundog.fit("sde", data, steps=60, hurst=0.5, noise="constant").sample(1000, seed=1).values.double()
        for name, x in zip(found, (seen, fakes)):
            found[name].append(lstd(features(x), x**2, discount=RHO, dt=0.1))
    print("| paths | b1 (1.333) | b2 (0.667) |\n|---|---|---|")
    for name, thetas in found.items():
        each = torch.stack(thetas)
        print(f"| {name} | " + " | ".join(f"{m:.2f} ± {s:.2f}" for m, s in zip(each.mean(0), each.std(0))) + " |")


if __name__ == "__main__":
    learned() if sys.argv[1:] == ["learned"] else main()
