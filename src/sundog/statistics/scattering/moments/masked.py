"""The four scattering moments averaged over part of a map: missing pixels, or edges that do not wrap around.

Averages < > become weighted means over the pixels farther than 2^(j + 1) (2.5 envelope widths) from any missing pixel,
and from the edges where the map is not periodic. Sums over Fourier space no longer do: the third layer is transformed
back, so this costs a few times more than `scattering_moments`, in time and in memory. The gradient is automatic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.wavelets.filters import frequencies, grid_size, octave_bank
from sundog.statistics.wavelets.waves import crop_frequencies, safe_modulus


@dataclass(frozen=True)
class MaskedPlan:
    """Filters (L, my, mx) and weights (R, my, mx) of each octave, and what the map itself is averaged with.

    Attributes
    ----------
    weights : of R regions, each summing to 1
    valid : (ny, nx) pixels to be trusted
    regions : (R, ny, nx) weights of the valid pixels of the map, each summing to 1
    """

    filters: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    valid: Tensor
    regions: Tensor


def make_masked_plan(
    valid: Tensor, regions: Tensor | None, periodic: bool, scales: tuple[int, int, float, str], like: Tensor
) -> MaskedPlan:
    """Return the plan for maps of which the pixels ``valid`` (ny, nx) are to be trusted.

    Averages are taken over each of the ``regions`` (R, ny, nx), or over the map; ``scales``: J, L, the quality of
    the coarse grids, and the wavelet.

    Errors: OptionError where the mask leaves no pixel of a region to the coarsest octave.
    """
    J, L, quality, wavelet = scales
    shape = (valid.shape[0], valid.shape[1])
    areas = torch.ones(1, *shape) if regions is None else regions
    areas = areas.to(like) * valid.to(like)
    distance = _distance(valid.cpu().numpy(), periodic)
    filters, weights = [], []
    for j in range(J):
        grid = [grid_size(n, j, quality) for n in shape]
        rows, columns = (frequencies(n, m) for n, m in zip(shape, grid))
        psi = octave_bank(wavelet, rows, columns, j, L)
        y, x = ((np.arange(m) * n / m).round().astype(int) % n for n, m in zip(shape, grid))
        kept = torch.from_numpy(distance[np.ix_(y, x)] > 2.0 ** (j + 1)).to(like)
        part = areas[:, y[:, None], x] * kept
        if not bool((part.sum((-2, -1)) > 0).all()):
            raise OptionError(
                "the mask leaves no pixel to the coarsest wavelets",
                got=f"J={J}, farthest pixel {distance.max():.0f} pixels from the mask",
                expected=f"more than {2 ** (j + 1)} pixels in every region",
                do=f"pass J={j}" if j else "use a larger map or a smaller mask",
            )
        filters.append(psi.to(like))
        weights.append(part / part.sum((-2, -1), keepdim=True))
    total = areas.sum((-2, -1), keepdim=True)
    return MaskedPlan(tuple(filters), tuple(weights), valid.to(like.device), areas / total)


def checked_regions(regions: Tensor | None, shape: tuple[int, int]) -> Tensor | None:
    """Return weights (R, ny, nx) of regions, finite, not negative, none empty."""
    if regions is None:
        return None
    regions = checked_images(regions)
    if regions.ndim != 3 or tuple(regions.shape[1:]) != shape:
        raise ShapeError(
            "regions of another size", got=tuple(regions.shape), expected=f"(R, {shape[0]}, {shape[1]})",
            do="stack one weight map per region",
        )  # fmt: skip
    if bool((regions < 0).any()) or not bool((regions.sum((-2, -1)) > 0).all()):
        raise DataError(
            "a region without pixels", got="negative weights, or zeros only", expected="weights from 0 up",
            do="drop empty regions",
        )  # fmt: skip
    return regions


def checked_mask(mask: Tensor | None, shape: tuple[int, int]) -> Tensor:
    """Return the valid pixels (ny, nx) as booleans: all of them without a mask, else those where it is not 0."""
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    if tuple(mask.shape) != shape:
        raise ShapeError("mask of another size", got=tuple(mask.shape), expected=shape, do="cut it to the map")
    if not bool((mask != 0).any()):
        raise DataError("the mask hides every pixel", got="all zeros", expected="some ones", do="1 marks valid pixels")
    return mask != 0


def masked_moments(x: Tensor, plan: MaskedPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, R, J, L) and the third-layer blocks (n, R, c) of maps x (n, ny, nx), mean 0 where missing.

    Layout of the blocks as in `scattering_moments.moments` with imaginary parts.
    """
    s1, s2, blocks = masked_pair_moments(x[:, None], ((0, 0),), plan)
    return s1[:, 0], s2[:, 0], blocks[:, 0]


def masked_pair_moments(
    x: Tensor, pairs: tuple[tuple[int, int], ...], plan: MaskedPlan
) -> tuple[Tensor, Tensor, Tensor]:
    """Return S1, S2 (n, C, R, J, L) of maps x (n, C, ny, nx), and the blocks (n, P, R, c) of P pairs of channels."""
    size, flat = x.shape[:2], x.flatten(0, 1)
    f = torch.fft.fft2(flat.to(torch.complex64 if x.dtype == torch.float32 else torch.complex128), norm="forward")
    s1, s2, blocks = [], [], []
    spectra: list[Tensor] = []
    for psi, weights in zip(plan.filters, plan.weights):
        grid = (psi.shape[-2], psi.shape[-1])
        wave = torch.fft.ifft2(crop_frequencies(f, grid)[:, None] * psi, norm="forward")
        modulus, area = safe_modulus(wave), weights.flatten(1)
        s1.append(torch.einsum("nlk,rk->nrl", modulus.flatten(2), area))
        s2.append(torch.einsum("nlk,rk->nrl", modulus.square().flatten(2), area))
        spectra.append(torch.fft.fft2(modulus, norm="forward"))
        rows = [wave[:, :, None]]
        for spectrum in spectra:
            small = crop_frequencies(spectrum.flatten(0, 1), grid).view(len(flat), 1, -1, *grid)
            rows.append(torch.fft.ifft2(small * psi[:, None], norm="forward"))
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
    if valid.all() and periodic:
        return np.full(valid.shape, math.inf)
    if not periodic:
        return distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    ny, nx = valid.shape
    return distance_transform_edt(np.tile(valid, (3, 3)))[ny : 2 * ny, nx : 2 * nx]
