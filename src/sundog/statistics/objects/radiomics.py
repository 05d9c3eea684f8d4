"""Radiomic features of images: first-order numbers and co-occurrence textures, as medical imaging defines them.

Names and definitions are those of pyradiomics 3.0.1 (van Griethuysen et al. 2017, Cancer Res. 77, e104), whose
values on stored images are the tests of this file. Its conventions, where texts differ:

* grey levels: ``level = floor((x - low) / width) + 1`` with low the minimum, rounded down to a multiple of the width
  (fixed width), or equal bins between minimum and maximum (fixed count), of the pixels inside the mask;
* co-occurrence: all pixel pairs at Chebyshev distance d for each d, one matrix per direction (4 for d = 1, 4d in
  general), made symmetric and divided by its sum; a feature is the mean over the directions that hold pairs;
* logarithms to base 2 with 2.2e-16 added inside; kurtosis without the -3; Ng is the highest level found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.errors import DataError, OptionError, ShapeError
from sundog.random import stream
from sundog.statistics.objects.cooccurrence import cooccurrence, glcm_features
from sundog.statistics.objects.firstorder import first_order_features
from sundog.statistics.samples.admission import checked_singles
from sundog.statistics.samples.distance import frechet_distance

ENTRIES = 1 << 22  # numbers of co-occurrence matrices held at once


def radiomic_features(
    images: Tensor,
    *,
    bin_width: float | None = None,
    bin_count: int = 32,
    distances: Sequence[int] = (1,),
    mask: Tensor | None = None,
    normalise: float | None = None,
    pixel: float = 1.0,
) -> dict[str, Tensor]:
    """Return 18 first-order and 24 co-occurrence features of each image, each (n,) float64, named as in pyradiomics.

    Parameters
    ----------
    images: (n, ny, nx), any unit
    bin_width: of the grey levels, in the unit of the images (of the normalised ones, if so); pyradiomics' own
        default is 25, made for values of hundreds
    bin_count: number of equal levels per image, used when no width is given
    distances: Chebyshev distances of the pixel pairs
    mask: (ny, nx) or (n, ny, nx), where the object is; everywhere when None
    normalise: s turns each image into s (x - mean) / std first, with the mean and the n-1 standard deviation of all
        its pixels, masked or not
    pixel: side of a pixel; enters TotalEnergy alone, as its area

    Errors: OptionError for bins or distances that are not positive; DataError for an empty mask, and for a width
    that cuts an image into more than 1000 levels.
    Source: Haralick, Shanmugam & Dinstein 1973, IEEE SMC-3, 610; Zwanenburg et al. 2020, Radiology 295, 328.

    Example
    -------
    >>> x = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> found = radiomic_features(x, bin_width=0.1)
    >>> len(found), list(found)[:2], found["glcm_Contrast"].shape
    (42, ['firstorder_10Percentile', 'firstorder_90Percentile'], torch.Size([2]))
    """
    x, inside = _checked(images, mask)
    _check_options(bin_width, bin_count, distances, pixel)
    if normalise is not None:
        flat = x.flatten(1)
        std = flat.std(1, keepdim=True)
        x = (normalise * (flat - flat.mean(1, keepdim=True)) / torch.where(std > 0, std, 1.0)).reshape(x.shape)
    found = grey_levels(x, inside, bin_width=bin_width, bin_count=bin_count)
    features = {f"firstorder_{name}": value for name, value in first_order_features(x, inside, found, pixel).items()}
    for name, value in _glcm(found, distances).items():
        features[f"glcm_{name}"] = value
    return features


def grey_levels(x: Tensor, inside: Tensor, *, bin_width: float | None = None, bin_count: int = 32) -> Tensor:
    """Return the grey level of every pixel, (n, ny, nx) whole numbers from 1; 0 outside the mask.

    Parameters
    ----------
    x, inside: (n, ny, nx) float64 and bool

    Example
    -------
    >>> x = torch.tensor([[[3.0, 26.0], [51.0, 7.0]]]).double()
    >>> grey_levels(x, torch.ones_like(x, dtype=torch.bool), bin_width=25.0).tolist()
    [[[1, 2], [3, 1]]]
    """
    low = torch.where(inside, x, torch.inf).amin((1, 2))
    high = torch.where(inside, x, -torch.inf).amax((1, 2))
    if bin_width is not None:
        low = low - low.remainder(bin_width)
        levels = int(((high - low) / bin_width).max()) + 2
        if levels > 1000:
            raise DataError("the bin width cuts an image into too many levels", got=f"{levels} levels of {bin_width:g}",
                            expected="at most 1000", do="pass a wider bin_width, bin_count=32, or normalise=100")
        # Edges as numpy.arange makes them: the sum of the width would round differently on the edge itself.
        edges = low[:, None] + bin_width * torch.arange(levels + 1).to(x)
    else:
        # A constant image spans -1/2 to +1/2 about its value.
        flat = high == low
        start, stop = torch.where(flat, low - 0.5, low), torch.where(flat, high + 0.5, high)
        part = torch.arange(bin_count + 1).to(x) / bin_count
        edges = start[:, None] + (stop - start)[:, None] * part
        edges[:, -1] = stop + 1  # the maximum belongs to the last bin
    found = torch.searchsorted(edges, x.flatten(1).contiguous(), right=True).reshape(x.shape)
    return torch.where(inside, found, 0)


@dataclass(frozen=True)
class RadiomicDistance:
    """A Fréchet distance of radiomic features beside its null.

    Attributes
    ----------
    value: squared distance between real and fake, median over the splits
    null, null_low, null_high: median, 16 % and 84 % quantile of real against other real images, at the same n
    n: images on each side
    features: how many entered (those constant among the real images do not)
    """

    value: float
    null: float
    null_low: float
    null_high: float
    n: int
    features: int

    def __str__(self) -> str:
        return (f"Fréchet radiomic distance {self.value:.3g} at n = {self.n}, {self.features} features; "
                f"real against real {self.null:.3g} ({self.null_low:.3g} to {self.null_high:.3g})")


def frechet_radiomic_distance(
    real: dict[str, Tensor], fake: dict[str, Tensor], *, scale: str = "robust", splits: int = 24, seed: int = 0
) -> RadiomicDistance:
    """Return the squared Fréchet distance of features from `radiomic_features`, with its real-against-real null.

    n = min(len(fake), len(real) // 2) images stand on each side of every number. Covariances are shrunk (Ledoit and
    Wolf): without that n has to exceed 10 times the number of features.

    Parameters
    ----------
    real, fake: the same features of each sample, (n,) and (m,)
    scale: ``zscore`` divides by mean and standard deviation of the real images, the convention of the Fréchet
        Radiomic Distance of Konz et al. 2024 (arXiv:2412.01496), which adds filtered images and takes a logarithm;
        ``robust`` takes median and half the 16-84 % range and passes 8 asinh(u / 8), so that one image of wild
        ClusterProminence does not own the covariance

    Example
    -------
    >>> g = torch.Generator().manual_seed(0)
    >>> x, y = (radiomic_features(s * torch.rand(60, 8, 8, generator=g), bin_count=8) for s in (1.0, 1.5))
    >>> found = frechet_radiomic_distance(x, y, splits=8)
    >>> found.value > 10 * found.null_high
    True
    """
    one_of(scale, ("robust", "zscore"), "scale of the features")
    if set(real) != set(fake):
        raise ShapeError("real and fake have other features", got=f"{len(real)} and {len(fake)}",
                         expected="the same names", do="measure both with the same options")
    x, y = (torch.stack([part[name].double() for name in real], 1) for part in (real, fake))
    centre, width = _scale_of(x, scale)
    kept = width > 1e-12 * centre.abs().clamp_min(1e-300)
    x, y = (((part - centre) / width)[:, kept] for part in (x, y))
    if scale == "robust":
        x, y = (8 * torch.asinh(part / 8) for part in (x, y))
    n = min(len(y), len(x) // 2)
    if n < 2 or not bool(kept.any()):
        raise DataError("too little to compare", got=f"{len(real)} features of {len(x)} real and {len(y)} fake images",
                        expected="4 real and 2 fake images that differ", do="add images")
    values, null = [], []
    for split in range(splits):
        g = stream(seed, "radiomic splits", split)
        a, b = torch.randperm(len(x), generator=g), torch.randperm(len(y), generator=g)
        values.append(float(frechet_distance(x[a[:n]], y[b[:n]], shrinkage=True)))
        null.append(float(frechet_distance(x[a[:n]], x[a[n : 2 * n]], shrinkage=True)))
    low, middle, high = numpy.quantile(null, [0.16, 0.5, 0.84]).tolist()
    return RadiomicDistance(float(numpy.median(values)), middle, low, high, n, int(kept.sum()))


def _scale_of(x: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    if scale == "zscore":
        return x.mean(0), x.std(0)
    low, centre, high = x.quantile(torch.tensor([0.16, 0.5, 0.84], dtype=x.dtype), dim=0)
    width = (high - low) / 2
    return centre, torch.where(width > 1e-9 * x.std(0), width, x.std(0))  # a feature that is mostly constant


def _glcm(levels: Tensor, distances: Sequence[int]) -> dict[str, Tensor]:
    """Co-occurrence features of all images, in blocks of images that need about equally large matrices."""
    highest = levels.flatten(1).amax(1)
    order = highest.argsort()
    parts: list[dict[str, Tensor]] = []
    first = 0
    while first < len(order):
        count, directions = 1, sum(4 * d for d in distances)
        for last in range(first + 1, min(len(order), first + 256)):
            if (last - first + 1) * directions * int(highest[order[last]]) ** 2 > ENTRIES:
                break
            count = last - first + 1
        rows = order[first : first + count]
        parts.append(glcm_features(cooccurrence(levels[rows], distances), highest[rows]))
        first += count
    back = order.argsort()
    return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}


def _checked(images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    x = checked_singles(images).detach().double()
    inside = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.bool()
    if inside.shape[-2:] != x.shape[-2:] or inside.ndim not in (2, 3) or (inside.ndim == 3 and len(inside) != len(x)):
        raise ShapeError("the mask does not fit the images", got=tuple(inside.shape), expected=tuple(x.shape),
                         do="pass (ny, nx) or one mask per image")
    inside = inside.expand(x.shape)
    empty = ~inside.flatten(1).any(1)
    if bool(empty.any()):
        raise DataError("a mask is empty", got=f"{int(empty.sum())} of {len(x)} images",
                        expected="at least one pixel inside", do="drop those images")
    return x, inside


def _check_options(bin_width: float | None, bin_count: int, distances: Sequence[int], pixel: float) -> None:
    good = (bin_width is None or bin_width > 0) and 1 <= bin_count <= 1000 and pixel > 0
    if not good or not distances or min(distances) < 1 or len(set(distances)) < len(distances):
        raise OptionError("impossible settings of radiomic features",
                          got=f"bin_width={bin_width}, bin_count={bin_count}, distances={tuple(distances)}",
                          expected="bin_width > 0, bin_count 1 to 1000, different distances >= 1", do="correct them")
