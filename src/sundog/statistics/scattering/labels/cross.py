"""Labelled scattering covariances between two maps: what each number means, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sundog.errors import FileError, OptionError, ShapeError
from sundog.statistics.scattering.labels.coefficients import COLUMNS, Labels
from sundog.statistics.scattering.labels.storage import load_columns, save_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROSS_KINDS = ("cov", "S2", "S3", "S4")


@dataclass(frozen=True, eq=False)
class CrossCoefficients:
    """Scattering covariances of pairs of maps (x, y), each number with its label.

    With W = x * psi, M = |W| of the first map and V, N of the second, psi_3 real in Fourier space:

        cov       = <(x - <x>) (y - <y>)>
        S2(1)     = <W_1 V_1^*>                             the cross power of an octave
        S3(2,3)   = <W_3 (N_2 * psi_3)^*>                   labels j2, l2: the modulus is that of y
        S3(1,3)   = <(M_1 * psi_3) V_3^*>                   labels j1, l1: the modulus is that of x
        S4(1,2,3) = <(M_1 * psi_3) (N_2 * psi_3)^*>         j1 and j2 in any order, both at most j3

    Swapping x and y swaps the labels 1 and 2 and conjugates.

    Attributes
    ----------
    vector : (..., K) values; gradients flow through it
    labels : meaning of the K entries
    power_x, power_y : (..., J, L) S2 of either map, (..., J) when isotropic; what `normalised` divides by
    variances : (..., 2) of x and of y

    Source: Regaldo-Saint Blancard, Allys et al. 2023, ApJ 943, 9 (several channels); Cheng et al. 2024, PNAS Nexus 3,
    pgae103 (moments).

    Example
    -------
    >>> from sundog.statistics.scattering.covariance import ScatteringCovariance
    >>> x, y = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = ScatteringCovariance((32, 32), J=2, L=4)(x, x + y)
    >>> round(float(c.normalised()["S2"][:8].mean()), 1), sorted(set(c.labels.kind.tolist()))
    (0.7, ['S2', 'S3', 'S4', 'cov'])
    """

    vector: Tensor
    labels: Labels
    power_x: Tensor
    power_y: Tensor
    variances: Tensor

    def __getitem__(self, kind: str) -> Tensor:
        """Values (..., k) of one kind, real parts before imaginary parts."""
        if kind not in CROSS_KINDS:
            known = " | ".join(CROSS_KINDS)
            raise OptionError("unknown kind of coefficient", got=kind, expected=known, do="choose one")
        return self.vector[..., self.labels.span(kind)]

    def iso(self) -> CrossCoefficients:
        """Average over rotations, real part: angles become differences modulo L from l1, or l2 where there is no l1."""
        if self.labels.isotropic:
            return self
        groups, weights, labels = cross_rotations(self.labels)
        flat = (self.vector * weights.to(self.vector)).reshape(-1, len(self.labels))
        mean = flat.new_zeros(len(flat), len(labels)).index_add(1, groups.to(flat.device), flat)
        vector = mean.reshape(*self.vector.shape[:-1], len(labels))
        return CrossCoefficients(vector, labels, self.power_x.mean(-1), self.power_y.mean(-1), self.variances)

    def normalised(self, reference: CrossCoefficients | None = None) -> CrossCoefficients:
        """Coefficients divided by sqrt(S2^x S2^y), cov by sqrt(var_x var_y), of ``reference`` (themselves when None).

        S2 becomes the coherence of the two maps per octave, from -1 to 1. S3 is divided by the powers of the wave and
        of the modulus it pairs, S4 by those of its two moduli. Powers are floored at the noise of the transform.
        """
        other = self if reference is None else reference
        if not self.labels.same_as(other.labels):
            raise ShapeError(
                "two vectors speak of different coefficients", got=f"{len(other.labels)} entries",
                expected=f"{len(self.labels)} entries", do="measure both with one transform",
            )  # fmt: skip
        first, second = (place.to(self.vector.device) for place in _places(self.labels))
        vx, vy = other.variances[..., :1], other.variances[..., 1:]
        left = torch.cat([vx, other.power_x.reshape(*vx.shape[:-1], -1)], -1)
        right = torch.cat([vy, other.power_y.reshape(*vy.shape[:-1], -1)], -1)
        roots = [_floored(side, v).rsqrt() for side, v in ((left, vx), (right, vy))]
        vector = self.vector * roots[0][..., first] * roots[1][..., second]
        return CrossCoefficients(vector, self.labels, self.power_x, self.power_y, self.variances)

    def table(self) -> dict[str, np.ndarray]:
        """Columns kind, part, angle, j1 ... l3 and value, as `ScatteringCoefficients.table`."""
        columns: dict[str, np.ndarray] = {"kind": self.labels.kind, "part": self.labels.part}
        columns["angle"] = np.full(len(self.labels), "difference" if self.labels.isotropic else "orientation")
        for i in range(3):
            columns[f"j{i + 1}"] = self.labels.scales[:, i]
            columns[f"l{i + 1}"] = self.labels.angles[:, i]
        columns["value"] = self.vector.detach().cpu().numpy()
        return columns

    def plot(self) -> Figure:
        """One panel per kind; of many pairs of maps the mean and the spread."""
        from sundog.reports.figures.coefficients import cross_covariances

        return cross_covariances(self.table(), self.labels.L)

    def save(self, path: str | Path) -> Path:
        """Write values and labels to ``.npz`` or ``.json``; returns the path."""
        extra = {name: getattr(self, name).detach().cpu().numpy() for name in ("power_x", "power_y", "variances")}
        size = {"L": np.array(self.labels.L), "isotropic": np.array(self.labels.isotropic)}
        return save_columns(path, {**self.table(), **extra, **size})

    @staticmethod
    def load(path: str | Path) -> CrossCoefficients:
        """Read what `save` wrote (JSON values come back as float64)."""
        table: dict[str, Any] = load_columns(path)
        try:
            scales = np.column_stack([table[name] for name in COLUMNS[:3]])
            angles = np.column_stack([table[name] for name in COLUMNS[3:]])
            labels = Labels(table["kind"], table["part"], scales, angles, int(table["L"]), bool(table["isotropic"]))
            rest = [torch.from_numpy(table[name]) for name in ("value", "power_x", "power_y", "variances")]
        except (KeyError, ValueError) as error:
            raise FileError(
                "not a file of cross coefficients", got=path, expected="what save() wrote", do="measure again"
            ) from error
        return CrossCoefficients(rest[0], labels, *rest[1:])


def cross_layout(J: int, L: int, imaginary: bool) -> tuple[Labels, np.ndarray]:
    """Labels of the full cross vector, and where its entries stand in the flat blocks of `pair_moments`."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, str, np.ndarray]]] = {kind: [] for kind in CROSS_KINDS}
    none = np.full((1, 3), -1)
    found["cov"].append((none, none, "re", np.zeros(1, dtype=np.int64)))
    start = 0
    for part in ("re", "im") if imaginary else ("re",):
        start = 0
        for j3 in range(J):
            width = 1 + (j3 + 1) * L
            l3, a, b = (g.ravel() for g in np.meshgrid(range(L), range(width), range(width), indexing="ij"))
            place = start + (imaginary and part == "im") * L * width**2 + np.arange(len(l3))
            j1, l1, j2, l2 = (np.where(c > 0, v, -1) for c in (a, b) for v in ((c - 1) // L, (c - 1) % L))
            alone = (a == 0) & (b == 0)
            top = np.full_like(l3, j3)
            scales = np.stack([np.where(alone, j3, j1), j2, np.where(alone, -1, top)], 1)
            angles = np.stack([np.where(alone, l3, l1), l2, np.where(alone, -1, l3)], 1)
            kinds = (("S2", alone), ("S3", (a == 0) ^ (b == 0)), ("S4", (a > 0) & (b > 0)))
            for kind, chosen in kinds:
                found[kind].append((scales[chosen], angles[chosen], part, place[chosen]))
            start += (2 if imaginary else 1) * L * width**2
    rows = [(kind, *row) for kind in CROSS_KINDS for row in found[kind]]
    counts = [len(row[1]) for row in rows]
    labels = Labels(
        np.repeat([row[0] for row in rows], counts), np.repeat([row[3] for row in rows], counts),
        np.concatenate([row[1] for row in rows]), np.concatenate([row[2] for row in rows]), L,
    )  # fmt: skip
    return labels, np.concatenate([row[4] for row in rows])[1:]


def cross_rotations(labels: Labels) -> tuple[Tensor, Tensor, Labels]:
    """Group of each entry under rotations (K,), weights (K,) that average a group, and labels of the groups."""
    origin = np.where(labels.angles[:, :1] >= 0, labels.angles[:, :1], labels.angles[:, 1:2])
    angles = np.where(labels.angles >= 0, (labels.angles - origin) % labels.L, -1)
    angles[labels.kind == "S2"] = -1
    number = np.array([CROSS_KINDS.index(kind) for kind in labels.kind])
    keys, real = np.column_stack([number, labels.scales, angles]), labels.part == "re"
    unique, group = np.unique(keys[real], axis=0, return_inverse=True)
    counts = np.bincount(group.ravel())
    groups, weights = np.zeros(len(labels), dtype=np.int64), np.zeros(len(labels))
    groups[real], weights[real] = group.ravel(), 1.0 / counts[group.ravel()]
    kinds = np.array(CROSS_KINDS)[unique[:, 0]]
    turned = Labels(kinds, np.full(len(unique), "re"), unique[:, 1:4], unique[:, 4:], labels.L, isotropic=True)
    return torch.from_numpy(groups), torch.from_numpy(weights), turned


def _places(labels: Labels) -> tuple[Tensor, Tensor]:
    """For each entry the place of the power of x and of y that divide it: 0 the variance, 1 + j L + l an S2."""
    sides = []
    for own in (0, 1):
        j, ell = labels.scales[:, own].copy(), labels.angles[:, own].copy()
        wave = (labels.kind == "S3") & (j < 0)
        j[wave], ell[wave] = labels.scales[wave, 2], labels.angles[wave, 2]
        both = labels.kind == "S2"
        j[both], ell[both] = labels.scales[both, 0], labels.angles[both, 0]
        place = 1 + j if labels.isotropic else 1 + j * labels.L + ell
        sides.append(torch.from_numpy(np.where(labels.kind == "cov", 0, place)))
    return sides[0], sides[1]


def _floored(power: Tensor, variance: Tensor) -> Tensor:
    eps = torch.finfo(power.dtype).eps
    return torch.maximum(power, 16 * eps**2 * variance.detach() + torch.finfo(power.dtype).tiny * 1e8)
