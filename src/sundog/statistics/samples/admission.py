"""The door of this room: what counts as a sample of events or of images."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.checks import UNSEEN, unseen
from sundog.errors import DataError, ShapeError

SQUARED = 1e-10, 1e10  # largest values between which float32 holds squares, cubes and their ratios

def checked_finite(x: Tensor, what: str) -> Tensor:
    """Return ``x`` as a floating-point tensor, after checking that it is not empty and has no NaN or Inf.

    Integers become float64, and so do float32 values so small or large, as in W/m2 or Jy/sr, that their powers would
    be 0 or infinite; float16 and bfloat16 become float32; gradients are kept.
    """
    if not isinstance(x, Tensor):
        raise DataError(f"{what} are not a tensor", got=type(x).__name__, expected="torch.Tensor",
                        do="convert with torch.as_tensor(x)")
    if x.numel() == 0:
        raise DataError(f"{what} are empty", got=f"shape {tuple(x.shape)}", do="pass at least one sample")
    if not x.is_floating_point():
        x = x.double()
    elif x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    lowest, highest = (float(end) for end in torch.aminmax(x.detach()))  # NaN as soon as one value is
    largest = max(-lowest, highest)
    if not largest < float("inf"):
        bad = int((~torch.isfinite(x)).sum())
        raise DataError(f"{what} hold NaN or Inf", got=f"{bad} of {x.numel()} values", expected="finite values",
                        do="pass mask= a map that is 0 there where the function takes one, else fill or drop them")
    if unseen(lowest):
        raise DataError(f"{what} hold UNSEEN pixels", got=f"{int((x < 0.99 * UNSEEN).sum())} of {x.numel()} values of "
                        f"{UNSEEN:g}", expected="numbers",
                        do="pass mask= a map that is 0 there where the function takes one, else fill or drop them")
    if x.dtype == torch.float32 and largest > 0 and not SQUARED[0] < largest < SQUARED[1]:
        x = x.double()
    return x


def checked_images(images: Tensor) -> Tensor:
    """Return images of shape (..., ny, nx), finite and floating point; a single map (ny, nx) is fine."""
    images = checked_finite(images, "images")
    return _axes(images, images.ndim >= 2, "images", "(..., ny, nx)", "reshape to (n, ny, nx)")


def checked_masked(images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return images whose hidden pixels, which may hold anything, are 0, and which are seen: (..., ny, nx) or None.

    Errors: ShapeError for a mask of another size, DataError for one that hides a whole image.
    """
    if mask is None:
        return checked_images(images), None
    seen = mask != 0
    if seen.shape[-2:] != images.shape[-2:]:
        raise ShapeError("mask of another size", got=tuple(seen.shape), expected=tuple(images.shape[-2:]),
                         do="cut it to the maps")
    if not bool(seen.flatten(-2).any(-1).all()):
        raise DataError("the mask hides every pixel", got="all zeros", expected="some ones", do="1 marks valid pixels")
    return checked_images(torch.where(seen, images, torch.zeros_like(images))), seen


def checked_singles(images: Tensor) -> Tensor:
    """Return images (n, ny, nx) of one channel; a single map (ny, nx) gets an axis in front."""
    x = checked_images(images)
    x = x[None] if x.ndim == 2 else x
    return _axes(x, x.ndim == 3, "single-channel images", "(n, ny, nx)", "pass one channel, images[:, 0]")


def checked_events(x: Tensor) -> Tensor:
    """Return events of shape (n, d), finite and floating point; (n,) is read as one feature."""
    x = checked_finite(x, "events")
    if x.ndim == 1:
        x = x[:, None]
    return _axes(x, x.ndim == 2, "events", "(n, d)", "flatten with x.flatten(1)")


def checked_pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return two event samples (n, d) and (m, d) in float64 with the same number of features."""
    x, y = checked_events(x).double(), checked_events(y).double()
    if x.shape[1] != y.shape[1]:
        raise ShapeError("two samples differ in the number of features", got=f"{x.shape[1]} and {y.shape[1]}",
                         expected="equal widths", do="select the same columns in both")
    return x, y


def _axes(x: Tensor, fine: bool, what: str, expected: str, do: str) -> Tensor:
    if not fine:
        raise ShapeError(f"{what}: wrong number of axes", got=f"shape {tuple(x.shape)}", expected=expected, do=do)
    return x
