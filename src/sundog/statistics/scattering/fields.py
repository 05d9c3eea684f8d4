"""What the transforms of lines, maps and cubes share: masks, units, and labelled results from moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.checks import one_of
from sundog.errors import ShapeError
from sundog.statistics.samples.admission import checked_finite
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.scattering.labels.octaves import Labels, layout
from sundog.statistics.scattering.moments.grid import grid_filters, grid_moments, make_grid_plan
from sundog.statistics.scattering.moments.masked import (
    MaskedPlan,
    checked_mask,
    checked_regions,
    make_masked_plan,
    masked_pair_moments,
)
from sundog.statistics.scattering.moments.plane import ALONE, Pairs
from sundog.statistics.wavelets.filters import ACCURACY, check_octaves, default_scales

Measure = Callable[[Tensor, Pairs], tuple[Tensor, Tensor, Tensor]]  # fields (n, C, *shape) -> S1, S2, blocks
Together = dict[tuple[int, int], CrossCoefficients]


class FieldCovariance:
    """Scattering covariances of fields (..., *shape) of one to three axes.

    Parameters
    ----------
    shape, J, L : of the grid; octaves; orientations
    filters : octave -> wavelets (L, *grid), float64, on the grid that carries it
    whole : tensor of the wanted type -> moments of whole periodic fields of that type
    isotropic, boundary, mask, regions : as in `ScatteringCovariance`
    what, directions : "lines", "maps" or "cubes", for messages; of the labels
    """

    def __init__(
        self, shape: tuple[int, ...], J: int, L: int, filters: Callable[[int], Tensor],
        whole: Callable[[Tensor], Measure], *, isotropic: bool, boundary: str, mask: Tensor | None,
        regions: Tensor | None = None, what: str, directions: str = "half-turn",
    ) -> None:  # fmt: skip
        one_of(boundary, ("periodic", "edge-mask"), "boundary")
        self.shape, self.J, self.L, self.isotropic, self.boundary, self.what = shape, J, L, isotropic, boundary, what
        self._filters, self._whole = filters, whole
        plain = mask is None and regions is None and boundary == "periodic"
        self._valid = None if plain else checked_mask(mask, shape)
        self._regions = checked_regions(regions, shape)
        self._imaginary = self._valid is not None or not isotropic
        self._full, index = layout(J, L, self._imaginary, directions=directions)
        self.labels = self._full.rotations[2] if isotropic else self._full
        heads = int((~np.isin(self._full.kind, ("S3", "S4"))).sum())  # in the order of the labels; then come the blocks
        self._picks = torch.from_numpy(np.concatenate([np.arange(heads), heads + index]))
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[Measure, MaskedPlan | None, Picks]] = {}
        if self._valid is not None:
            self._prepared(torch.zeros(()))  # a mask that leaves too little is refused here

    @cached_property
    def cross(self) -> tuple[Labels, Tensor]:
        """Labels of all entries between two fields, and their places in the blocks."""
        labels, index = layout(self.J, self.L, self._imaginary, cross=True)
        return labels, torch.from_numpy(index)

    def checked(self, x: Tensor) -> Tensor:
        """Fields (..., *shape), finite and floating point."""
        if self._valid is not None and isinstance(x, Tensor) and x.shape[-len(self.shape) :] == self._valid.shape:
            x = torch.where(self._valid.to(x.device) > 0, x, 0.0)  # missing pixels may hold NaN or UNSEEN
        x = checked_finite(x, self.what)
        if tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ShapeError(f"{self.what} of another size", got=tuple(x.shape), expected=f"(..., {self.shape})",
                             do="build a new transform for them")
        return x

    def measure(self, x: Tensor) -> ScatteringCoefficients:
        """Coefficients (..., K) of fields x (..., *shape)."""
        x = self.checked(x)
        batch = x.shape[: x.ndim - len(self.shape)]
        return self.pairs(x.reshape(-1, 1, *self.shape), ALONE, batch)[0][0]

    def pairs(self, x: Tensor, pairs: Pairs, batch: tuple[int, ...]) -> tuple[list[ScatteringCoefficients], Together]:
        """Coefficients of fields x (n, C, *shape) for pairs of channels; (c, c) is a channel alone."""
        size = x.shape[:2]
        measure, plan, picks = self._prepared(x)
        mean, variance, unit, standard = (v.unflatten(0, size) for v in _standardised(x.flatten(0, 1), plan))
        s1, s2, blocks = measure(standard, pairs)
        if plan is None:
            s1, s2, blocks = s1[:, :, None], s2[:, :, None], blocks[:, :, None]
        alone, together = [], {}
        for p, (a, b) in enumerate(pairs):
            if a == b:
                columns = [mean[:, a, :, None], variance[:, a, :, None], s1[:, a].flatten(2), s2[:, a].flatten(2),
                           blocks[:, p]]
                values = _Picked.apply(torch.cat(columns, -1), picks) * unit[:, a, None, None] ** picks.degrees
                alone.append(ScatteringCoefficients(self._batched(values, batch), self.labels))
                continue
            left, right = standard[:, a], standard[:, b]
            cov = _average(left * right, plan) - _average(left, plan) * _average(right, plan)
            third = blocks[:, p].index_select(-1, self.cross[1].to(x.device))
            values = torch.cat([cov[..., None], third], -1) * (unit[:, a] * unit[:, b])[:, None, None]
            powers = [self._batched(s2[:, c] * unit[:, c, None, None, None] ** 2, batch) for c in (a, b)]
            both = self._batched(torch.stack([variance[:, a], variance[:, b]], -1), batch)
            full = CrossCoefficients(self._batched(values, batch), self.cross[0], powers[0], powers[1], both)
            together[a, b] = full.iso() if self.isotropic else full
        return alone, together

    def _batched(self, value: Tensor, batch: tuple[int, ...]) -> Tensor:
        """(n, R, ...) -> (*batch, R, ...), without R when there are no regions."""
        value = value if self._regions is not None else value[:, 0]
        return value.reshape(*batch, *value.shape[1:])

    def _prepared(self, like: Tensor) -> tuple[Measure, MaskedPlan | None, Picks]:
        key = (like.dtype, like.device)
        if key not in self._ready:
            plan, measure = None, None
            if self._valid is not None:
                filters = [self._filters(j) for j in range(self.J)]
                plan = make_masked_plan(self._valid, self._regions, self.boundary == "periodic", filters, like)
                measure = _masked(plan)
            self._ready[key] = measure or self._whole(like), plan, self._picked(like)
        return self._ready[key]

    def _picked(self, like: Tensor) -> Picks:
        groups, weights = torch.arange(len(self._full)), torch.ones(len(self._full))
        if self.isotropic:
            groups, weights, _ = self._full.rotations
        degrees = np.select([self.labels.kind == kind for kind in ("mean", "var", "S1")], [0, 0, 1], 2)
        kept = weights > 0
        return Picks(self._picks[kept].to(like.device), groups[kept].to(like.device), weights[kept].to(like),
                     torch.from_numpy(degrees).to(like))  # fmt: skip


def grid_covariance(
    shape: tuple[int, ...], directions: np.ndarray, J: int | None, *, isotropic: bool, boundary: str,
    mask: Tensor | None, accuracy: str, what: str, word: str,
) -> FieldCovariance:  # fmt: skip
    """The transform of lines or cubes with wavelets along unit vectors (L, axes), one per pair of opposite directions.

    J, isotropic, boundary, mask, accuracy : as in `ScatteringCovariance`; word : of the directions, for labels
    """
    shape = tuple(int(n) for n in shape)
    J = check_octaves(shape, default_scales(shape) if J is None else J, what)
    quality, cut = ACCURACY[one_of(accuracy, ACCURACY, "accuracy")]
    axes = [tuple(float(c) for c in row) for row in directions]

    def whole(like: Tensor) -> Measure:
        plan = make_grid_plan(shape, axes, J, quality, cut, not isotropic, like)

        def measure(x: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
            s1, s2, blocks = grid_moments(x[:, 0], plan)
            return s1[:, None], s2[:, None], blocks[:, None]

        return measure

    return FieldCovariance(shape, J, len(axes), lambda j: grid_filters(shape, j, axes, quality), whole,
                           isotropic=isotropic, boundary=boundary, mask=mask, what=what, directions=word)


@dataclass(frozen=True)
class Picks:
    """Places (e,) of moments, the coefficients (e,) they add to and with what weights (e,), and the degree (K,) of each
    coefficient in the field."""

    places: Tensor
    groups: Tensor
    weights: Tensor
    degrees: Tensor


class _Picked(torch.autograd.Function):
    """Weighted sums of entries of the last axis, each entry used at most once: its gradient is a selection."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, picks: Picks) -> Tensor:
        ctx.picks, ctx.shape = picks, values.shape
        out = values.new_zeros(*values.shape[:-1], len(picks.degrees))
        return out.index_add_(-1, picks.groups, values.index_select(-1, picks.places).mul_(picks.weights))

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        picks = ctx.picks
        moved = grad.index_select(-1, picks.groups).mul_(picks.weights)
        return grad.new_zeros(ctx.shape).index_copy_(-1, picks.places, moved), None


def _masked(plan: MaskedPlan) -> Measure:
    return lambda x, pairs: masked_pair_moments(x, pairs, plan)


def _average(values: Tensor, plan: MaskedPlan | None) -> Tensor:
    """Mean over the field or over each region: (n, R)."""
    return values.flatten(1).mean(1, keepdim=True) if plan is None else values.flatten(1) @ plan.regions.flatten(1).T


def _standardised(fields: Tensor, plan: MaskedPlan | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance (n, R), unit (n,), and fields (n, *shape) of mean 0 and variance 1, 0 where missing.

    A fixed unit changes nothing but rounding and underflow, since every moment is homogeneous; so does a fixed shift,
    unless missing pixels are filled with the mean.
    """
    wide = (slice(None),) + (None,) * (fields.ndim - 1)
    seen = fields.flatten(1) if plan is None else fields[:, plan.valid]
    mean = seen.mean(1)
    centred = seen - mean.detach()[:, None]
    variance = centred.square().mean(1)  # whose gradient for the mean is 0
    unit = variance.detach().sqrt()
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    if plan is None:
        return mean[:, None], variance[:, None], unit, (centred / unit[:, None]).view(fields.shape)
    centred = (fields - mean[wide]) * plan.valid
    first, second = _average(centred, plan), _average(centred.square(), plan)
    return first + mean[:, None], second - first**2, unit, centred / unit[wide]
