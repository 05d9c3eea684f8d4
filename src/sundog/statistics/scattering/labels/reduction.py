"""Scattering covariances in few numbers: harmonics of the angles, cosines of the scales, and only what is significant.

Smooth functions of angles and scales need few harmonics. A real orthonormal Fourier transform runs over every angle,
an orthonormal cosine transform over the first octave at fixed differences of octaves; most of the numbers that come out
are noise, and those are dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sundog.errors import OptionError, SampleSizeError, ShapeError
from sundog.statistics.scattering.labels.octaves import Labels
from sundog.statistics.scattering.labels.vector import Labelled, LabelTable

ANGLES = {"S1": (0,), "S2": (0,), "S3": (1, 2), "S4": (0, 1, 2)}  # columns of the angles of each kind
MAPS = 10  # fewer null maps give no standard deviation worth the name


def real_fourier(L: int, *, odd: bool = False) -> tuple[Tensor, Tensor]:
    """Return an orthonormal matrix (L, L), float64, and the frequency f of each row.

    Rows are cos(f theta), or sin(-f theta) where f < 0; theta = pi l / L. Even f are the functions that repeat after
    half a turn; odd f (``odd``) those that change sign, as the imaginary parts of S3 and S4 do with l3.

    Example
    -------
    >>> matrix, f = real_fourier(4)
    >>> f.tolist(), bool(torch.allclose(matrix @ matrix.T, torch.eye(4, dtype=torch.float64)))
    ([0, 2, -2, 4], True)
    """
    theta = math.pi * torch.arange(L, dtype=torch.float64) / L
    rows: list[Tensor] = []
    found: list[int] = []
    for f in range(1 if odd else 0, L + 1, 2):
        for sign, row in ((1, torch.cos(f * theta)), (-1, torch.sin(f * theta))):
            if len(rows) < L and row.norm() > 1e-6:
                rows.append(row / row.norm())
                found.append(sign * f)
    return torch.stack(rows), torch.tensor(found)


def cosines(n: int) -> Tensor:
    """Return the orthonormal cosine transform (n, n), float64: row q is cos(pi q (i + 1/2) / n)."""
    i = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * i[:, None] * (i + 0.5) / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


@dataclass(frozen=True)
class _Block:
    """Coefficients of one kind and part at fixed differences of octaves: places (S, A), and its two matrices."""

    places: Tensor
    scales: Tensor
    angles: Tensor


@dataclass(frozen=True, eq=False)
class Reduction:
    """Orthonormal map from scattering covariances to reduced ones, and the choice of those that are kept.

    Attributes
    ----------
    labels : of the covariances, full or isotropic
    angles, scales : which of the two transforms run
    kept : (m,) places among the K reduced coefficients; all of them when None

    Source: Cheng, Morel, Allys, Menard, Mallat 2024, PNAS Nexus 3, pgae103, appendix on dimensionality reduction.

    Example
    -------
    >>> from sundog.statistics.scattering.covariance import ScatteringCovariance
    >>> phi = ScatteringCovariance((32, 32), J=3, L=4, isotropic=True)
    >>> noise = phi(torch.randn(40, 32, 32, generator=torch.Generator().manual_seed(0))).normalised()
    >>> reduction = Reduction(phi.labels).select(phi(torch.ones(32, 32).triu()).normalised(), noise)
    >>> len(phi.labels), 40 < len(reduction(noise).labels) < 192
    (192, True)
    """

    labels: Labels
    angles: bool = True
    scales: bool = True
    kept: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.angles and self.labels.directions != "half-turn":
            raise OptionError("only angles in a plane have a Fourier transform here", got=self.labels.directions,
                              expected="half-turn", do="pass angles=False")

    def __call__(self, c: Labelled) -> ReducedCoefficients:
        """Reduced coefficients (..., m) of covariances with these labels."""
        if not self.labels.same_as(c.labels):
            raise ShapeError("coefficients of another transform", got=f"{len(c.labels)} entries",
                             expected=len(self.labels), do="build Reduction(c.labels)")
        full = self._turned(c.vector)
        if self.kept is None:
            return ReducedCoefficients(full, self._all)
        return ReducedCoefficients(full[..., torch.from_numpy(self.kept).to(full.device)], self._all.take(self.kept))

    def expand(self, reduced: ReducedCoefficients) -> Tensor:
        """Vector of covariances (..., K) that have these reduced coefficients, dropped ones set to 0."""
        full = reduced.vector
        if self.kept is not None:
            full = full.new_zeros(*full.shape[:-1], len(self.labels))
            full[..., torch.from_numpy(self.kept).to(full.device)] = reduced.vector
        return self._turned(full, back=True)

    def select(self, target: Labelled, null: Labelled, sigma: float = 2.0) -> Reduction:
        """The reduction that keeps what differs from null maps by more than ``sigma`` standard deviations of one map.

        ``null`` holds covariances of many Gaussian maps, (n, K), normalised like the target; mean and variance stay.
        """
        found, reference = replace(self, kept=None)(target).mean(), replace(self, kept=None)(null).vector
        if reference.ndim < 2 or len(reference.flatten(0, -2)) < MAPS:
            raise SampleSizeError("too few null maps", got=tuple(reference.shape[:-1]),
                                  expected=f"at least {MAPS} maps", do="draw more")
        reference = reference.flatten(0, -2).double()
        away = (found.vector.double() - reference.mean(0)).abs()
        rounding = 1e-9 * found.vector.abs().max()  # some are 0 by symmetry
        keep = (away > sigma * reference.std(0) + rounding).cpu().numpy() | np.isin(found.labels.kind, ("mean", "var"))
        return replace(self, kept=np.flatnonzero(keep))

    @cached_property
    def _blocks(self) -> list[_Block]:
        found = []
        for kind, columns in ANGLES.items():
            for part in ("re", "im"):
                at = np.flatnonzero((self.labels.kind == kind) & (self.labels.part == part))
                if len(at):
                    turning = [c for c in columns if len(np.unique(self.labels.angles[at, c])) > 1]
                    found += self._split(at, turning, part == "im")
        return found

    def _split(self, at: np.ndarray, columns: list[int], odd: bool) -> list[_Block]:
        angles, steps, first = self.labels.angles[at], *_steps(self.labels.scales[at])
        blocks = []
        for step in np.unique(steps, axis=0):
            inside = (steps == step).all(1)
            order = np.lexsort([*angles[inside].T[::-1], first[inside]])
            S = len(np.unique(first[inside]))
            places = torch.from_numpy(at[inside][order].reshape(S, -1))
            matrix = torch.ones(1, 1, dtype=torch.float64)
            for column in columns:
                one, _ = real_fourier(self.labels.L, odd=odd and column == 2)
                matrix = torch.kron(matrix, one)
            if not self.angles or not columns:
                matrix = torch.eye(places.shape[1], dtype=torch.float64)
            blocks.append(_Block(places, cosines(S) if self.scales else torch.eye(S, dtype=torch.float64), matrix))
        return blocks

    def _turned(self, vector: Tensor, *, back: bool = False) -> Tensor:
        """The orthonormal transform, or its inverse."""
        out = vector.clone()
        for block in self._blocks:
            places, scales, angles = (t.to(vector.device) for t in (block.places, block.scales, block.angles))
            left, right = (scales.T, angles) if back else (scales, angles.T)
            values = left.to(vector) @ vector[..., places] @ right.to(vector)
            out = out.index_copy(-1, places.flatten(), values.flatten(-2))
        return out

    @cached_property
    def _all(self) -> ReducedLabels:
        labels = self.labels
        numbers = np.zeros((len(labels), 6), dtype=np.int64)
        numbers[:, :2] = -1
        for kind, columns in ANGLES.items():
            for part in ("re", "im"):
                at = np.flatnonzero((labels.kind == kind) & (labels.part == part))
                for column in columns if len(at) else ():
                    f = real_fourier(labels.L, odd=part == "im" and column == 2)[1].numpy()
                    ell = labels.angles[at, column]
                    numbers[at, 3 + column] = np.where(ell >= 0, f[ell] if self.angles else ell, 0)
                if len(at):
                    numbers[at, :2], numbers[at, 2] = _steps(labels.scales[at])
        return ReducedLabels(labels.kind, labels.part, numbers, self.angles, self.scales)


def _steps(scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of octaves (k, 2), -1 where one of them is missing, and the first octave (k,)."""
    known = (scales[:, 1:] >= 0) & (scales[:, :-1] >= 0)
    first = np.where(scales >= 0, scales, scales.max() + 1).min(1)
    return np.where(known, np.diff(scales, axis=1), -1), first


@dataclass(frozen=True, eq=False)
class ReducedLabels(LabelTable):
    """Meaning of each reduced coefficient.

    Attributes
    ----------
    numbers : (m, 6) differences of octaves a = j2 - j1 and b = j3 - j2 (-1: none), order q of the cosine (the first
        octave itself without ``scales``), frequencies f1, f2, f3 of the angles, negative for sines (the angles
        themselves without ``angles``)
    """

    angles: bool
    scales: bool
    columns: ClassVar[tuple[str, ...]] = ("a", "b", "q", "f1", "f2", "f3")


@dataclass(frozen=True, eq=False)
class ReducedCoefficients(Labelled):
    """Reduced scattering covariances (..., m) of one map or of many, each number with its label."""

    labels: ReducedLabels
    kinds: ClassVar[tuple[str, ...]] = ("mean", "var", *ANGLES)
    label_type: ClassVar[type[LabelTable]] = ReducedLabels
