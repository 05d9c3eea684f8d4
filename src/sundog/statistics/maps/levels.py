"""Soft level fractions of a map and of its smoothed versions: one-point distributions as constraints or losses."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.checks import at_least
from sundog.statistics.wavelets.waves import crop_axis


def level_thresholds(x: Tensor, count: int = 16) -> tuple[Tensor, Tensor]:
    """Return thresholds at ``count`` evenly spaced quantiles of all pixels of x, and the local widths between them.

    Quantiles at (i + 1/2) / count. Widths are half the distance between the neighbours, floored at a thousandth of
    the full range so that maps with many equal pixels keep finite gradients.

    Example
    -------
    >>> level_thresholds(torch.arange(100.0), 4)[0]
    tensor([12.3750, 37.1250, 61.8750, 86.6250])
    """
    at_least(count, 2, "number of levels")
    flat = x.flatten().sort().values
    place = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (len(flat) - 1)
    low, high = flat[place.floor().long()], flat[place.ceil().long()]
    levels = low + (place - place.floor()).to(flat) * (high - low)
    padded = torch.cat([levels[:1], levels, levels[-1:]])
    steps = torch.cat([levels.new_ones(1), levels.new_full((count - 2,), 2.0), levels.new_ones(1)])
    floor = 1e-3 * (flat[-1] - flat[0]).clamp_min(torch.finfo(flat.dtype).tiny * 1e8)
    return levels, torch.maximum((padded[2:] - padded[:-2]) / steps, floor)


def level_fractions(x: Tensor, levels: Tensor, widths: Tensor) -> Tensor:
    """Return the soft fraction of pixels above each level, (n, count), for maps x (n, ny, nx).

    f_i = < sigmoid((x - level_i) / width_i) >: the tail of the one-point distribution, blurred by the level widths.
    Gradients flow to x alone; one map-sized buffer is needed, whatever the number of levels.

    Example
    -------
    >>> level_fractions(torch.zeros(1, 4, 4), torch.tensor([-50.0, 0.0, 50.0]), torch.ones(3))[0, :2]
    tensor([1.0000, 0.5000])
    """
    return _Fractions.apply(x, levels, widths)  # type: ignore[no-any-return]


class _Fractions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: Tensor, widths: Tensor) -> Tensor:
        ctx.save_for_backward(x, levels, widths)
        flat = x.flatten(1)
        return torch.stack([flat.sub(a).div_(w).sigmoid_().mean(1) for a, w in zip(levels, widths)], 1)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, levels, widths = ctx.saved_tensors
        flat = x.flatten(1)
        out = torch.zeros_like(flat)
        scaled = grad / widths / flat.shape[1]
        for i, (a, w) in enumerate(zip(levels, widths)):
            s = flat.sub(a).div_(w).sigmoid_()
            out.addcmul_(torch.addcmul(s, s, s, value=-1.0), scaled[:, i : i + 1])
        return out.reshape(x.shape), None, None


def smoothed_pyramid(x: Tensor, sigmas: tuple[float, ...]) -> list[Tensor]:
    """Return periodic lines, maps or cubes x (n, ...) smoothed by Gaussians, each on the smallest grid that carries it.

    Standard deviations in pixels of x; 0 gives x itself. The grid of sigma holds |k| <= pi / floor(sigma) on each axis,
    at which the smoothing leaves exp(-pi^2 / 2) = 7e-3 of the amplitude.

    Example
    -------
    >>> [tuple(s.shape) for s in smoothed_pyramid(torch.zeros(1, 64, 60), (0.0, 1.0, 4.0))]
    [(1, 64, 60), (1, 64, 60), (1, 16, 16)]
    >>> [tuple(s.shape) for s in smoothed_pyramid(torch.zeros(1, 64), (8.0,))]
    [(1, 8)]
    """
    shape = x.shape[1:]
    dims = tuple(range(1, x.ndim))
    f = torch.fft.rfftn(x, dim=dims, norm="forward") if any(sigmas) else x
    out = []
    for sigma in sigmas:
        if sigma == 0:
            out.append(x)
            continue
        grid = [min(n, 2 * math.ceil(n / max(1, int(sigma)) / 2)) for n in shape]
        part, square = f, torch.zeros((), dtype=torch.float64, device=x.device)
        for axis, (n, m) in enumerate(zip(shape, grid), start=1):
            last = axis == len(shape)
            part = part.narrow(axis, 0, m // 2 + 1) if last else crop_axis(part, axis, m)
            k = (torch.fft.rfftfreq if last else torch.fft.fftfreq)(m, d=1 / m, device=x.device).double()
            square = square[..., None] + (2 * math.pi / n * k) ** 2
        window = torch.exp(-0.5 * sigma**2 * square).to(x)
        out.append(torch.fft.irfftn(part * window, s=grid, dim=dims, norm="forward"))
    return out
