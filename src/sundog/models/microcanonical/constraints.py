"""What a synthesis must reproduce, on one grid: scattering covariances, band powers, one-point distributions.

    features of x:  Phi(x) of each channel, and between channels, normalised by S2 of the target,
                    log P_b(x) / P_b*, and the coherence of two channels band by band,
                    f_i(x * g_s): soft fraction of pixels above level i, of the map and of smoothed maps,

each minus its target. A synthesis brings the sum of their squares to zero.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from sundog.errors import OptionError
from sundog.models.base import RowNoise
from sundog.models.microcanonical.examples import Examples
from sundog.statistics.maps.bands import BandPowers
from sundog.statistics.maps.levels import level_fractions, level_thresholds, smoothed_pyramid
from sundog.statistics.scattering.covariance import ScatteringCovariance
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.scattering.line import LineScatteringCovariance
from sundog.statistics.scattering.volume import VolumeScatteringCovariance

Transform = ScatteringCovariance | LineScatteringCovariance | VolumeScatteringCovariance
CHUNK = 16  # examples measured at once
POWER_FLOOR = 1e-13  # of the strongest band: below it a float32 transform has no power but rounding


class Constraints(nn.Module):
    """Targets on one grid, and the distance of maps from them.

    Parameters
    ----------
    seen, drawn : shapes of the examples and of the maps to be made, one to three axes
    channels : of both
    J, L, accuracy, isotropic : of the scattering transform
    bins, levels, smoothings : as in `MicrocanonicalModel`
    """

    raw: Tensor
    cross: Tensor
    roots: Tensor
    powers: Tensor
    coherence: Tensor
    levels: Tensor
    widths: Tensor
    fractions: Tensor

    def __init__(
        self, seen: tuple[int, ...], drawn: tuple[int, ...], channels: int, *, J: int, L: int, bins: int, levels: int,
        smoothings: tuple[float, ...], accuracy: str, isotropic: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.seen, self.drawn, self.channels, self._bins = tuple(seen), tuple(drawn), channels, bins
        self._scattering: dict[str, Any] = {"J": J, "L": L, "accuracy": accuracy, "isotropic": isotropic}
        self.smoothings = tuple(float(s) for s in smoothings if s < min(self.seen) / 4)
        self.phi = transform(self.drawn, **self._scattering)
        self.seen_bands = BandPowers(self.seen, bins)
        self.bands = BandPowers(self.drawn, edges=self.seen_bands.edges)
        self.pairs = tuple(itertools.combinations(range(channels), 2))
        count, kinds = len(self.seen_bands.k), len(self.smoothings)
        crossed = len(self.phi.cross_labels) if isinstance(self.phi, ScatteringCovariance) and self.pairs else 0
        sizes = {
            "raw": (channels, len(self.phi.labels)), "cross": (len(self.pairs), crossed),
            "roots": (len(self.pairs), crossed), "powers": (channels, count), "coherence": (len(self.pairs), count),
            "levels": (channels, kinds, levels), "widths": (channels, kinds, levels),
            "fractions": (channels, kinds, levels),
        }  # fmt: skip
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))

    # -- targets -------------------------------------------------------------------------------------------------

    def measure(self, examples: Examples) -> None:
        """Set the targets to the means over examples."""
        with torch.no_grad():
            self._measure_levels(examples)
            self._measure(examples)

    def leaning_on(self, examples: Examples, share: float) -> Constraints:
        """The same constraints with targets between these examples' own (share 0) and those set before (share 1).

        Examples of which gaps leave nothing to the coarsest wavelets have no targets of their own.
        """
        own = copy.copy(self)
        own._buffers = dict(self._buffers)
        with torch.no_grad():
            try:
                own._measure(examples)
            except OptionError:
                return self
            for name in ("raw", "cross", "powers", "coherence", "fractions"):
                own._set(name, torch.lerp(getattr(own, name), getattr(self, name), share))
            own._set_roots()
        return own

    def _measure(self, examples: Examples) -> None:
        self._measure_scattering(examples)
        self._measure_powers(examples)
        self._measure_fractions(examples)

    def _measure_scattering(self, examples: Examples) -> None:
        facts: dict[str, Any] = {"boundary": examples.boundary, "mask": None if examples.whole else examples.valid}
        phi = transform(self.seen, **self._scattering, **facts)
        alone: list[Tensor] = []
        cross: list[Tensor] = []
        for part in examples.maps.split(CHUNK):
            if not self.pairs:
                alone.append(phi(part[:, 0]).vector[:, None])
                continue
            single, together = phi.channels(part)  # type: ignore[union-attr]
            alone.append(torch.stack([c.vector for c in single], 1))
            cross.append(torch.stack([together[pair].vector for pair in self.pairs], 1))
        self._set("raw", torch.cat(alone).mean(0))
        if self.pairs:
            self._set("cross", torch.cat(cross).mean(0))
            self._set_roots()

    def _set_roots(self) -> None:
        if self.pairs:
            self._set("roots", torch.stack([self._roots(a, b) for a, b in self.pairs]))

    def _roots(self, a: int, b: int) -> Tensor:
        """What the cross coefficients of two channels are multiplied with: 1 / sqrt(S2 S2) of the targets."""
        assert isinstance(self.phi, ScatteringCovariance)
        targets = [self._target(c) for c in (a, b)]
        variances = torch.cat([t["var"] for t in targets])
        ones = torch.ones_like(self.cross[0])
        powers = [t["S2"] if self.phi.isotropic else t["S2"].view(self.phi.J, self.phi.L) for t in targets]
        return CrossCoefficients(ones, self.phi.cross_labels, powers[0], powers[1], variances).normalised().vector

    def _measure_powers(self, examples: Examples) -> None:
        f = self.seen_bands.transform(examples.windowed())
        powers = self.seen_bands.average(f).mean(0)
        floor = POWER_FLOOR * powers.amax(-1, keepdim=True)
        self._set("powers", powers.clamp_min(floor))
        if self.pairs:
            found = [self.seen_bands.average(f[:, a], f[:, b]).mean(0) for a, b in self.pairs]
            self._set("coherence", torch.stack([c / self._root_power(*pair) for c, pair in zip(found, self.pairs)]))

    def _measure_levels(self, examples: Examples) -> None:
        """Thresholds at the quantiles of the examples, for each channel and smoothing."""
        if not (self.smoothings and self.levels.shape[-1]):
            return
        found = [[level_thresholds(s, self.levels.shape[-1]) for s in examples.smoothed(c, self.smoothings)]
                 for c in range(self.channels)]  # fmt: skip
        for i, name in enumerate(("levels", "widths")):
            self._set(name, torch.stack([torch.stack([kind[i] for kind in channel]) for channel in found]))

    def _measure_fractions(self, examples: Examples) -> None:
        if not (self.smoothings and self.levels.shape[-1]):
            return
        found = []
        for c in range(self.channels):
            smooth = examples.smoothed(c, self.smoothings)
            places = [(self.levels[c, i].to(s), self.widths[c, i].to(s)) for i, s in enumerate(smooth)]
            found.append([level_fractions(s, *place).mean(0) for s, place in zip(smooth, places)])
        self._set("fractions", torch.stack([torch.stack(kinds) for kinds in found]))

    def _set(self, name: str, value: Tensor) -> None:
        self._buffers[name] = value.to(self._buffers[name])

    def _target(self, channel: int) -> ScatteringCoefficients:
        return ScatteringCoefficients(self.raw[channel], self.phi.labels)

    def _root_power(self, a: int, b: int) -> Tensor:
        return (self.powers[a] * self.powers[b]).sqrt()

    # -- distances -----------------------------------------------------------------------------------------------

    def features(self, x: Tensor, *, linear: bool = False) -> Tensor:
        """Statistics of maps x (n, channels, *drawn) minus their targets, (n, K).

        ``linear`` compares powers by their ratio instead of its logarithm: then a mean over maps of the features is the
        feature of the mean statistics.
        """
        return torch.cat([*self._scattering_features(x, linear), *self._power_features(x, linear),
                          *self._level_features(x)], -1)  # fmt: skip

    def energies(self, x: Tensor) -> Tensor:
        """Sum of the squared features of each map, (n,); zero where every constraint is met."""
        return self.features(x).square().sum(-1)

    def mismatch(self, examples: Examples) -> Tensor:
        """Energy of the mean statistics of other examples, a scalar: for those that `features` cannot measure."""
        other = Constraints(self.seen, self.drawn, self.channels, bins=self._bins, levels=0, smoothings=(),
                            **self._scattering)  # fmt: skip
        other = other.to(self.raw)
        other.measure(examples)
        total = (other.powers / self.powers).log().square().sum()
        for c in range(self.channels):
            both = [k._target(c).normalised(self._target(c)).vector for k in (other, self)]
            total = total + (both[0] - both[1]).square().sum()
        return total

    def _scattering_features(self, x: Tensor, linear: bool) -> list[Tensor]:
        together: dict[tuple[int, int], CrossCoefficients] = {}
        if self.pairs:
            alone, together = self.phi.channels(x)  # type: ignore[union-attr]
        else:
            alone = [self.phi(x[:, 0])]
        found = []
        for c, own in enumerate(alone):
            target = self._target(c)
            both = [v.normalised(target, log=not linear).vector for v in (own, target)]
            found.append(both[0] - both[1])
        for i, pair in enumerate(self.pairs):
            found.append((together[pair].vector - self.cross[i]) * self.roots[i])
        return found

    def _power_features(self, x: Tensor, linear: bool) -> list[Tensor]:
        f = self.bands.transform(x)
        target = self.powers[:, self.bands.used]
        floor = POWER_FLOOR * target.amax(-1, keepdim=True)
        ratio = (self.bands.average(f) + floor) / (target + floor)
        found = [(ratio - 1 if linear else ratio.log()).flatten(1)]
        for i, (a, b) in enumerate(self.pairs):
            scale = self._root_power(a, b)[self.bands.used]
            found.append(self.bands.average(f[:, a], f[:, b]) / scale - self.coherence[i, self.bands.used])
        return found

    def _level_features(self, x: Tensor) -> list[Tensor]:
        if not self.levels.shape[-1]:
            return []
        found = []
        for c in range(self.channels):
            for i, smooth in enumerate(smoothed_pyramid(x[:, c], self.smoothings)):
                place = self.levels[c, i], self.widths[c, i]
                found.append(level_fractions(smooth, *place) - self.fractions[c, i])
        return found

    # -- starts --------------------------------------------------------------------------------------------------

    def start(self, noise: RowNoise) -> Tensor:
        """Gaussian maps (n, channels, *drawn) with the mean, the band powers and the coherence of the targets."""
        f = self.bands.transform(noise.normal(self.channels, *self.drawn))
        powers = self.powers[:, self.bands.used]
        matrix = torch.diag_embed(powers.T)
        for i, (a, b) in enumerate(self.pairs):
            shared = self.coherence[i, self.bands.used].clamp(-0.999, 0.999) * (powers[a] * powers[b]).sqrt()
            matrix[:, a, b] = matrix[:, b, a] = shared
        factors = _square_roots(matrix)
        mixed = sum(self.bands.spread(factors[:, :, c].T)[None] * f[:, None, c] for c in range(self.channels))
        assert isinstance(mixed, Tensor)
        half = (*self.drawn[:-1], self.drawn[-1] // 2 + 1)
        dims = tuple(range(-len(self.drawn), 0))
        fields = torch.fft.irfftn(mixed.unflatten(-1, half), s=list(self.drawn), dim=dims, norm="ortho")
        return fields + self.raw[:, 0].view(1, -1, *[1] * len(self.drawn))


def transform(
    shape: tuple[int, ...], *, J: int, L: int, accuracy: str, isotropic: bool, boundary: str = "periodic",
    mask: Tensor | None = None,
) -> Transform:  # fmt: skip
    """The scattering transform of lines, maps or cubes of a shape; a line keeps the arrow of time."""
    facts = {"boundary": boundary, "mask": mask, "accuracy": accuracy}
    if len(shape) == 1:
        return LineScatteringCovariance(shape[0], J, **facts)  # type: ignore[arg-type]
    if len(shape) == 3:
        return VolumeScatteringCovariance(shape, J, isotropic=isotropic, **facts)  # type: ignore[arg-type]
    if len(shape) != 2:
        raise OptionError("scattering statistics of this many axes", got=len(shape), expected="1, 2 or 3",
                          do="pass (nx,), (ny, nx) or (nz, ny, nx)")  # fmt: skip
    return ScatteringCovariance(shape, J, L, isotropic=isotropic, **facts)  # type: ignore[arg-type]


def _square_roots(matrix: Tensor) -> Tensor:
    """A with A A^T = matrix (b, c, c), also where rounding or few modes have spoilt its positive eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return (vectors * values.clamp_min(0).sqrt()[:, None]).to(matrix)
