"""Blobs: images of round Gaussian spots at random places, the simplest images on which a generator can fail.

``I(y, x) = sum_j A_j exp(-((x - x_j)^2 + (y - y_j)^2) / (2 sigma^2))``, centres uniform over the image (spots are
cut at its edge, nothing wraps around). The four sets of the thesis, and the rule for any other number:

* 1 spot: amplitude 1;
* 10 spots (rule: 2 to 29): equal amplitudes, each image scaled so that its brightest pixel is 1;
* 50 spots (rule: 30 to 299): amplitude 1 each, no scaling, overlaps add up;
* 1000 spots (rule: 300 and more): folded-Gaussian amplitudes ``|N(0, 1)|``, those below the threshold drawn again,
  no scaling.

The thesis names neither the width of a spot nor the threshold: both are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least, positive
from sundog.data.dataset import Dataset
from sundog.errors import OptionError
from sundog.random import stream
from sundog.simulate.fields import image_size

_BLOCK = 2**22  # spots x pixels painted at once: bounds memory at some 50 MB


@dataclass(frozen=True, eq=False)
class BlobCatalogue:
    """What is in each image: (n, k) positions in pixels (0 = centre of the first pixel) and amplitudes."""

    x: Tensor
    y: Tensor
    amplitude: Tensor

    def paint(self, size: int | tuple[int, int] = 128, sigma_pixel: float = 3.0) -> Tensor:
        """The images, (n, ny, nx) float64: sum over spots of the outer product of two profiles."""
        ny, nx = image_size(size)
        rows = max(1, _BLOCK // (self.x.shape[1] * max(ny, nx)))
        blocks = zip(self.x.split(rows), self.y.split(rows), self.amplitude.split(rows))
        return torch.cat([torch.einsum("nky,nkx->nyx", a[..., None] * gaussian_profile(y, ny, sigma_pixel),
                                       gaussian_profile(x, nx, sigma_pixel)) for x, y, a in blocks])


def blobs(n_images: int, n_blobs: int, size: int | tuple[int, int] = 128, seed: int = 0, *,
          sigma_pixel: float = 3.0, threshold: float = 0.5) -> Dataset:
    """``n_images`` images (n, ny, nx) of ``n_blobs`` spots; the rules are those of the module.

    Parameters
    ----------
    sigma_pixel : standard deviation of a spot in pixels.
    threshold : smallest amplitude where amplitudes are folded-Gaussian (300 spots and more).

    Source: the spot data sets of the thesis on generated skies, chapter 6; width and threshold are ours.

    Example
    -------
    >>> images = blobs(4, 10, size=32, seed=0)
    >>> [round(float(image.max()), 3) for image in images.values]
    [1.0, 1.0, 1.0, 1.0]
    """
    catalogue = blob_catalogue(n_images, n_blobs, size, seed, sigma_pixel=sigma_pixel, threshold=threshold)
    facts = {"simulator": "sundog.simulate.blobs.blobs", "seed": seed, "n_blobs": n_blobs,
             "sigma_pixel": sigma_pixel, "threshold": threshold}
    return Dataset.from_arrays(catalogue.paint(size, sigma_pixel), names=("intensity",), provenance=facts)


def blob_catalogue(n_images: int, n_blobs: int, size: int | tuple[int, int] = 128, seed: int = 0, *,
                   sigma_pixel: float = 3.0, threshold: float = 0.5) -> BlobCatalogue:
    """The truth of ``blobs`` called with the same arguments; amplitudes include the scaling of the image."""
    shape = (at_least(n_images, 1, "n_images"), at_least(n_blobs, 1, "n_blobs"))
    (ny, nx), g = image_size(size), stream(seed, "blobs")
    positive(sigma_pixel, "sigma_pixel")
    x = nx * torch.rand(shape, generator=g, dtype=torch.float64) - 0.5
    y = ny * torch.rand(shape, generator=g, dtype=torch.float64) - 0.5
    amplitude = _folded(shape, threshold, g) if n_blobs >= 300 else torch.ones(shape, dtype=torch.float64)
    catalogue = BlobCatalogue(x, y, amplitude)
    if 2 <= n_blobs < 30:
        brightest = catalogue.paint(size, sigma_pixel).amax((1, 2))
        catalogue = BlobCatalogue(x, y, amplitude / brightest[:, None])
    return catalogue


def _folded(shape: tuple[int, int], threshold: float, g: torch.Generator) -> Tensor:
    """|N(0, 1)| given that it exceeds the threshold, by inverting its survival function erfc(t / sqrt 2)."""
    if not 0 <= threshold <= 5:
        raise OptionError("threshold out of range", got=threshold, expected="0 <= threshold <= 5",
                          do="amplitudes are |N(0, 1)|: pass e.g. 0.5")
    survival = torch.special.erfc(torch.tensor(threshold, dtype=torch.float64) / 2**0.5)
    u = 1 - torch.rand(shape, generator=g, dtype=torch.float64)
    return -torch.special.ndtri(u * survival / 2)


def gaussian_profile(centre: Tensor, pixels: int, sigma: float | Tensor) -> Tensor:
    """Gaussians of height 1 around each centre along one axis: centre and sigma (n, k) -> (n, k, pixels)."""
    width = torch.as_tensor(sigma, dtype=torch.float64)[..., None]
    z = (torch.arange(pixels, dtype=torch.float64) - centre[..., None]) / width
    return torch.exp(-0.5 * z.square())
