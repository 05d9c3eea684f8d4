"""The catalogue's statistics of images: each measures one channel; channels are then put side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sundog.statistics.frame import Frame, Shape, Statistic
from sundog.statistics.onepoint import histogram, moments
from sundog.statistics.samples import checked_images
from sundog.statistics.spectra import power_spectrum

HISTOGRAM_BINS = 24
SPECTRUM_BINS = 12
CHUNK_PIXELS = 1 << 20  # working set of one pass: a few tens of MB in float64

One = Callable[[Tensor, Frame], Tensor]  # (n, ny, nx), frame of that channel -> (n, k)


def by_channel(one: One) -> One:
    """Return a measure of (n, [c,] ny, nx) that applies ``one`` to each channel, in chunks, and concatenates."""

    def measure(x: Tensor, frame: Frame) -> Tensor:
        x = checked_images(x)
        channels = [x] if x.ndim == 3 else list(x.unbind(1))
        size = max(1, CHUNK_PIXELS // (x.shape[-1] * x.shape[-2]))
        columns = [
            torch.cat([one(part.double(), frame.channel(i)) for part in channel.split(size)])
            for i, channel in enumerate(channels)
        ]
        return torch.cat(columns, 1)

    return measure


def _named(labels: Callable[[Shape, Frame], tuple[str, ...]]) -> Callable[[Shape, Frame], tuple[str, ...]]:
    """Repeat component names for every channel, with its name behind them when there are several."""

    def components(shape: Shape, frame: Frame) -> tuple[str, ...]:
        n_channels = shape[1] if len(shape) == 4 else 1
        return tuple(
            label + (f" ({frame.names[i]})" if n_channels > 1 else "")
            for i in range(n_channels)
            for label in labels(shape, frame.channel(i))
        )

    return components


def _repeated(axis: Callable[[Shape, Frame], Tensor]) -> Callable[[Shape, Frame], Tensor]:
    def abscissae(shape: Shape, frame: Frame) -> Tensor:
        n_channels = shape[1] if len(shape) == 4 else 1
        return torch.cat([axis(shape, frame.channel(i)) for i in range(n_channels)])

    return abscissae


def _histogram_edges(frame: Frame) -> Tensor:
    inner = torch.linspace(0, 1, HISTOGRAM_BINS - 1, dtype=torch.float64) * (frame.high - frame.low) + frame.low
    ends = inner.new_tensor([float("inf")])
    return torch.cat([-ends, inner, ends])


def _histogram(x: Tensor, frame: Frame) -> Tensor:
    return histogram(x, _histogram_edges(frame), dim=(1, 2))


def _histogram_centres(shape: Shape, frame: Frame) -> Tensor:
    """Bin centres; the two open end bins stand half a bin outside."""
    step = (frame.high - frame.low) / (HISTOGRAM_BINS - 2)
    return frame.low + step * (torch.arange(HISTOGRAM_BINS, dtype=torch.float64) - 0.5)


def _histogram_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"pixels near {c:.3g}" for c in _histogram_centres(shape, frame).tolist())


def moment_vectors(x: Tensor, frame: Frame) -> Tensor:
    """Return mean, standard deviation, skewness and excess kurtosis of each image: (n, 4)."""
    m = moments(x, dim=(1, 2))
    # The offset keeps the gradient of the square root finite on constant images.
    return torch.stack([m.mean, (m.variance + 1e-30).sqrt(), m.skewness, m.kurtosis], 1)


def spectrum_vectors(x: Tensor, frame: Frame) -> Tensor:
    """Return the power of each image in logarithmic rings: (n, b)."""
    return power_spectrum(x, bins=SPECTRUM_BINS, periodic=frame.periodic).power


def _spectrum_axis(shape: Shape, frame: Frame) -> Tensor:
    blank = torch.zeros(1, *shape[-2:], dtype=torch.float64)
    return power_spectrum(blank, bins=SPECTRUM_BINS).k


def _spectrum_names(shape: Shape, frame: Frame) -> tuple[str, ...]:
    return tuple(f"P(k={k:.3g})" for k in _spectrum_axis(shape, frame).tolist())


IMAGE_STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        "pixel histogram",
        "images",
        "mean",
        by_channel(_histogram),
        _named(_histogram_names),
        _repeated(_histogram_centres),
        "pixel value",
        "share of pixels",
        f"Share of pixels in {HISTOGRAM_BINS} bins, the outer two open.",
        "definition",
    ),
    Statistic(
        "moments",
        "images",
        "distribution",
        by_channel(moment_vectors),
        _named(lambda shape, frame: ("mean", "std", "skewness", "kurtosis")),
        None,
        "moment",
        "value",
        "Mean, standard deviation, skewness and excess kurtosis of every image.",
        "definition",
    ),
    Statistic(
        "power spectrum",
        "images",
        "mean",
        by_channel(spectrum_vectors),
        _named(_spectrum_names),
        _repeated(_spectrum_axis),
        "k [cycles per pixel]",
        "P(k)",
        "|FFT|²/(ny nx) in logarithmic rings; Hann window unless the maps are periodic.",
        "periodogram",
    ),
)
