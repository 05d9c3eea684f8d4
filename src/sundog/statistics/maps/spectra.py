"""Power and cross spectra of images in two dimensions.

Convention: P(k) = |FFT x|^2 / (ny nx), so that white noise of variance s^2 has P = s^2 at every k;
k is in cycles per pixel, between 0 and the Nyquist frequency 0.5 (the corners of the Fourier plane are left out).
Maps that do not wrap around get their mean removed and a window w; P is then divided by <w^2>. Removing the mean
costs power in the lowest mode (about 40 % of it under a Hann window): trust k >= 2 / side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.checks import at_least, one_of, positive
from sundog.errors import OptionError, ShapeError
from sundog.statistics.maps.morphology import gaussian_smooth
from sundog.statistics.samples.admission import checked_masked

ARCMIN = math.pi / (180 * 60)  # radians
WINDOWS = {"hann": 1.0, "tukey": 0.25}  # share of a half side over which the window rises
TAPER = 1.5  # pixels, of the Gaussian over which a window falls towards a mask


@dataclass(frozen=True)
class Spectrum:
    """A binned spectrum.

    k: (b,) mean wavenumber of each bin; power: (..., b); modes: (b,) number of Fourier modes in each bin. A real map
    holds every mode twice, so the relative error of P on one periodic Gaussian map is sqrt(2 / modes).
    """

    k: Tensor
    power: Tensor
    modes: Tensor


def power_spectrum(
    images: Tensor, *, bins: int | Tensor | None = None, periodic: bool = True, window: str = "hann",
    mask: Tensor | None = None,
) -> Spectrum:
    """Return the power spectrum of each image, averaged in rings of |k|.

    P(k) = < |FFT(x)|^2 > / (ny nx). With ``periodic=False`` or a mask: x -> (x - mean_w) w, P -> P / <w^2>.

    Parameters
    ----------
    images: (..., ny, nx) maps of any even, odd or rectangular size.
    bins: None for rings one fundamental mode wide, a number for that many logarithmic bins (fewer where the map is
        too small to fill them), or the edges in cycles per pixel.
    periodic: whether the maps wrap around.
    window: "hann" or "tukey" (25 % cosine flanks), used when ``periodic`` is False.
    mask: (..., ny, nx), 0 where pixels are hidden, whatever they hold; w falls to 0 there over some three pixels. The
        spectrum is smeared by that of w: steep ones are too high where they are lowest.

    Errors: OptionError for an unknown window or unusable bins; DataError on NaN or Inf.
    Source: the periodogram; windows as in Harris 1978, Proc. IEEE 66, 51.

    Example
    -------
    >>> noise = torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> bool((power_spectrum(noise).power.mean(0) - 1).abs().max() < 0.1)
    True
    """
    return cross_spectrum(images, images, bins=bins, periodic=periodic, window=window, mask=mask)


def cross_spectrum(
    first: Tensor, second: Tensor, *, bins: int | Tensor | None = None, periodic: bool = True, window: str = "hann",
    mask: Tensor | None = None,
) -> Spectrum:
    """Return the real part of the cross spectrum of two maps, Re < conj(FFT a) FFT b > / (ny nx).

    Parameters are those of `power_spectrum`; ``first`` and ``second`` broadcast, with equal (ny, nx).

    Example
    -------
    >>> a = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(cross_spectrum(a, -2 * a).power, -2 * power_spectrum(a).power)
    True
    """
    a, seen = checked_masked(first, mask)
    b = a if second is first else checked_masked(second, mask)[0]
    if a.shape[-2:] != b.shape[-2:]:
        raise ShapeError("two maps differ in size", got=f"{tuple(a.shape[-2:])} and {tuple(b.shape[-2:])}",
                         expected="equal sizes", do="cut both to the same patch")
    ny, nx = a.shape[-2:]
    rings = _rings(ny, nx, bins, a)
    fa = _transform(a, periodic, window, seen)
    fb = fa if b is a else _transform(b, periodic, window, seen)
    product = fa.real * fb.real + fa.imag * fb.imag
    return Spectrum(rings.k, rings.average(product), rings.modes)


def correlation_coefficient(
    first: Tensor, second: Tensor, *, bins: int | Tensor | None = None, periodic: bool = True, window: str = "hann"
) -> Spectrum:
    """Return r(k) = P_ab / sqrt(P_aa P_bb) in the ``power`` field: 1 for proportional maps, about 0 for unrelated ones.

    Where one of the maps has no power at all, r is 0.

    Example
    -------
    >>> a = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool((correlation_coefficient(a, 3 * a).power - 1).abs().max() < 1e-5)
    True
    """
    both = cross_spectrum(first, second, bins=bins, periodic=periodic, window=window)
    alone = [cross_spectrum(x, x, bins=bins, periodic=periodic, window=window).power for x in (first, second)]
    square = alone[0] * alone[1]
    safe = torch.where(square > 0, square, torch.ones_like(square))
    return Spectrum(both.k, torch.where(square > 0, both.power / safe.sqrt(), 0.0), both.modes)


def in_ell(spectrum: Spectrum, pixel_arcmin: float) -> Spectrum:
    """Return the spectrum against multipole: ell = 2 pi k / pixel, C_ell = P pixel^2 (steradian), flat-sky.

    Example
    -------
    >>> in_ell(Spectrum(torch.tensor([0.5]), torch.ones(1), torch.ones(1)), pixel_arcmin=1.0).k
    tensor([10800.])
    """
    pixel = positive(pixel_arcmin, "pixel_arcmin") * ARCMIN
    return Spectrum(2 * math.pi * spectrum.k / pixel, spectrum.power * pixel**2, spectrum.modes)


def in_per_arcmin(spectrum: Spectrum, pixel_arcmin: float) -> Spectrum:
    """Return the spectrum against k in cycles per arcmin, with P in (unit of x)^2 arcmin^2.

    Example
    -------
    >>> in_per_arcmin(Spectrum(torch.tensor([0.5]), torch.ones(1), torch.ones(1)), pixel_arcmin=2.0).k
    tensor([0.2500])
    """
    pixel = positive(pixel_arcmin, "pixel_arcmin")
    return Spectrum(spectrum.k / pixel, spectrum.power * pixel**2, spectrum.modes)


def half_plane(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return |k| in cycles per pixel of each mode of torch.fft.rfftn, and how often it stands in the full plane.

    Example
    -------
    >>> [part.tolist() for part in half_plane((4,))]
    [[0.0, 0.25, 0.5], [1.0, 2.0, 1.0]]
    """
    k2 = torch.zeros((), dtype=torch.float64)
    for axis, n in enumerate(shape):
        k = (torch.fft.rfftfreq if axis == len(shape) - 1 else torch.fft.fftfreq)(n, dtype=torch.float64)
        k2 = k2[..., None] + k**2
    copies = torch.full_like(k2, 2.0)
    copies[..., 0] = 1.0
    if shape[-1] % 2 == 0:
        copies[..., -1] = 1.0
    return k2.sqrt(), copies


def apodising_window(ny: int, nx: int, window: str = "hann") -> Tensor:
    """Return a window (ny, nx) that falls to zero just outside the map: "hann", or "tukey" with 25 % flanks."""
    flank = WINDOWS[one_of(window, WINDOWS, "window")]
    sides = []
    for n in (ny, nx):
        depth = torch.minimum(torch.arange(n) + 0.5, n - torch.arange(n) - 0.5).double() / n
        sides.append(torch.sin(math.pi / 2 * (2 * depth / flank).clamp(max=1.0)) ** 2)
    return sides[0][:, None] * sides[1][None, :]


@dataclass(frozen=True)
class _Rings:
    """Rings of |k| on the half plane, each mode with the number of times it stands in the full plane."""

    k: Tensor
    modes: Tensor
    index: Tensor  # (m,) which of the half-plane modes lie in some ring
    matrix: Tensor  # (b, m) sparse, rows add up to one

    def average(self, plane: Tensor) -> Tensor:
        """(..., ny, nx // 2 + 1) -> (..., b)."""
        rows = plane.flatten(-2).reshape(-1, plane.shape[-2] * plane.shape[-1])[:, self.index]
        return torch.sparse.mm(self.matrix, rows.T).T.reshape(*plane.shape[:-2], len(self.k))


def _rings(ny: int, nx: int, bins: int | Tensor | None, like: Tensor) -> _Rings:
    k, copies = (part.flatten() for part in half_plane((ny, nx)))
    edges = bins.double().cpu() if isinstance(bins, Tensor) else band_edges(k, (ny, nx), bins)
    if not rising(edges):
        raise OptionError("spectrum bins do not increase", got=edges.tolist(),
                          expected="rising edges in cycles per pixel", do="pass a number of bins instead")
    ring = torch.bucketize(k, edges, right=True) - 1
    index = ((ring >= 0) & (ring < len(edges) - 1) & (k > 0)).nonzero()[:, 0]
    ring, w, k = ring[index], copies[index], k[index]
    modes = torch.zeros(len(edges) - 1, dtype=k.dtype).index_add(0, ring, w)
    if not bool((modes > 0).all()):
        raise OptionError("a spectrum bin holds no mode",
                          got=f"map {ny} x {nx}, edges {[round(e, 4) for e in edges.tolist()]}",
                          expected="wider bins", do="pass fewer or wider bins, or bins=None")
    centre = torch.zeros_like(modes).index_add(0, ring, w * k) / modes
    place = torch.stack([ring, torch.arange(len(ring))])
    matrix = torch.sparse_coo_tensor(place, w / modes[ring], (len(modes), len(ring)), check_invariants=False)
    return _Rings(centre.to(like), modes.to(like), index.to(like.device), matrix.to(like).coalesce())


def band_edges(k: Tensor, shape: tuple[int, ...], bins: int | None) -> Tensor:
    """Edges from half the fundamental to just above Nyquist; logarithmic ones are thinned until no bin is empty."""
    top = 0.5 * (1 + 1e-9)
    if min(shape) < 2:
        raise ShapeError("map too small for a spectrum", got=shape, expected="at least 2 pixels a side",
                         do="use larger maps")
    if bins is None:
        step = 1.0 / min(shape)
        inner = torch.arange(0.5, 0.5 / step - 0.25, dtype=torch.float64) * step
        return torch.cat([inner, torch.tensor([top], dtype=torch.float64)])
    return logarithmic_edges(k[(k > 0) & (k <= top)], top, bins)


def logarithmic_edges(k: Tensor, top: float, bins: int) -> Tensor:
    """Edges of at most so many logarithmic bins between the lowest mode and ``top``, none of them empty."""
    at_least(bins, 1, "number of bins")
    low = float(k.min())
    edges = torch.logspace(math.log10(low), math.log10(top), bins + 1, dtype=torch.float64).to(k.device)
    edges[0], edges[-1] = low * (1 - 1e-9), top
    kept = [edges[0]]
    for edge in edges[1:]:
        if bool(((k >= kept[-1]) & (k < edge)).any()):
            kept.append(edge)
    kept[-1] = edges[-1]
    return torch.stack(kept)


def rising(edges: Tensor) -> bool:
    """Whether these are two edges or more, in ascending order."""
    return edges.ndim == 1 and len(edges) > 1 and bool((edges.diff() > 0).all())


def windowed(images: Tensor, window: str, *, periodic: bool = False, seen: Tensor | None = None,
             ) -> tuple[Tensor, Tensor]:
    """Maps less their weighted mean under a window, and the window (..., ny, nx), 0 where pixels are not seen."""
    ny, nx = images.shape[-2:]
    w = (torch.ones(ny, nx) if periodic else apodising_window(ny, nx, window)).to(images)
    w = w if seen is None else w * _tapered(seen.to(images), periodic)
    total = w.sum((-2, -1), keepdim=True)
    return (images - (images * w).sum((-2, -1), keepdim=True) / total) * w, w


def _tapered(seen: Tensor, periodic: bool) -> Tensor:
    """Weights (..., ny, nx) that fall smoothly to 0 at hidden pixels; of an image with nothing but small islands, 1."""
    # Eroding before smoothing: the window has fallen to a few per cent where the data end.
    inside = seen * (gaussian_smooth(seen, TAPER, periodic=periodic) > 0.9)
    inside = torch.where(inside.sum((-2, -1), keepdim=True) > 0, inside, seen)
    return gaussian_smooth(inside, TAPER, periodic=periodic) * seen


def _transform(images: Tensor, periodic: bool, window: str, seen: Tensor | None) -> Tensor:
    """The half-plane FFT, divided by sqrt(ny nx <w^2>)."""
    if periodic and seen is None:
        return torch.fft.rfft2(images, norm="ortho")
    x, w = windowed(images, window, periodic=periodic, seen=seen)
    return torch.fft.rfft2(x, norm="ortho") / w.square().mean((-2, -1), keepdim=True).sqrt()
