"""The published lie detector: histograms of pixel and shape metrics of real and generated images, and their distances.

Metrics, binning and distances are those of Vicanek Martinez, Baron Perez & Brüggen 2024 (A&A 691, A360, and its code),
for images scaled to 0 .. 1. Where the code leaves a range open (counts, means and deviations inside the intensity bins,
elongation) the range here is the largest possible one. What was not published stands beside every number: the same
distance between two halves of the real images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sundog.errors import SampleSizeError, ShapeError
from sundog.random import short
from sundog.statistics.objects.shapes import pixel_metrics, shape_metrics

INTENSITY_BINS = 4


@dataclass(frozen=True)
class Line:
    """One metric: distance of fakes from real images, its Poisson error, and real from real.

    Attributes
    ----------
    w1 : sum over the bins of |CDF_real - CDF_fake|, in bins
    error : sqrt(sum CDF_real / N_real + sum CDF_fake / N_fake), as published
    rmae : mean over the bins of |2 (c_real - c_fake) / (c_real + c_fake)|, c the normalised counts
    null, null_high : w1 between real and other real images, median and 95 % quantile over the splits
    """

    metric: str
    bins: int
    w1: float
    error: float
    rmae: float
    null: float
    null_high: float


@dataclass(frozen=True)
class LieDetector:
    """All lines, in published order, and how many images stand on each side of every number."""

    lines: tuple[Line, ...]
    n: int

    @property
    def rmae(self) -> float:
        """Mean of the relative deviations over all metrics."""
        return float(np.mean([line.rmae for line in self.lines]))

    @property
    def caught(self) -> tuple[str, ...]:
        """Metrics whose distance exceeds the 95 % quantile of real against real."""
        return tuple(line.metric for line in self.lines if line.w1 > line.null_high)

    def __str__(self) -> str:
        rows = [f"{'metric':22}{'W1 [bins]':>12}{'error':>8}{'real-real':>11}{'95 %':>8}{'RMAE':>7}"]
        rows += [f"{x.metric:22}{x.w1:12.3g}{x.error:8.2g}{x.null:11.3g}{x.null_high:8.3g}{x.rmae:7.2f}"
                 + ("  <-" if x.w1 > x.null_high else "") for x in self.lines]
        rows.append(f"{len(self.caught)} of {len(self.lines)} metrics beyond real against real, n = {self.n}; "
                    f"RMAE {self.rmae:.3f}")
        return "\n".join(rows)


def lie_detector(real: Tensor, fake: Tensor, *, splits: int = 24, seed: int = 0) -> LieDetector:
    """Every published metric of real (m, ny, nx) and generated (k, ny, nx) images on 0 .. 1.

    All numbers are taken at n = min(k, m // 2) images a side, as medians over random splits.

    Raises
    ------
    ShapeError : images of different size. SampleSizeError : fewer than 4 real or 2 generated images.

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> found = lie_detector(torch.rand(40, 16, 16, generator=g), torch.rand(20, 16, 16, generator=g) ** 2)
    >>> "image mean" in found.caught
    True
    """
    if real.shape[1:] != fake.shape[1:] or real.ndim != 3:
        raise ShapeError("images do not fit", got=f"{tuple(real.shape)} and {tuple(fake.shape)}",
                         expected="(m, ny, nx) and (k, ny, nx)", do="prepare both alike")
    n = min(len(fake), len(real) // 2)
    if n < 2:
        raise SampleSizeError("too few images", got=f"{len(real)} real and {len(fake)} fakes",
                              expected="4 real and 2 fakes", do="add images")
    counts = [histograms(images.clamp(0, 1)) for images in (real, fake)]
    orders = [[torch.randperm(len(x), generator=torch.Generator().manual_seed(short(seed + i, 64, "splits"))).numpy()
               for x in (real, fake)] for i in range(splits)]
    chosen = [(order[:n], order[n : 2 * n]) for order, _ in orders]
    drawn = [order[:n] for _, order in orders]
    lines = []
    for name in counts[0]:
        a, b = counts[0][name], counts[1][name]
        ours = np.array([distance(a[one].sum(0), b[rows].sum(0)) for (one, _), rows in zip(chosen, drawn)])
        null = [distance(a[one].sum(0), a[other].sum(0))[0] for one, other in chosen]
        w1, error, rmae = np.median(ours, axis=0).tolist()
        lines.append(Line(name, a.shape[1], w1, error, rmae, float(np.median(null)), float(np.quantile(null, 0.95))))
    return LieDetector(tuple(lines), n)


def distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """W1 in bins, its published error, and the mean relative deviation of two histograms (bins,).

    Example
    -------
    >>> [round(x, 3) for x in distance(np.array([4, 0, 0]), np.array([0, 0, 4]))]    # all moved by two bins
    [2.0, 1.0, 2.0]
    """
    p, q = a / a.sum(), b / b.sum()
    cdf_a, cdf_b = p.cumsum(), q.cumsum()
    w1 = float(np.abs(cdf_a - cdf_b).sum())
    error = float(np.sqrt(cdf_a.sum() / a.sum() + cdf_b.sum() / b.sum()))
    seen = p + q > 0
    return w1, error, float(np.abs(2 * (p - q)[seen] / (p + q)[seen]).mean())


def published(images: Tensor) -> Tensor:
    """Pixel and shape metrics of images on 0 .. 1, what lies outside clipped: (n, k)."""
    clipped = images.clamp(0, 1)
    return torch.stack([*pixel_metrics(clipped).values(), *shape_metrics(clipped).values()], 1)


def histograms(images: Tensor) -> dict[str, np.ndarray]:
    """What each image (n, ny, nx) adds to the histogram of every metric, (n, bins)."""
    pixels = images.shape[1] * images.shape[2]
    flat = images.flatten(1).double().numpy()
    found = {"pixel intensity": np.stack([np.histogram(x, 256, (0, 1))[0] for x in flat]).astype(np.float64)}
    values = pixel_metrics(images.double(), n_bins=INTENSITY_BINS)
    found["image mean"] = _binned(values["mean"], 256, 0, 1)
    found["image sigma"] = _binned(values["sigma"], 256, 0, 1)
    found["active pixels"] = _binned(values["active_fraction"] * pixels, 256, 0, pixels)
    width = 1 / INTENSITY_BINS
    for i in range(1, INTENSITY_BINS + 1):
        found[f"count in bin {i}"] = _binned(values[f"fraction_{i}"] * pixels, 32, 0, pixels)
        found[f"mean in bin {i}"] = _binned(values[f"mean_{i}"], 128, width * (i - 1), width * i)
        found[f"sigma in bin {i}"] = _binned(values[f"sigma_{i}"], 128, 0, width / 2)
    ny, nx = images.shape[1:]
    shapes = shape_metrics(images.double(), centre=(ny / 2, nx / 2))
    found["angle"] = _binned(shapes["pca_angle"], 18, 0, 180)
    found["elongation"] = _binned(shapes["elongation"], 128, 0, 1)
    found["centre radius"] = _binned(shapes["com_radius"], 30, 0, 60)
    found["centre angle"] = _binned(shapes["com_angle"], 36, 0, 360)
    found["scatter"] = _binned(shapes["scatter"], 256, 0, 80)
    return found


def _binned(values: Tensor, bins: int, low: float, high: float) -> np.ndarray:
    """One-hot rows (n, bins); values outside count in the end bins."""
    place = ((values - low) / (high - low) * bins).long().clamp(0, bins - 1)
    return torch.nn.functional.one_hot(place, bins).double().numpy()
