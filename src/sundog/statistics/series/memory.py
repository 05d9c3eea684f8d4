"""How long a series remembers: autocorrelation, and power spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.checks import whole
from sundog.errors import DataError
from sundog.statistics.maps import spectra
from sundog.statistics.series.increments import checked_series


def autocorrelation(x: Tensor, max_lag: int) -> Tensor:
    """Return rho_k = c_k / c_0 of every series, (..., max_lag + 1), with rho_0 = 1.

    c_k = 1/t sum_i (x_i - m)(x_{i+k} - m) around the series' own mean m. The divisor t, not t - k, keeps the sequence
    positive definite; removing the mean shifts all rho_k by about -1/t (more with long memory). White noise scatters
    by 1 / sqrt(t).

    Errors: OptionError for a lag that does not fit; DataError on gaps (NaN) and constant series.
    Source: Box, Jenkins & Reinsel 1994, Time Series Analysis, ch. 2.

    Example
    -------
    >>> autocorrelation(torch.tensor([1.0, -1.0, 1.0, -1.0]), 2)
    tensor([ 1.0000, -0.7500,  0.5000])
    """
    x = checked_series(x)
    t = x.shape[-1]
    lags = whole(max_lag, "max_lag", least=0, below=t)
    centred = x - x.mean(-1, keepdim=True)
    if not bool((centred.abs().amax(-1) > 4 * torch.finfo(x.dtype).eps * x.abs().amax(-1)).all()):
        raise DataError("autocorrelation of a constant series", got="values that are all equal",
                        expected="a varying series", do="drop the constant series")  # fmt: skip
    power = torch.fft.rfft(centred, n=2 * t).abs().square()  # twice as long: the end must not meet the beginning
    sums = torch.fft.irfft(power, n=2 * t)[..., : lags + 1]
    return sums / sums[..., :1]


def power_spectrum(x: Tensor, *, bins: int | Tensor | None = None, periodic: bool = False, window: str = "hann"
                   ) -> spectra.Spectrum:  # fmt: skip
    """Return the power spectrum of every series; k in cycles per step, white noise of variance s^2 has P = s^2.

    `sundog.statistics.power_spectrum` of maps of one row: bins, window and normalisation are described there. Series
    seldom wrap around, so ``periodic`` is False unless asked. bins=None gives every frequency i / t its own bin.

    Example
    -------
    >>> wave = torch.cos(2 * torch.pi * 5 * torch.arange(64) / 64)
    >>> spectrum = power_spectrum(wave, periodic=True)
    >>> float(spectrum.k[spectrum.power.argmax()] * 64)
    5.0
    """
    x = checked_series(x)
    t = x.shape[-1]
    if bins is None:
        bins = (torch.arange(t // 2 + 1, dtype=torch.float64) + 0.5) / t
    elif not isinstance(bins, Tensor):
        bins = frequency_edges(t, bins)
    return spectra.power_spectrum(x[..., None, :], bins=bins, periodic=periodic, window=window)


def frequency_edges(length: int, bins: int) -> Tensor:
    """Return the edges of at most so many logarithmic bands of the frequencies of a series, none of them empty."""
    modes = torch.arange(1, length // 2 + 1, dtype=torch.float64) / length
    return spectra.logarithmic_edges(modes, 0.5 * (1 + 1e-9), bins)
