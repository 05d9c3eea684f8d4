"""Operators learned from few functions, and what emulators cost. For docs/models/emulators.md and docs/performance.md.

    python benchmarks/operators.py table antiderivative --runs 50 200    who wins: error of each emulator and baseline
    python benchmarks/operators.py deeponet     the antiderivative from 1000 functions, mean square error
    python benchmarks/operators.py step         a training step of deeponet and of deepxde, equal networks and data
    python benchmarks/operators.py points       runs at points of their own: deeponet, and pod on an interpolated grid
    python benchmarks/operators.py speed        tangent kernel of 2,000 x 2,000, comparison of emulators on 60 x 2,500

Functions are Gaussian processes of length 0.2 on [0, 1] at 100 sensors. Operators: antiderivative; riccati,
s' = -s^2 + u; pendulum, s'' = -sin s + u; diffusion,
s_t = 0.01 (s_xx + s^2) + u(x) at t = 1, s = 0 at first and at the edges.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline

import sundog
from sundog.data.dataset import Dataset
from sundog.models.base import Batch
from sundog.models.emulators.deeponet import DeepONet
from sundog.models.kernel import ntk
from sundog.random import numpy_stream
from sundog.tasks.emulate import emulate

SENSORS, FINE, LENGTH = 100, 10, 0.2
UNSEEN = 300
BATCH, HIDDEN, TERMS, STEPS = 256, (64, 64), 40, (100, 500)


def functions(n: int, *purpose: Any) -> np.ndarray:
    """u (n, SENSORS)."""
    x = np.linspace(0, 1, SENSORS)
    e, v = np.linalg.eigh(np.exp(-0.5 * ((x[:, None] - x) / LENGTH) ** 2))
    return numpy_stream(0, "functions", *purpose).standard_normal((n, SENSORS)) @ (v * np.sqrt(e.clip(0))).T


def antiderivative(u: np.ndarray) -> np.ndarray:
    h = 1 / (SENSORS - 1)
    return np.concatenate([np.zeros((len(u), 1)), np.cumsum(0.5 * h * (u[:, 1:] + u[:, :-1]), 1)], 1)


def _marched(u: np.ndarray, slope: Callable[[np.ndarray, np.ndarray], np.ndarray], width: int) -> np.ndarray:
    """First component at the sensors of s' = slope(s, u), s(0) = 0, by midpoints in FINE steps between two sensors."""
    s, h, out = np.zeros((width, len(u))), 1 / (SENSORS - 1) / FINE, [np.zeros(len(u))]
    for i in range(SENSORS - 1):
        for k in range(FINE):
            here = u[:, i] + (k + 0.5) / FINE * (u[:, i + 1] - u[:, i])
            s = s + h * slope(s + 0.5 * h * slope(s, here), here)
        out.append(s[0])
    return np.stack(out, 1)


def riccati(u: np.ndarray) -> np.ndarray:
    return _marched(u, lambda s, f: -(s**2) + f, 1)


def pendulum(u: np.ndarray) -> np.ndarray:
    return _marched(u, lambda s, f: np.stack([s[1], -np.sin(s[0]) + f]), 2)


def diffusion(u: np.ndarray) -> np.ndarray:
    """s(x, t = 1): implicit in the diffusion, explicit in the rest, 200 steps."""
    h, dt = 1 / (SENSORS - 1), 0.005
    second = (np.eye(SENSORS, k=1) - 2 * np.eye(SENSORS) + np.eye(SENSORS, k=-1)) / h**2
    second[[0, -1]] = 0
    back = np.linalg.inv(np.eye(SENSORS) - dt * 0.01 * second)
    s = np.zeros_like(u)
    for _ in range(200):
        s = (s + dt * (0.01 * s**2 + u)) @ back.T
        s[:, [0, -1]] = 0
    return s


OPERATORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "antiderivative": antiderivative, "riccati": riccati, "pendulum": pendulum, "diffusion": diffusion}


def data(name: str, n: int, *purpose: Any) -> tuple[np.ndarray, np.ndarray]:
    """n functions and their images; solutions that run away (Riccati) are dropped, as they are from the unseen."""
    u = functions(4 * n, *purpose)
    s = OPERATORS[name](u)
    kept = np.flatnonzero((abs(np.nan_to_num(s, nan=1e9)) < 5).all(1))[:n]
    return u[kept], s[kept]


def table(name: str, sizes: list[int]) -> None:
    """Root mean square error over the spread of the outputs, ± its standard error over functions; CPU s."""
    new, truth = data(name, UNSEEN, "unseen")
    spread = np.sqrt(np.mean((truth - truth.mean(0)) ** 2))
    tried: dict[str, dict[str, Any]] = {"pod": {}, "(linear pod)": {"degree": 1}, "ntk": {}, "random-features": {},
                                        "deeponet": {"steps": 3000}}
    for n in sizes:
        u, s = data(name, n, "runs")
        for family, options in tried.items():
            start = time.process_time()
            runs = Dataset.from_arrays(s, u, held_out_fraction=0, exact=True)
            try:
                word = family.strip("()").split()[-1]
                mean = sundog.fit(word, runs, **options).predict(new).mean.double().numpy()
            except sundog.errors.SampleSizeError:
                continue
            _line(name, n, family, mean, truth, spread, time.process_time() - start)
        near = s[((new[:, None] - u) ** 2).sum(2).argmin(1)]
        _line(name, n, "(nearest)", near, truth, spread, 0.0)


def _line(name: str, n: int, family: str, mean: np.ndarray, truth: np.ndarray, spread: float, seconds: float) -> None:
    each = ((mean - truth) ** 2).mean(1) / spread**2
    error = float(np.sqrt(each.mean()))
    print(f"| {name} | {n} | {family} | {error:.2e} ± {each.std() / np.sqrt(len(each)) / (2 * error + 1e-300):.1e} | "
          f"{seconds:.1f} |", flush=True)


def deeponet() -> None:
    (u, s), (new, truth) = data("antiderivative", 1000, "runs"), data("antiderivative", UNSEEN, "unseen")
    start = time.process_time()
    run = sundog.fit("deeponet", Dataset.from_arrays(s, u, held_out_fraction=0))
    each = ((run.predict(new).mean.double().numpy() - truth) ** 2).mean(1)
    print(f"antiderivative, 1000 functions: mean square error {each.mean():.2e} ± {each.std() / UNSEEN**0.5:.1e}, "
          f"{time.process_time() - start:.0f} CPU s")


def step() -> None:
    """CPU seconds of a step: the difference of two trainings, so that what comes before them falls out."""
    u, s = (part.astype(np.float32) for part in data("antiderivative", 1000, "runs"))
    runs = Dataset.from_arrays(s, u, held_out_fraction=0)

    def ours(steps: int) -> None:
        sundog.fit("deeponet", runs, hidden=HIDDEN, terms=TERMS, harmonics=0, plan=sundog.Plan(
            steps=steps, batch=BATCH, validation_fraction=0.0))

    mine, plain = _each(ours), _each(lambda steps: bare(u[:BATCH], s[:BATCH], steps))
    print(f"deeponet {mine:.2e} CPU s a step, {plain:.2e} of it the loss, its gradient and the move")
    import deepxde

    places = np.linspace(0, 1, SENSORS, dtype=np.float32)[:, None]
    problem = deepxde.data.TripleCartesianProd((u, places), s, (u[:2], places), s[:2])
    net = deepxde.nn.DeepONetCartesianProd([SENSORS, *HIDDEN, TERMS], [1, *HIDDEN, TERMS], "silu", "Glorot normal")
    model = deepxde.Model(problem, net)
    model.compile("adam", lr=1e-3)
    theirs = _each(lambda steps: model.train(iterations=steps, batch_size=BATCH, display_every=10**9, verbose=0))
    print(f"deepxde {theirs:.2e} CPU s a step; ratio {mine / theirs:.2f}")


def bare(u: np.ndarray, s: np.ndarray, steps: int) -> None:
    """The same network without an engine: one batch again and again."""
    model = DeepONet((SENSORS,), SENSORS, hidden=HIDDEN, terms=TERMS, harmonics=0)
    batch = Batch(torch.from_numpy(s), torch.from_numpy(u), None)
    adam = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(steps):
        adam.zero_grad()
        model.loss(batch, torch.Generator()).backward()
        adam.step()


def _each(train: Callable[[int], Any]) -> float:
    spent = []
    for steps in (STEPS[0], *STEPS):  # the first warms up
        start = time.process_time()
        train(steps)
        spent.append(time.process_time() - start)
    return (spent[2] - spent[1]) / (STEPS[1] - STEPS[0])


def points() -> None:
    """sin(a x + b) at 12 random x a run, 60 runs; root mean square errors at 300 unseen inputs."""
    def waves(n: int, m: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        rng = numpy_stream(0, "points", purpose)
        return rng.uniform(1, 3, (n, 2)), np.sort(rng.uniform(0, 2, (n, m)), 1)

    def wave(c: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.sin(c[:, :1] * x + c[:, 1:])

    def said(name: str, off: np.ndarray) -> None:
        square = (off**2).mean(1)
        error = np.sqrt(square.mean())
        print(f"| {name} | {error:.2g} ± {square.std() / np.sqrt(len(square)) / (2 * error):.1g} |", flush=True)

    (c, x), (new, at) = waves(60, 12, "learned"), waves(UNSEEN, 5, "unseen")
    asked = np.concatenate([at.reshape(-1, 1), np.repeat(new, 5, 0)], 1)
    for seed in (0, 1):
        runs = Dataset.from_arrays(wave(c, x), c, points=x, held_out_fraction=0)
        found = sundog.fit("deeponet", runs, steps=2000, seed=seed).predict(asked).mean.numpy()
        said(f"deeponet, 2000 steps, seed {seed}", found.reshape(-1, 5) - wave(new, at))
    grid = np.linspace(0.2, 1.8, 40)
    for name, through in (("lines", np.interp), ("cubic splines", lambda g, a, b: CubicSpline(a, b)(g))):
        on_grid = np.stack([through(grid, a, b) for a, b in zip(x, wave(c, x))])
        said(f"{name} through the 12 points, on a grid of [0.2, 1.8]", on_grid - wave(c, grid))
        found = sundog.fit("pod", Dataset.from_arrays(on_grid, c, held_out_fraction=0)).predict(new).mean.numpy()
        said(f"pod of these {name}", found - wave(new, grid))


def speed() -> None:
    x = torch.from_numpy(numpy_stream(0, "speed").standard_normal((2000, 6)))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        ntk(x, x, depth=3)
        seconds.append(time.process_time() - start)
    print(f"| tangent kernel, 2,000 x 2,000, 3 layers | {min(seconds):.2f} |", flush=True)
    c = torch.rand(60, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.linspace(0, 10, 2500, dtype=torch.float64)
    y = torch.sin(x * (1 + 0.2 * c[:, :1])) * (c[:, 1:2] + x / 10) ** 2 + c[:, 2:].prod(1, keepdim=True)
    start = time.process_time()
    emulate(Dataset.from_arrays(y, c, held_out_fraction=0))
    print(f"| every emulator on 60 x 2,500, 5 folds | {time.process_time() - start:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "deeponet", "step", "points", "speed"))
    parser.add_argument("operator", nargs="?", choices=tuple(OPERATORS), default="antiderivative")
    parser.add_argument("--runs", type=int, nargs="+", default=[50, 200, 1000])
    args = parser.parse_args()
    if args.what == "table":
        table(args.operator, args.runs)
    else:
        {"deeponet": deeponet, "step": step, "points": points, "speed": speed}[args.what]()
