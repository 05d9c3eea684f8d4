"""Increments of series at many lags: structure functions and flatness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.maps.morphology import StructureFunctions
from sundog.statistics.samples.admission import checked_finite


def structure_functions(
    x: Tensor, lags: Sequence[int], *, orders: Sequence[float] = (1, 2, 3, 4)
) -> StructureFunctions:
    """Return S_p(r) = < |x(i + r) - x(i)|^p > of every series, as ``value`` (..., r, p).

    S_p(r) ~ r^{zeta_p}: zeta_p = p H where the process is self-similar (fractional Brownian motion), below that line
    where it is intermittent. Differentiable.

    Parameters
    ----------
    x: (..., t).
    lags: whole steps, at least 1 and below t.
    orders: p > 0, whole or not.

    Errors: OptionError for a lag that does not fit; DataError on gaps (NaN).
    Source: Kolmogorov 1941; Frisch 1995, Turbulence, ch. 8.

    Example
    -------
    >>> structure_functions(torch.arange(6.0), [1, 2], orders=[2]).value.flatten()
    tensor([1., 4.])
    """
    x, lags = checked_series(x), torch.as_tensor(lags).tolist()
    if not lags or not orders or any(not 1 <= r < x.shape[-1] or r % 1 for r in lags) or any(p <= 0 for p in orders):
        raise OptionError("structure function lags and orders", got=f"{list(lags)} steps, orders {list(orders)}",
                          expected=f"whole lags 1 to {x.shape[-1] - 1}, orders above 0",
                          do="pass lags below the length")
    steps = [(x[..., r:] - x[..., :-r]).abs() for r in map(int, lags)]
    rows = [torch.stack([step.pow(p).mean(-1) for p in orders], -1) for step in steps]
    return StructureFunctions(torch.tensor(lags), torch.tensor(orders), torch.stack(rows, -2))


def flatness(x: Tensor, lags: Sequence[int]) -> Tensor:
    """Return S_4(r) / S_2(r)^2 of the increments of every series, (..., r): 3 where they are Gaussian, more where rare.

    Errors: as `structure_functions`; DataError for a series that is constant.
    Source: Frisch 1995, Turbulence, ch. 8.

    Example
    -------
    >>> noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> bool((flatness(noise, [1, 8]) - 3).abs().max() < 0.15)
    True
    """
    second, fourth = structure_functions(x, lags, orders=(2, 4)).value.unbind(-1)
    if not bool((second > 0).all()):
        raise DataError("flatness of a constant series", got="increments that are all 0", expected="a varying series",
                        do="drop the constant series")  # fmt: skip
    return fourth / second**2


def checked_series(x: Tensor) -> Tensor:
    """Return series (..., t), finite and floating point; a gap (NaN) is an error."""
    x = checked_finite(x, "series")
    if x.ndim < 1 or x.shape[-1] < 2:
        raise ShapeError("series: too short", got=f"shape {tuple(x.shape)}", expected="(..., t) with t of 2 or more",
                         do="put time on the last axis")  # fmt: skip
    return x
