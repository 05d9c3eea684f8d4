"""Labels of scattering covariances: which octaves and which directions each number compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sundog.statistics.scattering.labels.vector import LabelTable
from sundog.statistics.wavelets.directions import axis_turns, first_of_orbit


@dataclass(frozen=True, eq=False)
class Labels(LabelTable):
    """Meaning of each entry of a vector of K scattering covariances, of one map or between two.

    Attributes
    ----------
    numbers : (K, 6) octaves j1, j2, j3 and orientations l1, l2, l3; -1 where the kind has none; differences of
        orientations modulo L when isotropic
    L : number of orientations
    isotropic : whether the average over rotations was taken
    directions : "half-turn" for L angles in a plane; "axes" for the six axes of an icosahedron, of cubes; "harmonics"
        for L harmonics of the differences of angles, on the sphere
    """

    L: int
    isotropic: bool = False
    directions: str = "half-turn"
    order: ClassVar[tuple[str, ...]] = ("mean", "var", "cov", "S1", "S2", "S3", "S4")
    columns: ClassVar[tuple[str, ...]] = ("j1", "j2", "j3", "l1", "l2", "l3")

    @property
    def scales(self) -> np.ndarray:
        """(K, 3) octaves."""
        return self.numbers[:, :3]

    @property
    def angles(self) -> np.ndarray:
        """(K, 3) orientations, or their differences."""
        return self.numbers[:, 3:]

    @property
    def words(self) -> dict[str, np.ndarray]:
        """Kind, part, and ``angle``: what l1, l2, l3 are."""
        word = "difference" if self.isotropic else "orientation"
        word = {"axes": "axis", "harmonics": "harmonic"}.get(self.directions, word)
        return {"kind": self.kind, "part": self.part, "angle": np.full(len(self), word)}

    @cached_property
    def powers(self) -> tuple[Tensor, Tensor]:
        """For each entry the places (1 + index among the S2 of one map; 0 for none) of the two S2 that divide it.

        The first is that of the wave or modulus 1, the second of 2; a wave without modulus has octave 3.
        """
        places = []
        for own in (0, 1):
            wave = np.where(self.kind == "S2", 0, 2)
            column = np.where(self.scales[:, own] >= 0, own, wave)[:, None]
            j, ell = (np.take_along_axis(x, column, 1)[:, 0] for x in (self.scales, self.angles))
            place = 1 + j if self.isotropic else 1 + j * self.L + ell
            places.append(torch.from_numpy(np.where(j < 0, 0, place)))
        return places[0], places[1]

    @cached_property
    def rulers(self) -> tuple[Tensor, Tensor]:
        """For each entry the places among 1, the variance and all S2 of the two whose square roots divide it."""
        first, second = (torch.where(places > 0, places + 1, 0) for places in self.powers)
        first[torch.from_numpy(self.kind == "mean")] = 1
        return first, second

    @cached_property
    def rotations(self) -> tuple[Tensor, Tensor, Labels]:
        """Group of each entry under rotations (K,), weights (K,) that average a group, and labels of the groups.

        Imaginary parts belong to no group (weight 0): a rotation by half a turn changes their sign.
        """
        if self.directions == "axes":
            turned = first_of_orbit(self.angles, axis_turns())
        else:
            first = np.where(self.angles[:, :1] >= 0, self.angles[:, :1], self.angles[:, 1:2])
            turned = np.where(self.angles >= 0, (self.angles - first) % self.L, -1)
        turned = np.where(np.isin(self.kind, ("S3", "S4"))[:, None], turned, -1)
        return self.grouped(np.column_stack([self.scales, turned]), self.part == "re")


def layout(J: int, L: int, imaginary: bool, *, cross: bool = False, directions: str = "half-turn"
           ) -> tuple[Labels, np.ndarray]:
    """Labels of the full vector, and where its third-layer entries stand in the flat blocks of the moments.

    Block j3 has an entry for each orientation l3 and each pair (a, b) of rows: row 0 is the map, row 1 + j L + l the
    modulus M_(j,l). One map keeps one of (a, b) and (b, a); between two maps (``cross``) both are different numbers,
    and (0, 0) is S2.
    """
    j, ell = np.divmod(np.arange(J * L), L)
    none = np.full_like(j, -1)
    waves = np.column_stack([j, none, none, ell, none, none])
    heads = (("cov", -np.ones((1, 6), int)),) if cross else (
        ("mean", -np.ones((1, 6), int)), ("var", -np.ones((1, 6), int)), ("S1", waves), ("S2", waves))
    rows = [(kind, "re", numbers) for kind, numbers in heads]
    third, places, start = [], [], 0
    for j3 in range(J):
        width = 1 + (j3 + 1) * L
        l3, a, b = (g.ravel() for g in np.indices((L, width, width)))
        (j1, l1), (j2, l2) = (np.where(row > 0, np.divmod(row - 1, L), -1) for row in (a, b))
        third.append(np.column_stack([j1, j2, np.full_like(l3, j3), l1, l2, l3]))
        places.append(start + np.arange(len(l3)))
        start += (1 + imaginary) * len(l3)
    numbers, place = np.concatenate(third), np.concatenate(places)
    half = L * (1 + (numbers[:, 2] + 1) * L) ** 2  # from the real part of a block to the imaginary one
    absent = (numbers[:, :2] < 0).sum(1)
    numbers[absent == 2] = numbers[absent == 2][:, [2, 0, 1, 5, 3, 4]]
    index = []
    for kind, missing in (("S2", 2), ("S3", 1), ("S4", 0)):
        kept = absent == missing
        if not cross:
            kept &= (numbers[:, 0] <= numbers[:, 1]) & (missing < 2)
        chosen = np.flatnonzero(kept)[np.lexsort(numbers[kept].T[::-1])]
        for number, part in enumerate(("re", "im") if imaginary else ("re",)):
            rows.append((kind, part, numbers[chosen]))
            index.append(place[chosen] + number * half[chosen])
    counts = [len(row[2]) for row in rows]
    kinds, parts = (np.repeat([row[i] for row in rows], counts) for i in (0, 1))
    numbers = np.concatenate([row[2] for row in rows])
    return Labels(kinds, parts, numbers, L, directions=directions), np.concatenate(index)
