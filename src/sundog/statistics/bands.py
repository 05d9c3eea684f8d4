"""Band powers prepared for many evaluations: the spectrum as a constraint or a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from sundog.statistics.spectra import _edges, wavenumbers


class BandPowers:
    """Transform from periodic maps (n, ny, nx) to their power in logarithmic bands of |k|, (n, b).

    P_b = mean over the modes k of band b of |FFT x|^2 / (ny nx), in the bands of ``power_spectrum(x, bins=bins)`` and
    one more: everything above the Nyquist frequency of the axes, so that no mode but the mean is left out.

    Attributes
    ----------
    k : (b,) mean wavenumber, cycles per pixel; modes : (b,) Fourier modes per band, counted in the full plane.

    Example
    -------
    >>> bands = BandPowers((32, 32), 8)
    >>> x = torch.randn(100, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> bool((bands(x).mean(0) - 1).abs().max() < 0.1)
    True
    """

    def __init__(self, shape: tuple[int, int], bins: int = 20) -> None:
        ny, nx = shape
        k = wavenumbers(ny, nx)
        copies = torch.full_like(k, 2.0)
        copies[:, 0] = 1.0
        if nx % 2 == 0:
            copies[:, -1] = 1.0
        edges = _edges(k.flatten(), ny, nx, bins)
        band = torch.bucketize(k.flatten(), edges[1:], right=True)
        band[0] = len(edges)  # the mean belongs to no band
        used, band = torch.unique(band, return_inverse=True)
        self.count = len(used) - 1
        weights = copies.flatten()
        modes = torch.zeros(len(used), dtype=torch.float64).index_add(0, band, weights)
        centre = torch.zeros(len(used), dtype=torch.float64).index_add(0, band, weights * k.flatten()) / modes
        self.k, self.modes = centre[:-1], modes[:-1]
        self._band, self._weights = band, weights / modes[band]
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        key = (x.dtype, x.device)
        if key not in self._ready:
            self._ready[key] = self._band.to(x.device), self._weights.to(x)
        band, weights = self._ready[key]
        f = torch.fft.rfft2(x, norm="ortho").flatten(-2)
        power = (f.real**2 + f.imag**2) * weights
        return power.new_zeros(*power.shape[:-1], self.count + 1).index_add(-1, band, power)[..., :-1]

    def spread(self, powers: Tensor) -> Tensor:
        """Half plane (..., ny (nx // 2 + 1)) on which every mode has the power of its band, and the mean 0."""
        padded = torch.cat([powers, torch.zeros_like(powers[..., :1])], -1)
        return padded[..., self._band.to(powers.device)]
