"""Closed forms: straight-line programs of + - x / with tuned constants, evolved for few operations and small errors.

A program is a list of instructions on inputs, constants and earlier results; what is used twice is computed once. Every
mutant's constants are tuned by Levenberg-Marquardt; for every number of operations the best few stay.

Source: the search space and the two aims are those of AutoNumerics-Zero (Real et al. 2023, arXiv 2312.08472).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sundog.checks import at_least, one_of
from sundog.errors import DataError, ShapeError
from sundog.models.symbolic.program import Code, ParetoFront, Program, columns_of, evaluated
from sundog.random import numpy_stream

OPERATIONS = "+-*/"
KEPT = 8  # programs of each number of operations
TRIES = 6  # tunings of one form, from different constants
TUNINGS, POLISHINGS = 12, 60  # steps of a mutant, of the front
MOST_CONSTANTS = 10


def evolve_program(x: Any, y: Any, *, scale: Any = None, operations: int = 10, trials: int = 20_000, norm: str = "max",
                   seed: int = 0) -> ParetoFront:
    """Return closed forms of y(x): for each number of operations the most exact program found.

    error = max_i |f(x_i) - y_i| / s_i, or the root of the mean square. Same seed, same front.

    Parameters
    ----------
    x: (n,) or (n, d); y: (n,). Some 50 to 200 points serve: the cost grows with their number.
    scale: (n,) s, what counts as one unit of error; |y| (relative errors) where not given, 1 where y has zeros.
    operations: longest program.
    trials: mutants that are tuned; 20,000 of up to 10 operations on 65 points cost some 7 CPU s.
    norm: ``max`` or ``rms``.

    Errors: ShapeError where x and y differ; DataError for values that are not finite, or fewer than 4; OptionError.

    Example
    -------
    >>> x = np.linspace(0.0, 1.0, 33)
    >>> front = evolve_program(x, 1 / (1 + x), operations=2, trials=200)
    >>> front.best(2).error < 1e-9
    True
    """
    columns, y = columns_of(x), np.asarray(y, float)
    one_of(norm, ("max", "rms"), "norm")
    at_least(operations, 1, "operations")
    at_least(trials, 1, "trials")
    if y.ndim != 1 or columns.shape[1] != len(y):
        raise ShapeError("x and y do not fit", got=f"x of {columns.shape[1]} rows, y of shape {y.shape}",
                         expected="(n,) or (n, d), and (n,)", do="pass one value per row")
    s = (np.abs(y) if np.abs(y).min(initial=1) > 0 else np.ones_like(y)) if scale is None else np.asarray(scale, float)
    if len(y) < 4 or s.shape != y.shape or not (np.isfinite(columns).all() and np.isfinite(y).all()
                                                 and np.isfinite(s).all() and (s > 0).all()):
        raise DataError("nothing to fit", got=f"{len(y)} values, {int((~np.isfinite(y)).sum())} of them not finite",
                        expected="at least 4 finite values, with a finite scale above 0 for each",
                        do="leave out what is not finite")
    search = _Search(columns, y, s, operations, norm, numpy_stream(seed, "programs"))
    for _ in range(trials):
        search.step()
    return search.front()


@dataclass
class _Search:
    """The programs kept, by number of operations, and the moves on them."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    most: int
    norm: str
    rng: np.random.Generator
    kept: dict[int, list[Program]] = field(default_factory=dict)
    tried: dict[Any, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """All programs of one operation, and of two that end in the result of the first: evolution begins there."""
        d = len(self.x)
        for first in _lines([*range(d)]):
            self._begin((first,), [1.0])
            for second in _lines([d]) if d == 1 else ():
                if self.most > 1:
                    self._begin((first, _with_new_constant(second)), [1.0, 0.5])

    def _begin(self, code: Code, constants: list[float]) -> None:
        code, constants = _pruned(code, constants, len(self.x))
        self.add(code, np.array(constants))

    def step(self) -> None:
        """One mutant of one of the programs kept."""
        levels = list(self.kept)
        some = self.kept[levels[self.rng.integers(len(levels))]]
        parent = some[int(len(some) * self.rng.random() ** 2)]
        made = _mutated(parent.code, list(parent.constants), len(self.x), self.rng)
        while self.rng.random() < 0.3:
            made = _mutated(*made, len(self.x), self.rng)
        code, constants = _pruned(*made, len(self.x))
        form = tuple((op, max(a, -1), max(b, -1)) for op, a, b in code)
        if not 0 < len(code) <= self.most or len(constants) > MOST_CONSTANTS or self.tried.get(form, 0) >= TRIES:
            return
        self.tried[form] = self.tried.get(form, 0) + 1
        self.add(code, np.array(constants))

    def add(self, code: Code, constants: np.ndarray) -> None:
        constants, error = self._tuned(code, constants, TUNINGS)
        if not np.isfinite(error):
            return
        level = self.kept.setdefault(len(code), [])
        form = [(op, max(a, -1), max(b, -1)) for op, a, b in code]
        same = [p for p in level if [(op, max(a, -1), max(b, -1)) for op, a, b in p.code] == form]
        if same and same[0].error <= error:
            return
        rest = [p for p in level if p not in same]
        program = Program(code, tuple(map(float, constants)), error, len(self.x))
        self.kept[len(code)] = sorted([*rest, program], key=lambda p: p.error)[:KEPT]

    def front(self) -> ParetoFront:
        """The best of each number of operations, polished, as far as each is better than all shorter ones."""
        found: list[Program] = []
        for count in sorted(self.kept):
            polished = []
            for p in self.kept[count][:3]:
                constants, error = self._tuned(p.code, np.array(p.constants), POLISHINGS, polish=self.norm == "max")
                better = replace(p, constants=tuple(map(float, constants)), error=error)
                polished.append(min(p, better, key=lambda q: q.error))
            best = min(polished, key=lambda p: p.error)
            if not found or best.error < 0.99 * found[-1].error:
                found.append(best)
        return ParetoFront(tuple(found))

    def _tuned(self, code: Code, c: np.ndarray, steps: int, polish: bool = False) -> tuple[np.ndarray, float]:
        """Constants of least squares, or, polished, of least maximum: weights grow where errors are large (Lawson)."""
        weight, best = np.ones_like(self.y), (c, np.inf)
        for _ in range(12 if polish else 1):
            c = _least_squares(code, c, self.x, self.y, np.sqrt(weight) / self.scale, steps)
            r = np.abs(evaluated(code, c, self.x)[0] - self.y) / self.scale
            error = float(r.max() if self.norm == "max" else np.sqrt((r**2).mean()))
            if error < best[1]:
                best = c, error
            if not polish or not np.isfinite(error) or error == 0:
                break
            weight = weight * (r + 1e-3 * r.max())
            weight /= weight.mean()
        return best


def _least_squares(code: Code, c: np.ndarray, x: np.ndarray, y: np.ndarray, w: np.ndarray, steps: int) -> np.ndarray:
    """Levenberg-Marquardt on sum (w (f - y))^2."""
    damping = 1e-2
    with np.errstate(all="ignore"):
        f, slopes = evaluated(code, c, x)
        loss = float(((w * (f - y)) ** 2).sum())
        for _ in range(steps if len(c) else 0):
            if not np.isfinite(loss):
                break
            j = slopes * w
            square = j @ j.T
            a = square + damping * np.diag(np.diag(square) + 1e-12)
            try:
                move = np.linalg.solve(a, j @ (w * (y - f)))
            except np.linalg.LinAlgError:
                break
            f_new, slopes_new = evaluated(code, c + move, x)
            new = float(((w * (f_new - y)) ** 2).sum())
            if new < loss:
                gained = loss - new
                c, f, slopes, loss, damping = c + move, f_new, slopes_new, new, max(damping / 10, 1e-14)
                if gained < 1e-9 * loss:
                    break
            else:
                damping *= 10
                if damping > 1e8:
                    break
    return c


def _lines(values: list[int]) -> Iterator[tuple[str, int, int]]:
    """Every operation on two of the values and input 0, or on one and a constant."""
    known = sorted({0, *values})
    for op in OPERATIONS:
        for a in [*known, -1]:
            for b in [*known, -1]:
                if not a == b == -1 and (a in values or b in values):
                    yield op, a, b


def _with_new_constant(line: tuple[str, int, int]) -> tuple[str, int, int]:
    op, a, b = line
    return op, a if a >= 0 else -2, b if b >= 0 else -2


def _mutated(code: Code, constants: list[float], inputs: int, rng: np.random.Generator) -> tuple[Code, list[float]]:
    """One instruction put in, taken out, rewired or changed."""
    made: list[list[Any]] = [list(line) for line in code]
    constants = list(constants)
    way = rng.choice(4, p=[0.4, 0.15, 0.3, 0.15]) if made else 0

    def operand(before: int) -> int:
        """An input or result before an instruction, or a constant, new or old."""
        if rng.random() < 0.4:
            if constants and rng.random() < 0.3:
                return -1 - int(rng.integers(len(constants)))
            constants.append(float(rng.normal() * rng.choice([1.0, 1.0, 10.0])))
            return -len(constants)
        return int(rng.integers(inputs + before))

    if way == 0:
        at = int(rng.integers(len(made) + 1)) if rng.random() < 0.6 else len(made)
        op = str(rng.choice(list(OPERATIONS)))
        if at == len(made):
            last = inputs + at - 1
            other = last if rng.random() < 0.3 else operand(at)
            made.append([op, last, other] if rng.random() < 0.7 else [op, other, last])
        else:
            for line in made[at:]:
                for k in (1, 2):
                    line[k] += line[k] >= inputs + at
            made.insert(at, [op, operand(at), operand(at)])
            made[int(rng.integers(at + 1, len(made)))][1 + int(rng.integers(2))] = inputs + at
    elif way == 1 and len(made) > 1:
        at = int(rng.integers(len(made)))
        instead = made[at][1 + int(rng.integers(2))]
        del made[at]
        for line in made[at:]:
            for k in (1, 2):
                line[k] = instead if line[k] == inputs + at else line[k] - (line[k] > inputs + at)
    elif way == 2:
        at = int(rng.integers(len(made)))
        made[at][1 + int(rng.integers(2))] = operand(at)
    else:
        made[int(rng.integers(len(made)))][0] = str(rng.choice(list(OPERATIONS)))
    return tuple((op, a, b) for op, a, b in made), constants


def _pruned(code: Code, constants: list[float], inputs: int) -> tuple[Code, list[float]]:
    """The program without instructions that nothing needs, and without constants made of constants."""
    values: dict[int, int] = {}  # result -> constant that it is
    folded: list[tuple[str, int, int]] = []
    constants = list(constants)
    for i, (op, a, b) in enumerate(code):
        a, b = values.get(a, a), values.get(b, b)
        if a < 0 and b < 0:
            p, q = constants[-1 - a], constants[-1 - b]
            constants.append({"+": p + q, "-": p - q, "*": p * q, "/": p / q if q else 1.0}[op])
            values[inputs + i] = -len(constants)
        folded.append((op, a, b))
    if not folded or inputs + len(folded) - 1 in values:
        return (), []
    needed, order = {len(folded) - 1}, list[int]()
    for i in range(len(folded) - 1, -1, -1):
        if i in needed:
            order.append(i)
            needed |= {k - inputs for k in folded[i][1:] if isinstance(k, int) and k >= inputs}
    place = {inputs + old: inputs + new for new, old in enumerate(reversed(order))}
    kept: list[int] = []

    def renamed(k: int) -> int:
        if k >= 0:
            return place.get(k, k)
        if k not in kept:
            kept.append(k)
        return -1 - kept.index(k)

    made = tuple((folded[i][0], renamed(folded[i][1]), renamed(folded[i][2])) for i in reversed(order))
    return made, [constants[-1 - k] for k in kept]
