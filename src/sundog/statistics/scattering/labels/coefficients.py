"""Labelled scattering coefficients: what each number of the vector means, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sundog.errors import FileError
from sundog.statistics.scattering.labels.reduction import ReducedCoefficients, Reduction
from sundog.statistics.scattering.labels.storage import load_columns, save_columns
from sundog.statistics.scattering.labels.vector import Labelled
from sundog.statistics.wavelets.directions import axis_turns, first_of_orbit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("mean", "var", "S1", "S2", "S3", "S4")
COLUMNS = ("j1", "j2", "j3", "l1", "l2", "l3")


@dataclass(frozen=True, eq=False)
class Labels:
    """Meaning of each entry of a vector of K coefficients.

    Attributes
    ----------
    kind : (K,) words "mean", "var", "S1" ... "S4", equal words standing together in that order
    part : (K,) "re" or "im"
    scales : (K, 3) octaves j1, j2, j3; -1 where the kind has none
    angles : (K, 3) orientations l1, l2, l3, -1 where there is none; differences modulo L when isotropic
    L : number of orientations
    isotropic : whether the average over rotations was taken
    directions : "half-turn" for L angles in a plane; "axes" for the six axes of an icosahedron, of cubes; "harmonics"
        for L harmonics of the differences of angles, on the sphere
    """

    kind: np.ndarray
    part: np.ndarray
    scales: np.ndarray
    angles: np.ndarray
    L: int
    isotropic: bool = False
    directions: str = "half-turn"

    def __len__(self) -> int:
        return len(self.kind)

    def span(self, kind: str) -> slice:
        """Where a kind stands in the vector."""
        where = np.flatnonzero(self.kind == kind)
        return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)

    def same_as(self, other: Labels) -> bool:
        """Whether two vectors speak of the same coefficients."""
        if self is other:
            return True
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("kind", "part", "scales", "angles")]
        own = (self.L, self.isotropic, self.directions)
        same = own == (other.L, other.isotropic, other.directions)
        return same and all(np.array_equal(a, b) for a, b in pairs)

    @cached_property
    def norms(self) -> tuple[Tensor, Tensor]:
        """For each entry the two places (1 + index among S2; 0 for none) whose S2 divide it."""
        span = self.span("S2")
        place = {
            (j, ell): 1 + i
            for i, (j, ell) in enumerate(zip(self.scales[span, 0].tolist(), self.angles[span, 0].tolist()))
        }
        pairs = {"S1": (0, None), "S3": (1, 2), "S4": (0, 1)}
        found = np.zeros((len(self), 2), dtype=np.int64)
        for kind, columns in pairs.items():
            at = self.span(kind)
            for side, column in enumerate(columns):
                if column is not None:
                    ell = np.full(at.stop - at.start, -1) if self.isotropic else self.angles[at, column]
                    keys = zip(self.scales[at, column].tolist(), ell.tolist())
                    found[at, side] = [place[key] for key in keys]
        return torch.from_numpy(found[:, 0]), torch.from_numpy(found[:, 1])

    @cached_property
    def rotations(self) -> tuple[Tensor, Tensor, Labels]:
        """Group of each entry under rotations (K,), weights (K,) that average a group, and labels of the groups.

        Imaginary parts belong to no group (weight 0): a rotation by half a turn changes their sign.
        """
        angles = np.full_like(self.angles, -1)
        for kind, column in (("S3", 1), ("S4", 0)):  # S3 counts its angles from l2, S4 from l1
            at = self.span(kind)
            if self.directions == "axes":
                angles[at] = first_of_orbit(self.angles[at], axis_turns())
                continue
            turned = (self.angles[at] - self.angles[at, column : column + 1]) % self.L
            angles[at] = np.where(self.angles[at] >= 0, turned, -1)
        starts = np.array([KINDS.index(kind) for kind in self.kind])
        keys = np.column_stack([starts, self.scales, angles])
        real = self.part == "re"
        unique, group = np.unique(keys[real], axis=0, return_inverse=True)
        counts = np.bincount(group.ravel())
        groups, weights = np.zeros(len(self), dtype=np.int64), np.zeros(len(self))
        groups[real], weights[real] = group.ravel(), 1.0 / counts[group.ravel()]
        kinds = np.array(KINDS)[unique[:, 0]]
        labels = Labels(
            kinds, np.full(len(unique), "re"), unique[:, 1:4], unique[:, 4:], self.L, True, self.directions
        )
        return torch.from_numpy(groups), torch.from_numpy(weights), labels


@dataclass(frozen=True, eq=False)
class ScatteringCoefficients(Labelled):
    """Scattering statistics of one map or of many, each number with its label.

    Attributes
    ----------
    vector : (..., K) values; gradients flow through it
    labels : meaning of the K entries

    Example
    -------
    >>> from sundog.statistics.scattering.covariance import ScatteringCovariance
    >>> x = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = ScatteringCovariance((32, 32), J=2, L=4)(x)
    >>> c["S1"].shape, c.iso()["S1"].shape, c.mean()["S1"].shape
    (torch.Size([5, 8]), torch.Size([5, 2]), torch.Size([8]))
    >>> sorted(c.table())[:3]
    ['angle', 'j1', 'j2']
    """

    labels: Labels
    kinds: ClassVar[tuple[str, ...]] = KINDS

    def iso(self) -> ScatteringCoefficients:
        """Average over rotations: mean over l1 at fixed l2 - l1 and l3 - l1 modulo L, real part.

        A rotation by half a turn conjugates S3 and S4, so an isotropic field has no imaginary part.

        Source: Cheng et al. 2024, PNAS Nexus 3, pgae103.
        """
        return self._over_rotations()

    def normalised(
        self, reference: ScatteringCoefficients | None = None, *, log: bool = True
    ) -> ScatteringCoefficients:
        """Coefficients divided by powers of S2 of ``reference`` (themselves when None).

        S1 / sqrt(S2), log S2, S3 / sqrt(S2(2) S2(3)), S4 / sqrt(S2(1) S2(2)), mean / sqrt(var), log var. In a synthesis
        the reference is the target, fixed; otherwise a map could lower its loss by changing the ruler. With
        ``log=False`` S2 and var are divided by those of the reference.

        S2 is floored at 16 eps^2 <x^2>, the noise of the transform, so that empty and constant maps stay finite.
        """
        other = self if reference is None else reference
        self._values(other)
        floored, var = _floored(other["S2"], other), _floored(other["var"], other)
        first, second = (index.to(self.vector.device) for index in self.labels.norms)
        roots = torch.cat([torch.ones_like(floored[..., :1]), floored.rsqrt()], -1)
        values = self.vector * (roots[..., first] * roots[..., second])
        s2, own_var = self["S2"], self["var"]
        if log:
            s2, own_var = _floored(s2, self).log(), _floored(own_var, self).log()
        else:
            s2, own_var = s2 / floored, own_var / var
        span, mean = self.labels.span("S2"), self["mean"] * var.rsqrt()
        tail, head = values[..., span.stop :], values[..., 2 : span.start]
        return self.with_vector(torch.cat([mean, own_var, head, s2, tail], -1))

    def reduce(
        self,
        null: ScatteringCoefficients | None = None,
        *,
        sigma: float = 2.0,
        angles: bool = True,
        scales: bool = True,
    ) -> ReducedCoefficients:
        """Harmonics of the angles and cosines of the scales; with Gaussian ``null`` maps, only what differs from them.

        To measure several maps in the same reduced coefficients, keep the `Reduction`:
        ``Reduction(c.labels).select(target, null)`` and call it. Normalise first: log S2 is smooth in j, S2 is not.
        """
        reduction = Reduction(self.labels, angles, scales)
        return (reduction if null is None else reduction.select(self, null, sigma))(self)

    def plot(self) -> Figure:
        """One panel per kind; of many maps the mean and the spread."""
        from sundog.reports.figures.coefficients import covariances

        return covariances(self.table(), self.labels.L)

    def table(self) -> dict[str, np.ndarray]:
        """Columns kind, part, angle, j1 ... l3 and value (last axis K); ready for a data frame when there is one map.

        ``angle`` says whether l are orientations, differences of orientations, or axes of a cube's wavelets.
        """
        columns: dict[str, np.ndarray] = {"kind": self.labels.kind, "part": self.labels.part}
        word = "difference" if self.labels.isotropic else "orientation"
        word = {"axes": "axis", "harmonics": "harmonic"}.get(self.labels.directions, word)
        columns["angle"] = np.full(len(self.labels), word)
        for i in range(3):
            columns[f"j{i + 1}"] = self.labels.scales[:, i]
            columns[f"l{i + 1}"] = self.labels.angles[:, i]
        columns["value"] = self.vector.detach().cpu().numpy()
        return columns

    def save(self, path: str | Path) -> Path:
        """Write values and labels to ``.npz`` or ``.json``; returns the path."""
        about = {name: np.array(getattr(self.labels, name)) for name in ("L", "isotropic", "directions")}
        return save_columns(path, {**self.table(), **about})

    @staticmethod
    def load(path: str | Path) -> ScatteringCoefficients:
        """Read what `save` wrote (JSON values come back as float64)."""
        table: dict[str, Any] = load_columns(path)
        try:
            scales = np.column_stack([table[name] for name in COLUMNS[:3]])
            angles = np.column_stack([table[name] for name in COLUMNS[3:]])
            about = int(table["L"]), bool(table["isotropic"]), str(table.get("directions", "half-turn"))
            labels = Labels(table["kind"], table["part"], scales, angles, *about)
            return ScatteringCoefficients(torch.from_numpy(table["value"]), labels)
        except (KeyError, ValueError) as error:
            raise FileError(
                "not a file of scattering coefficients", got=path, expected="what save() wrote", do="measure again"
            ) from error


def _floored(values: Tensor, of: ScatteringCoefficients) -> Tensor:
    square = (of["mean"] ** 2 + of["var"]).detach()
    eps = torch.finfo(values.dtype).eps
    return torch.maximum(values, 16 * eps**2 * square + torch.finfo(values.dtype).tiny * 1e8)
