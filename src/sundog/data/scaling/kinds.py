"""Column kinds: what a column is made of beside smooth numbers, and how it is made smooth for a network and back.

A density cannot hold a value that many rows share. Such a value gets a *cell*, an interval of its own: in training
the rows that share it are spread over the cell, and a fake that falls into it becomes the value again. So counts
come back whole, zeros come back zero, and nothing passes a ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import columns_of
from sundog.data.scaling.contract import Scaling
from sundog.data.scaling.found import KINDS, Column, found_column
from sundog.errors import OptionError, ShapeError


@dataclass(frozen=True)
class ByKind(Scaling):
    """Columns of events with their shared values spread over cells; x itself where a column is continuous.

    Kinds, found in the data unless ``kinds`` names them (one word per column; "" to have it found):

    * ``continuous``: nothing to do;
    * ``bounded``: smooth up to a hard edge; what passes it is reflected;
    * ``integer``, ``rounded``: whole numbers; multiples of a step. Fakes are rounded, and clipped where the numbers
      end abruptly (counts never fall below 0);
    * ``discrete``: a few values of no common step;
    * ``zero-inflated``, ``saturated``: smooth, but for a share of exact zeros; of another value (a floor, a ceiling,
      a filling).

    Columns of at most 64 values, each met five times or more, become uniform, each value a cell as wide as its share. A
    value that is shared by many rows of a smooth column gets a cell as wide as its neighbours would need for as many
    rows. With cells, ``log_abs_det`` holds the logarithm of their widths: the model's density times that is the
    probability *of the value*, which is what a log-density becomes there.

    Example
    -------
    >>> x = torch.poisson(torch.full((500, 1), 3.0), torch.Generator().manual_seed(0))
    >>> scaling = ByKind().fit(x)
    >>> scaling.kinds, bool((scaling.inverse(scaling.forward(x)) == x).all())
    (('integer',), True)
    """

    given: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.given) - {*KINDS, ""}:
            raise OptionError("unknown kind of column", got=", ".join(sorted(unknown)), expected=" | ".join(KINDS),
                              do="choose one of these, or leave it out to have it found")

    @property
    def kinds(self) -> tuple[str, ...]:
        """One word per column."""
        return tuple(column.kind for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """The kinds and their cells."""
        return {"kind": "ByKind", "given": list(self.given), "columns": [asdict(column) for column in self.columns]}

    @staticmethod
    def from_json(facts: dict[str, Any]) -> ByKind:
        """Undo ``to_json``."""
        columns = [Column(**{name: _tuples(value) for name, value in column.items()}) for column in facts["columns"]]
        return ByKind(tuple(facts["given"]), tuple(columns))

    def celled(self, x: Tensor) -> Tensor:
        """(n,) whether a row holds a value whose cell is so wide that the density may change across it."""
        return torch.stack([column.wide(v) for column, v in self._pairs(x.double())]).any(0)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        if x.ndim != 2:
            raise ShapeError("only columns of events have kinds", got=tuple(x.shape), expected="(n, d)",
                             do="leave kinds out for images")
        columns_of(x, names)  # a constant is named
        given = self.given or ("",) * x.shape[1]
        if len(given) != x.shape[1]:
            raise ShapeError("kinds do not fit the columns", got=len(given), expected=x.shape[1],
                             do="pass one word per column")
        labels = names or [f"column {j}" for j in range(x.shape[1])]
        return replace(self, columns=tuple(found_column(v, weights, kind, name)
                                           for v, kind, name in zip(x.T, given, labels)))

    def _forward(self, x: Tensor) -> Tensor:
        return self._placed(x, None)

    def _placed(self, x: Tensor, at: Tensor | None) -> Tensor:
        at = torch.full((1, 1), 0.5, dtype=x.dtype) if at is None else at
        at = at.to(x).expand(len(x), x.shape[1])
        return torch.stack([column.spread(v, u) for (column, v), u in zip(self._pairs(x), at.T)], 1)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return torch.stack([column.gathered(v) for column, v in self._pairs(z)], 1)

    def _log_slope(self, x: Tensor) -> Tensor:
        return torch.stack([column.log_width(v) for column, v in self._pairs(x)], 1)

    def _pairs(self, x: Tensor) -> list[tuple[Column, Tensor]]:
        if not self.columns:
            raise OptionError("the scaling is not fitted", got="no training data", expected="a fitted scaling",
                              do="call scaling = scaling.fit(x) first")
        if x.ndim != 2 or x.shape[1] != len(self.columns):
            raise ShapeError("the scaling was fitted on another number of columns", got=tuple(x.shape),
                             expected=f"(n, {len(self.columns)})",
                             do="pass the columns of the training data, in their order")
        return [(column, v.contiguous()) for column, v in zip(self.columns, x.T)]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
