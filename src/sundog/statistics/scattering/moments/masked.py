"""The four scattering moments averaged over part of a field: missing pixels, or edges that do not wrap around.

Averages < > become weighted means over the pixels farther than 2^(j + 1) (2.5 envelope widths) from any missing pixel,
and from the edges where the field is not periodic. Sums over Fourier space no longer do: the third layer is transformed
back, so this costs a few times more than `moments.plane`, in time and in memory. The gradient is automatic. Lines, maps
and cubes alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.scattering.moments.plane import Pairs
from sundog.statistics.wavelets.waves import crop_frequencies, safe_modulus


@dataclass(frozen=True)
class MaskedPlan:
    """Filters (L, *grid) and weights (R, *grid) of each octave, and what the field itself is averaged with.

    Attributes
    ----------
    weights : of R regions, each summing to 1
    valid : (*shape) pixels to be trusted
    regions : (R, *shape) weights of the valid pixels of the field, each summing to 1
    """

    filters: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    valid: Tensor
    regions: Tensor


def make_masked_plan(
    valid: Tensor, regions: Tensor | None, periodic: bool, filters: Sequence[Tensor], like: Tensor
) -> MaskedPlan:
    """Return the plan for fields of which the pixels ``valid`` (*shape) are to be trusted.

    Averages are taken over each of the ``regions`` (R, *shape), or over the field; ``filters`` (L, *grid) per octave.

    Errors: OptionError where the mask leaves no pixel of a region to the coarsest octave.
    """
    areas = torch.ones(1, *valid.shape) if regions is None else regions
    areas = areas.to(like) * valid.to(like)
    weights = far_weights(valid, areas, periodic, [tuple(psi.shape[1:]) for psi in filters])
    total = areas.flatten(1).sum(1).view(-1, *[1] * valid.ndim)
    return MaskedPlan(tuple(psi.to(like) for psi in filters), weights, valid.to(like.device), areas / total)


def far_weights(valid: Tensor, areas: Tensor, periodic: bool, grids: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Weights (R, *grid) of areas (R, *shape) on the grid of each octave, 0 near missing pixels; each sums to 1.

    Errors: OptionError where nothing is left.
    """
    distance = _distance(valid.cpu().numpy(), periodic)
    found = []
    for j, grid in enumerate(grids):
        places: Any = np.ix_(*((np.arange(m) * n / m).round().astype(int) % n for n, m in zip(valid.shape, grid)))
        kept = torch.from_numpy(distance[places] > 2.0 ** (j + 1)).to(areas)
        part = areas[(slice(None), *places)] * kept
        total = part.flatten(1).sum(1)
        if not bool((total > 0).all()):
            raise OptionError("the mask leaves no pixel to the coarsest wavelets",
                              got=f"J={len(grids)}, farthest pixel {distance.max():.0f} pixels from the mask",
                              expected=f"more than {2 ** (j + 1)} pixels in every region",
                              do=f"pass J={j}" if j else "use a larger field or a smaller mask")
        found.append(part / total.view(-1, *[1] * len(grid)))
    return tuple(found)


def checked_regions(regions: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """Return weights (R, ny, nx) of regions, finite, not negative, none empty."""
    if regions is None:
        return None
    regions = checked_images(regions)
    if tuple(regions.shape[1:]) != shape:
        raise ShapeError("regions of another size", got=tuple(regions.shape),
                         expected=f"(R, {', '.join(map(str, shape))})", do="stack one weight map per region")
    if bool((regions < 0).any()) or not bool((regions.sum((-2, -1)) > 0).all()):
        raise DataError("a region without pixels", got="negative weights, or zeros only", expected="weights from 0 up",
                        do="drop empty regions")
    return regions


def checked_mask(mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Return the valid pixels (*shape) as booleans: all of them without a mask, else those where it is not 0."""
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    if tuple(mask.shape) != shape:
        raise ShapeError("mask of another size", got=tuple(mask.shape), expected=shape, do="cut it to the data")
    if not bool((mask != 0).any()):
        raise DataError("the mask hides every pixel", got="all zeros", expected="some ones", do="1 marks valid pixels")
    return mask != 0


def masked_pair_moments(x: Tensor, pairs: Pairs, plan: MaskedPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, C, R, J, L) of fields x (n, C, *shape), and the blocks (n, P, R, c) of P pairs of channels.

    ``x`` has mean 0 and is 0 where missing. Layout of the blocks as in `moments.plane` with imaginary parts.
    """
    size, flat = x.shape[:2], x.flatten(0, 1)
    dims = tuple(range(-plan.valid.ndim, 0))
    f = torch.fft.fftn(flat, dim=dims, norm="forward")
    s1, s2, blocks = [], [], []
    spectra: list[Tensor] = []
    for psi, weights in zip(plan.filters, plan.weights):
        grid, area = tuple(psi.shape[1:]), weights.flatten(1)
        wave = torch.fft.ifftn(crop_frequencies(f, grid)[:, None] * psi, dim=dims, norm="forward")
        modulus = safe_modulus(wave)
        s1.append(torch.einsum("nlk,rk->nrl", modulus.flatten(2), area))
        s2.append(torch.einsum("nlk,rk->nrl", modulus.square().flatten(2), area))
        spectra.append(torch.fft.fftn(modulus, dim=dims, norm="forward"))
        rows = [wave[:, :, None]]
        for spectrum in spectra:
            rows.append(torch.fft.ifftn(crop_frequencies(spectrum, grid)[:, None] * psi[:, None], dim=dims,
                                        norm="forward"))
        stack = torch.cat(rows, 2).flatten(3).unflatten(0, size)
        product = torch.stack([_products(stack[:, a], stack[:, b], area) for a, b in pairs], 1)
        blocks.append(torch.stack([product.real, product.imag], 3).flatten(3))
    first, second = (torch.stack(s, 2).unflatten(0, size) for s in (s1, s2))
    return first, second, torch.cat(blocks, 3)


def _products(left: Tensor, right: Tensor, area: Tensor) -> Tensor:
    """Averages over each region (n, R, L, m, m) of rows (n, L, m, pixels)."""
    return torch.stack([(left * weights) @ right.mH for weights in area], 1)


def _distance(valid: np.ndarray, periodic: bool) -> np.ndarray:
    """Distance of each pixel from the nearest missing one (from the edge too unless periodic), in pixels."""
    if not periodic:
        return distance_transform_edt(np.pad(valid, 1))[(slice(1, -1),) * valid.ndim]
    if valid.all():
        return np.full(valid.shape, math.inf)
    wrapped = np.pad(valid, [(n // 2, n // 2) for n in valid.shape], mode="wrap")
    return distance_transform_edt(wrapped)[tuple(slice(n // 2, n // 2 + n) for n in valid.shape)]
