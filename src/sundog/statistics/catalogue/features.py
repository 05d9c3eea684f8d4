"""Interpretable features of every sample on one robust scale: the space of Fréchet distance, PRDC and classifiers."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sundog.errors import ShapeError
from sundog.statistics.catalogue.events import standardised
from sundog.statistics.catalogue.frame import Frame
from sundog.statistics.catalogue.images import (
    by_channel,
    minkowski_vectors,
    moment_vectors,
    peak_vectors,
    shape_vectors,
    spectrum_vectors,
)
from sundog.statistics.catalogue.series import channel_features, series_features

FEATURE_THRESHOLDS = (0.0, 1.0, 2.0)  # sigma; a few of the catalogue's, as neighbouring ones say the same
ROUNDING = 1e-6  # standard deviations of a pixel, below which a mean in float32 says nothing


def features(x: Tensor, frame: Frame) -> Tensor:
    """Return u = 8 asinh((f - centre) / (8 scale)) of every sample: (n, K) float64, always finite.

    f are the raw features: the columns themselves for events; moments, spectrum, morphology, peaks and shapes for
    images; moments, spectrum, flatness, asymmetry and memory of the increments for series.
    Centre and scale are their median and robust width on the truth (from the central 50 or 90 %, the larger).
    asinh leaves the bulk linear and tames the outliers, so that one odd image does not own a covariance.

    Parameters
    ----------
    x: (n, d) events, or (n, ny, nx) or (n, c, ny, nx) images, of the same size as the truth behind ``frame``.

    Errors: ShapeError when x does not fit the frame.

    Example
    -------
    >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> features(x, Frame.of(x)).shape
    torch.Size([100, 3])
    """
    raw, (centre, scale) = raw_features(x, frame), _scale(frame)
    if raw.shape[1] != len(centre):
        raise ShapeError("sample and frame differ", got=f"images of {x.shape[-2]} x {x.shape[-1]} pixels",
                         expected="the size of those given to Frame.of",
                         do="measure both samples in one frame, at one size")
    return 8 * torch.asinh((raw - centre) / (8 * scale))


@lru_cache(maxsize=8)
def _scale(frame: Frame) -> tuple[Tensor, Tensor]:
    """Median and robust width of each raw feature on the truth."""
    raw = raw_features(frame.sample, frame)
    q05, q25, q75, q95 = raw.quantile(torch.tensor([0.05, 0.25, 0.75, 0.95], dtype=torch.float64), dim=0)
    # Each is 1 sigma of a Gaussian; the wider one keeps a heavy tail from counting as a crowd of outliers.
    spread = torch.maximum((q75 - q25) / 1.349, (q95 - q05) / 3.290)
    spread = torch.where(spread > 1e-9, spread, raw.std(0, unbiased=False))
    return raw.median(0).values, torch.where(spread > 1e-9, spread, 1.0)


def raw_features(x: Tensor, frame: Frame) -> Tensor:
    """Return the features before scaling: (n, K) float64."""
    if frame.kind == "events":
        return standardised(x, frame)
    if frame.kind == "series":
        return torch.cat([by_channel(series_features)(x, frame), channel_features(x, frame)], 1)
    return by_channel(_image_features)(x, frame)


def _image_features(x: Tensor, frame: Frame, seen: Tensor | None = None) -> Tensor:
    mean, std, skewness, kurtosis = moment_vectors(x, frame, seen).T
    level = (mean - frame.mean) / frame.std
    level = torch.where(level.abs() > ROUNDING, level, 0.0)  # of maps whose means were taken out, digits of rounding
    z = [level, torch.log10(std / frame.std + 1e-6), skewness, torch.asinh(kurtosis)]
    power = torch.log10(spectrum_vectors(x, frame, seen) / frame.std**2 + 1e-8)
    contours = minkowski_vectors(x, frame, seen, FEATURE_THRESHOLDS)
    return torch.cat([torch.stack(z, 1), power, contours, peak_vectors(x, frame, seen),
                      shape_vectors(x, frame, seen)], 1)
