"""Vectors of statistics in which every number has its label: the part that all kinds of statistics share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.errors import FileError, ShapeError
from sundog.statistics.scattering.labels.storage import load_columns, save_columns


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Meaning of each entry of a vector of K coefficients; further fields of a subclass hold for all of them.

    Attributes
    ----------
    kind : (K,) words of ``order``, equal words standing together in that order
    part : (K,) "re" or "im"
    numbers : (K, c) whole numbers, named by ``columns``
    """

    kind: np.ndarray
    part: np.ndarray
    numbers: np.ndarray
    order: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def about(self) -> dict[str, Any]:
        """What holds for all entries, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)[3:]}

    @property
    def words(self) -> dict[str, np.ndarray]:
        """Columns of words (K,) that a reader needs beside the numbers."""
        return {"kind": self.kind, "part": self.part}

    def table(self) -> dict[str, np.ndarray]:
        """All columns, (K,) each."""
        return {**self.words, **dict(zip(self.columns, self.numbers.T))}

    @classmethod
    def of(cls, table: Mapping[str, np.ndarray]) -> Self:
        """Labels from the columns of `table` and the numbers of ``about``."""
        numbers = np.column_stack([table[name] for name in cls.columns])
        about = {item.name: table[item.name].item() for item in fields(cls)[3:] if item.name in table}
        return cls(table["kind"], table["part"], numbers, **about)

    def span(self, kind: str) -> slice:
        """Where a kind stands in the vector."""
        return self._spans.get(kind, slice(0, 0))

    @cached_property
    def _spans(self) -> dict[str, slice]:
        kinds, first, count = np.unique(self.kind, return_index=True, return_counts=True)
        return {str(k): slice(int(i), int(i + n)) for k, i, n in zip(kinds, first, count)}

    def same_as(self, other: Self) -> bool:
        """Whether two vectors speak of the same coefficients."""
        return self is other or all(
            np.array_equal(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)
        )

    def take(self, kept: np.ndarray) -> Self:
        """Labels of some of them."""
        return replace(self, kind=self.kind[kept], part=self.part[kept], numbers=self.numbers[kept])

    def grouped(self, turned: np.ndarray, kept: np.ndarray) -> tuple[Tensor, Tensor, Self]:
        """Group (K,) of each entry, weights (K,) that average a group, and labels of the groups, isotropic.

        Entries of one kind and part with equal rows of ``turned`` (K, c) are one group; those not ``kept`` (K,) belong
        to none (weight 0).
        """
        kinds = np.array([self.order.index(kind) for kind in self.kind])
        keys = np.column_stack([kinds, self.part == "im", turned])
        unique, group = np.unique(keys[kept], axis=0, return_inverse=True)
        groups, weights = np.zeros(len(self), dtype=np.int64), np.zeros(len(self))
        groups[kept], weights[kept] = group.ravel(), 1.0 / np.bincount(group.ravel())[group.ravel()]
        labels: Any = {"kind": np.array(self.order)[unique[:, 0]], "part": np.where(unique[:, 1] == 1, "im", "re"),
                       "numbers": unique[:, 2:], "isotropic": True}
        return torch.from_numpy(groups), torch.from_numpy(weights), replace(self, **labels)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Values (..., K) with labels; differences, means over maps and averages over rotations keep the labels right.

    Attributes
    ----------
    vector : (..., K) values; gradients flow through it
    labels : meaning of the K entries
    """

    vector: Tensor
    labels: Any
    kinds: ClassVar[tuple[str, ...]] = ()
    label_type: ClassVar[type[LabelTable]] = LabelTable

    def __post_init__(self) -> None:
        if self.vector.shape[-1] != len(self.labels):
            raise ShapeError("coefficients and labels differ in length", got=f"{self.vector.shape[-1]} values",
                             expected=len(self.labels), do="use the labels of the transform that made the vector")

    def __getitem__(self, kind: str) -> Tensor:
        """Values (..., k) of one kind, real parts before imaginary parts."""
        return self.vector[..., self.labels.span(one_of(kind, self.kinds, "kind of coefficient"))]

    def with_vector(self, vector: Tensor) -> Self:
        """The same labels on other values."""
        return replace(self, vector=vector)

    def __add__(self, other: Self | Tensor | float) -> Self:
        return self.with_vector(self.vector + self._values(other))

    def __sub__(self, other: Self | Tensor | float) -> Self:
        return self.with_vector(self.vector - self._values(other))

    def __mul__(self, other: Self | Tensor | float) -> Self:
        return self.with_vector(self.vector * self._values(other))

    def __truediv__(self, other: Self | Tensor | float) -> Self:
        return self.with_vector(self.vector / self._values(other))

    def mean(self) -> Self:
        """Mean over all maps, (K,)."""
        batch = self.vector.ndim - 1
        extra: Any = {name: value.flatten(0, batch - 1).mean(0) if batch else value
                      for name, value in self._extra().items()}
        return replace(self, vector=self.vector.reshape(-1, len(self.labels)).mean(0), **extra)

    def table(self) -> dict[str, np.ndarray]:
        """Columns of labels and ``value`` (last axis K); ready for a data frame when there is one map."""
        return {**self.labels.table(), "value": self.vector.detach().cpu().numpy()}

    def save(self, path: str | Path) -> Path:
        """Write values and labels to ``.npz`` or ``.json``; returns the path."""
        extra = {name: value.detach().cpu().numpy() for name, value in self._extra().items()}
        about = {name: np.array(value) for name, value in self.labels.about.items()}
        return save_columns(path, {**self.table(), **extra, **about})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote (JSON values come back as float64).

        Errors: FileError for other files.
        """
        table = load_columns(path)
        try:
            extra = {item.name: torch.from_numpy(table[item.name]) for item in fields(cls)[2:]}
            return cls(torch.from_numpy(table["value"]), cls.label_type.of(table), **extra)
        except (KeyError, ValueError, TypeError) as error:
            raise FileError(f"not a file of {cls.__name__}", got=path, expected="what save() wrote",
                            do="measure again") from error

    def _extra(self) -> dict[str, Tensor]:
        """Tensors beside the vector, (*batch, ...) each."""
        return {item.name: getattr(self, item.name) for item in fields(self)[2:]}

    def _over_rotations(self) -> Self:
        if self.labels.isotropic:
            return self
        groups, weights, labels = self.labels.rotations
        flat = (self.vector * weights.to(self.vector)).reshape(-1, len(self.labels))
        mean = flat.new_zeros(len(flat), len(labels)).index_add(1, groups.to(flat.device), flat)
        return replace(self, vector=mean.reshape(*self.vector.shape[:-1], len(labels)), labels=labels)

    def _values(self, other: Self | Tensor | float) -> Tensor | float:
        if not isinstance(other, Labelled):
            return other
        if not self.labels.same_as(other.labels):
            mine, theirs = (f"{len(labels)} entries, {labels.about}" for labels in (self.labels, other.labels))
            raise ShapeError("two vectors speak of different coefficients", got=theirs, expected=mine,
                             do="measure both with one transform")
        return other.vector


def floored(power: Tensor, largest: Tensor) -> Tensor:
    """Powers no lower than the noise of a transform of maps of this mean square, 16 eps^2 of it; never 0."""
    kind = torch.finfo(power.dtype)
    return torch.maximum(power, 16 * kind.eps**2 * largest.detach() + kind.tiny * 1e8)
