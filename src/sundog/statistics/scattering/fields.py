"""What the transforms of lines and cubes share: checks, masks, and labelled results from the moments of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.samples.admission import checked_finite
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.octaves import layout
from sundog.statistics.scattering.moments.grid import GridPlan, grid_filters, grid_moments, make_grid_plan
from sundog.statistics.wavelets.filters import ACCURACY
from sundog.statistics.wavelets.waves import safe_modulus

Moments = tuple[Tensor, Tensor, Tensor]


class GridCovariance:
    """Scattering covariances of fields (..., *shape) with wavelets along given directions.

    Parameters
    ----------
    shape : of the grid, one to three axes
    directions : unit vectors along the array axes, one for each pair of opposite directions
    J, isotropic, boundary, mask, accuracy : as in `ScatteringCovariance`
    words : "lines" or "cubes", for messages; and "half-turn" or "axes", for labels
    """

    def __init__(
        self, shape: tuple[int, ...], directions: np.ndarray, J: int | None, *, isotropic: bool, boundary: str,
        mask: Tensor | None, accuracy: str, words: tuple[str, str],
    ) -> None:  # fmt: skip
        self.shape, self.what = _checked_shape(shape, words[0]), words[0]
        self.J = _checked_scales(self.shape, J)
        for name, value, known in (("boundary", boundary, ("periodic", "edge-mask")), ("accuracy", accuracy, ACCURACY)):
            if value not in known:
                raise OptionError(f"unknown {name}", got=value, expected=" | ".join(known), do="choose one of them")
        self.L, self.isotropic, self.accuracy, self.boundary = len(directions), isotropic, accuracy, boundary
        self._directions = [tuple(float(c) for c in row) for row in directions]
        self._valid = None if mask is None and boundary == "periodic" else _checked_mask(mask, self.shape, words[0])
        imaginary = self._valid is not None or not isotropic
        self._full, self._index = layout(self.J, self.L, imaginary, directions=words[1])
        self.labels = self._full.rotations[2] if isotropic else self._full
        self._plans: dict[tuple[torch.dtype, torch.device], tuple[GridPlan | GridMask, Tensor]] = {}
        if self._valid is not None:
            self._plan(torch.zeros(()))  # a mask that leaves too little is refused here

    def measure(self, x: Tensor) -> ScatteringCoefficients:
        x = checked_finite(x, self.what)
        d = len(self.shape)
        if tuple(x.shape[-d:]) != self.shape or x.ndim < d:
            raise ShapeError(f"{self.what} of another size", got=tuple(x.shape), expected=f"(..., {self._size()})",
                             do="build a new transform for them")  # fmt: skip
        fields = x.reshape(-1, *self.shape)
        plan, index = self._plan(fields)
        seen = fields.flatten(1) if isinstance(plan, GridPlan) else fields[:, plan.valid]
        mean = seen.mean(1)
        variance = (seen - mean[:, None]).square().mean(1)
        # As in `ScatteringCovariance`: a fixed shift and unit change rounding alone; missing pixels take the mean.
        shift, unit = mean.detach() if isinstance(plan, GridPlan) else mean, variance.detach().sqrt()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        wide = (-1,) + (1,) * d
        standard = (fields - shift.view(wide)) / unit.view(wide)
        s1, s2, blocks = grid_moments(standard, plan) if isinstance(plan, GridPlan) else plan.moments(standard)
        u = unit[:, None]
        columns = [mean[:, None], variance[:, None], s1.flatten(1) * u, s2.flatten(1) * u**2]
        columns.append(blocks.index_select(1, index) * u**2)
        full = ScatteringCoefficients(torch.cat(columns, 1).reshape(*x.shape[:-d], -1), self._full)
        return full.iso() if self.isotropic else full

    def _plan(self, like: Tensor) -> tuple[GridPlan | GridMask, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._plans:
            quality, cut = ACCURACY[self.accuracy]
            plan: GridPlan | GridMask
            if self._valid is None:
                plan = make_grid_plan(self.shape, self._directions, self.J, quality, cut, not self.isotropic, like)
            else:
                filters = [grid_filters(self.shape, j, self._directions, quality) for j in range(self.J)]
                plan = make_grid_mask(self._valid, filters, self.boundary == "periodic", like)
            self._plans[key] = plan, torch.from_numpy(self._index).to(like.device)
        return self._plans[key]

    def _size(self) -> str:
        return ", ".join(str(n) for n in self.shape)


@dataclass(frozen=True)
class GridMask:
    """Filters (L, *grid) and weights (*grid), which sum to 1, of each octave; valid points of the field."""

    filters: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    valid: Tensor

    def moments(self, x: Tensor) -> Moments:
        """S1, S2 and blocks as `grid_moments`, with imaginary parts, averaged with the weights; automatic gradient."""
        d = self.valid.ndim
        dims = tuple(range(-d, 0))
        f = torch.fft.fftn(x * self.valid, dim=dims, norm="forward")[:, None]
        s1, s2, blocks = [], [], []
        spectra: list[Tensor] = []
        for psi, weights in zip(self.filters, self.weights):
            grid = psi.shape[1:]
            wave = torch.fft.ifftn(_cropped(f, grid) * psi, dim=dims, norm="forward")
            modulus = safe_modulus(wave)
            s1.append((modulus * weights).sum(dims))
            s2.append((modulus.square() * weights).sum(dims))
            spectra.append(torch.fft.fftn(modulus, dim=dims, norm="forward"))
            below = torch.cat([_cropped(spectrum, grid) for spectrum in spectra], 1)
            third = torch.fft.ifftn(below[:, None] * psi[:, None], dim=dims, norm="forward")
            stack = torch.cat([wave[:, :, None], third], 2).flatten(3)
            product = (stack * weights.flatten()) @ stack.mH
            blocks.append(torch.stack([product.real, product.imag], 1).flatten(1))
        return torch.stack(s1, 1), torch.stack(s2, 1), torch.cat(blocks, 1)


def make_grid_mask(valid: Tensor, filters: list[Tensor], periodic: bool, like: Tensor) -> GridMask:
    """Return what masked averages need; octave j keeps 2^(j + 1) points away from missing ones, and from open ends."""
    distance = _distance(valid.cpu().numpy(), periodic)
    weights = []
    for j, psi in enumerate(filters):
        places = [(np.arange(m) * n / m).round().astype(int) % n for n, m in zip(valid.shape, psi.shape[1:])]
        kept = torch.from_numpy(distance[np.ix_(*places)] > 2.0 ** (j + 1)).to(like)
        if not bool(kept.any()):
            raise OptionError(
                "the mask leaves no point to the coarsest wavelets",
                got=f"J={len(filters)}, farthest point {distance.max():.0f} from the mask",
                expected=f"more than {2 ** (j + 1)} points",
                do=f"pass J={j}" if j else "use a larger field or a smaller mask",
            )
        weights.append(kept / kept.sum())
    return GridMask(tuple(p.to(like) for p in filters), tuple(weights), valid.to(like.device))


def _cropped(f: Tensor, grid: torch.Size) -> Tensor:
    """The lowest frequencies (n, m, *grid) of a full transform."""
    for axis, m in zip(range(-len(grid), 0), grid):
        n = f.shape[axis]
        if m < n:
            f = torch.cat([f.narrow(axis, 0, (m + 1) // 2), f.narrow(axis, n - m // 2, m // 2)], axis)
    return f


def _distance(valid: np.ndarray, periodic: bool) -> np.ndarray:
    """Distance of each point from the nearest missing one, and from the ends unless periodic."""
    if not periodic:
        return distance_transform_edt(np.pad(valid, 1))[(slice(1, -1),) * valid.ndim]
    if valid.all():
        return np.full(valid.shape, math.inf)
    reach = [n // 2 for n in valid.shape]
    wrapped = np.pad(valid, [(r, r) for r in reach], mode="wrap")
    return distance_transform_edt(wrapped)[tuple(slice(r, r + n) for r, n in zip(reach, valid.shape))]


def _checked_shape(shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    if min(shape) < 4:
        raise ShapeError(f"{what} too small for wavelets", got=tuple(shape), expected="at least 4 points a side",
                         do=f"use larger {what}")  # fmt: skip
    return tuple(int(n) for n in shape)


def _checked_scales(shape: tuple[int, ...], J: int | None) -> int:
    largest = int(math.log2(min(shape)))
    if J is None:
        return max(1, largest - 2)
    if not 1 <= J <= largest:
        raise OptionError("number of octaves J does not fit", got=f"J={J} for {min(shape)} points a side",
                          expected=f"1 to {largest} (2^J at most the shortest side)",
                          do=f"pass J={max(1, largest - 2)}, the default")  # fmt: skip
    return int(J)


def _checked_mask(mask: Tensor | None, shape: tuple[int, ...], what: str) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    if tuple(mask.shape) != shape:
        raise ShapeError("mask of another size", got=tuple(mask.shape), expected=shape, do=f"cut it to the {what}")
    if not bool((mask != 0).any()):
        raise DataError("the mask hides everything", got="all zeros", expected="some ones", do="1 marks valid points")
    return mask != 0
