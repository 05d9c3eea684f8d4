"""What all scalings do with columns: collect their numbers, measure them, hand parameters back in shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError

ASKED = 100_000  # numbers that know a quantile to 0.2 %
Numbers = float | tuple[float, ...] | None


def double(x: Tensor) -> Tensor:
    """x in float64; on the processor where the device (Apple's) knows no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def like(result: Tensor, x: Tensor) -> Tensor:
    """The result in the type (float32 for whole numbers) and on the device of x."""
    return result.to(x.device, x.dtype if x.is_floating_point() else torch.float32)


def planes(x: Tensor) -> Tensor:
    """(n, c, pixels); c is 1 without a channel axis."""
    if x.ndim == 2:
        raise ShapeError("scaling per image needs images", got=tuple(x.shape), expected="(n, [c,] ny, nx)",
                         do="use MinMaxPerSet or ClippedLogit for events")
    return x.flatten(2) if x.ndim == 4 else x.flatten(1)[:, None]


def columns_of(x: Tensor, names: Sequence[str] | None) -> Tensor:
    """(features or channels, all their numbers), none of them constant."""
    columns = x.T if x.ndim == 2 else planes(x).transpose(0, 1).flatten(1)
    constant = (columns.amin(1) == columns.amax(1)).nonzero().flatten().tolist()
    if constant:
        j = constant[0]
        name = names[j] if names is not None and j < len(names) else f"column {j}"
        raise DataError(f"{name} is constant", got=f"the value {float(columns[j, 0]):.6g} everywhere",
                        expected="at least two different values", do="drop it: a constant needs no generator")
    return columns


def per_number(weights: Tensor | None, x: Tensor) -> Tensor | None:
    """Weights of the numbers in a column, normalised to a sum of 1; None for equal weights."""
    return None if weights is None else (w := weights.repeat_interleave(x[0].numel() // width(x))) / w.sum()


def moments(columns: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; residuals are normalised first so that squares neither
    overflow nor vanish."""
    mean = _mean(columns if weights is None else columns * weights, weights)
    residual = columns - mean[:, None]
    low, high = residual.aminmax(dim=1)
    largest = torch.maximum(-low, high)
    residual.div_(largest[:, None]).square_()
    return mean, largest * _mean(residual if weights is None else residual.mul_(weights), weights).sqrt()


def _mean(weighed: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of each column whose numbers were multiplied by weights of sum 1, if any; the same for any thread count."""
    total = torch.from_numpy(weighed.contiguous().cpu().numpy().sum(1)).to(weighed)
    return total if weights is not None else total / weighed.shape[1]


def quantile(columns: Tensor, weights: Tensor | None, q: float) -> Tensor:
    """The smallest number of each column that has at least a share q at or below it; of many, every k-th is asked."""
    every = -(-columns.shape[1] // ASKED)
    columns, weights = columns[:, ::every], None if weights is None else weights[::every] / weights[::every].sum()
    ordered, order = columns.sort(1)
    share = torch.full_like(columns[0], 1 / columns.shape[1]) if weights is None else weights
    below = share.expand_as(columns).gather(1, order).cumsum(1) < q - 1e-12
    return ordered.gather(1, below.sum(1, keepdim=True).clamp(max=columns.shape[1] - 1))[:, 0]


def median(columns: Tensor, weights: Tensor | None) -> Tensor:
    return torch.stack([x.median() for x in columns]) if weights is None else quantile(columns, weights, 0.5)


def half_width(columns: Tensor, weights: Tensor | None, q: float) -> Tensor:
    """Half the distance between the quantiles at q and 1 - q."""
    return 0.5 * (quantile(columns, weights, 1 - q) - quantile(columns, weights, q))


def scale(columns: Tensor, weights: Tensor | None) -> Tensor:
    """Standard deviation of each column, unless a few numbers make it: then half the width of the middle 68 %."""
    spread, robust = moments(columns, weights)[1], half_width(columns, weights, 0.16)
    return torch.where((robust > 0) & (spread > 20 * robust), robust, spread)


def without_far(columns: Tensor, weights: Tensor | None) -> Tensor:
    """The columns with the median in place of numbers beyond 100 half widths, where they are less than 1 %."""
    middle, robust = median(columns, weights)[:, None], half_width(columns, weights, 0.16)[:, None]
    low, high = columns.aminmax(dim=1, keepdim=True)
    if not bool((torch.maximum(high - middle, middle - low) > 100 * robust).any()):
        return columns
    far = (columns - middle).abs() > 100 * robust
    share = (far.to(columns) * (1 / columns.shape[1] if weights is None else weights)).sum(1, keepdim=True)
    return torch.where(far & (robust > 0) & (share < 0.01), middle, columns)


def width(x: Tensor) -> int:
    return x.shape[1] if x.ndim in (2, 4) else 1


def along(numbers: Numbers, x: Tensor) -> Tensor:
    """Fitted numbers, shaped to meet the columns or channels of x."""
    if not isinstance(numbers, tuple) or not numbers:
        raise OptionError("the scaling is not fitted", got="no training data", expected="a fitted scaling",
                          do="call scaling = scaling.fit(x) first")
    if len(numbers) != width(x):
        raise ShapeError("the scaling was fitted on another number of columns", got=width(x),
                         expected=len(numbers), do="pass the columns of the training data, in their order")
    shape = (1, 1, 1) if x.ndim == 3 else (1, -1, *[1] * (x.ndim - 2))
    return torch.tensor(numbers, dtype=x.dtype, device=x.device).view(shape)


def given(numbers: Numbers, columns: Tensor, what: str) -> Tensor | None:
    """The user's number(s), one per column, or None to fit them."""
    if numbers is None:
        return None
    given = (numbers,) * len(columns) if isinstance(numbers, float) else numbers
    if len(given) != len(columns):
        raise ShapeError(f"{what} does not fit the columns", got=len(given), expected=len(columns),
                         do=f"pass one {what}, or one per column")
    return torch.tensor(given, dtype=columns.dtype, device=columns.device)


def positive(what: str, numbers: Any) -> Numbers:
    """None, a float, or a tuple of floats, all positive and finite."""
    if numbers is None:
        return None
    several = isinstance(numbers, Sequence)
    given = tuple(float(v) for v in (numbers if several else (numbers,)))
    if not given or not all(0 < v < math.inf for v in given):
        raise OptionError(f"{what} must be positive", got=numbers, expected="finite numbers above 0",
                          do="leave it out to have it fitted")
    return given if several else given[0]


def check_ends(bottom: float, top: float) -> None:
    if not -math.inf < bottom < top < math.inf:
        raise OptionError("the target range is empty", got=f"{bottom} to {top}", expected="bottom < top",
                          do="use -1 to 1")


def numbers_of(x: Tensor) -> tuple[float, ...]:
    return tuple(x.tolist())
