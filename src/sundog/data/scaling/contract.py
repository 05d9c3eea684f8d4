"""Scaling: the contract of an invertible map with a log-determinant."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import double, like
from sundog.errors import ShapeError


class Scaling(ABC):
    """An invertible map of every number, fitted on training data. Abstract: subclasses are final and frozen.

    Example
    -------
    >>> import torch
    >>> from sundog.data.scaling import Chain, LogModulus, Standard, scaling_from_json
    >>> x = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])
    >>> scaling = Chain([LogModulus(), Standard()]).fit(x, names=("m_j1", "pt"))
    >>> bool(torch.allclose(scaling.inverse(scaling.forward(x)), x))
    True
    >>> scaling_from_json(scaling.to_json()) == scaling
    True
    """

    def fit(self, x: Tensor, weights: Tensor | None = None, names: Sequence[str] | None = None) -> Self:
        """A new, fitted scaling; give it training data only.

        Parameters
        ----------
        x : (n, d), (n, ny, nx) or (n, c, ny, nx), physical units
        weights : (n,), or None; minima and maxima know no weights, but the lightest rows are ignored: those that
            each weigh less than 1e-4 of a row that counts, and together less than a tenth
        names : of the features or channels, for the error message

        Raises
        ------
        DataError : a constant column (or image), which no scaling can stretch.
        """
        if x.ndim not in (2, 3, 4) or len(x) == 0:
            raise ShapeError("cannot fit a scaling", got=tuple(x.shape), expected="(n, d) or (n, [c,] ny, nx)",
                             do="pass dataset.values")
        if weights is not None:
            weights = double(weights)
            light = _light(weights)
            if len(light):
                heavy = torch.ones_like(weights, dtype=torch.bool).index_fill_(0, light, False)
                x, weights = x[heavy], weights[heavy]
        return self._fit(double(x), weights, names)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each column was found to be (``ByKind``), or () where nobody looked."""
        return ()

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """z in scaled units, same shape and type as x.

        Parameters
        ----------
        at : (n, d) or (1, d), from 0 to 1: the place in its cell where a value that many rows share is put
            (``ByKind``); random for training, the middle when None
        """
        return like(self._placed(double(x), at), x)

    def inverse(self, z: Tensor, memory: Tensor | None = None) -> Tensor:
        """x in physical units, same shape and type as z; ``memory`` is for ``MinMaxPerImage`` alone."""
        return like(self._inverse(double(z), None if memory is None else double(memory)), z)

    def log_abs_det(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """log|det dz/dx| of each row, (n,), float64; -inf where x lies outside the support (density zero).

        Of a value with a cell it is the logarithm of the cell's width times the slope at ``at``.
        """
        return self._log_slope_at(double(x), at).flatten(1).sum(1)

    def celled(self, x: Tensor) -> Tensor:
        """(n,) which rows hold a value with a cell across which a density may change."""
        return torch.zeros(len(x), dtype=torch.bool)

    def outside(self, x: Tensor) -> int:
        """How many numbers of x lie outside the support, where ``forward`` clips and the density is zero."""
        return int((self._log_slope(double(x)) == -math.inf).sum())

    def memory(self, x: Tensor) -> Tensor | None:
        """What ``inverse`` needs back besides z: (n, 2c) for ``MinMaxPerImage``, None for all others."""
        return None

    def to_json(self) -> dict[str, Any]:
        """The scaling as plain numbers; ``scaling_from_json`` rebuilds it bit by bit."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"kind": type(self).__name__,
                **{name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}}

    @abstractmethod
    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self: ...

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    def _placed(self, x: Tensor, at: Tensor | None) -> Tensor:
        return self._forward(x)

    def _log_slope_at(self, x: Tensor, at: Tensor | None) -> Tensor:
        return self._log_slope(x)

    @abstractmethod
    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _log_slope(self, x: Tensor) -> Tensor:
        """log|dz/dx| of every number, same shape as x."""


def _light(weights: Tensor) -> Tensor:
    """The lightest rows: each below 1e-4 of an effective row, together below a tenth."""
    row = (weights @ weights) / weights.sum()
    rows = (weights <= 1e-4 * row).nonzero().flatten()
    ordered, order = weights[rows].sort()
    return rows[order[ordered.cumsum(0) <= 0.1 * row]]
