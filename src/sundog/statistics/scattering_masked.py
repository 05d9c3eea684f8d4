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
from sundog.statistics.scattering import safe_modulus
from sundog.statistics.scattering_moments import crop_frequencies
from sundog.statistics.wavelets import angles, frequencies, grid_size, morlet


@dataclass(frozen=True)
class MaskedPlan:
    """Filters (L, my, mx) and weights (my, mx), which sum to 1, of each octave; valid pixels (ny, nx) of the map."""

    filters: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    valid: Tensor


def make_masked_plan(valid: Tensor, periodic: bool, J: int, L: int, quality: float, like: Tensor) -> MaskedPlan:
    """Return the plan for maps of which the pixels ``valid`` (ny, nx) are to be trusted.

    Errors: OptionError where the mask leaves no pixel to the coarsest octave.
    """
    shape = (valid.shape[0], valid.shape[1])
    distance = _distance(valid.cpu().numpy(), periodic)
    filters, weights = [], []
    for j in range(J):
        grid = [grid_size(n, j, quality) for n in shape]
        rows, columns = (frequencies(n, m) for n, m in zip(shape, grid))
        psi = torch.stack([morlet(rows, columns, j, theta, 4.0 / L) for theta in angles(L)])
        y, x = ((np.arange(m) * n / m).round().astype(int) % n for n, m in zip(shape, grid))
        kept = torch.from_numpy(distance[np.ix_(y, x)] > 2.0 ** (j + 1)).to(like)
        if not bool(kept.any()):
            raise OptionError(
                "the mask leaves no pixel to the coarsest wavelets",
                got=f"J={J}, farthest pixel {distance.max():.0f} pixels from the mask",
                expected=f"more than {2 ** (j + 1)} pixels",
                do=f"pass J={j}" if j else "use a larger map or a smaller mask",
            )
        filters.append(psi.to(like))
        weights.append(kept / kept.sum())
    return MaskedPlan(tuple(filters), tuple(weights), valid.to(like.device))


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
    """Return S1 (n, J, L), S2 (n, J, L) and the third-layer blocks of maps x (n, ny, nx), mean 0 in missing pixels.

    Layout of the blocks as in `scattering_moments.moments` with imaginary parts.
    """
    f = torch.fft.fft2(x.to(torch.complex64 if x.dtype == torch.float32 else torch.complex128), norm="forward")
    s1, s2, blocks = [], [], []
    spectra: list[Tensor] = []
    for psi, weights in zip(plan.filters, plan.weights):
        grid = (psi.shape[-2], psi.shape[-1])
        wave = torch.fft.ifft2(crop_frequencies(f, grid)[:, None] * psi, norm="forward")
        modulus = safe_modulus(wave)
        s1.append((modulus * weights).sum((-2, -1)))
        s2.append((modulus.square() * weights).sum((-2, -1)))
        spectra.append(torch.fft.fft2(modulus, norm="forward"))
        rows = [wave[:, :, None]]
        for spectrum in spectra:
            small = crop_frequencies(spectrum.flatten(0, 1), grid).view(len(x), 1, -1, *grid)
            rows.append(torch.fft.ifft2(small * psi[:, None], norm="forward"))
        stack = torch.cat(rows, 2).flatten(3)
        product = (stack * weights.flatten()) @ stack.mH
        blocks.append(torch.stack([product.real, product.imag], 1).flatten(1))
    return torch.stack(s1, 1), torch.stack(s2, 1), torch.cat(blocks, 1)


def _distance(valid: np.ndarray, periodic: bool) -> np.ndarray:
    """Distance of each pixel from the nearest missing one (from the edge too unless periodic), in pixels."""
    if valid.all() and periodic:
        return np.full(valid.shape, math.inf)
    if not periodic:
        return distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    ny, nx = valid.shape
    return distance_transform_edt(np.tile(valid, (3, 3)))[ny : 2 * ny, nx : 2 * nx]
