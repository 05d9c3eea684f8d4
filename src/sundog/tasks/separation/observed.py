"""Contaminations like one observed patch: a scattering generator fitted on it, with the spread of a real sky."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sundog.errors import DataError, ShapeError
from sundog.models.microcanonical.family import MicrocanonicalModel
from sundog.random import stream
from sundog.statistics.maps.bands import BandPowers
from sundog.tasks.separation.sources import as_maps, shifted


class Observed:
    """Draws of a stationary contamination seen alone in one patch or a few; pass it to `separate`.

    A generator of the family "scattering" is fitted on the patches and run ``count`` times; every draw is one of these
    maps, shifted at random, with the power of each band multiplied by a Gamma variate of mean 1 and variance
    (2 / modes) (1 + 1 / patches). Generated maps all have the power of their example; without this factor they would
    vary less than two patches of sky do, and less than the mixture's own contamination differs from the example.

    Parameters
    ----------
    patches : (ny, nx) or (m, ny, nx), at least as large as the mixture, cut to its size; in its unit
    shape : (ny, nx) of the mixture
    count : maps generated
    iterations : of the synthesis
    seed : of the generated maps
    periodic : whether the patches wrap around; open ones are made periodic by `periodic_part`

    Source: Auclair et al. 2024, A&A 681, A1 (a generative model of the contamination from one patch).

    Example
    -------
    >>> patch = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    >>> draw = Observed(patch, (32, 32), count=2, iterations=5)
    >>> draw(3, torch.Generator().manual_seed(1)).shape
    torch.Size([3, 32, 32])
    """

    def __init__(
        self, patches: Any, shape: tuple[int, int], *, count: int = 24, iterations: int = 100, seed: int = 0,
        periodic: bool = False,
    ) -> None:  # fmt: skip
        maps = as_maps(patches, None, "patches").float()
        if any(n < wanted for n, wanted in zip(maps.shape[-2:], shape)):
            raise ShapeError("the patch is smaller than the mixture", got=tuple(maps.shape[-2:]),
                             expected=f"at least {shape}", do="cut the mixture, or observe a larger patch")
        maps = _cut(maps, shape)
        self.centre, self.unit = maps.mean(), maps.std()
        if not float(self.unit) > 0:
            raise DataError("a constant patch", got="one value", expected="a map that varies", do="check the patch")
        standard = (maps - self.centre) / self.unit
        model = MicrocanonicalModel(shape, iterations=iterations)
        model.prepare(standard if periodic else periodic_part(standard), None)
        self.maps = model.sample(count, None, stream(seed, "observed")).detach()
        self.bands = BandPowers(shape)
        self.variance = 2 / self.bands.modes * (1 + 1 / len(maps))

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        moved = shifted(self.maps[torch.randint(len(self.maps), (n,), generator=generator)], generator)
        factor = _gamma(1 / self.variance.expand(n, -1), generator) * self.variance
        ny, nx = moved.shape[-2:]
        amplitude = self.bands.spread(factor.sqrt().to(moved)).reshape(n, ny, nx // 2 + 1)
        mean = moved.mean((-2, -1), keepdim=True)
        varied = torch.fft.irfft2(torch.fft.rfft2(moved) * amplitude, s=(ny, nx))
        return (varied + mean) * self.unit + self.centre


def periodic_part(x: Tensor) -> Tensor:
    """Maps (..., ny, nx) less the smooth map that carries their jumps across the edges; periodic, alike inside.

    p = x - s with Laplacian(s) = v, v the jumps at the edges; s has no mean.

    Source: Moisan 2011, J. Math. Imaging Vis. 39, 161, eq. 8.

    Example
    -------
    >>> ramp = torch.arange(32.0).expand(32, 32)
    >>> bool(periodic_part(ramp).std() < 0.2 * ramp.std())
    True
    """
    ny, nx = x.shape[-2:]
    v = torch.zeros_like(x)
    v[..., 0, :] += x[..., 0, :] - x[..., -1, :]
    v[..., -1, :] -= x[..., 0, :] - x[..., -1, :]
    v[..., :, 0] += x[..., :, 0] - x[..., :, -1]
    v[..., :, -1] -= x[..., :, 0] - x[..., :, -1]
    ky = torch.fft.fftfreq(ny, dtype=x.dtype, device=x.device)[:, None] * 2 * torch.pi
    kx = torch.fft.rfftfreq(nx, dtype=x.dtype, device=x.device)[None] * 2 * torch.pi
    laplacian = 4 - 2 * ky.cos() - 2 * kx.cos()
    laplacian[0, 0] = 1.0
    f = torch.fft.rfft2(v) / laplacian
    f[..., 0, 0] = 0
    return x - torch.fft.irfft2(f, s=(ny, nx))


def _gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Gamma variates; normal above 30, where torch's sampler knows no generator, by Wilson & Hilferty 1931."""
    z = torch.randn(shape.shape, generator=generator, dtype=shape.dtype)
    return shape * (1 - 1 / (9 * shape) + z / (3 * shape.sqrt())).clamp_min(0.05) ** 3


def _cut(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """All the disjoint cut-outs of the wanted size: (m', ny, nx)."""
    rows, columns = (n // wanted for n, wanted in zip(maps.shape[-2:], shape))
    cuts = [maps[..., i * shape[0] : (i + 1) * shape[0], j * shape[1] : (j + 1) * shape[1]]
            for i in range(rows) for j in range(columns)]  # fmt: skip
    return torch.cat(cuts)
