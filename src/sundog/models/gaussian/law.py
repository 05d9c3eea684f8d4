"""The Gaussian law, as far as diffusion needs it: three forms of covariance and the exact denoiser.

A covariance C is known here by what a function of it does to a vector, g(C) x, in the basis where C is diagonal:
one variance for all (`Isotropic`), principal components of the loudest modes and one variance for each of the rest
(`Principal`: centred objects, events), or one variance per Fourier mode (`Spectral`: stationary periodic maps).
Where the law depends on a context, mean and variances follow it and the basis stays (`ByContext`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache
from math import prod

import torch
from torch import Tensor, nn

from sundog.errors import DataError
from sundog.models.gaussian.by_context import BLOCK, ROWS, ByContext

Gain = Callable[[Tensor], Tensor]


class Isotropic(nn.Module):
    """C = v 1, the covariance that EDM's scalar skip assumes."""

    variance: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("variance", torch.ones(()))

    def fit(self, x: Tensor) -> None:
        """Take v from centred rows x (n, *shape)."""
        self.variance.fill_(x.double().square().mean())

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Variances and how many directions have each: (1,), (1,)."""
        return self.variance[None], torch.full_like(self.variance[None], prod(self.shape))

    def squares(self, x: Tensor) -> Tensor:
        """What the variances are the mean of, of every row: (n, 1)."""
        return x.flatten(1).square().mean(1, keepdim=True)

    def filtered(self, x: Tensor, factor: Tensor) -> Tensor:
        """Every row with its directions multiplied by factors (1 or n, 1): (n, *shape)."""
        return factor.reshape(-1, *[1] * len(self.shape)) * x


class Principal(nn.Module):
    """C diagonal in a basis of its own: principal components of the loudest modes, and every other mode by itself.

    The modes are the entries of a vector, and the cosine modes of an image (channels apart). The ``components``
    modes of the largest variance are turned to their principal axes; each of the rest keeps its own variance, so
    that noise is removed from the finest scales as well as from the largest. No more modes are turned than a
    quarter of the rows they are measured on: beyond, the axes would describe those rows and not the law behind them.
    """

    axes: Tensor
    order: Tensor
    variances: Tensor

    def __init__(self, shape: Sequence[int], components: int = 300) -> None:
        super().__init__()
        self.shape, d = tuple(shape), prod(shape)
        most = min(components, d)
        self.register_buffer("axes", torch.eye(most))  # its columns are the principal axes
        self.register_buffer("order", torch.arange(d))  # modes, loudest first
        self.register_buffer("variances", torch.ones(d))

    def fit(self, x: Tensor) -> None:
        """Take variances and axes from centred rows x (n, *shape)."""
        if len(x) > ROWS:
            x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ROWS]]
        modes = torch.cat([self._modes(part) for part in x.split(BLOCK)])
        variances = modes.square().mean(0, dtype=torch.float64)
        order = variances.argsort(descending=True, stable=True)
        most = min(len(self.axes), max(1, len(x) // 4))
        loud = modes[:, order[:most]].double()
        turned, axes = torch.linalg.eigh(loud.T @ loud / len(loud))
        variances = variances[order]
        variances[:most] = turned.flip(0).clamp(min=0)
        self.axes.copy_(torch.eye(len(self.axes)))
        self.axes[:most, :most] = axes.flip(1).to(self.axes)
        self.order.copy_(order)
        self.variances.copy_(variances)

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Variances and how many directions have each: (d,), (d,)."""
        return self.variances, torch.ones_like(self.variances)

    def squares(self, x: Tensor) -> Tensor:
        """What the variances are the mean of, of every row: (n, d)."""
        modes, most = self._modes(x)[:, self.order], len(self.axes)
        return torch.cat([modes[:, :most] @ self.axes, modes[:, most:]], 1).square()

    def filtered(self, x: Tensor, factor: Tensor) -> Tensor:
        """Every row with its directions multiplied by factors (1 or n, d): (n, *shape)."""
        modes, most = self._modes(x)[:, self.order], len(self.axes)
        loud = (factor[:, :most] * (modes[:, :most] @ self.axes)) @ self.axes.T
        found = torch.empty_like(modes)
        found[:, self.order] = torch.cat([loud, factor[:, most:] * modes[:, most:]], 1)
        return self._image(found)

    def _modes(self, x: Tensor) -> Tensor:
        """Orthonormal modes of every row, (n, d)."""
        if len(self.shape) > 1:
            down, across = (_cosines(size, x.dtype, x.device) for size in self.shape[-2:])
            x = down @ x @ across.T
        return x.flatten(1)

    def _image(self, modes: Tensor) -> Tensor:
        """Rows (n, *shape) with these modes."""
        x = modes.reshape(-1, *self.shape)
        if len(self.shape) > 1:
            down, across = (_cosines(size, x.dtype, x.device) for size in self.shape[-2:])
            x = down.T @ x @ across
        return x


@cache
def _cosines(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Orthonormal (n, n) of the cosine transform (DCT-II): row k is cos(pi (i + 1/2) k / n), normalised."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    waves = torch.cos(torch.pi * (i + 0.5) * k / n) * math.sqrt(2 / n)
    waves[0] /= math.sqrt(2)
    return waves.to(dtype=dtype, device=device)


class Spectral(nn.Module):
    """C diagonal in Fourier space: P(k) = < |FFT x|^2 > / (ny nx) of every mode of every channel.

    Power between channels is not known to it.
    """

    power: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("power", torch.ones(*shape[:-1], shape[-1] // 2 + 1))

    def fit(self, x: Tensor) -> None:
        """Take P from centred maps x (n, *shape)."""
        total = torch.stack([self.squares(part.double()).sum(0) for part in x.split(BLOCK)]).sum(0)
        self.power.copy_((total / len(x)).reshape(self.power.shape))

    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Variances and how many directions have each: (m,), (m,). Half of the plane stands for the whole."""
        count = torch.full_like(self.power, 2.0)
        count[..., 0] = 1
        if self.shape[-1] % 2 == 0:
            count[..., -1] = 1
        return self.power.flatten(), count.flatten()

    def squares(self, x: Tensor) -> Tensor:
        """What the variances are the mean of, of every map: (n, m)."""
        return (torch.fft.rfft2(x).abs().square() / (self.shape[-2] * self.shape[-1])).flatten(1)

    def filtered(self, x: Tensor, factor: Tensor) -> Tensor:
        """Every map with its directions multiplied by factors (1 or n, m): (n, *shape)."""
        return torch.fft.irfft2(factor.reshape(-1, *self.power.shape) * torch.fft.rfft2(x), s=self.shape[-2:])


Covariance = Isotropic | Principal | Spectral


class GaussianDenoiser(nn.Module):
    """Exact posterior mean of x_0 ~ N(m, C) given x = x_0 + sigma e:  D(x; sigma) = m + C (C + sigma^2)^-1 (x - m).

    With a sampler it draws Gaussian fakes; around a network it is the linear-optimal skip of `Diffusion`; and it
    is the ruler of the tests, since everything about it is known.

    Parameters
    ----------
    mean : (*shape) m
    covariance : C, as one of `Isotropic`, `Principal`, `Spectral`; or a number, the variance of every entry
    context_dim : c of the contexts that mean and variances follow, see `given`; 0 for none

    Example
    -------
    >>> denoiser = GaussianDenoiser(torch.zeros(3), 4.0)
    >>> denoiser(torch.ones(1, 3), torch.tensor(2.0))        # 4 / (4 + 2^2) of what is seen
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    mean: Tensor

    def __init__(self, mean: Tensor, covariance: Covariance | float, context_dim: int = 0) -> None:
        super().__init__()
        self.rows: tuple[Tensor, Tensor] | None = None  # mean and variances of each row, of a law given contexts
        if not isinstance(covariance, nn.Module):
            variance, covariance = float(covariance), Isotropic(mean.shape)
            covariance.variance.fill_(variance)
        self.register_buffer("mean", mean.clone())
        self.covariance = covariance
        self.by_context = ByContext(mean.shape, len(covariance.spectrum()[0]), context_dim) if context_dim else None

    def fit(self, x: Tensor, context: Tensor | None = None) -> GaussianDenoiser:
        """The denoiser itself, with mean and covariance of the rows x (n, *shape).

        The mean is one map for principal components, and one number per channel for the other two. With
        ``context_dim`` both are measured as functions of the context as well; see `ByContext.fit` for its shape.

        Raises
        ------
        DataError : rows that are all the same, or no context where the law is to follow one.
        """
        if isinstance(self.covariance, Principal):
            mean = x.mean(0, dtype=torch.float64)
        else:
            over = [i for i in range(x.ndim) if x.ndim - i <= 2 or i == 0]
            mean = x.mean(over, keepdim=True, dtype=torch.float64)[0]
        self.mean.copy_(mean.expand(self.mean.shape))
        centred = x - self.mean
        if not bool((centred != 0).any()):
            raise DataError("there is nothing to learn", got=f"{len(x)} rows, all the same", expected="rows that vary",
                            do="check the selection that produced them")
        self.covariance.fit(centred)
        if self.by_context is not None:
            if context is None:
                raise DataError("this law follows a context", got="rows without one", expected="context columns",
                                do="pass context, or take skip='covariance'")
            self.by_context.fit(x, context, self.covariance.squares, self.covariance.spectrum()[0],
                                uniform=not isinstance(self.covariance, Principal))
        return self

    def given(self, context: Tensor, known: Tensor | None = None) -> GaussianDenoiser:
        """The law of rows with these contexts (n, c); where they are not ``known`` (n, 1), that of all data."""
        if self.by_context is None:
            return self
        law, (mean, variances) = copy(self), self.by_context(context)
        if known is not None:
            variances = torch.where(known > 0, variances, self.covariance.spectrum()[0])
            mean = torch.where(known.reshape(-1, *[1] * (mean.ndim - 1)) > 0, mean, self.mean)
        law.rows = mean, variances
        return law

    @property
    def centre(self) -> Tensor:
        """m, of all data (*shape) or of each row (n, *shape)."""
        return self.mean if self.rows is None else self.rows[0]

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma): (n, *shape); sigma is one number or one per row, (n,)."""
        return x - self.removed(x, sigma)

    def removed(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x - D(x; sigma) = sigma^2 (C + sigma^2)^-1 (x - m), without the cancellation of the difference."""
        square = _column(sigma, x).square()
        return self._filtered(x - self.centre, lambda v: square / (v + square))

    def carried(self, x: Tensor, sigma: float, after: float) -> Tensor:
        """x (n, *shape) taken from noise sigma to ``after`` by the flow of this law, exactly.

        m + ((C + after^2) / (C + sigma^2))^(1/2) (x - m)
        """
        return self.centre + self._filtered(x - self.centre, lambda v: ((v + after**2) / (v + sigma**2)).sqrt())

    def pushed(self, rest: Tensor, sigma: float, after: float) -> Tensor:
        """What a constant ``rest`` of the denoiser adds to x while this law carries it: (n, *shape).

        W rest, W = int_after^sigma ((C + after^2) / (C + u^2))^(1/2) du / u; the rest itself in the step to 0,
        where it fades with u.
        """
        return rest if after == 0 else self._filtered(rest, lambda v: _push(v.double(), sigma, after).to(v.dtype))

    def sample(self, n: int, generator: torch.Generator, sigma: float = 0.0) -> Tensor:
        """n draws of N(m, C + sigma^2): noisy data, or the data themselves at sigma = 0; (n, *shape)."""
        white = torch.randn(n, *self.mean.shape, generator=generator, device=generator.device, dtype=self.mean.dtype)
        return self.coloured(white, sigma)

    def coloured(self, white: Tensor, sigma: float = 0.0) -> Tensor:
        """Draws of N(m, C + sigma^2) made of standard normal numbers of that shape, (n, *shape)."""
        return self.centre + self._filtered(white, lambda v: (v + sigma**2).sqrt())

    def log_prob(self, x: Tensor, sigma: float = 0.0) -> Tensor:
        """Log-density of N(m, C + sigma^2) at the rows x (n, *shape): (n,)."""
        variances, count = (part.double() for part in self._spectrum())
        white = self._filtered(x - self.centre, lambda v: (v + sigma**2).rsqrt()).flatten(1).double()
        volume = (count * (variances + sigma**2).log()).sum(1) + count.sum() * math.log(2 * math.pi)
        return (-0.5 * (white.square().sum(1) + volume)).to(x.dtype)

    def trace(self, sigma: float) -> Tensor:
        """Divergence of x - D(x; sigma), the sum of sigma^2 / (v + sigma^2) over the variances v of C: (1 or n,)."""
        variances, count = (part.double() for part in self._spectrum())
        return (count * (sigma**2 / (variances + sigma**2))).sum(1)

    def mean_square(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over the entries of a map of the variance that each variance of C becomes: (1 or n, 1)."""
        variances, count = self._spectrum()
        return (of(variances) * count).sum(1, keepdim=True) / count.sum()

    def error(self, sigma: Tensor) -> Tensor:
        """Root mean square per entry of D - x_0, for any law with this covariance: (1 or n, 1).

        r^2 = mean over the variances v of C of v sigma^2 / (v + sigma^2)
        """
        square = _column(sigma, self.mean).square()
        return self.mean_square(lambda v: v * (square / (v + square))).sqrt()

    def _spectrum(self) -> tuple[Tensor, Tensor]:
        """Variances (1 or n, m) and how many directions have each (m,)."""
        variances, count = self.covariance.spectrum()
        return variances[None] if self.rows is None else self.rows[1], count

    def _filtered(self, x: Tensor, gain: Gain) -> Tensor:
        # Products with the components must not be rounded to bf16: what is left of x at low noise is tiny.
        with torch.autocast(x.device.type, enabled=False):
            return self.covariance.filtered(x, gain(self._spectrum()[0]))


def _push(v: Tensor, sigma: float, after: float) -> Tensor:
    """int_after^sigma sqrt((v + after^2) / (v + u^2)) du / u, in closed form; 1 - after / sigma for v = 0."""
    root = v.sqrt().clamp(min=1e-8 * after)
    return (v + after**2).sqrt() / root * (torch.asinh(root / after) - torch.asinh(root / sigma))


def _column(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.to(like).reshape(-1, 1)
