"""Chain of scalings, the default scaling, and scalings from JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import double, like
from sundog.data.scaling.contract import Scaling
from sundog.data.scaling.curved import Asinh, ClippedLogit, LogModulus, ScaledTanh
from sundog.data.scaling.formulas import Reparametrised
from sundog.data.scaling.kinds import ByKind
from sundog.data.scaling.linear import Identity, MinMaxPerImage, MinMaxPerSet, Standard
from sundog.data.scaling.scores import NormalScores
from sundog.errors import OptionError
from sundog.random import stream

AT_ONCE = 2**18  # numbers scaled at once
_FINAL: tuple[type, ...] = (
    Identity, Standard, ClippedLogit, LogModulus, Asinh, ScaledTanh, MinMaxPerSet, MinMaxPerImage,
    NormalScores,
)


@dataclass(frozen=True)
class Chain(Scaling):
    """z = f_last(... f_first(x)): each part fitted on the output of the one before; log-determinants add."""

    parts: tuple[Scaling, ...]

    def __init__(self, parts: Sequence[Scaling]) -> None:
        object.__setattr__(self, "parts", tuple(parts))
        if sum(isinstance(part, MinMaxPerImage | Chain) for part in self.parts) > 1:
            raise OptionError("two parts of the chain may need extremes", got=len(self.parts),
                              expected="at most one MinMaxPerImage or inner Chain", do="flatten the chain")

    def to_json(self) -> dict[str, Any]:
        """The parts, in order."""
        return {"kind": "Chain", "parts": [part.to_json() for part in self.parts]}

    def memory(self, x: Tensor) -> Tensor | None:
        """The extremes that the part which needs them sees, or None."""
        y = double(x)
        for part in self.parts:
            if (memory := part.memory(y)) is not None:
                return like(memory, x)
            y = part._forward(y)
        return None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each column was found to be."""
        return next((part.kinds for part in self.parts if part.kinds), ())

    def celled(self, x: Tensor) -> Tensor:
        """(n,) which rows hold a value with a cell across which a density may change."""
        return self.parts[0].celled(x) if self.parts else super().celled(x)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        fitted: list[Scaling] = []
        for part in self.parts:
            x = _moved(fitted[-1], x) if fitted else x
            fitted.append(part._fit(x, weights, names))
        return type(self)(fitted)

    def _forward(self, x: Tensor) -> Tensor:
        return self._placed(x, None)

    def _placed(self, x: Tensor, at: Tensor | None) -> Tensor:
        for part in self.parts:
            x = part._placed(x, at)
        return x

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        for part in reversed(self.parts):
            z = part._inverse(z, memory)
        return z

    def _log_slope(self, x: Tensor) -> Tensor:
        return self._log_slope_at(x, None)

    def _log_slope_at(self, x: Tensor, at: Tensor | None) -> Tensor:
        total = torch.zeros_like(x)
        for part in self.parts:
            total = total + part._log_slope(x)
            x = part._placed(x, at)
        return total


def _moved(part: Scaling, x: Tensor) -> Tensor:
    """x behind a fitted part, shared values at random places of their cells; a few at a time, for there are copies."""
    at = torch.rand(x.shape, generator=stream(0, "cells"), dtype=x.dtype).to(x) if part.kinds else None
    out, size = torch.empty_like(x), max(1, AT_ONCE // x[0].numel())
    for start in range(0, len(x), size):
        some = slice(start, start + size)
        out[some] = part._placed(x[some], None if at is None else at[some])
    return out


def named_scaling(name: str) -> Scaling:
    """An unfitted scaling by its word: ``auto``, ``standard``, ``logit``, ``asinh``, ``log-modulus``,
    ``normal-scores`` or ``identity``.

    ``auto`` is a logit between edges found in the data, after normal scores of the columns with far tails; ``logit``
    takes the extremes for edges; ``normal-scores`` makes every column a Gaussian. The curved ones are followed by
    ``Standard``, so that every number a network sees has mean 0 and spread 1.

    Raises
    ------
    OptionError : another word.
    """
    words: dict[str, Scaling] = {
        "auto": Chain([NormalScores(far=True), ClippedLogit(edges="auto"), Standard()]),
        "standard": Chain([Standard()]),
        "logit": Chain([ClippedLogit(), Standard()]),
        "asinh": Chain([Asinh(), Standard()]),
        "log-modulus": Chain([LogModulus(), Standard()]),
        "normal-scores": NormalScores(),
        "identity": Identity(),
    }
    if name not in words:
        raise OptionError("unknown scaling", got=name, expected=" | ".join(words),
                          do="choose one of these, or pass a Scaling")
    return words[name]


def default_scaling(kind: str, names: Sequence[str] = ()) -> Scaling:
    """The unfitted scaling that ``fit`` uses when none is asked for: ``auto`` for events, ``standard`` for images."""
    return named_scaling("auto" if kind == "events" else "standard")


def inputs_from_json(facts: Mapping[str, Any]) -> Scaling | Reparametrised:
    """What ``to_json`` of the scaling of a context described; OptionError as `scaling_from_json`."""
    if facts.get("kind") != "Reparametrised":
        return scaling_from_json(facts)
    standard = scaling_from_json(facts["standard"])
    assert isinstance(standard, Standard)
    return Reparametrised(tuple(facts["names"]), facts["formulas"], standard)


def scaling_from_json(facts: Mapping[str, Any]) -> Scaling:
    """The scaling that ``to_json`` described.

    Raises
    ------
    OptionError : a kind or a field that this version does not know.
    """
    given = dict(facts)
    kind = given.pop("kind", None)
    if kind == "Chain":
        return Chain([scaling_from_json(part) for part in given.get("parts", ())])
    if kind == "ByKind":
        return ByKind.from_json(given)
    chosen = {known.__name__: known for known in _FINAL}.get(str(kind))
    if chosen is None or not set(given) <= {f.name for f in fields(chosen)}:
        raise OptionError("unknown scaling", got=f"{kind} {sorted(given)}",
                          expected=", ".join(known.__name__ for known in _FINAL),
                          do="use the version of sundog that wrote it")
    return chosen(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})
