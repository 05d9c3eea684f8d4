"""Scalings: invertible maps x -> z between physical units and the numbers a network likes, with log|det J|.

Every scaling acts on one number at a time, z_i = f_j(x_i), with parameters j per feature (events), per channel
(n, c, ny, nx) or one for all pixels (n, ny, nx). The Jacobian is therefore diagonal and

    log|det dz/dx| = sum_i log|f_j'(x_i)|,      log p_x(x) = log p_z(f(x)) + log|det dz/dx|.

Accuracy. All arithmetic is float64; the result has the type of the input. With eps the spacing of that type
(1.2e-7 for float32), ``inverse(forward(x))`` differs from x by at most

    eps (|x| + |z| |dx/dz|)

inside the support: the first term is the rounding of x, the second that of z. It is not bettered by any code
that stores z in that type. The support is the whole line except for ``ClippedLogit`` and ``ScaledTanh``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, ShapeError

Numbers = float | tuple[float, ...] | None


class Scaling(ABC):
    """An invertible map of every number, fitted on training data. Abstract: subclasses are final and frozen.

    Example
    -------
    >>> x = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])
    >>> scaling = Chain([LogModulus(), Standard()]).fit(x, names=("m_j1", "pt"))
    >>> bool(torch.allclose(scaling.inverse(scaling.forward(x)), x))
    True
    >>> scaling_from_json(scaling.to_json()) == scaling
    True
    """

    def fit(self, x: Tensor, weights: Tensor | None = None, names: Sequence[str] | None = None) -> Self:
        """A new, fitted scaling; give it training data only.

        Parameters
        ----------
        x : (n, d), (n, ny, nx) or (n, c, ny, nx), physical units
        weights : (n,), or None; rows of weight 0 are ignored, minima and maxima know no other weight
        names : of the features or channels, for the error message

        Raises
        ------
        DataError : a constant column (or image), which no scaling can stretch.
        """
        if x.ndim not in (2, 3, 4) or len(x) == 0:
            raise ShapeError("cannot fit a scaling", got=tuple(x.shape), expected="(n, d) or (n, [c,] ny, nx)",
                             do="pass dataset.values")
        if weights is not None:
            x, weights = x[weights > 0], _double(weights[weights > 0])
        return self._fit(_double(x), weights, names)

    def forward(self, x: Tensor) -> Tensor:
        """z in scaled units, same shape and type as x."""
        return _back(self._forward(_double(x)), x)

    def inverse(self, z: Tensor, memory: Tensor | None = None) -> Tensor:
        """x in physical units, same shape and type as z; ``memory`` is for ``MinMaxPerImage`` alone."""
        return _back(self._inverse(_double(z), None if memory is None else _double(memory)), z)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """log|det dz/dx| of each row, (n,); -inf where x lies outside the support (density zero)."""
        return _back(self._log_slope(_double(x)).flatten(1).sum(1), x)

    def outside(self, x: Tensor) -> int:
        """How many numbers of x lie outside the support, where ``forward`` clips and the density is zero."""
        return int((self._log_slope(_double(x)) == -math.inf).sum())

    def memory(self, x: Tensor) -> Tensor | None:
        """What ``inverse`` needs back besides z: (n, 2c) for ``MinMaxPerImage``, None for all others."""
        return None

    def to_json(self) -> dict[str, Any]:
        """The scaling as plain numbers; ``scaling_from_json`` rebuilds it bit by bit."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"kind": type(self).__name__,
                **{name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}}

    @abstractmethod
    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self: ...

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _log_slope(self, x: Tensor) -> Tensor:
        """log|dz/dx| of every number, same shape as x."""


@dataclass(frozen=True)
class Identity(Scaling):
    """z = x."""

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        return self

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return z

    def _log_slope(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Standard(Scaling):
    """z = (x - mean) / std, with the (weighted) mean and standard deviation of the training data."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        mean, std = _moments(_columns(x, names), _per_number(weights, x))
        return replace(self, mean=_tuple(mean), std=_tuple(std))

    def _forward(self, x: Tensor) -> Tensor:
        return (x - _along(self.mean, x)) / _along(self.std, x)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return _along(self.mean, z) + _along(self.std, z) * z

    def _log_slope(self, x: Tensor) -> Tensor:
        return -_along(self.std, x).log().expand_as(x)


@dataclass(frozen=True)
class ClippedLogit(Scaling):
    """z = ln(u / (1 - u)),  u = epsilon + (1 - 2 epsilon) (x - low) / (high - low),  low <= x <= high.

    ``low`` and ``high`` are the extremes of the training data. The unit interval is squeezed into
    [epsilon, 1 - epsilon] rather than cut there: minimum and maximum of the training data then come back
    exactly and have a finite density. Numbers outside [low, high] are clipped to it (``outside`` counts
    them) and have density zero; the inverse never leaves [low, high].
    """

    epsilon: float = 1e-6
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 0.5:
            raise OptionError("epsilon out of range", got=self.epsilon, expected="0 < epsilon < 0.5", do="use 1e-6")

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns = _columns(x, names)
        return replace(self, low=_tuple(columns.amin(1)), high=_tuple(columns.amax(1)))

    def _unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u and 1 - u, each without cancellation near its own end."""
        low, high = _along(self.low, x), _along(self.high, x)
        stretch = (1 - 2 * self.epsilon) / (high - low)
        x = x.clamp(low, high)
        return self.epsilon + stretch * (x - low), self.epsilon + stretch * (high - x)

    def _forward(self, x: Tensor) -> Tensor:
        u, rest = self._unit(x)
        return u.log() - rest.log()

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        low, high = _along(self.low, z), _along(self.high, z)
        from_low = (torch.sigmoid(z) - self.epsilon) / (1 - 2 * self.epsilon) * (high - low)
        from_high = (torch.sigmoid(-z) - self.epsilon) / (1 - 2 * self.epsilon) * (high - low)
        return torch.where(z < 0, low + from_low, high - from_high).clamp(low, high)

    def _log_slope(self, x: Tensor) -> Tensor:
        low, high = _along(self.low, x), _along(self.high, x)
        u, rest = self._unit(x)
        slope = math.log1p(-2 * self.epsilon) - (high - low).log() - u.log() - rest.log()
        return slope.masked_fill((x < low) | (x > high), -math.inf)


@dataclass(frozen=True)
class LogModulus(Scaling):
    """z = sign(x) ln(|x| / sigma + 1) / std: linear below sigma, logarithmic above, sign kept.

    ``sigma`` is one number, one per column, or None (fitted: the standard deviation of x); ``std`` is the
    fitted standard deviation of the logarithm. Add ``Standard`` in a ``Chain`` to take the mean out.

    Source: John & Draper 1980 (modulus transformation); sigma as in Han, Sehgal & Villaescusa-Navarro 2021.
    """

    sigma: Numbers = None
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", _positive("sigma", self.sigma))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = _columns(x, names), _per_number(weights, x)
        sigma = _given(self.sigma, columns, "sigma")
        sigma = _moments(columns, weights)[1] if sigma is None else sigma
        log = columns.sign() * torch.log1p(columns.abs() / sigma[:, None])
        return replace(self, sigma=_tuple(sigma), std=_tuple(_moments(log, weights)[1]))

    def _forward(self, x: Tensor) -> Tensor:
        return x.sign() * torch.log1p(x.abs() / _along(self.sigma, x)) / _along(self.std, x)

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return z.sign() * torch.expm1(z.abs() * _along(self.std, z)) * _along(self.sigma, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return -(x.abs() + _along(self.sigma, x)).log() - _along(self.std, x).log()


@dataclass(frozen=True)
class Asinh(Scaling):
    """z = asinh(x / softening): linear within the softening, logarithmic beyond it, negatives kept.

    ``softening`` is one number, one per column, or None (fitted: 3 robust rms, 3 x 1.4826 median
    |x - median|; 3 standard deviations where more than half of the numbers are equal).

    Source: Lupton, Gunn & Szalay 1999, eq. 3 (asinh magnitudes).
    """

    softening: Numbers = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "softening", _positive("softening", self.softening))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns, weights = _columns(x, names), _per_number(weights, x)
        softening = _given(self.softening, columns, "softening")
        if softening is None:
            robust = 1.4826 * _median((columns - _median(columns, weights)[:, None]).abs(), weights)
            softening = 3 * torch.where(robust > 0, robust, _moments(columns, weights)[1])
        return replace(self, softening=_tuple(softening))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x / _along(self.softening, x))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return torch.sinh(z) * _along(self.softening, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return -torch.hypot(x, _along(self.softening, x)).log()


@dataclass(frozen=True)
class ScaledTanh(Scaling):
    """z = tanh(x / scale), bounded to (-1, 1), for |x| <= 8 scale.

    ``scale`` is one number, one per column, or None (fitted: 3 standard deviations). Numbers beyond
    8 scale are clipped to it (``outside`` counts them) and have density zero: float32 cannot tell tanh(9)
    from 1. Near the ends little survives the rounding of z: the error bound of this module is 0.01 % of x
    at 4 scale, and 3 % at 8 scale. Prefer ``Asinh`` or ``LogModulus`` for heavy tails.
    """

    scale: Numbers = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _positive("scale", self.scale))

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns = _columns(x, names)
        scale = _given(self.scale, columns, "scale")
        scale = 3 * _moments(columns, _per_number(weights, x))[1] if scale is None else scale
        return replace(self, scale=_tuple(scale))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x / _along(self.scale, x)).clamp(-_TANH_END, _TANH_END))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        end = math.tanh(_TANH_END)
        return torch.atanh(z.clamp(-end, end)).clamp(-_TANH_END, _TANH_END) * _along(self.scale, z)

    def _log_slope(self, x: Tensor) -> Tensor:
        scale = _along(self.scale, x)
        y = (x / scale).abs()
        slope = 2 * (math.log(2) - y - torch.log1p(torch.exp(-2 * y)))  # ln(1 / cosh^2 y), no cancellation
        return (slope - scale.log()).masked_fill(y > _TANH_END, -math.inf)


_TANH_END = 8.0


@dataclass(frozen=True)
class MinMaxPerSet(Scaling):
    """z = bottom + (top - bottom) (x - low) / (high - low), with the extremes of the training set."""

    bottom: float = -1.0
    top: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_ends(self.bottom, self.top)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        columns = _columns(x, names)
        return replace(self, low=_tuple(columns.amin(1)), high=_tuple(columns.amax(1)))

    def _stretch(self, x: Tensor) -> Tensor:
        return (self.top - self.bottom) / (_along(self.high, x) - _along(self.low, x))

    def _forward(self, x: Tensor) -> Tensor:
        return self.bottom + self._stretch(x) * (x - _along(self.low, x))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        return _along(self.low, z) + (z - self.bottom) / self._stretch(z)

    def _log_slope(self, x: Tensor) -> Tensor:
        return self._stretch(x).log().expand_as(x)


@dataclass(frozen=True)
class MinMaxPerImage(Scaling):
    """z = bottom + (top - bottom) (x - low_k) / (high_k - low_k), with the extremes of image k itself.

    The flux memory: z has lost the brightness of each image. ``memory(x)`` returns it, (n, 2c) minima and
    maxima per channel, to be generated or given as context; ``inverse`` refuses to guess it. The density
    is that of the image given its extremes.

    Example
    -------
    >>> x = torch.rand(2, 4, 4) * 50
    >>> scaling = MinMaxPerImage().fit(x)
    >>> bool(torch.allclose(scaling.inverse(scaling.forward(x), scaling.memory(x)), x))
    True
    """

    bottom: float = -1.0
    top: float = 1.0

    def __post_init__(self) -> None:
        _check_ends(self.bottom, self.top)

    def memory(self, x: Tensor) -> Tensor:
        """Minima and maxima of every image and channel, (n, 2c): all minima first, units of x."""
        planes = _planes(x)
        return torch.cat([planes.amin(2), planes.amax(2)], 1)

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        self._log_slope(x)
        return self

    def _extremes(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        count = x.shape[1] if x.ndim == 4 else 1
        if memory.shape != (len(x), 2 * count):
            raise ShapeError("the extremes do not fit the images", got=tuple(memory.shape),
                             expected=(len(x), 2 * count), do="pass scaling.memory(x) of the same rows")
        low, high = (part.view(len(x), *[count] * (x.ndim == 4), 1, 1) for part in memory.split(count, 1))
        if not (high > low).all():
            row = int((high <= low).flatten(1).any(1).nonzero()[0])
            raise DataError("an image is constant", got=f"image {row}", expected="a minimum below the maximum",
                            do="drop the image, or scale per set")
        return low, high

    def _forward(self, x: Tensor) -> Tensor:
        low, high = self._extremes(x, self.memory(x))
        return self.bottom + (self.top - self.bottom) * ((x - low) / (high - low))

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        if memory is None:
            raise OptionError("scaling per image lost the flux", got="no extremes",
                              expected="minimum and maximum of each image",
                              do="pass memory=scaling.memory(x), or scale with MinMaxPerSet")
        low, high = self._extremes(z, memory)
        return low + (high - low) * ((z - self.bottom) / (self.top - self.bottom))

    def _log_slope(self, x: Tensor) -> Tensor:
        low, high = self._extremes(x, self.memory(x))
        return ((self.top - self.bottom) / (high - low)).log().expand_as(x)


@dataclass(frozen=True)
class Chain(Scaling):
    """z = f_last(... f_first(x)): each part fitted on the output of the one before; log-determinants add."""

    parts: tuple[Scaling, ...]

    def __init__(self, parts: Sequence[Scaling]) -> None:
        object.__setattr__(self, "parts", tuple(parts))
        if sum(isinstance(part, MinMaxPerImage | Chain) for part in self.parts) > 1:
            raise OptionError("two parts of the chain may need extremes", got=len(self.parts),
                              expected="at most one MinMaxPerImage or inner Chain", do="flatten the chain")

    def to_json(self) -> dict[str, Any]:
        """The parts, in order."""
        return {"kind": "Chain", "parts": [part.to_json() for part in self.parts]}

    def memory(self, x: Tensor) -> Tensor | None:
        """The extremes that the part which needs them sees, or None."""
        y = _double(x)
        for part in self.parts:
            if (memory := part.memory(y)) is not None:
                return _back(memory, x)
            y = part._forward(y)
        return None

    def _fit(self, x: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Self:
        fitted = []
        for part in self.parts:
            fitted.append(part._fit(x, weights, names))
            x = fitted[-1]._forward(x)
        return type(self)(fitted)

    def _forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part._forward(x)
        return x

    def _inverse(self, z: Tensor, memory: Tensor | None) -> Tensor:
        for part in reversed(self.parts):
            z = part._inverse(z, memory)
        return z

    def _log_slope(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for part in self.parts:
            total = total + part._log_slope(x)
            x = part._forward(x)
        return total


def default_scaling(kind: str, names: Sequence[str] = ()) -> Scaling:
    """The unfitted scaling that ``fit`` uses when none is asked for; ``kind`` is "events" or "images"."""
    return Chain([Standard()])


def scaling_from_json(facts: Mapping[str, Any]) -> Scaling:
    """The scaling that ``to_json`` described.

    Raises
    ------
    OptionError : a kind or a field that this version does not know.
    """
    given = dict(facts)
    kind = given.pop("kind", None)
    if kind == "Chain":
        return Chain([scaling_from_json(part) for part in given.get("parts", ())])
    chosen = {known.__name__: known for known in _FINAL}.get(str(kind))
    if chosen is None or not set(given) <= {f.name for f in fields(chosen)}:
        raise OptionError("unknown scaling", got=f"{kind} {sorted(given)}",
                          expected=", ".join(known.__name__ for known in _FINAL),
                          do="use the version of sundog that wrote it")
    return chosen(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


_FINAL: tuple[type, ...] = (
    Identity, Standard, ClippedLogit, LogModulus, Asinh, ScaledTanh, MinMaxPerSet, MinMaxPerImage,
)


def _double(x: Tensor) -> Tensor:
    """x in float64; on the processor where the device (Apple's) knows no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _back(result: Tensor, x: Tensor) -> Tensor:
    """The result in the type (float32 for whole numbers) and on the device of x."""
    return result.to(x.device, x.dtype if x.is_floating_point() else torch.float32)


def _planes(x: Tensor) -> Tensor:
    """(n, c, pixels); c is 1 without a channel axis."""
    if x.ndim == 2:
        raise ShapeError("scaling per image needs images", got=tuple(x.shape), expected="(n, [c,] ny, nx)",
                         do="use MinMaxPerSet or ClippedLogit for events")
    return x.flatten(2) if x.ndim == 4 else x.flatten(1)[:, None]


def _columns(x: Tensor, names: Sequence[str] | None) -> Tensor:
    """(features or channels, all their numbers), none of them constant."""
    columns = x.T if x.ndim == 2 else _planes(x).transpose(0, 1).flatten(1)
    constant = (columns.amin(1) == columns.amax(1)).nonzero().flatten().tolist()
    if constant:
        j = constant[0]
        name = names[j] if names is not None and j < len(names) else f"column {j}"
        raise DataError(f"{name} is constant", got=f"the value {float(columns[j, 0]):.6g} everywhere",
                        expected="at least two different values", do="drop it: a constant needs no generator")
    return columns


def _per_number(weights: Tensor | None, x: Tensor) -> Tensor | None:
    """Weights of the numbers in a column, normalised to a sum of 1; None for equal weights."""
    return None if weights is None else (w := weights.repeat_interleave(x[0].numel() // _width(x))) / w.sum()


def _moments(columns: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; residuals are normalised first so that squares neither
    overflow nor vanish."""
    w = torch.full_like(columns[0], 1 / columns.shape[1]) if weights is None else weights
    mean = (columns * w).sum(1)
    residual = columns - mean[:, None]
    largest = residual.abs().amax(1)
    return mean, largest * ((residual / largest[:, None]) ** 2 * w).sum(1).sqrt()


def _median(columns: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return columns.median(1).values
    ordered, order = columns.sort(1)
    below = weights[order].cumsum(1) < 0.5
    return ordered.gather(1, below.sum(1, keepdim=True).clamp(max=columns.shape[1] - 1))[:, 0]


def _width(x: Tensor) -> int:
    return x.shape[1] if x.ndim in (2, 4) else 1


def _along(numbers: Numbers, x: Tensor) -> Tensor:
    """Fitted numbers, shaped to meet the columns or channels of x."""
    if not isinstance(numbers, tuple) or not numbers:
        raise OptionError("the scaling is not fitted", got="no training data", expected="a fitted scaling",
                          do="call scaling = scaling.fit(x) first")
    if len(numbers) != _width(x):
        raise ShapeError("the scaling was fitted on another number of columns", got=_width(x),
                         expected=len(numbers), do="pass the columns of the training data, in their order")
    shape = (1, 1, 1) if x.ndim == 3 else (1, -1, *[1] * (x.ndim - 2))
    return torch.tensor(numbers, dtype=x.dtype, device=x.device).view(shape)


def _given(numbers: Numbers, columns: Tensor, what: str) -> Tensor | None:
    """The user's number(s), one per column, or None to fit them."""
    if numbers is None:
        return None
    given = (numbers,) * len(columns) if isinstance(numbers, float) else numbers
    if len(given) != len(columns):
        raise ShapeError(f"{what} does not fit the columns", got=len(given), expected=len(columns),
                         do=f"pass one {what}, or one per column")
    return torch.tensor(given, dtype=columns.dtype, device=columns.device)


def _positive(what: str, numbers: Any) -> Numbers:
    """None, a float, or a tuple of floats, all positive and finite."""
    if numbers is None:
        return None
    several = isinstance(numbers, Sequence)
    given = tuple(float(v) for v in (numbers if several else (numbers,)))
    if not given or not all(0 < v < math.inf for v in given):
        raise OptionError(f"{what} must be positive", got=numbers, expected="finite numbers above 0",
                          do="leave it out to have it fitted")
    return given if several else given[0]


def _check_ends(bottom: float, top: float) -> None:
    if not -math.inf < bottom < top < math.inf:
        raise OptionError("the target range is empty", got=f"{bottom} to {top}", expected="bottom < top",
                          do="use -1 to 1")


def _tuple(x: Tensor) -> tuple[float, ...]:
    return tuple(x.tolist())
