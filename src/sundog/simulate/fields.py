"""Fields: periodic random maps - Gaussian, lognormal, filamentary - and the phase-randomised surrogate.

One convention everywhere: ``P(k) = <|FFT|^2> / (ny nx)`` with k in cycles per pixel (0 .. 0.5 along an axis), so
white noise of standard deviation s has P(k) = s^2 and the variance of a field is the mean of P over all modes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from sundog.checks import at_least, positive
from sundog.data.dataset import Dataset
from sundog.errors import OptionError, ShapeError
from sundog.random import stream

Spectrum = Callable[[Tensor], Tensor] | float
Size = int | tuple[int, int]

# The recipe of filamentary_field, tuned by eye and by spectrum, skewness, kurtosis on magnetised-turbulence maps.
_LAYERS = 4  # clouds along the line of sight
_STIRS = 4  # flow steps, each moving material by _STEP of the box side (root mean square)
_STEP = 0.05
_FINE = 2  # drawn on pixels this much finer, then averaged: stirring folds structure below the pixel
_CLOUD_INDEX, _SHEET_INDEX, _FLOW_INDEX = -2.4, -2.5, -4.0
_CLOUD_CUT, _FLOW_CUT = 0.14, 0.06  # Gaussian roll-off of the power, cycles per pixel
_SHEET_HEIGHT, _SHEET_WIDTH = 1.5, 0.25  # log-density of a sheet, and its thickness in units of the level field


def gaussian_field(n: int, size: Size, spectrum: Spectrum, seed: int, *, std: float = 1.0,
                   pixel_arcmin: float | None = None, unit: str = "") -> Dataset:
    """``n`` periodic Gaussian maps (n, ny, nx) whose ensemble-mean power spectrum is exactly ``spectrum``.

    ``map = IFFT( sqrt(P(k)) FFT(white noise) )``, zero mean.

    Parameters
    ----------
    size : side in pixels, or (ny, nx); even, odd and rectangular all hold exactly.
    spectrum : function of |k| in cycles per pixel (float64 tensor in and out), in squared map units; evaluated at
        k = 0 too, where Inf or NaN means no power in the mean. Or a number: the index of a power law,
        scaled so that the ensemble variance of the map is ``std``^2, without power in the mean.
    std : standard deviation of a power-law map; unused when ``spectrum`` is a function.

    Example
    -------
    >>> maps = gaussian_field(16, 32, lambda k: 0 * k + 4.0, seed=0)      # white noise, sigma 2
    >>> round(float(maps.values.std()), 1)
    2.0
    """
    power = _power(spectrum, image_size(size), std)
    maps = _gaussian(at_least(n, 1, "n"), power, stream(seed, "gaussian field"))
    return _maps(maps, "gaussian_field", seed, name="field", unit=unit, pixel_arcmin=pixel_arcmin)


def lognormal_field(n: int, size: Size, spectrum: Spectrum, seed: int, *, mean: float = 1.0, std: float = 0.5,
                    pixel_arcmin: float | None = None, unit: str = "") -> Dataset:
    """``n`` periodic positive maps (n, ny, nx), lognormal in each pixel, of given mean and power spectrum.

    ``x = mean exp(g - var(g)/2)`` with g Gaussian of correlation ``xi_g = log(1 + xi / mean^2)``, where xi is the
    correlation of x (the inverse FFT of ``spectrum``): mean and spectrum hold exactly in the ensemble.

    Parameters
    ----------
    spectrum : a function of k is the spectrum of x itself, as in ``gaussian_field``. A number is the power-law
        index of *log x* (a steep power law of x belongs to no lognormal field), with ``std`` still that of x.
    mean, std : ensemble mean of x; standard deviation of x where ``spectrum`` is a number.

    Raises
    ------
    OptionError : no lognormal field has this spectrum and mean (log x would need negative power).

    Source: Coles & Jones 1991, eqs. 20-28.

    Example
    -------
    >>> maps = lognormal_field(8, 64, -2.0, seed=0, mean=3.0)
    >>> bool((maps.values > 0).all())
    True
    """
    mean, shape = positive(mean, "mean"), image_size(size)
    if callable(spectrum):
        power = _log_power(_power(spectrum, shape, std) / mean**2)
    else:
        power = _power(spectrum, shape, math.sqrt(math.log1p((positive(std, "std") / mean) ** 2)))
    g = _gaussian(at_least(n, 1, "n"), power, stream(seed, "lognormal field"))
    return _maps(mean * torch.exp(g - power.mean() / 2), "lognormal_field", seed, name="density", unit=unit,
                 pixel_arcmin=pixel_arcmin)


def filamentary_field(n: int, size: Size, seed: int, *, contrast: float = 0.9, mean: float = 1.0,
                      pixel_arcmin: float | None = None, unit: str = "MJy/sr") -> Dataset:
    """``n`` dust-like periodic maps (n, ny, nx): positive, skewed, threaded by curved filaments.

    ``I = mean x sum over layers exp(contrast f(X(x)))``, normalised per map (the matter in a closed box):
    f is a Gaussian log-density plus thin sheets ``exp(-|r| / width)`` around the zero level of another Gaussian
    field r; X follows each point back through four incompressible random flows, which draw both into wisps.
    At 256 pixels: skewness about 2, P(k) ~ k^-2 .. -2.5, steeper than k^-3 near the pixel scale.
    Map i depends on (seed, i) alone, not on n.

    Parameters
    ----------
    contrast : multiplies the log-density; 0.9 resembles column densities of magnetised turbulence.
    mean : mean of every map, in ``unit``.

    Example
    -------
    >>> maps = filamentary_field(2, 64, seed=0)
    >>> maps
    Dataset(images, 2 x 64 x 64: dust [MJy/sr])
    >>> [round(float(m.mean()), 3) for m in maps.values]
    [1.0, 1.0]
    """
    shape, contrast = image_size(size), positive(contrast, "contrast")
    streams = (stream(seed, f"dust {i}") for i in range(at_least(n, 1, "n")))
    maps = torch.stack([_dust_map(shape, contrast, g) for g in streams])
    return _maps(positive(mean, "mean") * maps, "filamentary_field", seed, name="dust", unit=unit,
                 pixel_arcmin=pixel_arcmin)


def phase_randomised(maps: Dataset, seed: int) -> Dataset:
    """Surrogates of the maps: the same |FFT| mode by mode, the phases random - everything but the spectrum is lost.

    ``FFT -> FFT exp(i phi)``, phi uniform with phi(-k) = -phi(k), the mean kept. Channels of one image share phi,
    so cross-spectra survive as well. The result wraps around: a map that does not brings its edge jump along
    as a cross of power.

    Example
    -------
    >>> maps = filamentary_field(1, 32, seed=0)
    >>> amplitude = [torch.fft.fft2(m.values.double()).abs() for m in (maps, phase_randomised(maps, seed=1))]
    >>> bool(torch.allclose(*amplitude, rtol=1e-3, atol=1e-3))
    True
    """
    if maps.kind != "images":
        raise ShapeError("events have no phases", got=tuple(maps.values.shape), expected="(n, [channels,] ny, nx)",
                         do="pass a Dataset of images")
    x = maps.values.double()
    shape = x.shape[-2:]
    noise = torch.randn(len(x), *[1] * (x.ndim - 3), *shape, generator=stream(seed, "phases"), dtype=torch.float64)
    phase = torch.sgn(torch.fft.rfft2(noise))
    phase[..., 0, 0] = 1
    surrogate = torch.fft.irfft2(torch.fft.rfft2(x) * phase, s=shape)
    facts = {**maps.provenance, "surrogate": "phase_randomised", "surrogate_seed": seed}
    return replace(maps, values=surrogate.float(), periodic=True, provenance=facts)


def image_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(ny, nx) in pixels from one number (square) or a pair; each side at least 2."""
    ny, nx = (size, size) if isinstance(size, int) else size
    return at_least(ny, 2, "size"), at_least(nx, 2, "size")


def _power(spectrum: Spectrum, shape: tuple[int, int], std: float) -> Tensor:
    """P on the full FFT grid, (ny, nx) float64."""
    k = torch.hypot(torch.fft.fftfreq(shape[0]).double()[:, None], torch.fft.fftfreq(shape[1]).double())
    if callable(spectrum):
        power = torch.as_tensor(spectrum(k), dtype=torch.float64).expand(shape).clone()
        power[0, 0] = power[0, 0].nan_to_num(0, 0, 0)
    else:
        power = k.pow(spectrum)
        power[0, 0] = 0
        power *= positive(std, "std") ** 2 / power.mean()
    if not torch.isfinite(power).all() or (power < 0).any():
        low, high = float(power.min()), float(power.max())
        raise OptionError("spectrum is unusable", got=f"values from {low:.3g} to {high:.3g}",
                          expected="finite numbers >= 0 for k > 0", do="check the function at 0 < k <= 0.71")
    return power


def _log_power(power: Tensor) -> Tensor:
    """Spectrum of the Gaussian log x that gives x / mean the spectrum ``power``."""
    correlation = torch.fft.ifft2(power).real
    lowest = float(correlation.min())
    if lowest <= -1:
        raise OptionError("no lognormal field has this correlation", got=f"xi / mean^2 = {lowest:.3g}",
                          expected="above -1 everywhere", do="raise mean or lower the power")
    log_power = torch.fft.fft2(torch.log1p(correlation)).real
    missing = float(-log_power.clamp(max=0).sum() / log_power.abs().sum())
    if missing > 1e-3:
        raise OptionError("no lognormal field has this spectrum and mean",
                          got=f"{100 * missing:.2g} % of the power of log x negative", expected="at most 0.1 %",
                          do="raise mean, lower the power, or pass the power-law index of log x")
    return log_power.clamp(min=0)


def _gaussian(n: int, power: Tensor, g: torch.Generator) -> Tensor:
    ny, nx = power.shape
    white = torch.randn(n, ny, nx, generator=g, dtype=torch.float64)
    return torch.fft.irfft2(torch.fft.rfft2(white) * power[:, : nx // 2 + 1].sqrt(), s=(ny, nx))


def _maps(values: Tensor, simulator: str, seed: int, *, name: str, unit: str, pixel_arcmin: float | None) -> Dataset:
    facts: dict[str, Any] = {"simulator": f"sundog.simulate.fields.{simulator}", "seed": seed}
    return Dataset.from_arrays(values, names=(name,), units=unit, pixel_arcmin=pixel_arcmin, periodic=True,
                               provenance=facts)


def _dust_map(shape: tuple[int, int], contrast: float, g: torch.Generator) -> Tensor:
    """One map of mean 1, (ny, nx)."""
    fine = (_FINE * shape[0], _FINE * shape[1])
    sheets = torch.exp(-_rolled_off(_SHEET_INDEX, _CLOUD_CUT, fine, g).abs() / _SHEET_WIDTH)
    log_density = _rolled_off(_CLOUD_INDEX, _CLOUD_CUT, fine, g) + _SHEET_HEIGHT * sheets
    y, x = torch.meshgrid(*(torch.arange(s).double() for s in fine), indexing="ij")
    origin = torch.stack([x, y], -1).expand(_LAYERS, *fine, 2)
    for _ in range(_STIRS):
        flow = _looked_up(_flow(fine, g).permute(0, 3, 1, 2), origin, "bilinear").permute(0, 2, 3, 1)
        origin = origin - _STEP * math.sqrt(fine[0] * fine[1]) * flow
    stirred = _looked_up(log_density[:, None], origin, "bicubic")
    density = avg_pool2d(torch.exp(contrast * stirred), _FINE).sum((0, 1))
    return density / density.mean()


def _rolled_off(index: float, cut: float, fine: tuple[int, int], g: torch.Generator) -> Tensor:
    """Unit-variance Gaussian layers with a power law that ends at ``cut`` cycles per (final) pixel."""
    power = _power(lambda k: k.pow(index) * torch.exp(-((k * _FINE / cut) ** 2)), fine, 1.0)
    return _gaussian(_LAYERS, power / power.mean(), g)


def _flow(fine: tuple[int, int], g: torch.Generator) -> Tensor:
    """Incompressible velocity of unit root mean square, (layers, ny, nx, 2) as (x, y)."""
    stream = torch.fft.fft2(_rolled_off(_FLOW_INDEX - 2, _FLOW_CUT, fine, g))
    ky, kx = (2j * math.pi * torch.fft.fftfreq(s).double() for s in fine)
    flow = torch.stack([torch.fft.ifft2(stream * ky[:, None]).real, -torch.fft.ifft2(stream * kx).real], -1)
    return flow / flow.square().sum(-1).mean().sqrt()


def _looked_up(field: Tensor, points: Tensor, mode: str) -> Tensor:
    """Periodic ``field`` (l, c, ny, nx) interpolated at ``points`` (l, ny, nx, 2) in pixels."""
    sides = torch.tensor([field.shape[-1], field.shape[-2]], dtype=torch.float64)
    margin = 2  # a bicubic look-up reaches two pixels beyond the edge
    wrapped = pad(field, (margin,) * 4, mode="circular")
    inside = 2 * (points % sides + margin + 0.5) / (sides + 2 * margin) - 1
    return grid_sample(wrapped, inside, mode=mode, align_corners=False)
