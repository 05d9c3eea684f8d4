"""A vector of statistics in which every number has its label: the part that all kinds of statistics share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from sundog.errors import OptionError, ShapeError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Values (..., K) with labels; differences, means over maps and averages over rotations keep the labels right.

    Attributes
    ----------
    vector : (..., K) values; gradients flow through it
    labels : meaning of the K entries: ``span(kind)``, ``same_as(other)``, ``isotropic`` and ``rotations`` (group and
        weight of every entry, labels of the groups)
    """

    vector: Tensor
    labels: Any
    kinds: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.vector.shape[-1] != len(self.labels):
            raise ShapeError(
                "coefficients and labels differ in length",
                got=f"{self.vector.shape[-1]} values",
                expected=f"{len(self.labels)}",
                do="use the labels of the transform that made the vector",
            )

    def __getitem__(self, kind: str) -> Tensor:
        """Values (..., k) of one kind, real parts before imaginary parts."""
        if kind not in self.kinds:
            raise OptionError("unknown kind of coefficient", got=kind, expected=" | ".join(self.kinds), do="choose one")
        return self.vector[..., self.labels.span(kind)]

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
        return self.with_vector(self.vector.reshape(-1, len(self.labels)).mean(0))

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
            raise ShapeError(
                "two vectors speak of different coefficients",
                got=f"{len(other.labels)} entries, isotropic={other.labels.isotropic}",
                expected=f"{len(self.labels)} entries, isotropic={self.labels.isotropic}",
                do="measure both with one transform",
            )
        return other.vector
