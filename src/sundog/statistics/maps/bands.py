"""Band powers prepared for many evaluations: the spectrum as a constraint or a loss, of lines, maps and cubes."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.errors import OptionError
from sundog.statistics.maps.spectra import band_edges, half_plane


class BandPowers:
    """Transform from periodic lines, maps or cubes (n, ...) to their power in logarithmic bands of |k|, (n, b).

    P_b = mean over the modes k of band b of |FFT x|^2 / pixels, in the bands of ``power_spectrum(x, bins=bins)`` and
    one more: everything above the Nyquist frequency of the axes, so that no mode but the mean is left out. A line has
    no such modes.

    Parameters
    ----------
    shape : (nx,), (ny, nx) or (nz, ny, nx)
    bins : number of bands, fewer where the grid is too small to fill them
    edges : of the bands, in cycles per pixel, in place of ``bins``: `edges` of another grid, so that another canvas
        has the same bands. Modes below the first edge are counted in the first band.

    Attributes
    ----------
    k : (b,) mean wavenumber, cycles per pixel; modes : (b,) Fourier modes per band, counted in the full plane
    edges : (e,) lower ends of the bands and the Nyquist frequency
    used : (b,) which of the bands between ``edges`` (and the one above) hold modes of this grid: all on the grid that
        made the edges

    Example
    -------
    >>> bands = BandPowers((32, 32), 8)
    >>> x = torch.randn(100, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> bool((bands(x).mean(0) - 1).abs().max() < 0.1)
    True
    """

    def __init__(self, shape: tuple[int, ...], bins: int = 20, *, edges: Tensor | None = None) -> None:
        self.shape = tuple(int(n) for n in shape)
        if not 1 <= len(self.shape) <= 3:
            raise OptionError("band powers of this many axes", got=len(shape), expected="1, 2 or 3",
                              do="pass (nx,), (ny, nx) or (nz, ny, nx)")  # fmt: skip
        k, copies = (part.flatten() for part in half_plane(self.shape))
        self.edges = band_edges(k, self.shape, bins) if edges is None else edges.double().cpu()
        band = torch.bucketize(k, self.edges[1:], right=True)
        band[0] = len(self.edges)  # the mean belongs to no band
        used, band = torch.unique(band, return_inverse=True)
        self.count, self.used = len(used) - 1, used[:-1]
        modes = torch.zeros(len(used), dtype=torch.float64).index_add(0, band, copies)
        centre = torch.zeros(len(used), dtype=torch.float64).index_add(0, band, copies * k) / modes
        self.k, self.modes = centre[:-1], modes[:-1]
        self._band, self._weights = band, copies / modes[band]
        self._dims = tuple(range(-len(self.shape), 0))
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        return self.average(self.transform(x))

    def transform(self, x: Tensor) -> Tensor:
        """Half-plane transform (..., modes) of x (..., *shape), |.|^2 summing over the full plane to the sum of x^2."""
        return torch.fft.rfftn(x, dim=self._dims, norm="ortho").flatten(-len(self.shape))

    def average(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Power (..., b) of a transform, or cross power Re <conj(a) b> of two."""
        other = first if second is None else second
        band, weights = self._at(first)
        power = (first.real * other.real + first.imag * other.imag) * weights
        return power.new_zeros(*power.shape[:-1], self.count + 1).index_add(-1, band, power)[..., :-1]

    def spread(self, powers: Tensor) -> Tensor:
        """Half plane (..., modes) on which every mode has the power of its band, and the mean 0."""
        padded = torch.cat([powers, torch.zeros_like(powers[..., :1])], -1)
        return padded[..., self._band.to(powers.device)]

    def _at(self, f: Tensor) -> tuple[Tensor, Tensor]:
        key = (f.real.dtype, f.device)
        if key not in self._ready:
            self._ready[key] = self._band.to(f.device), self._weights.to(f.device, f.real.dtype)
        return self._ready[key]
