"""Normal scores: every column mapped onto a standard normal, through quantiles of the training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sundog.data.scaling.columns import columns_of, half_width, median, per_number, width
from sundog.data.scaling.contract import Scaling
from sundog.errors import OptionError, ShapeError

Curve = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (numbers, x knots, z knots, slopes) -> numbers
_NONE = (torch.empty(0), torch.empty(0), (False, False))  # knots of a column left as it is
FEWEST = 3  # knots: with two the map is a straight line
ABSURD = 20  # times the two pieces before: no tail of a law grows so fast, an outlier does
REACH = 40.0  # half quartile distances: beyond it a number lies far
SOFT = 0.5  # scale in z of the logarithm beyond the ends
TAIL = 6  # pieces at each end that the straight line beyond it is taken from


@dataclass(frozen=True)
class NormalScores(Scaling):
    """z = Phi^-1(F(x)), F the distribution function of the training data: edges and tails both become a Gaussian's.

    F is known at ``count`` quantiles, evenly spaced in z, the last ones the extremes of the training data, or the
    last that do not lie absurdly far (20 times the distance of the two before). Between them z is a monotone
    rational quadratic, smooth to its first derivative; beyond them z goes on as a logarithm, so that the support is
    the whole line: once in as many draws as there were training events, one passes a hard edge by half a per cent of
    the range or so. Where the end is a value that many rows share, the inverse stops at it.

    With ``far`` only the columns that reach far are mapped, and z = x in the others: those whose farthest number
    lies beyond 40 half distances of the quartiles from the median. No Gaussian, exponential or bounded law reaches so
    far, a Cauchy law does, and so does one absurd number among thousands.

    Source: Gregory & Delbourgo 1982, eq. 4 and 5; Fritsch & Butland 1984 for the slopes.

    Example
    -------
    >>> x = torch.rand(5000, 1, generator=torch.Generator().manual_seed(0)).exp()
    >>> z = NormalScores().fit(x).forward(x)
    >>> abs(float(z.mean())) < 0.02, abs(float(z.std()) - 1) < 0.02
    (True, True)
    """

    count: int = 33
    far: bool = False
    x: tuple[tuple[float, ...], ...] = ()
    z: tuple[tuple[float, ...], ...] = ()
    shut: tuple[tuple[bool, bool], ...] = ()  # whether the inverse stops at the lower, the upper end

    def __post_init__(self) -> None:
        if self.count < FEWEST:
            raise OptionError("too few knots", got=self.count, expected=f"at least {FEWEST}", do="use 33")
        for name in ("x", "z", "shut"):  # lists when they come from JSON
            object.__setattr__(self, name, tuple(tuple(column) for column in getattr(self, name)))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = columns_of(x, names), per_number(weights, x)
        mapped = [not self.far or _reaches_far(column, weights) for column in columns]
        knots = [_knots(column, weights, self.count) if each else _NONE for column, each in zip(columns, mapped)]
        return replace(self, x=tuple(tuple(a.tolist()) for a, _, _ in knots), shut=tuple(shut for _, _, shut in knots),
                       z=tuple(tuple(b.tolist()) for _, b, _ in knots))

    def _forward(self, x: Tensor) -> Tensor:
        return self._mapped(x, _rise)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        x = self._mapped(z, _fall)
        ends = [(knots[0] if shut[0] else -math.inf, knots[-1] if shut[1] else math.inf) if knots
                else (-math.inf, math.inf) for knots, shut in zip(self.x, self.shut)]
        low, high = torch.tensor(ends, dtype=x.dtype, device=x.device).view(1, -1, 2, *[1] * (x.ndim - 2)).unbind(2)
        return x.clamp(low[0], high[0]) if x.ndim == 3 else x.clamp(low, high)

    def _log_slope(self, x: Tensor) -> Tensor:
        return self._mapped(x, _log_rise)

    def _mapped(self, numbers: Tensor, curve: Curve) -> Tensor:
        if not self.x:
            raise OptionError("the scaling is not fitted", got="no training data", expected="a fitted scaling",
                              do="call scaling = scaling.fit(x) first")
        if len(self.x) != width(numbers):
            raise ShapeError("the scaling was fitted on another number of columns", got=width(numbers),
                             expected=len(self.x), do="pass the columns of the training data, in their order")
        if numbers.ndim == 3:
            return self._column(numbers, 0, curve)
        return torch.stack([self._column(numbers[:, j], j, curve) for j in range(len(self.x))], 1)

    def _column(self, numbers: Tensor, j: int, curve: Curve) -> Tensor:
        if not self.x[j]:
            return torch.zeros_like(numbers) if curve is _log_rise else numbers
        x, z = (torch.tensor(knots[j], dtype=numbers.dtype, device=numbers.device) for knots in (self.x, self.z))
        return curve(numbers.contiguous(), x, z, _slopes(x, z))


def _reaches_far(column: Tensor, weights: Tensor | None) -> bool:
    centre, width = median(column[None], weights), half_width(column[None], weights, 0.25)
    low, high = column.aminmax()
    return bool(torch.maximum(high - centre, centre - low) > REACH * width > 0)


def _knots(column: Tensor, weights: Tensor | None, count: int) -> tuple[Tensor, Tensor, tuple[bool, bool]]:
    """Quantiles of one column and their normal scores, both strictly rising; and whether each end is a shared value."""
    share = torch.full_like(column, 1 / len(column)) if weights is None else weights
    # Equal numbers share one knot, in the middle of their ranks; and no two knots lie closer than rounding.
    values, which = column.unique(return_inverse=True)
    share = torch.zeros_like(values).index_add_(0, which, share)
    middle = torch.special.ndtri((share.cumsum(0) - 0.5 * share).clamp(1e-300, 1 - 1e-16))
    wanted = torch.linspace(float(middle[0]), float(middle[-1]), count, dtype=middle.dtype)
    right = torch.searchsorted(middle, wanted).clamp(1, len(middle) - 1)
    part = ((wanted - middle[right - 1]) / (middle[right] - middle[right - 1])).clamp(0, 1)
    x = values[right - 1] + part * (values[right] - values[right - 1])
    x[0], x[-1] = values[0], values[-1]
    apart = 1e-9 * torch.maximum(x[-1] - x[0], 1e-4 * x.abs().max())
    kept = [0]
    for k in range(1, count - 1):
        if x[k] - x[kept[-1]] > apart and x[-1] - x[k] > apart:
            kept.append(k)
    kept.append(count - 1)
    while len(kept) > FEWEST + 1 and _far(x[kept]):
        kept.pop()
    while len(kept) > FEWEST + 1 and _far(-x[kept].flip(0)):
        kept.pop(0)
    shut = (bool(share[0] > 1 / count and kept[0] == 0), bool(share[-1] > 1 / count and kept[-1] == count - 1))
    return x[kept], wanted[kept], shut


def _far(x: Tensor) -> bool:
    """Whether the last knot lies absurdly far from those before."""
    return bool(x[-1] - x[-2] > ABSURD * (x[-2] - x[-4]))


def _slopes(x: Tensor, z: Tensor) -> Tensor:
    """dz/dx at the knots: a weighted harmonic mean of the slopes on either side, which keeps the curve monotone.

    At the ends the gentlest of the last few: two numbers that happen to lie close together must not throw the next
    one out to z = 10.
    """
    h, s = x.diff(), z.diff() / x.diff()
    share = (h[:-1] + 2 * h[1:]) / (3 * (h[:-1] + h[1:]))
    inner = 1 / (share / s[:-1] + (1 - share) / s[1:])
    return torch.cat([s[:TAIL].amin()[None], inner, s[-TAIL:].amin()[None]])


def _rise(v: Tensor, x: Tensor, z: Tensor, d: Tensor) -> Tensor:
    """z(x)."""
    k, xi = _place(v, x)
    dz, s = z.diff()[k], (z.diff() / x.diff())[k]
    both = xi * (1 - xi)
    inside = z[k] + dz * (s * xi**2 + d[k] * both) / (s + (d[k + 1] + d[k] - 2 * s) * both)
    below, above = (torch.log1p((d[end] / SOFT) * (x[0] - v if end == 0 else v - x[-1]).clamp(min=0))
                    for end in (0, -1))
    return torch.where(v < x[0], z[0] - SOFT * below, torch.where(v > x[-1], z[-1] + SOFT * above, inside))


def _log_rise(v: Tensor, x: Tensor, z: Tensor, d: Tensor) -> Tensor:
    """log dz/dx at x."""
    k, xi = _place(v, x)
    s = (z.diff() / x.diff())[k]
    both = xi * (1 - xi)
    top = d[k + 1] * xi**2 + 2 * s * both + d[k] * (1 - xi) ** 2
    inside = 2 * s.log() + top.log() - 2 * (s + (d[k + 1] + d[k] - 2 * s) * both).log()
    below, above = (d[end].log() - torch.log1p((d[end] / SOFT) * (x[0] - v if end == 0 else v - x[-1]).clamp(min=0))
                    for end in (0, -1))
    return torch.where(v < x[0], below, torch.where(v > x[-1], above, inside))


def _fall(v: Tensor, x: Tensor, z: Tensor, d: Tensor) -> Tensor:
    """x(z): the root of the quadratic."""
    k, _ = _place(v, z)
    h, dz, s = x.diff()[k], z.diff()[k], (z.diff() / x.diff())[k]
    y = (v.clamp(z[0], z[-1]) - z[k]).clamp(min=0)
    bend = y * (d[k + 1] + d[k] - 2 * s)
    a, b, c = dz * (s - d[k]) + bend, dz * d[k] - bend, -s * y
    xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
    inside = x[k] + h * xi
    below, above = (SOFT / d[end] * torch.expm1((z[0] - v if end == 0 else v - z[-1]).clamp(min=0) / SOFT)
                    for end in (0, -1))
    return torch.where(v < z[0], x[0] - below, torch.where(v > z[-1], x[-1] + above, inside))


def _place(v: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """Between which knots (index of the left one) and how far, 0 to 1."""
    k = torch.searchsorted(knots, v).clamp(1, len(knots) - 1) - 1
    return k, ((v - knots[k]) / (knots[k + 1] - knots[k])).clamp(0, 1)
