"""Shape of the level sets of a field - Minkowski functionals - and of its increments - structure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.statistics.samples.admission import checked_images, checked_masked

SURE = 0.9  # share of the smoothing kernel that must be seen


@dataclass(frozen=True)
class Minkowski:
    """Area fraction V0, perimeter density V1 and Euler number density V2, each (..., t) for t thresholds."""

    thresholds: Tensor
    v0: Tensor
    v1: Tensor
    v2: Tensor


@dataclass(frozen=True)
class StructureFunctions:
    """S_p(r) as ``value`` (..., r, p), with lags (r,) in pixels and orders (p,)."""

    lags: Tensor
    orders: Tensor
    value: Tensor


def minkowski_functionals(
    images: Tensor, thresholds: Sequence[float] | Tensor, *, sigma_pixel: float = 0.0, periodic: bool = False,
    mask: Tensor | None = None,
) -> Minkowski:
    """Return the Minkowski functionals of the excursion sets {x > nu} of every image, per pixel.

    V0 = share of pixels above nu.
    V1 = 1/4 of the perimeter per pixel; perimeter = pi/4 x number of neighbouring pairs that straddle nu
         (Cauchy-Crofton: right for isotropic contours, 21 % low for straight ones along the axes).
    V2 = (vertices - edges + faces) / pixels: vertices are the pixels above nu, edges their horizontal and vertical
         pairs, faces their 2 x 2 squares - the number of pieces minus the number of holes, in 4-connectivity.
    For a Gaussian field of variance s^2 and lambda^2 = <x_,1^2>/s^2, with u = (nu - mean)/s:
    V0 = erfc(u/sqrt 2)/2, V1 = lambda/8 exp(-u^2/2), V2 = lambda^2 (2 pi)^(-3/2) u exp(-u^2/2).

    Parameters
    ----------
    images: (..., ny, nx).
    thresholds: t values of nu, in the units of the images.
    sigma_pixel: Gaussian smoothing before the cut; unsmoothed pixel noise dominates V2 (use 1 to 2 pixels).
    periodic: whether maps wrap around; otherwise sets end at the border (a bias of the order perimeter/area for a
        field cut from a larger one, none for an object on an empty background).
    mask: (..., ny, nx), 0 where pixels are hidden, whatever they hold. Pixels, pairs and squares are counted where all
        of them are seen, per such pixel, pair and square: sets go on beyond the border and below the mask.

    Not differentiable (counts). Errors: OptionError for no threshold or a negative smoothing length.
    Source: Schmalzing & Gorski 1998, MNRAS 297, 355, eq. 1-9; Adler 1981. Oracle in the tests: scikit-image.

    Example
    -------
    >>> square = torch.zeros(8, 8); square[2:5, 2:5] = 1.0
    >>> m = minkowski_functionals(square, [0.5])
    >>> (64 * m.v0).item(), (64 * m.v2).item()
    (9.0, 1.0)
    """
    x, seen = smoothed_where_seen(images, sigma_pixel, mask, periodic=periodic)
    x = x.detach()
    nu = torch.as_tensor(thresholds, dtype=x.dtype).reshape(-1)
    if nu.numel() == 0:
        raise OptionError("no threshold", expected="at least one number", do="pass thresholds=[0.0, 1.0]")
    nu, order = nu.sort()
    # A pixel's level is the number of thresholds below it. Minima over pairs and squares commute with that, so every
    # count is "how many levels exceed t", whatever the number of thresholds.
    level = torch.bucketize(x, nu, out_int32=True).to(torch.int16)
    level = level if seen is None else level * seen  # what is hidden exceeds nothing
    right, down = _neighbour(level, -1, periodic), _neighbour(level, -2, periodic)
    across, along = torch.minimum(*right), torch.minimum(*down)
    high = torch.maximum(*right), torch.maximum(*down)
    squares = torch.minimum(*_neighbour(across, -2, periodic))
    counts: list[Any] = [max(1, f.shape[-1] * f.shape[-2]) for f in (level, across, along)]
    counts.append(counts[0])
    if seen is not None:
        pairs = [torch.logical_and(*_neighbour(seen, axis, periodic)) for axis in (-1, -2)]
        high = high[0] * pairs[0], high[1] * pairs[1]
        whole = (seen, *pairs, torch.logical_and(*_neighbour(pairs[0], -2, periodic)))
        counts = [f.sum((-2, -1))[..., None].clamp_min(1) for f in whole]
        counts = counts if level.ndim == seen.ndim else [count.expand(*level.shape[:-2], 1) for count in counts]
    n, t = counts, len(nu)
    above, edges_across, edges_along, faces = (_exceedances(f, t) for f in (level, across, along, squares))
    straddling = (_exceedances(high[0], t) - edges_across) / n[1] + (_exceedances(high[1], t) - edges_along) / n[2]
    euler = (above - edges_across - edges_along + faces) / n[0] if seen is None else \
        above / n[0] - edges_across / n[1] - edges_along / n[2] + faces / n[3]
    back = order.argsort()
    values = [v[..., back].to(x.dtype) for v in (above / n[0], math.pi / 16 * straddling, euler)]
    return Minkowski(nu[back], *values)


def structure_functions(
    images: Tensor, lags: Sequence[int], *, orders: Sequence[int] = (1, 2, 3, 4), periodic: bool = False,
    mask: Tensor | None = None,
) -> StructureFunctions:
    """Return S_p(r) = < |x(s + r) - x(s)|^p >, averaged over both axes, for every image.

    S_2(r) = 2 (variance - covariance at lag r); S_4/S_2^2 = 3 for Gaussian increments and larger for intermittent
    ones. Differentiable.

    Parameters
    ----------
    images: (..., ny, nx).
    lags: separations in whole pixels, at least 1 and below both sides.
    mask: (..., ny, nx), 0 where pixels are hidden, whatever they hold: pairs of which both are seen are averaged; where
        an image has none at a lag, S_p is 0.

    Errors: OptionError for a lag that does not fit.
    Source: Kolmogorov 1941; Frisch 1995, Turbulence, ch. 8.

    Example
    -------
    >>> ramp = torch.arange(6.0).expand(6, 6)
    >>> structure_functions(ramp, [1, 2], orders=[2]).value.flatten()
    tensor([0.5000, 2.0000])
    """
    x, seen = checked_masked(images, mask)
    sides = x.shape[-2:]
    if not lags or not orders or any(not 1 <= r < min(sides) for r in lags):
        raise OptionError("structure function lags", got=f"{list(lags)} pixels", expected=f"1 to {min(sides) - 1}",
                          do="pass lags below the smaller side of the map")  # fmt: skip
    rows = []
    for r in lags:
        steps = [_increment(x, r, axis, periodic).abs() for axis in (-2, -1)]
        share = [None if seen is None else _both(seen, r, axis, periodic) for axis in (-2, -1)]
        rows.append(torch.stack([(_power_mean(steps[0], p, share[0]) + _power_mean(steps[1], p, share[1])) / 2
                                 for p in orders], -1))
    return StructureFunctions(torch.tensor(lags), torch.tensor(orders), torch.stack(rows, -2))


def gaussian_smooth(images: Tensor, sigma_pixel: float, *, periodic: bool = False) -> Tensor:
    """Return images smoothed by a Gaussian of standard deviation ``sigma_pixel``, same shape.

    At borders that do not wrap the kernel is cut and renormalised, so a constant stays constant. Differentiable.

    Example
    -------
    >>> bool((gaussian_smooth(torch.ones(5, 7), 2.0) - 1).abs().max() < 1e-6)
    True
    """
    x = checked_images(images)
    if not 0 <= sigma_pixel < float("inf"):
        raise OptionError("smoothing length", got=sigma_pixel, expected="0 or a positive number", do="pass 1.0")
    if sigma_pixel == 0:
        return x
    rows, columns = (_smoothing_matrix(n, sigma_pixel, periodic).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.T


def smoothed_where_seen(images: Tensor, sigma_pixel: float, mask: Tensor | None, *, periodic: bool = False,
                        ) -> tuple[Tensor, Tensor | None]:
    """Return images smoothed over the pixels that a mask shows, and where (..., ny, nx) nine tenths of the kernel are.

    Without a mask these are `gaussian_smooth` and None. Where an image has no such place, all its pixels shown count.

    Example
    -------
    >>> hole = torch.ones(9, 9); hole[4, 4] = 0
    >>> x, seen = smoothed_where_seen(torch.full((9, 9), 2.0) / hole, 1.0, hole)
    >>> bool((x - 2).abs().max() < 1e-5), bool(seen[4, 4]), bool(seen[0, 0])
    (True, False, True)
    """
    x, seen = checked_masked(images, mask)
    if seen is None:
        return gaussian_smooth(x, sigma_pixel, periodic=periodic), None
    share = gaussian_smooth(seen.to(x), sigma_pixel, periodic=periodic)
    sure = seen & (share > SURE)
    sure = torch.where(sure.flatten(-2).any(-1)[..., None, None], sure, seen)
    return gaussian_smooth(x, sigma_pixel, periodic=periodic) / share.clamp_min(1e-6), sure


def _smoothing_matrix(n: int, sigma: float, periodic: bool) -> Tensor:
    """(n, n), rows add up to one. Two matrix products beat an FFT at these sizes and need no padding."""
    distance = torch.arange(n)[:, None] - torch.arange(n)
    kernel = torch.exp(-0.5 * (distance.double() / sigma) ** 2)
    if periodic:
        turns = range(-1 - math.ceil(5 * sigma / n), 2 + math.ceil(5 * sigma / n))
        kernel = sum((torch.exp(-0.5 * ((distance + t * n).double() / sigma) ** 2) for t in turns), torch.zeros(()))
    return kernel / kernel.sum(1, keepdim=True)


def _neighbour(x: Tensor, axis: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """Pairs of neighbours along an axis, as two tensors of equal shape."""
    if periodic:
        return x, x.roll(-1, axis)
    return x.narrow(axis, 0, x.shape[axis] - 1), x.narrow(axis, 1, x.shape[axis] - 1)


def _exceedances(level: Tensor, t: int) -> Tensor:
    """Number of cells with level > j for j = 0..t-1: (..., t)."""
    flat = level.reshape(math.prod(level.shape[:-2]), level.shape[-1] * level.shape[-2]).long()
    offset = torch.arange(len(flat))[:, None] * (t + 1)
    counts = torch.bincount((flat + offset).flatten(), minlength=len(flat) * (t + 1)).reshape(-1, t + 1)
    above = counts.flip(-1).cumsum(-1).flip(-1)[:, 1:]
    return above.reshape(*level.shape[:-2], t).double()


def _increment(x: Tensor, lag: int, axis: int, periodic: bool) -> Tensor:
    if periodic:
        return x.roll(-lag, axis) - x
    kept = x.shape[axis] - lag
    return x.narrow(axis, lag, kept) - x.narrow(axis, 0, kept)


def _both(seen: Tensor, lag: int, axis: int, periodic: bool) -> Tensor:
    """Weights of the pairs at a lag, the same for all whose two pixels are seen, of mean 1 over the map."""
    both = _increment(seen.double(), lag, axis, periodic) == 0
    shifted = seen.roll(-lag, axis) if periodic else seen.narrow(axis, lag, seen.shape[axis] - lag)
    both = both & shifted
    return both / both.double().mean((-2, -1), keepdim=True).clamp_min(1e-30)


def _power_mean(step: Tensor, p: int, weights: Tensor | None) -> Tensor:
    """< step^p > over the map, with products instead of a slow general power."""
    product = step if p % 2 else step * step
    for _ in range((p - 1) // 2):
        product = product * step * step
    return (product if weights is None else product * weights.to(product)).mean((-2, -1))
