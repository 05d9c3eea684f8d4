"""Microcanonical generation: maps with the scattering statistics of the examples, found by descent from noise.

    x_0 = Gaussian field with the band powers of the examples,      x = argmin E(x) by L-BFGS from x_0,
    E(x) = |Phi(x) - Phi*|^2 + sum_b log(P_b(x) / P_b*)^2 + sum_(s,i) (f_i(x * g_s) - f*_(s,i))^2

Phi: isotropic scattering covariances, normalised by S2 of the target; P_b: power in logarithmic bands, without which
the spectrum inside an octave is free; f_i: soft fraction of pixels above level i, of the map and of smoothed maps,
without which the one-point distribution drifts. Targets are means over the examples; one example is enough.
Nothing is trained: all randomness of a sample is its starting noise.

Source: Bruna & Mallat 2019, Math. Stat. Learn. 1, 257 (microcanonical descent); Cheng et al. 2024, PNAS Nexus 3,
pgae103 (scattering covariances); Allys et al. 2020, PRD 102, 103506 (validation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sundog.errors import DataError, OptionError, RunError, ShapeError
from sundog.models.base import Model, Objective
from sundog.solve.descend import Descent, Progress, descend
from sundog.statistics.bands import BandPowers
from sundog.statistics.coefficients import ScatteringCoefficients
from sundog.statistics.levels import level_fractions, level_thresholds, smoothed_pyramid
from sundog.statistics.scattering_covariance import ScatteringCovariance

CHUNK = 16  # maps measured at once in `prepare` and `score`
TAGS = ("raw", "powers", "levels", "widths", "fractions")


class MicrocanonicalModel(Model):
    """Generator of statistically isotropic periodic maps, from one example or many; no training.

    Parameters
    ----------
    shape : (ny, nx) or (1, ny, nx)
    context_dim : must be 0
    J, L : octaves and orientations; J is floor(log2(shorter side)) - 1 when None
    bins : logarithmic bands of the spectrum
    levels : thresholds per one-point distribution
    smoothings : pixel widths of the Gaussians before which one-point distributions are constrained too; 0 for none
    accuracy : of the scattering transform; both sides of the loss share its small bias
    iterations, seconds : budget of each map

    Example
    -------
    >>> model = MicrocanonicalModel((32, 32), iterations=10)
    >>> x = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> model.prepare(x, None)
    >>> model.sample(2, None, torch.Generator().manual_seed(1)).shape
    torch.Size([2, 32, 32])
    """

    family: ClassVar[str] = "scattering"
    raw: Tensor
    powers: Tensor
    levels: Tensor
    widths: Tensor
    fractions: Tensor
    prepared: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        context_dim: int = 0,
        *,
        J: int | None = None,
        L: int = 4,
        bins: int = 20,
        levels: int = 16,
        smoothings: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0),
        accuracy: str = "fast",
        iterations: int = 200,
        seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size = _map_size(self.shape)
        if context_dim:
            raise OptionError(
                "scattering synthesis knows no context",
                got=f"{context_dim} context columns",
                expected="none",
                do="drop the context, or fit one generator per class",
            )
        J = max(1, int(math.log2(min(size))) - 1) if J is None else J
        self._config: dict[str, Any] = {
            "shape": list(shape), "context_dim": 0, "J": J, "L": L, "bins": bins, "levels": levels,
            "smoothings": list(smoothings), "accuracy": accuracy, "iterations": iterations, "seconds": seconds,
        }  # fmt: skip
        self.iterations, self.seconds, self.count = iterations, seconds, levels
        self.smoothings = tuple(float(s) for s in smoothings if s < min(size) / 4)
        self.phi = ScatteringCovariance(size, J, L, isotropic=True, accuracy=accuracy)
        self.bands = BandPowers(size, bins)
        kinds = len(self.smoothings)
        sizes = {"raw": (len(self.phi.labels),), "powers": (self.bands.count,)}
        for tag in TAGS:
            self.register_buffer(tag, torch.zeros(sizes.get(tag, (kinds, levels))))
        self.register_buffer("prepared", torch.zeros((), dtype=torch.bool))

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def objectives(self) -> list[Objective]:
        return []

    def prepare(self, x: Tensor, context: Tensor | None) -> None:
        """Measure the targets on maps x (n, [1,] ny, nx)."""
        if tuple(x.shape[1:]) != self.shape:
            raise ShapeError(
                "maps of another size", got=tuple(x.shape[1:]), expected=self.shape, do="build a new model for them"
            )
        maps = x.reshape(-1, *self.phi.shape)
        if not bool((maps.std((-2, -1)) > 0).all()):
            raise DataError(
                "a constant map has no statistics to reproduce",
                got="a map with one value",
                expected="maps that vary",
                do="drop constant maps",
            )
        with torch.no_grad():
            self._set("raw", _mean_of(lambda part: self.phi(part).vector, maps))
            self._set("powers", _mean_of(self.bands, maps))
            pyramids = [smoothed_pyramid(part, self.smoothings) for part in maps.split(CHUNK)]
            smoothed = [torch.cat(level) for level in zip(*pyramids)]
            found = [level_thresholds(s, self.count) for s in smoothed]
            if found:
                self._set("levels", torch.stack([level for level, _ in found]))
                self._set("widths", torch.stack([width for _, width in found]))
                kept = [level_fractions(s, *f).mean(0) for s, f in zip(smoothed, found)]
                self._set("fractions", torch.stack(kept))
        self._buffers["prepared"] = torch.ones_like(self.prepared)

    def energies(self, x: Tensor) -> Tensor:
        """E(x) of each map x (n, ny, nx), (n,); zero where every constraint is met."""
        target = ScatteringCoefficients(self.raw, self.phi.labels)
        distance = self.phi(x).normalised(target).vector - target.normalised(target).vector
        energy = distance.square().sum(-1) + (self.bands(x) / self.powers).log().square().sum(-1)
        for i, smooth in enumerate(smoothed_pyramid(x, self.smoothings)):
            energy = energy + (
                level_fractions(smooth, self.levels[i], self.widths[i]) - self.fractions[i]
            ).square().sum(-1)
        return energy

    def start(self, n: int, generator: torch.Generator) -> Tensor:
        """Gaussian maps (n, ny, nx) with the mean and the band powers of the examples."""
        ny, nx = self.phi.shape
        white = torch.randn(n, ny, nx, generator=generator, device=generator.device, dtype=self.raw.dtype)
        f = torch.fft.rfft2(white.to(self.raw.device), norm="ortho")
        amplitude = self.bands.spread(self.powers).reshape(ny, nx // 2 + 1).sqrt()
        return torch.fft.irfft2(f * amplitude, s=(ny, nx), norm="ortho") + self.raw[0]

    def synthesise(self, n: int, generator: torch.Generator, progress: Progress | None = None) -> list[Descent]:
        """n descents, with what each cost and how far it came (``loss`` is E); `sample` keeps their maps."""
        if not bool(self.prepared):
            raise RunError(
                "the generator has seen no example", got="targets unset", expected="prepared targets",
                do="call prepare(maps, None), or fit through sundog.fit",
            )  # fmt: skip
        with torch.enable_grad():
            return [
                descend(
                    lambda x: self.energies(x[None])[0], start,
                    iterations=self.iterations, seconds=self.seconds, progress=progress,
                )
                for start in self.start(n, generator)
            ]  # fmt: skip

    def sample(self, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
        found = torch.stack([descent.x for descent in self.synthesise(n, generator)])
        return found.reshape(n, *self.shape)

    def score(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Mean energy of held-out maps."""
        with torch.no_grad():
            return _mean_of(lambda part: self.energies(part)[:, None], x.reshape(-1, *self.phi.shape))[0]

    def _set(self, tag: str, value: Tensor) -> None:
        self._buffers[tag] = value.to(self._buffers[tag])


def _map_size(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        raise OptionError(
            "scattering synthesis draws single maps",
            got=f"samples of shape {shape}",
            expected="(ny, nx) or (1, ny, nx)",
            do="fit each channel alone, or use family 'flow' for events",
        )
    return int(shape[-2]), int(shape[-1])


def _mean_of(measure: Any, maps: Tensor) -> Tensor:
    """Mean over maps of a measured vector (n, K), a chunk at a time."""
    parts = [measure(part).sum(0) for part in maps.split(CHUNK)]
    return torch.stack(parts).sum(0) / len(maps)
