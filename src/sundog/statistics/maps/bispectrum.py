"""The binned bispectrum of images in two dimensions: the three-point function of their Fourier modes.

Convention: B(k1, k2, k3) = < x(k1) x(k2) x(k3) > / (ny nx) with x(k) the unnormalised FFT and k1 + k2 + k3 = 0, so that
independent pixels of third moment m have B = m everywhere; k in cycles per pixel. Bands end at k = 1/3: beyond, three
modes could add up to a whole cycle per pixel and the grid would alias them into closed triangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.statistics.maps.spectra import half_plane, logarithmic_edges, rising, windowed
from sundog.statistics.samples.admission import checked_masked

TOP = 1 / 3  # cycles per pixel


@dataclass(frozen=True)
class Bispectrum:
    """A binned bispectrum.

    Attributes
    ----------
    k : (b,) mean wavenumber of each band, cycles per pixel; power : (..., b) power of each band
    bands : (t, 3) the bands of each kind of triangle, b1 <= b2 <= b3
    value : (..., t) mean of x(k1) x(k2) x(k3) / (ny nx) over the triangles
    triangles : (t,) number of ordered triangles
    """

    k: Tensor
    power: Tensor
    bands: Tensor
    value: Tensor
    triangles: Tensor

    @property
    def normalised(self) -> Tensor:
        """(..., t) B / sqrt(P1 P2 P3): free of units and of the spectrum; 0 where a band has no power."""
        product = self.power[..., self.bands].prod(-1)
        return torch.where(product > 0, self.value / torch.where(product > 0, product, 1.0).sqrt(), 0.0)

    @property
    def reduced(self) -> Tensor:
        """(..., t) Q = B / (P1 P2 + P2 P3 + P3 P1): constant for a local quadratic field; 0 where the map is empty."""
        p1, p2, p3 = self.power[..., self.bands].unbind(-1)
        pairs = p1 * p2 + p2 * p3 + p3 * p1
        return torch.where(pairs > 0, self.value / torch.where(pairs > 0, pairs, 1.0), 0.0)

    @property
    def shape(self) -> Tensor:
        """(t, 3) mean wavenumbers of the three sides."""
        return self.k[self.bands]


def gaussian_error(bispectrum: Bispectrum, pixels: int) -> Tensor:
    """Return the standard deviation of each value for a Gaussian map with these powers, (..., t).

    Var B = s ny nx P1 P2 P3 / triangles, s = 6 for three equal bands, 2 for two, 1 else; ``pixels`` = ny nx. For
    periodic maps and bands of many modes: triangles in which one mode stands twice are not treated as special.

    Example
    -------
    >>> b = bispectrum(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)), bins=4)
    >>> bool(((b.value / gaussian_error(b, 1024)).abs() < 4).all())
    True
    """
    bands = bispectrum.bands
    equal = (bands[:, 0] == bands[:, 1]).int() + (bands[:, 1] == bands[:, 2]).int()
    s = torch.tensor([1.0, 2.0, 6.0], dtype=bispectrum.value.dtype, device=bands.device)[equal]
    return (s * pixels * bispectrum.power[..., bands].prod(-1) / bispectrum.triangles).sqrt()


def bispectrum(images: Tensor, *, bins: int | Tensor = 6, periodic: bool = True, window: str = "hann",
               mask: Tensor | None = None) -> Bispectrum:
    """Return the bispectrum of each image in bands of |k|, for every combination of bands that closes a triangle.

    B(b1, b2, b3) = sum over k1 in b1, k2 in b2, k3 = -k1-k2 in b3 of x(k1) x(k2) x(k3) / (ny nx), divided by the number
    of such triangles. The sums are means over pixels of products of three band-passed maps. Differentiable.

    Parameters
    ----------
    images : (..., ny, nx) maps.
    bins : number of logarithmic bands up to k = 1/3 (fewer where the map is too small to fill them), or their edges in
        cycles per pixel, at most 1/3.
    periodic : whether the maps wrap around; if not, x -> (x - mean_w) w, and B and P are divided by <w^3> and <w^2>.
    window : "hann" or "tukey", used when ``periodic`` is False.
    mask : (..., ny, nx), 0 where pixels are hidden, whatever they hold; w falls to 0 there, as in `power_spectrum`.

    Errors: OptionError for unusable bins or an unknown window; DataError on NaN or Inf.
    Source: Scoccimarro 2015, PRD 92, 083532, section on FFT estimators.

    Example
    -------
    >>> x = torch.randn(300, 32, 32, generator=torch.Generator().manual_seed(0)).exp()
    >>> third = (x - x.mean()).pow(3).mean()
    >>> bool((bispectrum(x, bins=3).value.mean(0) / third - 1).abs().max() < 0.3)
    True
    """
    images, seen = checked_masked(images, mask)
    ny, nx = images.shape[-2:]
    k, copies = (part.to(images.device) for part in half_plane((ny, nx)))
    edges = _band_edges(k, bins)
    band = torch.bucketize(k, edges, right=True) - 1
    masks = torch.stack([band == b for b in range(len(edges) - 1)])
    counts = torch.fft.irfft2(masks.double(), s=(ny, nx), norm="forward")  # band-passed delta functions
    triples, triangles = [], []
    for triple in combinations_with_replacement(range(len(masks)), 3):
        closed = float((counts[triple[0]] * counts[triple[1]] * counts[triple[2]]).mean())
        if closed > 0.5:
            triples.append(triple)
            triangles.append(closed)
    if not triples:
        raise OptionError("no three bands close a triangle", got=f"edges {edges.tolist()}", do="pass wider bands")
    f, cubic = _transform(images, periodic, window, seen)
    passed = [torch.fft.irfft2(f * mask, s=(ny, nx), norm="forward") for mask in masks]
    total = torch.tensor(triangles, dtype=images.dtype, device=images.device)
    sums = torch.stack([(passed[a] * passed[b] * passed[c]).mean((-2, -1)) for a, b, c in triples], -1)
    modes = counts[:, 0, 0].to(images)
    power = torch.stack([(m * m).mean((-2, -1)) for m in passed], -1) / modes / (ny * nx)
    size = ((masks * copies * k).sum((-2, -1)) / modes).to(images)
    bands = torch.tensor(triples, device=images.device)
    return Bispectrum(size, power, bands, sums / (total * ny * nx * cubic), total)


def _transform(images: Tensor, periodic: bool, window: str, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """The half-plane FFT of maps whose power needs no correction, and what divides triple products, (..., 1)."""
    if periodic and seen is None:
        return torch.fft.rfft2(images), images.new_ones(1)
    x, w = windowed(images, window, periodic=periodic, seen=seen)
    square, cube = (w.pow(p).mean((-2, -1)) for p in (2, 3))
    return torch.fft.rfft2(x) / square.sqrt()[..., None, None], (cube / square**1.5)[..., None]


def _band_edges(k: Tensor, bins: int | Tensor) -> Tensor:
    """Rising edges from the lowest mode to 1/3; logarithmic ones are thinned until no band is empty."""
    inside = k[(k > 0) & (k <= TOP)]
    if not len(inside):
        raise ShapeError("map too small for a bispectrum", got=tuple(k.shape), expected="at least 4 x 4 pixels",
                         do="use larger maps")  # fmt: skip
    if isinstance(bins, Tensor):
        edges = bins.to(k)
        if not rising(edges) or float(edges[0]) < 0 or float(edges[-1]) > TOP * (1 + 1e-9):
            raise OptionError("edges of the bispectrum's bands", got=bins.tolist(),
                              expected="rising, from 0 at least to 1/3 cycles per pixel at most", do="pass bins=6")
        edges = torch.cat([edges[:-1].clamp_min(1e-12), edges[-1:]])
        empty = [a for a, b in _pairs(edges) if not bool(((inside >= a) & (inside < b)).any())]
        if empty:
            raise OptionError("empty bands", got=f"from k = {empty[0]:.3g}", expected="some mode", do="widen the bands")
        return edges
    return logarithmic_edges(inside, TOP * (1 + 1e-9), bins)


def _pairs(edges: Tensor) -> Iterator[tuple[float, float]]:
    return zip(edges[:-1].tolist(), edges[1:].tolist())
