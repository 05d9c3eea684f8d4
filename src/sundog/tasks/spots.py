"""Images of spots, measured the way of the thesis on generated skies: six statistics, and the matched filter.

Pixel histogram over 128 images, marginal sums, peaks by their neighbours with stacked cut-outs and their radial
profile, the plane of the Fourier transform, the power spectrum; and the iterative matched filter, which the thesis
proposes and leaves undone. Every number carries the standard error of its mean over images.

Source: the thesis on generated microwave skies, chapter 6 (blob experiments).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.data.dataset import Dataset
from sundog.errors import SampleSizeError, ShapeError
from sundog.statistics.maps.peaks import Peaks, find_peaks, matched_filter_peaks, radial_profile, stack_peaks
from sundog.statistics.maps.spectra import power_spectrum

HISTOGRAM_IMAGES = 128
MATCHED_IMAGES = 200  # the matched filter costs a matrix product per peak and image
MOST_PEAKS = 60
GROUPS = 10  # of images, whose scatter is the error of a stack
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class Mean:
    """Mean over images with its standard error, same shape; x where there is an axis."""

    value: Tensor
    error: Tensor
    x: Tensor | None = None

    @staticmethod
    def over_images(numbers: Tensor, x: Tensor | None = None) -> Mean:
        """Mean of (n, ...) over its first axis."""
        return Mean(numbers.mean(0), numbers.std(0) / len(numbers) ** 0.5, x)


@dataclass(frozen=True)
class SpotStatistics:
    """What a set of images of spots looks like.

    Attributes
    ----------
    histogram : (bins,) density of the pixels of 128 images; x are the centres of the bins
    rows, columns : (ny,), (nx,) marginal sums over x and over y
    peaks, matched : peaks per image, by neighbours and by the matched filter
    peak_counts, matched_counts : (n,) of each image
    heights, amplitudes : of all peaks, by neighbours and by the matched filter
    brightest : mean of each image's brightest pixel
    stack : (size, size) mean cut-out around peaks, None where no peak lies far enough from the border
    profile : (r,) its radial profile; x is the radius in pixels
    fourier : (ny, nx) mean |F|^2 / (ny nx), zero frequency in the middle, mean of each image taken out
    spectrum : (k,) power in rings; x is k in cycles per pixel
    n : images
    """

    histogram: Mean
    rows: Mean
    columns: Mean
    peaks: Mean
    matched: Mean
    peak_counts: Tensor
    matched_counts: Tensor
    heights: Tensor
    amplitudes: Tensor
    brightest: Mean
    stack: Tensor | None
    profile: Mean | None
    fourier: Mean
    spectrum: Mean
    n: int


def spot_statistics(images: Dataset | Tensor, *, sigma_pixel: float, threshold: float, edges: Tensor | None = None,
                    cut_out: int = 21) -> SpotStatistics:
    """All statistics of a set of images (n, ny, nx).

    Parameters
    ----------
    sigma_pixel : width of a spot, for the matched filter
    threshold : smallest height of a peak, and smallest amplitude for the matched filter (which sees the images
        without their common median)
    edges : of the pixel histogram; 60 bins over the range of the images when None. Pass those of the real images
        (``histogram_edges``) to compare.
    cut_out : side of the stacked cut-outs; half of the image where that is less

    Raises
    ------
    SampleSizeError : fewer than 20 images. ShapeError : more than one channel.

    Example
    -------
    >>> from sundog.simulate.blobs import blobs
    >>> found = spot_statistics(blobs(50, 1, size=32, sigma_pixel=2.0), sigma_pixel=2.0, threshold=0.5)
    >>> float(found.matched.value), round(float(found.profile.value[0]), 1)
    (1.0, 1.0)
    """
    x = (images.values if isinstance(images, Dataset) else images).double()
    if x.ndim != 3:
        raise ShapeError("spots are images of one channel", got=tuple(x.shape), expected="(n, ny, nx)",
                         do="choose one channel")
    if len(x) < FEWEST_IMAGES:
        raise SampleSizeError("too few images for error bars", got=len(x), expected=f"at least {FEWEST_IMAGES}",
                              do="draw more")
    found = find_peaks(x, threshold)
    some = x[:MATCHED_IMAGES]
    matched = matched_filter_peaks(some - x.median(), sigma_pixel, threshold, max_peaks=MOST_PEAKS)
    counts = [found.count(len(x)).double(), matched.count(len(some)).double()]
    stack, profile = _stacked(x, found, min(cut_out, min(x.shape[1:]) // 2 // 2 * 2 + 1))
    flat = x - x.mean((1, 2), keepdim=True)
    fourier = torch.fft.fftshift(torch.fft.fft2(flat).abs().square(), (1, 2)) / x[0].numel()
    spectrum = power_spectrum(x, periodic=False)
    return SpotStatistics(
        _histogram(x[:HISTOGRAM_IMAGES], histogram_edges(x) if edges is None else edges),
        Mean.over_images(x.sum(2)), Mean.over_images(x.sum(1)), Mean.over_images(counts[0]),
        Mean.over_images(counts[1]), counts[0], counts[1], found.height, matched.height,
        Mean.over_images(x.amax((1, 2))), stack, profile, Mean.over_images(fourier),
        Mean.over_images(spectrum.power, spectrum.k), len(x))


def histogram_edges(images: Dataset | Tensor, bins: int = 60) -> Tensor:
    """Equal bins over the range of the images and a fifth of it beyond either end, (bins + 1,)."""
    x = images.values if isinstance(images, Dataset) else images
    low, high = float(x.min()), float(x.max())
    reach = 0.2 * (high - low)
    return torch.linspace(low - reach, high + reach, bins + 1, dtype=torch.float64)


def spectrum_error(fake: SpotStatistics, real: SpotStatistics, modes: int = 6) -> float:
    """Root mean square of fake / real - 1 over the first ``modes`` rings of the power spectrum."""
    return float((fake.spectrum.value[:modes] / real.spectrum.value[:modes] - 1).square().mean().sqrt())


def _histogram(x: Tensor, edges: Tensor) -> Mean:
    """Density of the pixels of each image, then mean and error over images; numbers beyond the edges are left out."""
    width = edges[1:] - edges[:-1]
    each = torch.stack([torch.histogram(image.flatten(), edges)[0] for image in x.cpu()]) / x[0].numel() / width
    return Mean.over_images(each, 0.5 * (edges[1:] + edges[:-1]))


def _stacked(x: Tensor, peaks: Peaks, size: int) -> tuple[Tensor | None, Mean | None]:
    """The mean cut-out, and its radial profile with the scatter of groups of images as error."""
    half = size // 2
    inside = (peaks.y >= half) & (peaks.y < x.shape[1] - half) & (peaks.x >= half) & (peaks.x < x.shape[2] - half)
    peaks = Peaks(peaks.image[inside], peaks.y[inside], peaks.x[inside], peaks.height[inside])
    if not len(peaks):
        return None, None
    stack = stack_peaks(x, peaks, size)
    whole, parts = radial_profile(stack), []
    for g in range(GROUPS):
        mine = peaks.image % GROUPS == g
        if mine.any():
            part = Peaks(*[column[mine] for column in (peaks.image, peaks.y, peaks.x, peaks.height)])
            parts.append(radial_profile(stack_peaks(x, part, size)).value)
    error = torch.full_like(whole.value, torch.nan)  # of a single group
    if len(parts) > 1:
        error = torch.stack(parts).std(0) / len(parts) ** 0.5
    return stack, Mean(whole.value, error, whole.radius)
