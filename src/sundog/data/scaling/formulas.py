"""Inputs as a model is told them: as they are, or formulas of them, standardised."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sundog.data.scaling.linear import Standard
from sundog.errors import DataError, OptionError

Formula = str | Callable[[Mapping[str, Tensor]], Tensor] | None
FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "abs": torch.abs, "sin": torch.sin, "cos": torch.cos}
_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos}


@dataclass(frozen=True)
class Reparametrised:
    """z = (f(c) - mean) / std with formulas f of the inputs c by name: what an emulator learns from.

    Attributes
    ----------
    names : of the inputs (c,)
    formulas : {name: formula}; the name of an input replaces it, None leaves it out, another name adds one
    standard : of the results

    Example
    -------
    >>> c = torch.tensor([[1.0, 2.0], [2.0, 5.0], [4.0, 1.0]])
    >>> seen = Reparametrised.fitted(c, None, ("ln A", "tau"), {"ln A": "ln A - 2 * tau", "square": "tau^2"})
    >>> seen.columns(c)[0].tolist(), list(seen.told)
    ([-3.0, 2.0, 4.0], ['ln A', 'tau', 'square'])
    """

    names: tuple[str, ...]
    formulas: Mapping[str, Formula]
    standard: Standard = field(default_factory=Standard)
    kinds = ()

    @classmethod
    def fitted(cls, c: Tensor, weights: Tensor | None, names: Sequence[str], formulas: Mapping[str, Formula]
               ) -> Reparametrised:
        """Fitted to inputs (n, c).

        Raises
        ------
        OptionError : a formula that cannot be read. DataError : one that gives no number for a run, or a constant.
        """
        plain = cls(tuple(names), dict(formulas))
        return cls(plain.names, plain.formulas, Standard().fit(plain.columns(c), weights, plain.told))

    @property
    def told(self) -> tuple[str, ...]:
        """Names of what the model is told."""
        found = tuple(name for name in dict.fromkeys((*self.names, *self.formulas))
                      if self.formulas.get(name, "") is not None)
        if not found:
            raise OptionError("reparametrise leaves no input", got="None for all", expected="one or more",
                              do="keep the inputs that the output depends on")
        return found

    def columns(self, c: Tensor) -> Tensor:
        """f(c) of inputs (n, c), float64."""
        given = dict(zip(self.names, c.double().T))
        parts = []
        for name in self.told:
            formula = self.formulas.get(name, "")
            column = given[name] if formula == "" else _evaluated(formula, given)
            column = torch.as_tensor(column, dtype=torch.float64).expand(len(c))
            bad = (~column.isfinite()).nonzero().flatten()
            if len(bad):
                raise DataError(f"{name} = {formula} is no number everywhere", got=f"{len(bad)} of {len(c)} inputs, "
                                f"first row {int(bad[0])}", expected="finite numbers",
                                do="change reparametrise, or leave those inputs out")
            parts.append(column)
        return torch.stack(parts, 1)

    def forward(self, c: Tensor, at: Tensor | None = None) -> Tensor:
        """Standardised f(c), float64."""
        return self.standard.forward(self.columns(c))

    def to_json(self) -> dict[str, Any]:
        """Plain facts; OptionError where a formula is a function of Python, which no file can hold."""
        if functions := [name for name, formula in self.formulas.items() if callable(formula)]:
            raise OptionError("a function cannot be kept in a run's folder", got=", ".join(functions),
                              expected="formulas as text", do="write it as text, e.g. 'log(tau)'; or leave out= out")
        return {"kind": "Reparametrised", "names": list(self.names), "formulas": dict(self.formulas),
                "standard": self.standard.to_json()}


def _evaluated(formula: Formula, given: Mapping[str, Tensor]) -> Any:
    """A formula of the inputs; their names may hold any sign, the longest is read first."""
    if callable(formula):
        return formula(given)
    names = sorted(given, key=len, reverse=True)
    pattern = r"(?<!\w)(" + "|".join(map(re.escape, names)) + r")(?!\w)"
    text = re.sub(pattern, lambda found: f"_{names.index(found[1])}_", str(formula)).replace("^", "**")
    columns = {f"_{i}_": given[name] for i, name in enumerate(names)}
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, columns)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError) as error:
        raise OptionError("reparametrise holds no formula", got=repr(formula), expected=f"numbers, + - * / ^ ( ), "
                          f"{', '.join(FUNCTIONS)}, and the inputs {', '.join(given)}",
                          do="write e.g. tau=log(tau)") from error


def _value(node: ast.AST, columns: Mapping[str, Tensor]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return columns[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, columns), _value(right, columns))
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, columns))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            return FUNCTIONS[name](torch.as_tensor(_value(argument, columns), dtype=torch.float64))
    raise TypeError(type(node).__name__)
