"""Phi of a separation: what is compared between maps, for one channel or several, whole, masked or by region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import ShapeError
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.levels import level_fractions, level_thresholds, smoothed_pyramid
from sundog.statistics.maps.morphology import gaussian_smooth
from sundog.statistics.scattering.covariance import ScatteringCovariance

SMOOTHINGS = (1.0, 2.0, 4.0, 8.0)  # pixels; the unsmoothed map is mostly contamination where it matters


@dataclass(frozen=True)
class Domain:
    """Where maps are known: periodic or not, which pixels, averaged over which regions.

    Attributes
    ----------
    shape : (ny, nx)
    boundary : "periodic" or "edge-mask"
    mask : (ny, nx), 0 where pixels are missing, or None
    regions : (R, ny, nx) weights, or None for the whole map
    """

    shape: tuple[int, int]
    boundary: str = "periodic"
    mask: Tensor | None = None
    regions: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether maps are periodic, complete, and averaged everywhere."""
        return self.boundary == "periodic" and self.mask is None and self.regions is None

    def windows(self, taper: int) -> Tensor:
        """Smooth weights (R, ny, nx) of the regions that vanish at missing pixels and open edges; mean square 1."""
        valid = torch.ones(self.shape) if self.mask is None else (self.mask != 0).float()
        areas = valid[None] if self.regions is None else valid * self.regions.float().cpu()
        padded = areas
        if self.boundary != "periodic":
            padded = torch.nn.functional.pad(areas, [2 * taper] * 4)
        # Eroding before smoothing: the window has fallen to a few per cent where the data end.
        inside = (gaussian_smooth(padded, taper / 2, periodic=True) > 0.9 * areas.amax()).float() * padded
        window = gaussian_smooth(inside, taper / 2, periodic=True)
        if self.boundary != "periodic":
            window = window[:, 2 * taper : -2 * taper, 2 * taper : -2 * taper]
        window = window * valid
        return window / window.square().mean((-2, -1), keepdim=True).sqrt()


class Statistics:
    """Phi of maps (n, C, ny, nx) as (n, K): scattering covariances, band powers and, if wanted, level fractions.

    Several channels add the covariances and the band powers between them. On masked or open maps band powers are those
    of the map under a smooth window. Patches (n, P C, ny, nx), C channels of each in turn, are measured one by one, and
    the mean over them is returned.

    Parameters
    ----------
    domain : where the maps are known
    J, L, isotropic, accuracy : of `ScatteringCovariance`
    bins : logarithmic bands of the spectrum
    levels : thresholds per one-point distribution of the smoothed maps; 0 for none; periodic maps only
    patches : P
    """

    def __init__(
        self, domain: Domain, J: int, L: int = 4, bins: int = 20, *,
        isotropic: bool = True, accuracy: str = "fast", levels: int = 0, patches: int = 1,
    ) -> None:  # fmt: skip
        self.domain, self.patches = domain, patches
        self.covariance = ScatteringCovariance(
            domain.shape, J, L, isotropic=isotropic, accuracy=accuracy,
            boundary=domain.boundary, mask=domain.mask, regions=domain.regions,
        )  # fmt: skip
        self.bands = BandPowers(domain.shape, bins)
        self._windows = None if domain.whole else domain.windows(max(2, min(domain.shape) // 16))
        self._count = levels
        self._levels: list[tuple[Tensor, Tensor]] = []
        self._sizes: dict[str, tuple[int, ...]] = {}

    @property
    def modes(self) -> Tensor:
        """Independent modes (b,) of each band over all patches, fewer under a window: about n <w^2>^2 / <w^4>."""
        modes = self.patches * self.bands.modes
        if self._windows is None:
            return modes
        w = self._windows.square()
        return modes * float((w.mean((-2, -1)) ** 2 / w.square().mean((-2, -1))).mean())

    def set_levels(self, d: Tensor) -> None:
        """Take the thresholds of the one-point distributions from the mixture (C, ny, nx)."""
        if self._count:
            self._levels = [level_thresholds(s, self._count) for s in smoothed_pyramid(d, SMOOTHINGS)]

    def __call__(self, x: Tensor) -> Tensor:
        x = self._apart(x)
        C = x.shape[1]
        pairs = [(a, b) for a in range(C) for b in range(a + 1, C)]
        if C == 1:
            groups = [self.covariance(x[:, 0]).vector.flatten(1)]
        else:
            alone, together = self.covariance.channels(x)
            groups = [torch.cat([c.vector.flatten(1) for c in found], 1) for found in (alone, list(together.values()))]
        powers = [self.powers(x).flatten(1)]
        if pairs:
            a, b = zip(*pairs)
            powers.append(self.cross_powers(x[:, list(a)], x[:, list(b)]).flatten(1))
        groups.append(torch.cat(powers, 1))
        if self._levels:
            smoothed = smoothed_pyramid(x.flatten(0, 1), SMOOTHINGS)
            found = [level_fractions(s, *level) for s, level in zip(smoothed, self._levels)]
            groups.append(torch.cat(found, 1).reshape(len(x), -1))
        return self._joined(groups)

    def cross(self, x: Tensor, y: Tensor) -> Tensor:
        """Phi of every pair of a channel of x (n, C, ny, nx) and one of y (n or 1, C', ny, nx): (n, K)."""
        x, y = self._apart(x), self._apart(y.expand(len(x), *y.shape[1:]))
        pairs = [(a, b) for a in range(x.shape[1]) for b in range(y.shape[1])]
        covariances = [self.covariance(x[:, a], y[:, b]).vector.flatten(1) for a, b in pairs]
        a, b = (list(side) for side in zip(*pairs))
        return self._joined([torch.cat(covariances, 1), self.cross_powers(x[:, a], y[:, b]).flatten(1)])

    def powers(self, x: Tensor) -> Tensor:
        """Band powers of maps (..., ny, nx): (..., R, b)."""
        return self.bands(self._windowed(x))

    def cross_powers(self, x: Tensor, y: Tensor) -> Tensor:
        """Band cross powers, the mean of Re x_k y_k^*: (..., R, b)."""
        return self.bands.average(*(self.bands.transform(self._windowed(maps)) for maps in (x, y)))

    def distance(self, found: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        """Mean squared pull of each group (covariances, cross covariances, bands, levels), averaged over groups.

        Some 20 band powers among 1500 covariances would else be left behind when the mean reaches 1.
        """
        square = ((found - target) / sigma).square()
        return torch.stack([part.mean() for part in square.split(self._split(len(square)))]).mean()

    def shared(self, values: Tensor) -> Tensor:
        """Mean over patches of values (n, P C, ...) of every map: (n, C, ...)."""
        return values.unflatten(1, (self.patches, -1)).mean(1)

    def _apart(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.patches:
            raise ShapeError("maps and patches differ in number", got=x.shape[1], expected=self.patches,
                             do="pass one map for each patch")
        return x.reshape(-1, x.shape[1] // self.patches, *x.shape[2:])

    def _joined(self, groups: list[Tensor]) -> Tensor:
        vector = torch.cat(groups, 1)
        vector = vector.reshape(-1, self.patches, vector.shape[1]).mean(1)
        self._sizes[str(vector.shape[1])] = tuple(g.shape[1] for g in groups)
        return vector

    def _split(self, length: int) -> list[int]:
        return list(self._sizes[str(length)])

    def _windowed(self, x: Tensor) -> Tensor:
        if self._windows is None:
            return x[..., None, :, :]
        window = self._windows.to(x)
        mean = torch.einsum("...yx,ryx->...r", x, window) / window.sum((-2, -1))
        return (x[..., None, :, :] - mean[..., None, None]) * window


def measured(phi: Statistics, maps: Tensor) -> Tensor:
    """Phi of many maps (n, C, ny, nx), a few at a time."""
    return torch.cat([phi(part) for part in maps.split(8)])


def measured_cross(phi: Statistics, x: Tensor, y: Tensor) -> Tensor:
    """Phi between many pairs of maps, a few at a time; either may be a single one."""
    n = max(len(x), len(y))
    x, y = (m.expand(n, *m.shape[1:]) for m in (x, y))
    return torch.cat([phi.cross(a, b) for a, b in zip(x.split(8), y.split(8))])


def spread(values: Tensor) -> Tensor:
    """Standard deviation over draws (K,), floored where a coefficient does not move at all."""
    sigma = values.std(0)
    return sigma.clamp_min(1e-6 * float(sigma.median()) + torch.finfo(sigma.dtype).tiny * 1e8)


def default_octaves(shape: tuple[int, int], open_edges: bool) -> int:
    """Octaves that `separate` takes: floor(log2(side)) - 1, two fewer where edges cost the coarsest their pixels."""
    return max(1, int(math.log2(min(shape))) - (3 if open_edges else 1))
