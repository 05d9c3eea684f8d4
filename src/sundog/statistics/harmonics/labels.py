"""Labelled wavelet phase harmonics: which covariance each number of the vector is, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sundog.statistics.scattering.labels.vector import Labelled, LabelTable, floored

KINDS = ("S11", "S00", "S01", "C00", "C01", "Cphase", "L")
COLUMNS = ("j1", "l1", "p1", "j2", "l2", "p2", "n", "a", "conjugate")


@dataclass(frozen=True, eq=False)
class HarmonicLabels(LabelTable):
    """Meaning of each entry of a vector of K wavelet phase harmonics.

    Attributes
    ----------
    numbers : (K, 9) columns `COLUMNS`: octave, orientation and exponent of both fields (orientation -1 for the low-pass
        "L" and octaves from -1 there), lag 2^n pixels (0: none) in direction a, and 1 where the second field is
        conjugated once more
    L, turn : orientations per half a turn; half turns covered (2 for complex maps)
    directions : of lags, per half a turn
    isotropic : whether the average over rotations was taken; then l1 is 0 and l2 a difference
    """

    L: int
    turn: int
    directions: int
    isotropic: bool = False
    order: ClassVar[tuple[str, ...]] = KINDS
    columns: ClassVar[tuple[str, ...]] = COLUMNS

    @cached_property
    def powers(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each entry the two places in the vector of the powers that divide it (K,), (K,), and which are powers."""
        n = {name: self.numbers[:, i] for i, name in enumerate(COLUMNS)}
        own = (self.part == "re") & (n["n"] == 0) & (n["conjugate"] == 0) & (n["p1"] == 1) & (n["p2"] == 1)
        own &= (self.kind == "S11") | (self.kind == "L")
        low = self.kind == "L"
        places = {(bool(low[i]), n["j1"][i], n["l1"][i]): i for i in np.flatnonzero(own)}
        zero = np.zeros_like(n["l1"]) if self.isotropic else n["l2"]
        second = np.where(low, n["l2"], zero)
        pairs = [
            (places[bool(k), a, b], places[bool(k), c, d])
            for k, a, b, c, d in zip(low, n["j1"], n["l1"], n["j2"], second)
        ]
        found = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1], torch.from_numpy(own)

    @cached_property
    def rotations(self) -> tuple[Tensor, Tensor, HarmonicLabels]:
        """Group of each entry under rotations (K,), weights (K,) that average a group, and labels of the groups.

        Half a turn conjugates W of a real map and reverses lags: there imaginary parts belong to no group (weight 0),
        and opposite lags to one.
        """
        turned = self.numbers.copy()
        has = self.numbers[:, 1] >= 0
        around = self.L * self.turn
        turned[:, 4] = np.where(has, (self.numbers[:, 4] - self.numbers[:, 1]) % around, -1)
        turned[:, 1] = np.where(has, 0, -1)
        turned[:, 7] %= self.directions * self.turn
        kept = (self.part == "re") if self.turn == 1 else np.ones(len(self), bool)
        return self.grouped(turned, kept)


@dataclass(frozen=True, eq=False)
class HarmonicCoefficients(Labelled):
    """Wavelet phase harmonics of one map or of many, each number with its label.

    Example
    -------
    >>> from sundog.statistics.harmonics.transform import PhaseHarmonics
    >>> x = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = PhaseHarmonics((32, 32), J=3, L=4)(x)
    >>> c["S11"].shape, c.iso()["S11"].shape, c.mean()["Cphase"].shape
    (torch.Size([5, 12]), torch.Size([5, 3]), torch.Size([24]))
    """

    labels: HarmonicLabels
    kinds: ClassVar[tuple[str, ...]] = KINDS
    label_type: ClassVar[type[LabelTable]] = HarmonicLabels

    def iso(self) -> HarmonicCoefficients:
        """Average over rotations: mean over l1 at fixed l2 - l1 and lag relative to l2; real parts for real maps.

        A complex map turns like a complex scalar: Q + iU, which also changes phase in a rotation, keeps only the
        covariances in which that phase cancels (S11, S00, C00, and |x|^2 of L).
        """
        return self._over_rotations()

    def normalised(self, reference: HarmonicCoefficients | None = None, *, log: bool = True) -> HarmonicCoefficients:
        """Covariances divided by sqrt(S11(1) S11(2)) of ``reference`` (themselves when None); logarithms of S11 itself.

        Low-pass moments are divided by the variance of the low-passed map. With ``log=False`` powers are divided by
        those of the reference instead. Powers are floored at 16 eps^2 of the largest one, so that empty and constant
        maps stay finite.

        Source: Allys et al. 2020, PRD 102, 103506 (normalisation by the target's S11).
        """
        other = self if reference is None else reference
        self._values(other)
        first, second, own = (t.to(self.vector.device) for t in self.labels.powers)
        ruler = _floored(other.vector, own)
        divided = self.vector * (ruler[..., first].rsqrt() * ruler[..., second].rsqrt())
        if log:
            divided = torch.where(own, torch.where(own, _floored(self.vector, own), 1.0).log(), divided)
        return self.with_vector(divided)


def _floored(values: Tensor, own: Tensor) -> Tensor:
    """Powers no lower than the rounding of the largest one; other entries as they are."""
    return torch.where(own, floored(values, torch.where(own, values, 0.0).amax(-1, keepdim=True)), values)
