"""Periodic lines, maps and cubes on finer or coarser grids, by their Fourier modes."""

from __future__ import annotations

import torch
from torch import Tensor


def resample(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return periodic fields x (..., *old) on another grid (..., *shape): modes that both grids hold are kept.

    Band-limited interpolation where the new grid is finer, a sharp low-pass where it is coarser; modes at the Nyquist
    frequency of the coarser grid are dropped. The mean stays. Differentiable.

    Example
    -------
    >>> t = torch.arange(8) / 8
    >>> wave = torch.cos(2 * torch.pi * t)
    >>> bool(torch.allclose(resample(wave, (16,))[::2], wave, atol=1e-6))
    True
    """
    old = tuple(x.shape[-len(shape) :])
    if old == tuple(shape):
        return x
    dims = tuple(range(-len(shape), 0))
    f = torch.fft.rfftn(x, dim=dims, norm="forward")
    for axis, n, m in zip(dims, old, shape):
        if n != m:
            f = _moved(f, axis, n, m)
    return torch.fft.irfftn(f, s=list(shape), dim=dims, norm="forward")


def _moved(f: Tensor, axis: int, n: int, m: int) -> Tensor:
    """One axis of a half transform, from n points to m."""
    top = (min(n, m) - 1) // 2  # highest frequency that both hold without ambiguity
    positive = f.narrow(axis, 0, top + 1)
    half = axis == -1
    blank = list(f.shape)
    blank[axis] = m // 2 - top if half else m - 2 * top - 1
    parts = [positive, f.new_zeros(blank)]
    if not half:
        parts.append(f.narrow(axis, n - top, top))
    return torch.cat(parts, axis)
