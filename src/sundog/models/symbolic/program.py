"""Straight-line programs of + - x /: what they give, what they cost, how they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sundog.checks import at_least
from sundog.errors import ShapeError

Code = tuple[tuple[str, int, int], ...]  # operation and operands: value >= 0 (inputs first), constant -1, -2 ...


@dataclass(frozen=True)
class Program:
    """A closed form.

    Attributes
    ----------
    code : instructions (operation, a, b); values are counted from the inputs on, constants are -1, -2, ...
    constants : in their order
    error : on the data that it was evolved on
    inputs : how many

    Example
    -------
    >>> square = Program((("*", 0, 0), ("+", 1, -1)), (2.0,), 0.0, 1)
    >>> square(np.array([3.0])).tolist(), square.operations, str(square)
    ([11.0], 2, 'a = x * x; a + 2')
    """

    code: Code
    constants: tuple[float, ...]
    error: float
    inputs: int = 1

    @property
    def operations(self) -> int:
        """Instructions; what is shared counts once."""
        return len(self.code)

    def __call__(self, x: Any) -> np.ndarray:
        """Values (n,) at x (n,) or (n, inputs)."""
        return self.with_slopes(x)[0]

    def with_slopes(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Values (n,) at x, and their derivatives (constants, n) by the constants."""
        columns = columns_of(x)
        return evaluated(self.code, np.array(self.constants), columns)

    def __str__(self) -> str:
        inputs = ["x"] if self.inputs == 1 else [f"x{i}" for i in range(self.inputs)]
        names = inputs + [chr(ord("a") + i % 23) + (str(i // 23) if i >= 23 else "") for i in range(len(self.code))]

        def word(i: int) -> str:
            return f"{self.constants[-1 - i]:.10g}" if i < 0 else names[i]

        lines = [f"{word(a)} {op} {word(b)}" for op, a, b in self.code]
        named = [f"{names[self.inputs + i]} = {line}" for i, line in enumerate(lines[:-1])]
        return "; ".join([*named, lines[-1]]) if lines else word(-1 if self.constants else 0)


@dataclass(frozen=True)
class ParetoFront:
    """Programs of which none is both longer and worse than another, the shortest first."""

    programs: tuple[Program, ...]

    def best(self, operations: int) -> Program:
        """The most exact one of at most so many operations; OptionError where every program is longer."""
        at_least(operations, self.programs[0].operations, "operations")
        return min((p for p in self.programs if p.operations <= operations), key=lambda p: p.error)

    def __str__(self) -> str:
        return "\n".join(f"{p.operations:3d} operations, error {p.error:.2g}: {p}" for p in self.programs)


def evaluated(code: Code, c: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) and slopes (constants, n) of the last instruction; x (d, n)."""
    unit = np.eye(len(c))[:, :, None]
    values: list[Any] = list(x)
    slopes: list[Any] = [0.0] * len(x)
    with np.errstate(all="ignore"):
        for op, i, j in code:
            a, da = (c[-1 - i], unit[-1 - i]) if i < 0 else (values[i], slopes[i])
            b, db = (c[-1 - j], unit[-1 - j]) if j < 0 else (values[j], slopes[j])
            if op == "+":
                v, dv = a + b, da + db
            elif op == "-":
                v, dv = a - b, da - db
            elif op == "*":
                v, dv = a * b, da * b + db * a
            else:
                v = a / b
                dv = (da - db * v) / b
            values.append(v)
            slopes.append(dv)
    return (np.broadcast_to(values[-1], x.shape[1:]),
            np.broadcast_to(slopes[-1], (len(c), x.shape[1])))


def columns_of(x: Any) -> np.ndarray:
    """(d, n) of (n,) or (n, d)."""
    found = np.asarray(x, float)
    if found.ndim not in (1, 2):
        raise ShapeError("inputs are no table", got=f"shape {found.shape}", expected="(n,) or (n, d)",
                         do="pass one row per value")
    return found[None] if found.ndim == 1 else found.T
