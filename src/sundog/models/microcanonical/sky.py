"""What a synthesis on the sphere must reproduce: the constraints of a HEALPix sky, as `Constraints` on a grid.

    features of x:  Phi(x) normalised by S2 of the target,  log C_b(x) / C_b*,  f_i(x * g_s),

with Phi the rotation-invariant scattering covariances of the sphere, C_b the power in logarithmic bands of l up to the
band limit of the map, and f_i soft fractions of pixels above levels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from sundog.models.base import RowNoise
from sundog.models.microcanonical.examples import KEPT, Examples
from sundog.statistics.maps.levels import level_fractions, level_thresholds
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.sphere.scattering import MASK_REACH, SphereScatteringCovariance
from sundog.statistics.sphere.transforms import (
    analyse_healpix,
    copies,
    degrees,
    pixel_vectors,
    ring_order,
    synthesise_healpix,
)

POWER_FLOOR = 1e-12  # of the strongest band
TAPER = 6.0  # pixels


class SkyConstraints(nn.Module):
    """Targets on the sphere, and the distance of skies (n, 1, 12 nside^2) from them.

    Parameters
    ----------
    nside, nested : of the maps
    J, L, accuracy : of `SphereScatteringCovariance`
    bins, levels, smoothings : as in `MicrocanonicalModel`, widths in pixels
    """

    raw: Tensor
    powers: Tensor
    levels: Tensor
    widths: Tensor
    fractions: Tensor

    def __init__(
        self, nside: int, *, nested: bool, J: int, L: int, bins: int, levels: int, smoothings: tuple[float, ...],
        accuracy: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.nside, self.lmax, self.nested = nside, 3 * nside - 1, nested
        self.seen = self.drawn = (12 * nside**2,)
        self.channels = 1
        self._options: dict[str, Any] = {"J": J, "L": L, "accuracy": accuracy, "nested": nested}
        self._sizes: dict[str, Any] = {"bins": bins, "levels": levels, "smoothings": smoothings}
        self.phi = SphereScatteringCovariance(nside, **self._options)
        self.smoothings = tuple(float(s) for s in smoothings if s < nside / 4)
        self.order = ring_order(nside) if nested else torch.arange(12 * nside**2)
        self.band, self.modes = _bands(self.lmax, bins)
        self.ell = degrees(self.lmax)
        kinds = len(self.smoothings)
        for name, size in (("raw", (1, len(self.phi.labels))), ("powers", (1, len(self.modes))),
                           *((word, (kinds, levels)) for word in ("levels", "widths", "fractions"))):  # fmt: skip
            self.register_buffer(name, torch.zeros(size))

    def measure(self, examples: Examples) -> None:
        """Set the targets to the means over the examples; of powers, under a window that is 0 at missing pixels."""
        with torch.no_grad():
            phi = self.phi if examples.whole else SphereScatteringCovariance(
                self.nside, mask=examples.valid, **self._options)  # fmt: skip
            x = examples.maps[:, 0]
            self._set("raw", phi(x).vector.mean(0, keepdim=True))
            alm = self._analysed(x)
            self._set("powers", self._seen_powers(x, examples.valid))
            smooth = self._smoothed(x, alm) if self.levels.shape[-1] else []
            if not examples.whole:
                smooth = [s[:, self._valid_below(examples.valid, s.shape[1])] for s in smooth]
            if smooth:
                places = [level_thresholds(s, self.levels.shape[-1]) for s in smooth]
                for i, name in enumerate(("levels", "widths")):
                    self._set(name, torch.stack([place[i] for place in places]))
                self._set("fractions", torch.stack([level_fractions(s, *p).mean(0) for s, p in zip(smooth, places)]))

    def features(self, x: Tensor, *, linear: bool = False) -> Tensor:
        """Statistics of skies minus their targets, (n, K); ``linear`` as in `Constraints.features`."""
        sky = x[:, 0]
        alm = self._analysed(sky)
        target = ScatteringCoefficients(self.raw[0], self.phi.labels)
        both = [c.normalised(target, log=not linear).vector for c in (self.phi(sky), target)]
        floor = POWER_FLOOR * self.powers.max()
        ratio = (self._powers(alm) + floor) / (self.powers + floor)
        found = [both[0] - both[1], ratio - 1 if linear else ratio.log()]
        if self.levels.shape[-1]:
            for i, smooth in enumerate(self._smoothed(sky, alm)):
                found.append(level_fractions(smooth, self.levels[i], self.widths[i]) - self.fractions[i])
        return torch.cat(found, -1)

    def energies(self, x: Tensor) -> Tensor:
        """Sum of the squared features of each sky, (n,)."""
        return self.features(x).square().sum(-1)

    def mismatch(self, examples: Examples) -> Tensor:
        """Energy of the mean statistics of other examples, without one-point distributions."""
        other = SkyConstraints(self.nside, **self._options, **{**self._sizes, "levels": 0, "smoothings": ()})
        other = other.to(self.raw)
        other.measure(examples)
        target = ScatteringCoefficients(self.raw[0], self.phi.labels)
        both = [ScatteringCoefficients(k.raw[0], self.phi.labels).normalised(target).vector for k in (other, self)]
        return (both[0] - both[1]).square().sum() + (other.powers / self.powers).log().square().sum()

    def start(self, noise: RowNoise) -> Tensor:
        """Gaussian skies (n, 1, pixels) with the mean and the band powers of the targets."""
        power = torch.cat([torch.zeros_like(self.powers[0, :1]), self.powers[0]])[self.band]
        sky = synthesise_healpix(self.white(noise) * power.sqrt(), self.nside, self.lmax)
        out = torch.empty_like(sky)
        out[:, self.order] = sky
        return out[:, None].to(self.raw) + self.raw[0, 0]

    def white(self, noise: RowNoise) -> Tensor:
        """Coefficients (n, K) of Gaussian skies of C_l = 1."""
        white = noise.normal(len(self.ell), 2)
        alone = (copies(self.lmax) == 1).to(white)[:, None] * torch.tensor([1.0, -1.0], device=white.device)
        # m = 0: real, variance 1; else half of it in each part
        scale = torch.where(alone > 0, 1.0, torch.where(alone < 0, 0.0, math.sqrt(0.5)))
        return torch.view_as_complex(white * scale)

    def spectrum(self, x: Tensor, valid: Tensor) -> Tensor:
        """C_l (lmax + 1,) of skies (n, pixels), straight in ln l between bands; the monopole has the largest."""
        log = torch.arange(1.0, self.lmax + 1, dtype=torch.float64).log()
        band = self.band[1 : self.lmax + 1]  # m = 0 comes first
        centres = [float(log[band == b].mean()) for b in range(1, int(band.max()) + 1)]
        found = torch.from_numpy(np.interp(log, centres, self._seen_powers(x, valid)[0].double().log())).exp()
        return torch.cat([found.max()[None], found])

    def _seen_powers(self, x: Tensor, valid: Tensor) -> Tensor:
        """Mean power in bands under a window that is 0 at missing pixels, (1, bands)."""
        w = self._taper(valid).to(x)
        seen = (x - (x * w).sum(-1, keepdim=True) / w.sum()) * w
        powers = self._powers(self._analysed(seen)).mean(0, keepdim=True) / w.square().mean()
        return powers.clamp_min(POWER_FLOOR * float(powers.max()))

    def _analysed(self, x: Tensor) -> Tensor:
        # Both sides of every comparison share the error of the quadrature: no iterations.
        return analyse_healpix(x[:, self.order], self.lmax, 0)

    def _powers(self, alm: Tensor) -> Tensor:
        square = torch.view_as_real(alm).square().sum(-1) * copies(self.lmax).to(alm.real)
        total = square.new_zeros(len(alm), len(self.modes) + 1).index_add(1, self.band, square)
        return total[:, 1:] / self.modes.to(total)

    def _smoothed(self, x: Tensor, alm: Tensor) -> list[Tensor]:
        """Skies smoothed by each width, on the coarsest pixels that carry them."""
        found = []
        for s in self.smoothings:
            if s == 0:
                found.append(x)
                continue
            sigma = s * math.sqrt(4 * math.pi / self.seen[0])
            ell = self.ell.double()
            window = torch.exp(-0.5 * ell * (ell + 1) * sigma**2).to(alm.real)
            found.append(synthesise_healpix(alm * window, self._nside_below(s), self.lmax))
        return found

    def _nside_below(self, s: float) -> int:
        return max(4, self.nside // 2 ** int(math.log2(max(1.0, s))))

    def _valid_below(self, valid: Tensor, pixels: int) -> Tensor:
        """Pixels of a smoothed sky (RING order) whose surroundings are valid; of the sky itself in its own order."""
        if pixels == len(valid):
            return valid
        share = analyse_healpix(valid.to(self.raw)[None, self.order], self.lmax, 0)
        nside = math.isqrt(pixels // 12)
        sigma = math.sqrt(4 * math.pi / pixels)
        window = torch.exp(-0.5 * self.ell * (self.ell + 1) * sigma**2).to(share.real)
        return synthesise_healpix(share * window, nside, self.lmax)[0] > 0.9

    def _taper(self, valid: Tensor) -> Tensor:
        """Weights (pixels,): sin^2 of the distance to the nearest missing pixel, 1 from six pixels on."""
        if bool(valid.all()):
            return torch.ones(len(valid))
        vectors = pixel_vectors(self.nside)
        hidden = ~valid[self.order].numpy()
        distance = cKDTree(vectors[hidden]).query(vectors)[0] / math.sqrt(4 * math.pi / len(vectors))
        out = torch.empty(len(valid))
        out[self.order] = torch.from_numpy(np.sin(np.pi / 2 * np.clip(distance / TAPER, 0, 1)) ** 2).float()
        return out

    def _set(self, name: str, value: Tensor) -> None:
        self._buffers[name] = value.to(self._buffers[name])


def octaves_in_sky(valid: Tensor, nside: int, nested: bool) -> int:
    """Octaves of a sky, fewer beside a mask: as many as the coarsest of which keeps a fifth of the sky; at least 1."""
    J, lmax = max(1, int(math.log2(2 * nside)) - 2), 2 * nside
    if bool(valid.all()):
        return J
    vectors = pixel_vectors(nside)
    hidden = ~(valid[ring_order(nside)] if nested else valid).numpy()
    angle = 2 * np.arcsin(np.clip(cKDTree(vectors[hidden]).query(vectors)[0] / 2, 0, 1))
    while J > 1 and (angle > MASK_REACH * 2**J / lmax).mean() < KEPT:
        J -= 1
    return J


def _bands(lmax: int, bins: int) -> tuple[Tensor, Tensor]:
    """1 + band of each coefficient (0 for l = 0), and coefficients per band with both signs of m."""
    edges = torch.unique(torch.logspace(0, math.log10(lmax + 1), bins + 1).round().long())
    band = torch.bucketize(degrees(lmax), edges, right=True).clamp_max(len(edges) - 1)
    modes = torch.zeros(len(edges)).index_add(0, band, copies(lmax).float())
    return band, modes[1:]
