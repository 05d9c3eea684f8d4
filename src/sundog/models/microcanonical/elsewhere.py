"""What fills a gap must look like: scattering statistics and levels of windows of its shape cut elsewhere in the map.

Statistics of a whole map hardly see what stands in its gap; what the known part deviates from its targets would be made
up for there. Here both are averages over a window: that around the gap, and the same window moved to known pixels.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, pad

from sundog.models.microcanonical.examples import missing_distance
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.levels import level_thresholds, smoothed_pyramid
from sundog.statistics.maps.morphology import gaussian_smooth
from sundog.statistics.scattering.covariance import ScatteringCovariance

WINDOWS, FEWEST = 32, 6  # places elsewhere
SHARED = 0.3  # of a window elsewhere may be missing
TRIED = 16  # places along each axis
SEAM = 2.0  # pixels, width of the Gaussian that opens the gap by about as much
CLOSE = 0.5  # mean squared pull at which a window is one among the others; their own mean is 1


class Elsewhere:
    """Distance of the window around a gap from the windows elsewhere: the mean squared pull of its statistics.

    Parameters
    ----------
    around : (ny, nx) the window: 1 in the gap and just around it
    width : of the gap in pixels; small ones have fewer octaves
    J, L, accuracy, isotropic, bins, levels, smoothings : as in `MicrocanonicalModel`

    Windows come of the same map (`in_map`) or of others (`among`). ``windows`` counts them; below `FEWEST` there is no
    distance.
    """

    def __init__(self, around: Tensor, width: float, *, J: int, bins: int, levels: int, smoothings: tuple[float, ...],
                 **scattering: Any) -> None:
        self.around, self.windows = around[None], 0
        self.octaves = max(1, min(J, int(math.log2(max(width, 4))) - 1))
        self.smoothings = tuple(s for s in smoothings if s < width / 4)
        self._bins, self._levels, self._scattering = bins, levels, scattering

    @staticmethod
    def in_map(field: Tensor, valid: Tensor, periodic: bool, **options: Any) -> Elsewhere:
        """Of a map (channels, ny, nx) with a first guess where it is not ``valid``: the window moved in it."""
        around = opened((~valid).to(field), periodic=True)
        found = Elsewhere(around, 2 * float(missing_distance(~valid, True).max()), **options)
        trusted = valid.clone()
        if not periodic:
            edge = 2**found.octaves
            trusted[:edge], trusted[-edge:], trusted[:, :edge], trusted[:, -edge:] = False, False, False, False
        return found._against(field[None], _places(around, trusted.to(field)))

    @staticmethod
    def among(maps: Tensor, around: Tensor, width: float, **options: Any) -> Elsewhere:
        """Of maps (n, channels, ny, nx), each with the window in the same place."""
        return Elsewhere(around, width, **options)._against(maps, around[None])

    def _against(self, maps: Tensor, regions: Tensor) -> Elsewhere:
        self.windows = len(maps) * len(regions)
        if self.windows < FEWEST:
            return self
        size = (int(maps.shape[-2]), int(maps.shape[-1]))
        self.bands = BandPowers(size, self._bins)
        self.phi, other = (ScatteringCovariance(size, self.octaves, regions=part, **self._scattering)
                           for part in (self.around, regions))
        with torch.no_grad():
            self.places = [[level_thresholds(s, self._levels) for s in smoothed_pyramid(x - x.mean(), self.smoothings)]
                           for x in maps.unbind(1)] if self._levels and self.smoothings else []
            self.every = [v.flatten(0, 1) for v in self._measured(maps, other, regions)]
            self.targets = [(v.mean(0), v.std(0)) for v in self.every]
        return self

    def towards(self, share: float) -> Elsewhere:
        """The same distance from one window, that at ``share`` in [0, 1) of them, and not from their mean.

        Gaps that are filled each towards a window of its own differ as windows do; towards the mean, too little.
        """
        one, place = copy.copy(self), int(share * self.windows)
        one.targets = [(v[place], std) for v, (_, std) in zip(self.every, self.targets)]
        return one

    def energies(self, x: Tensor) -> Tensor:
        """Mean squared pull, of scattering statistics, bands and levels alike, of maps (n, channels, ny, nx): (n,)."""
        found = zip(self._measured(x, self.phi, self.around), self.targets)
        pulls = [((v[:, 0] - mean) / (std + 1e-2 * std.mean())).square().mean(-1) for v, (mean, std) in found]
        return torch.stack(pulls).mean(0)

    def _measured(self, x: Tensor, phi: ScatteringCovariance, regions: Tensor) -> list[Tensor]:
        """Normalised scattering statistics, log band powers and level fractions under each region: (n, R, K) each."""
        alone, together = phi.channels(x)
        # The mean of a window, the first coefficient, is left to what the pixels around it say.
        parts = [torch.cat([*(c.normalised().vector[..., 1:] for c in alone),
                            *(c.normalised().vector for c in together.values())], -1)]
        window = gaussian_smooth(regions, SEAM, periodic=True)[:, None]
        mean = (x[:, None] * window).sum((-2, -1), keepdim=True) / window.sum((-2, -1), keepdim=True)
        powers = self.bands((x[:, None] - mean) * window / window.square().mean((-2, -1), keepdim=True).sqrt())
        parts.append(powers.clamp_min(1e-12).log().flatten(2))
        if self.places:
            found = []
            for c, places in enumerate(self.places):
                for smooth, (levels, widths) in zip(smoothed_pyramid(x[:, c], self.smoothings), places):
                    area = adaptive_avg_pool2d(regions[None], (smooth.shape[-2], smooth.shape[-1]))[0]
                    area = area / area.sum((-2, -1), keepdim=True)
                    high = smooth[:, None] - mean[:, :, c]  # (n, R, ny, nx)
                    found += [(((high - a) / w).sigmoid() * area).sum((-2, -1))[..., None]
                              for a, w in zip(levels, widths)]
            parts.append(torch.cat(found, -1))
        return parts


def opened(gap: Tensor, *, periodic: bool) -> Tensor:
    """A gap (ny, nx) of ones and what lies just around it."""
    mode = "circular" if periodic else "constant"
    near = max_pool2d(pad(gap[None, None], (2, 2, 2, 2), mode=mode), 5, stride=1)[0, 0]  # lone pixels, smoothed, sink
    return ((gaussian_smooth(gap, SEAM, periodic=periodic) > 0.1) | (near > 0)).to(gap)


def _places(around: Tensor, trusted: Tensor) -> Tensor:
    """The window moved to places of which little is missing, weight 0 there: (R, ny, nx), at most 32."""
    ny, nx = around.shape
    found = []
    for i in range(0, ny, max(1, ny // TRIED)):
        for j in range(0, nx, max(1, nx // TRIED)):
            moved = around.roll((i, j), (0, 1)) * trusted
            if float(moved.sum()) > (1 - SHARED) * float(around.sum()):
                found.append(moved)
    kept = found[:: -(-len(found) // WINDOWS)] if found else []
    return torch.stack(kept) if kept else around.new_zeros(0, ny, nx)
