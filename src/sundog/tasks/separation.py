"""Statistical component separation: a map s from d = s + c, knowing only how the contamination c behaves.

No model of s is needed. With Phi the scattering covariances and band powers, c_i draws of the contamination and u the
running map, each loss is a mean of squared pulls, so that its expected value at the truth is 1:

    Match      mean_k ((<Phi_k(u + c_i)>_i - Phi_k(d)) / sigma_k)^2,    sigma_k^2 = Var_i Phi_k(u + c_i)
    Residual   mean_k ((Phi_k(d - u) - <Phi_k(c_i)>_i) / sigma_k)^2,    sigma_k^2 = Var_i Phi_k(c_i)

mean_k is taken over the covariances and over the band powers, each alone, and averaged: 20 band powers among 1500
covariances would else be left behind when the mean reaches 1.

In an era the bias b = <Phi(u_0 + c_i)> - Phi(u_0) and sigma are held fixed, so that Match costs one transform,
Phi(u) against Phi(d) - b; b and sigma are renewed at the start of each era. A last era averages over draws for real.

Source: Regaldo-Saint Blancard et al. 2021, A&A 649, L18 (averaging); Delouis et al. 2022, A&A 668, A122 (bias scheme,
losses divided by their variance); Auclair et al. 2024, A&A 681, A1 (residual loss).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import DataError, OptionError, SampleSizeError, ShapeError
from sundog.solve.descend import Progress, descend
from sundog.statistics.bands import BandPowers
from sundog.statistics.samples import checked_images
from sundog.statistics.scattering_covariance import ScatteringCovariance

Measure = Callable[[Tensor], Tensor]  # map -> loss
EXPECTED = 1.0  # of a mean of squared pulls at the truth; going lower fits the noise
FEWEST_DRAWS = 10  # below this the variance of a draw is itself uncertain by a third


class Statistics:
    """Phi: scattering covariances and band powers of maps (n, ny, nx), as (n, K), and the distance of two Phi."""

    def __init__(self, shape: tuple[int, int], J: int, L: int, bins: int, isotropic: bool, accuracy: str) -> None:
        self.covariance = ScatteringCovariance(shape, J, L, isotropic=isotropic, accuracy=accuracy)
        self.bands = BandPowers(shape, bins)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([self.covariance(x).vector, self.bands(x)], -1)

    def distance(self, found: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        """Mean squared pull of the covariances and of the band powers, averaged."""
        square = ((found - target) / sigma).square()
        bands = square[-self.bands.count :].mean()
        return (square[: -self.bands.count].mean() + bands) / 2


class Loss(Protocol):
    """What `separate` asks of a loss: functions of the map whose expected value at the truth is 1."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        """The loss around map u, cheap to evaluate many times."""

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        """The same with true averages over ``few`` of the draws."""


@dataclass(frozen=True)
class Match:
    """<Phi(u + c_i)> = Phi(d): the recovered map, contaminated again, looks like the data."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        mixed = _measured(phi, u + draws)
        target = phi(d[None])[0] - (mixed.mean(0) - phi(u[None])[0])
        sigma = _spread(mixed)
        return lambda x: phi.distance(phi(x[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        mixed = _measured(phi, u + draws)
        sigma, target = _spread(mixed), phi(d[None])[0]
        # The mean over all draws at u corrects what the few draws miss of it.
        target = target + mixed[:few].mean(0) - mixed.mean(0)
        return lambda x: phi.distance(phi(x + draws[:few]).mean(0), target, sigma)


@dataclass(frozen=True)
class Residual:
    """Phi(d - u) = <Phi(c_i)>: what was taken away looks like the contamination."""

    def in_era(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor) -> Measure:
        alone = _measured(phi, draws)
        target, sigma = alone.mean(0), _spread(alone)
        return lambda x: phi.distance(phi((d - x)[None])[0], target, sigma)

    def averaged(self, phi: Statistics, d: Tensor, u: Tensor, draws: Tensor, few: int) -> Measure:
        return self.in_era(phi, d, u, draws)


@dataclass(frozen=True, eq=False)
class Separation:
    """The result of `separate`.

    Attributes
    ----------
    signal : (ny, nx) recovered map, in the unit of the data; a plausible map, not a mean
    residual : (ny, nx) what was taken away, d - signal
    report : how far to trust it, scale by scale
    repeats : (r, ny, nx) solutions from other seeds; their spread is a guide to the posterior
    """

    signal: Tensor
    residual: Tensor
    report: Report
    repeats: Tensor


@dataclass(frozen=True, eq=False)
class Report:
    """Trust and cost of a separation.

    Attributes
    ----------
    k : (b,) cycles per pixel
    signal_to_noise : (b,) power of the recovered map over mean power of the contamination
    agreement : (b,) correlation of the solutions with one another, or sqrt(S / (S + C)) without repeats: what is
        near 1 is recovered deterministically, what is near 0 in its statistics only
    losses : final value of each loss; 1 is expected at the truth
    eras, evaluations, seconds : what it cost
    """

    k: Tensor
    signal_to_noise: Tensor
    agreement: Tensor
    losses: dict[str, float]
    eras: int
    evaluations: int
    seconds: float

    @property
    def deterministic_down_to(self) -> float:
        """Lowest signal-to-noise at which structures themselves are recovered (agreement over 0.7); inf if none."""
        kept = self.signal_to_noise[self.agreement > 0.7]
        return float(kept.min()) if len(kept) else math.inf

    def __str__(self) -> str:
        lines = ["   k     S/N   agreement  regime"]
        for k, ratio, agreement in zip(self.k, self.signal_to_noise, self.agreement):
            regime = "deterministic" if agreement > 0.7 else "statistical"
            lines.append(f"{k:6.4f} {ratio:8.3f} {agreement:7.2f}   {regime}")
        return "\n".join(lines)


def separate(
    d: Any,
    contaminations: Any,
    losses: Sequence[Loss] = (Match(),),
    *,
    seed: int = 0,
    J: int | None = None,
    L: int = 4,
    bins: int = 20,
    isotropic: bool = True,
    accuracy: str = "fast",
    draws: int = 64,
    eras: int = 5,
    iterations: int = 30,
    polish: int = 10,
    repeats: int = 0,
    progress: Progress | None = None,
) -> Separation:
    """Return the signal s of a mixture d = s + c, from draws of the contamination c alone.

    Parameters
    ----------
    d : (ny, nx) mixture, periodic; an array, or a Dataset of one map.
    contaminations : (m, ny, nx) maps, or a Dataset of them; or a function (n, generator) -> (n, ny, nx); or a fitted
        run, whose ``sample(n, seed=...)`` draws them. In the unit of d, with their mean.
    losses : what must hold at the truth; weights come from their own variances over the draws.
    seed : of the draws and of the start.
    J, L, bins, isotropic, accuracy : of the statistics, see `ScatteringCovariance`; J is floor(log2(side)) - 1.
    draws : contaminations used for the bias and the variances of an era (fewer if fewer maps are given).
    eras, iterations : renewals of the bias, L-BFGS steps in each; an era stops at the expected loss, 1.
    polish : steps of the last, averaging era; 0 for none.
    repeats : further solutions from other seeds.
    progress : called with (step, loss).

    The start is a constrained Gaussian map, W d + sqrt(W P_c) noise with W = P_s / (P_s + P_c) and P_s = P_d - P_c.

    Errors: ShapeError for maps that do not fit, SampleSizeError for fewer than 10 contaminations, DataError for NaN.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> y = torch.arange(32) * 2 * math.pi / 32
    >>> truth = 2 * torch.sin(2 * y)[:, None] * torch.cos(y)
    >>> noise = torch.randn(40, 32, 32, generator=g)
    >>> found = separate(truth + noise[0], noise[1:], eras=2, iterations=10)
    >>> bool((found.signal - truth).square().mean() < 0.3 * noise[0].square().mean())
    True
    """
    began = time.perf_counter()
    data = _as_map(d)
    _same_unit(d, contaminations)
    if not losses:
        raise OptionError("no loss", got="an empty list", expected="e.g. [Match()]", do="leave losses out")
    shape = (int(data.shape[0]), int(data.shape[1]))
    J = max(1, int(math.log2(min(shape))) - 1) if J is None else J
    phi = Statistics(shape, J, L, bins, isotropic, accuracy)
    unit, centre = data.std(), data.mean()
    if not float(unit) > 0:
        raise DataError("a constant mixture", got="one value", expected="a map that varies", do="check the map")
    draw = _Draws(contaminations, shape, unit)
    found: list[Tensor] = []
    final: dict[str, float] = {}
    cost = 0
    for i in range(1 + repeats):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
        u, evaluations, values = _solve(
            phi, (data - centre) / unit, draw, losses, generator,
            draws=draws, eras=eras, iterations=iterations, polish=polish, progress=progress,
        )  # fmt: skip
        found.append(u * unit + centre)
        cost += evaluations
        final = final or values
    others = torch.stack(found[1:]) if repeats else data.new_zeros(0, *shape)
    noise = draw(draws, torch.Generator().manual_seed(seed)) * unit
    facts = _trust(phi.bands, found, noise)
    report = Report(*facts, losses=final, eras=eras, evaluations=cost, seconds=time.perf_counter() - began)
    return Separation(found[0], data - found[0], report, others)


class _Draws:
    """Contaminations in units of the data's standard deviation."""

    def __init__(self, source: Any, shape: tuple[int, int], unit: Tensor) -> None:
        self.source, self.shape, self.unit = source, shape, unit
        if not callable(source) and not hasattr(source, "sample"):
            self.source = self._checked(source.values if isinstance(source, Dataset) else source)
            if len(self.source) < FEWEST_DRAWS:
                raise SampleSizeError(
                    "too few contaminations for their variance",
                    got=len(self.source),
                    expected=f"at least {FEWEST_DRAWS}",
                    do="add maps, or pass a function or a generator fitted on one (family 'scattering')",
                )

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        if isinstance(self.source, Tensor):
            order = torch.randperm(len(self.source), generator=generator)
            return self.source[order[:n]]
        if hasattr(self.source, "sample"):
            whole = int(torch.randint(2**31, (1,), generator=generator))
            return self._checked(self.source.sample(n, seed=whole).values)
        return self._checked(self.source(n, generator))

    def _checked(self, maps: Any) -> Tensor:
        maps = checked_images(torch.as_tensor(np.asarray(maps) if not isinstance(maps, Tensor) else maps))
        if maps.ndim == 4 and maps.shape[1] == 1:
            maps = maps[:, 0]
        if maps.ndim != 3 or tuple(maps.shape[1:]) != self.shape:
            raise ShapeError(
                "contamination and mixture differ in size",
                got=tuple(maps.shape),
                expected=f"(n, {self.shape[0]}, {self.shape[1]})",
                do="cut both to the same patch",
            )
        return maps.to(self.unit) / self.unit


def _as_map(d: Any) -> Tensor:
    d = d.values if isinstance(d, Dataset) else d
    d = checked_images(torch.as_tensor(d if isinstance(d, Tensor) else np.asarray(d)))
    while d.ndim > 2 and len(d) == 1:
        d = d[0]
    if d.ndim != 2:
        raise ShapeError("the mixture is not one map", got=tuple(d.shape), expected="(ny, nx)", do="pass d[0]")
    return d if d.dtype == torch.float32 else d.to(torch.float64)


def _same_unit(d: Any, contaminations: Any) -> None:
    if isinstance(d, Dataset) and isinstance(contaminations, Dataset) and d.units != contaminations.units:
        raise ShapeError(
            "contamination and mixture differ in unit",
            got=contaminations.units,
            expected=d.units,
            do="convert the contaminations",
        )


def _solve(
    phi: Statistics,
    d: Tensor,
    draw: _Draws,
    losses: Sequence[Loss],
    generator: torch.Generator,
    *,
    draws: int,
    eras: int,
    iterations: int,
    polish: int,
    progress: Progress | None,
) -> tuple[Tensor, int, dict[str, float]]:
    """One solution: eras of the bias scheme, then the averaging era; number of evaluations, and final losses."""
    u = _gaussian_start(phi.bands, d, draw(draws, generator), generator)
    evaluations = 0
    parts: list[Measure] = []
    for era in range(eras + (polish > 0)):
        noise = draw(draws, generator)
        last = era == eras
        with torch.no_grad():
            if last:
                parts = [loss.averaged(phi, d, u, noise, min(16, len(noise))) for loss in losses]
            else:
                parts = [loss.in_era(phi, d, u, noise) for loss in losses]
        result = descend(
            lambda x, parts=parts: sum(part(x) for part in parts) / len(parts),  # type: ignore[misc]
            u, iterations=polish if last else iterations, target=EXPECTED, progress=progress,
        )  # fmt: skip
        u, evaluations = result.x, evaluations + result.evaluations
    with torch.no_grad():
        return u, evaluations, {type(loss).__name__: float(part(u)) for loss, part in zip(losses, parts)}


def _gaussian_start(bands: BandPowers, d: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """A constrained Gaussian map: W d + sqrt(W P_c) noise, band by band."""
    contamination = bands(noise).mean(0)
    total = bands(d[None])[0]
    share = ((total - contamination) / total).clamp(1e-3, 1.0)
    shape = d.shape[0], d.shape[1] // 2 + 1
    wiener, width = bands.spread(share).reshape(shape), bands.spread((share * contamination).sqrt()).reshape(shape)
    white = torch.randn(d.shape, generator=generator, dtype=d.dtype).to(d.device)
    f = torch.fft.rfft2(d, norm="ortho") * wiener + torch.fft.rfft2(white, norm="ortho") * width
    return torch.fft.irfft2(f, s=tuple(d.shape), norm="ortho") - noise.mean()


def _trust(bands: BandPowers, found: list[Tensor], noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k, signal-to-noise and agreement per band."""
    power, contamination = bands(torch.stack(found)), bands(noise).mean(0)
    ratio = power[0] / contamination
    if len(found) == 1:
        return bands.k, ratio, (ratio / (1 + ratio)).sqrt()
    pairs = []
    for i in range(len(found)):
        for j in range(i):
            both = bands((found[i] + found[j])[None])[0]
            pairs.append((both - power[i] - power[j]) / (2 * (power[i] * power[j]).sqrt()))
    return bands.k, ratio, torch.stack(pairs).mean(0)


def _measured(phi: Statistics, maps: Tensor) -> Tensor:
    """Phi of many maps, a few at a time."""
    return torch.cat([phi(part) for part in maps.split(8)])


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over draws (K,), floored where a coefficient does not move at all."""
    sigma = values.std(0)
    return sigma.clamp_min(1e-6 * float(sigma.median()) + torch.finfo(sigma.dtype).tiny * 1e8)
