"""Sizes of a synthesis: what a sample's axes mean, which pixels are missing, on which grids the descent goes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError

SHORTEST_LINE = 32  # fewer numbers are a row of features, not a signal
MOST_CHANNELS = 8
AXES = {"auto": 0, "line": 1, "map": 2, "volume": 3, "sphere": 1}  # domain -> axes of its grid
COARSE_FROM = {1: 0, 2: 512, 3: 128}


@dataclass(frozen=True)
class Layout:
    """Axes of a sample: ``shape`` = prefix + seen, where the prefix holds the channels or nothing.

    Attributes
    ----------
    seen, drawn : grid of the examples and of the samples
    channels : fields per sample
    prefix : axes of a sample before its grid: (), or (channels,)
    """

    seen: tuple[int, ...]
    drawn: tuple[int, ...]
    channels: int
    prefix: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.prefix, *self.seen)


def layout_of(shape: tuple[int, ...], domain: str, canvas: Sequence[int] | None = None) -> Layout:
    """The layout of samples of a shape, checked.

    Example
    -------
    >>> layout_of((3, 64, 64), "auto").channels, layout_of((64, 64, 64), "volume").seen
    (3, (64, 64, 64))
    """
    axes = _axes(shape, domain)
    seen, prefix = tuple(int(n) for n in shape[len(shape) - axes :]), tuple(int(n) for n in shape[: len(shape) - axes])
    drawn = seen if canvas is None else tuple(int(n) for n in canvas)
    if len(drawn) != axes or min(drawn) < 4:
        raise ShapeError("canvas of the wrong shape", got=drawn, expected=f"{axes} numbers, at least 4",
                         do=f"pass e.g. canvas={tuple(2 * n for n in seen)}")  # fmt: skip
    channels = int(np.prod(prefix)) if prefix else 1
    if axes != 2 and channels > 1:
        raise OptionError("several channels of lines or cubes", got=channels, expected="1",
                          do="fit each channel alone")  # fmt: skip
    return Layout(seen, drawn, channels, prefix)


def _axes(shape: tuple[int, ...], domain: str) -> int:
    """How many of the last axes are the grid."""
    axes, row = AXES[domain], len(shape) > 1 and shape[-2] == 1
    if domain == "auto":
        axes = 1 if len(shape) == 1 or row else 2
    fits = len(shape) in (axes, axes + 1) or (axes == 1 and row and len(shape) == 3)
    if axes == 1 and shape[-1] < SHORTEST_LINE:
        fits = False
    if domain == "sphere" and fits:
        nside_of(shape[-1])
    if not fits:
        raise OptionError(
            "scattering synthesis draws lines, maps and cubes", got=f"samples of shape {shape}, domain {domain!r}",
            expected=f"(ny, nx), (channels, ny, nx), (nx,) from {SHORTEST_LINE} points, or a cube (nz, ny, nx)",
            do="reshape: a line is one row, values[None]; for events use the family 'flow'",
        )  # fmt: skip
    if axes == 2 and len(shape) == 3 and shape[0] > MOST_CHANNELS:
        raise OptionError("so many channels", got=shape[0], expected=f"at most {MOST_CHANNELS}",
                          do="pass domain='volume' if they are the slices of a cube, else fit a few")  # fmt: skip
    return axes


def nside_of(pixels: int) -> int:
    """NSIDE of a HEALPix map with so many pixels.

    Example
    -------
    >>> nside_of(49152)
    64
    """
    nside = round((pixels / 12) ** 0.5)
    if nside < 8 or 12 * nside**2 != pixels or nside & (nside - 1):
        raise OptionError("not a HEALPix map", got=f"{pixels} pixels", expected="12 nside^2, nside a power of 2 from 8",
                          do="pass whole skies, one per row")  # fmt: skip
    return nside


def given_mask(mask: Any, shape: tuple[int, ...]) -> Tensor:
    """Valid pixels (*shape) as booleans; all of them for None, or for the name of a mask that comes with the weights.

    Errors: ShapeError for another shape, DataError for NaN, or for a mask that hides every pixel.
    """
    if mask is None or isinstance(mask, str):
        return torch.ones(shape, dtype=torch.bool)
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.shape != shape:
        raise ShapeError("mask of another size", got=array.shape, expected=shape, do="cut it to the map")
    if array.dtype.kind not in "bfiu" or not np.isfinite(array).all():
        raise DataError("the mask holds other things than numbers", got=f"type {array.dtype}",
                        expected="0 where pixels are missing, 1 elsewhere", do="repair the mask")  # fmt: skip
    if not (array != 0).any():
        raise DataError("the mask hides every pixel", got="all zeros", expected="some ones", do="1 marks valid pixels")
    return torch.from_numpy(array != 0)


def mask_name(mask: Any) -> str | None:
    """What stands for a mask in JSON: its hash; the pixels travel with the weights."""
    if mask is None or isinstance(mask, str):
        return mask
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    return "mask-" + hashlib.sha256(np.packbits(array != 0).tobytes()).hexdigest()[:12]


def stage_factors(seen: tuple[int, ...], drawn: tuple[int, ...], coarse_from: int | None) -> tuple[int, ...]:
    """Factors by which the grids of the descent are coarser, from the coarsest to 1.

    Example
    -------
    >>> stage_factors((1024, 1024), (1024, 1024), None), stage_factors((256, 256), (256, 256), None)
    ((4, 2, 1), (1,))
    """
    limit = COARSE_FROM[len(seen)] if coarse_from is None else coarse_from
    factors = [1]
    smallest = min(*seen, *drawn)
    while limit and smallest / factors[0] >= limit and smallest / factors[0] / 2 >= 16:
        factor = 2 * factors[0]
        if any(n % factor for n in (*seen, *drawn)):
            break
        factors.insert(0, factor)
    return tuple(factors)
