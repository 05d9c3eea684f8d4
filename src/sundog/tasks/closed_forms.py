"""Closed forms of an emulator: a formula for each number of its output, or for each amplitude of its output's modes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc

from sundog.checks import at_least
from sundog.data.scaling import Reparametrised
from sundog.errors import DataError, OptionError, ShapeError
from sundog.models.symbolic import Program, evolve_program
from sundog.random import numpy_stream
from sundog.train.run import EmulatorRun, Run

FEW = 8  # numbers of an output that have a formula each; of more, so many amplitudes at most
EVOLVED, CHOSEN, MEASURED = 128, 256, 512  # inputs that a formula is evolved on, chosen by, and whose errors are told
ENOUGH = 0.5  # of the emulator's own standard deviation: an error below adds an eighth to it at most


@dataclass(frozen=True, eq=False)
class ClosedForms:
    """What an emulator says on average, as formulas: y = centre + unit (f(x) modes), x the inputs mapped to [0, 1].

    Attributes
    ----------
    programs : f, k of them, of x
    errors : (k,) root mean square difference of each f and what it stands for, over the spread of that
    error : the same of all numbers of the output together, each over its spread: what modes leave out counts too
    own : the emulator's own standard deviation, in the same unit
    inputs, low, high : names of the inputs, and the box (c,) that becomes [0, 1]
    centre, unit, modes : (d,), (d,), (k, d); every f has a spread of one
    shape : of one output
    """

    programs: tuple[Program, ...]
    errors: tuple[float, ...]
    error: float
    own: float
    inputs: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    unit: np.ndarray
    modes: np.ndarray
    shape: tuple[int, ...]

    def __call__(self, context: Any) -> np.ndarray:
        """The outputs (n, *shape) at inputs (n, c); outside the box they are extrapolated, and may have poles.

        Errors: ShapeError for other columns.
        """
        c = np.asarray(context, float)
        if c.ndim != 2 or c.shape[1] != len(self.inputs):
            raise ShapeError("inputs of another shape", got=c.shape, expected=f"(n, {len(self.inputs)})",
                             do=f"give {', '.join(self.inputs)}, one row per output")
        x = (c - self.low) / (self.high - self.low)
        f = np.stack([program(x) for program in self.programs], 1)
        return (self.centre + self.unit * (f @ self.modes)).reshape(-1, *self.shape)

    def __str__(self) -> str:
        k, d = self.modes.shape
        direct = k == d and not (self.modes - np.diag(self.modes.diagonal())).any()
        lines = [f"error {self.error:.2g} of the spread; the emulator's own standard deviation is {self.own:.2g}"]
        letters = ["x"] if len(self.inputs) == 1 else [f"x{i}" for i in range(len(self.inputs))]
        lines += [f"{x} = ({name} - {low:.6g}) / {high - low:.6g}"
                  for x, name, low, high in zip(letters, self.inputs, self.low, self.high)]
        for i, (program, error) in enumerate(zip(self.programs, self.errors)):
            name = f"y{i} = {self.centre[i]:.6g} + {self.unit[i]:.6g} (...)" if direct else f"(...) of mode {i}"
            lines.append(f"{name}, {program.operations} operations, error {error:.2g}: {program}")
        return "\n".join(lines)


def closed_forms(run: Run, *, modes: int | None = None, operations: int = 12, trials: int = 10_000, seed: int = 0
                 ) -> ClosedForms:
    """Return formulas for what an emulator says on average within the box of its runs, and how far off they are.

    Outputs of up to 8 numbers have a formula each. Longer ones are written as proper orthogonal modes, and each
    amplitude has one. Of the front of errors against operations the shortest is taken whose error is below half of
    the emulator's own standard deviation, else the most exact; errors are those at 512 inputs that played no part.

    Parameters
    ----------
    run : of an emulator
    modes : how many; when None, as leave less than the emulator's own standard deviation, 8 at most
    operations, trials, seed : of each search (`evolve_program`); 10,000 trials cost some 7 CPU s per formula

    Errors: OptionError for a run that emulates nothing; DataError where its answer never changes.

    Example
    -------
    >>> import sundog
    >>> c = torch.rand(40, 1, generator=torch.Generator().manual_seed(0))
    >>> run = sundog.fit("pod", sundog.Dataset.from_arrays(c * c, c, context_names=["mass"]))
    >>> found = closed_forms(run, operations=4, trials=500)
    >>> found.error < 1e-3, found.inputs, found([[0.5]]).round(3).tolist()
    (True, ('mass',), [[0.25]])
    """
    if not isinstance(run, EmulatorRun):
        raise OptionError("closed forms are those of an emulator", got=f"a run of family '{run.model.family}'",
                          expected="pod, ntk, random-features or deeponet", do="fit one of these on the runs")
    low, high = _box(run)
    points = qmc.Sobol(len(low), rng=numpy_stream(seed, "inputs")).random(1024)[: EVOLVED + CHOSEN + MEASURED]
    answer = run.predict(torch.from_numpy(low + (high - low) * points))
    mean, std = (part.double().flatten(1).numpy() for part in answer)
    centre, spread = mean[:EVOLVED].mean(0), mean[:EVOLVED].std(0)
    if not (spread > 0).any():
        raise DataError("the emulator's answer never changes", got=f"{mean.shape[1]} numbers",
                        expected="outputs that depend on the input", do="look at the runs it learned")
    divisor = np.where(spread > 0, spread, 1.0)
    z, noise = (mean - centre) / divisor, std / divisor
    v = np.eye(z.shape[1]) if z.shape[1] <= FEW and modes is None else _modes(z[:EVOLVED], noise[:EVOLVED], modes)
    size = (z @ v.T)[:EVOLVED].std(0)
    size[size == 0] = 1.0
    a, own = z @ v.T / size, np.sqrt((noise**2).mean(0) @ v.T**2) / size
    programs = [_found(points, a[:, k], own[k], operations, trials, seed) for k in range(len(v))]
    f, v = np.stack([program(points) for program in programs], 1)[-MEASURED:], size[:, None] * v
    errors = tuple(_rms(column) for column in (f - a[-MEASURED:]).T)
    used = spread > 0
    return ClosedForms(tuple(programs), errors, _rms((f @ v - z[-MEASURED:])[:, used]), _rms(noise[-MEASURED:, used]),
                       tuple(run.labels["context_names"]), low, high, centre, spread, v, tuple(answer.mean.shape[1:]))


def _found(x: np.ndarray, a: np.ndarray, own: float, operations: int, trials: int, seed: int) -> Program:
    """The shortest program for a (n,), of unit spread, that is exact enough beside the emulator's own error."""
    new = slice(EVOLVED, EVOLVED + CHOSEN)
    front = evolve_program(x[:EVOLVED], a[:EVOLVED], scale=np.ones(EVOLVED), operations=operations, trials=trials,
                           norm="rms", seed=seed)
    off = [_rms(program(x[new]) - a[new]) for program in front.programs]
    enough = [program for program, error in zip(front.programs, off) if error < ENOUGH * own]
    return enough[0] if enough else front.programs[int(np.nanargmin(off))]


def _box(run: EmulatorRun) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest inputs of the runs learned, (c,) each, in their units."""
    assert run.context_scaling is not None and run.contexts is not None
    model: Any = run.model.cheap if getattr(run.model, "cheap", None) is not None else run.model
    if isinstance(run.context_scaling, Reparametrised):
        ends = run.contexts.double()
    else:
        ends = run.context_scaling.inverse(torch.stack([model.low, model.high])).double()
    low, high = ends.amin(0).numpy(), ends.amax(0).numpy()
    if not bool((high > low).all()):
        raise DataError("an input of the runs never changes", got=f"{int((high <= low).sum())} of {len(low)} inputs",
                        expected="inputs that vary", do="leave it out of the context")
    return low, high


def _modes(z: np.ndarray, noise: np.ndarray, count: int | None) -> np.ndarray:
    """(k, d) proper orthogonal modes of z (n, d), the strongest first."""
    _, s, v = np.linalg.svd(z, full_matrices=False)
    if count is None:
        left = np.sqrt(np.maximum(0, (s**2).sum() - (s**2).cumsum()) / z.size)
        count = min(FEW, 1 + int((left > math.sqrt((noise**2).mean())).sum()))
    return v[: int(at_least(count, 1, "modes"))]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))
