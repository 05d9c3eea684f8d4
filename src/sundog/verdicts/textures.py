"""Fake maps beside the one map they were made from: every statistic of the texture, and how far each is off.

One map has no sample to be judged against; what stands in for the null band here is a set of fakes that share its
spectrum and nothing else, random phases, and other real maps where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sundog.errors import DataError, ShapeError
from sundog.statistics.maps.bispectrum import bispectrum
from sundog.statistics.maps.morphology import gaussian_smooth, minkowski_functionals
from sundog.statistics.maps.spectra import power_spectrum
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.samples.onepoint import histogram
from sundog.statistics.scattering.transform import WaveletScattering

SMOOTHING = 1.5  # pixels, before Minkowski functionals: the Euler number of raw pixels counts noise
TRUTH = "truth"


@dataclass(frozen=True)
class Measure:
    """One statistic of several sets of maps.

    Attributes
    ----------
    title, x_label, y_label : words of a plot
    x : (b,) where it was measured
    values : name of the set -> (n, b), one row per map
    log_x, log_y : whether axes are logarithmic
    scale : what errors are divided by
    """

    title: str
    x_label: str
    y_label: str
    x: Tensor
    values: Mapping[str, Tensor]
    log_x: bool
    log_y: bool
    scale: float

    def error(self, name: str) -> float:
        """Root-mean-square difference from the truth over x, mean over the maps, in units of ``scale``."""
        truth, found = self.values[TRUTH], self.values[name]
        if self.log_y:
            truth, found = truth.clamp_min(1e-30).log(), found.clamp_min(1e-30).log()
        return float((found - truth).square().mean(1).sqrt().mean()) / self.scale


@dataclass(frozen=True)
class Textures:
    """Maps (n, ny, nx) of each set, standardised, and what was measured on them."""

    maps: Mapping[str, Tensor]
    measures: tuple[Measure, ...]

    @property
    def names(self) -> list[str]:
        return [name for name in self.maps if name != TRUTH]

    def __str__(self) -> str:
        lines = [f"{'error of':<28}" + "".join(f"{name:>18}" for name in self.names)]
        for measure in self.measures:
            lines.append(f"{measure.title:<28}" + "".join(f"{measure.error(name):>18.3f}" for name in self.names))
        return "\n".join(lines)


def compare_textures(truth: Tensor, fakes: Mapping[str, Tensor]) -> Textures:
    """Return every statistic of texture on a periodic map (ny, nx) and on sets of fakes (n, ny, nx) of its size.

    Maps are standardised with the mean and deviation of the truth. Measured: histogram, P(k), Minkowski functionals
    after smoothing, normalised bispectrum, and log2 S2 / S1 of the wavelet scattering transform, which no synthesis of
    this package constrains. Errors are relative: to the largest true value of histogram and Minkowski functionals, to
    the root mean square of the true bispectrum; those of log P and log2 S2 / S1 are absolute.

    Example
    -------
    >>> x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    >>> found = compare_textures(x, {"shifted": x.roll(5, 0)[None], "cubed": (x**3)[None]})
    >>> all(m.error("shifted") < 0.01 < m.error("cubed") for m in found.measures)
    True
    """
    truth = checked_images(truth)
    if truth.ndim != 2:
        raise ShapeError("the truth is not one map", got=tuple(truth.shape), expected="(ny, nx)", do="pass x[0]")
    if not float(truth.std()) > 0:
        raise DataError("a constant map", got="one value", expected="a map that varies", do="check the truth")
    maps = {TRUTH: (truth[None] - truth.mean()) / truth.std()}
    for name, fake in fakes.items():
        if fake.ndim != 3 or fake.shape[1:] != truth.shape:
            raise ShapeError(f"maps of '{name}' differ in size", got=tuple(fake.shape),
                             expected=f"(n, {truth.shape[0]}, {truth.shape[1]})", do="cut both to the same patch")
        maps[name] = (fake - truth.mean()) / truth.std()
    measures = [_histogram(maps), _spectrum(maps), *_minkowski(maps), _bispectrum(maps), _scattering(maps)]
    return Textures(maps, tuple(measures))


def _histogram(maps: Mapping[str, Tensor]) -> Measure:
    low, high = (float(v) for v in maps[TRUTH].flatten().quantile(torch.tensor([5e-4, 1 - 5e-4]).to(maps[TRUTH])))
    edges = torch.linspace(low - 0.5, high + 0.5, 33)
    values = {name: histogram(m.flatten(1), edges.to(m), dim=1) for name, m in maps.items()}
    return Measure("histogram", "value / standard deviation", "share of pixels", (edges[1:] + edges[:-1]) / 2, values,
                   False, False, float(values[TRUTH].max()))  # fmt: skip


def _spectrum(maps: Mapping[str, Tensor]) -> Measure:
    found = {name: power_spectrum(m, bins=20) for name, m in maps.items()}
    values = {name: s.power for name, s in found.items()}
    return Measure("power spectrum", "k (cycles per pixel)", "P(k)", found[TRUTH].k, values, True, True, 1.0)


def _minkowski(maps: Mapping[str, Tensor]) -> list[Measure]:
    nu = torch.linspace(-2, 2.5, 19)
    smooth = {name: gaussian_smooth(m, SMOOTHING, periodic=True) for name, m in maps.items()}
    found = {name: minkowski_functionals(m, nu, periodic=True) for name, m in smooth.items()}
    out = []
    for key, word in (("v0", "area V0"), ("v1", "perimeter V1"), ("v2", "Euler number V2")):
        values = {name: getattr(f, key) for name, f in found.items()}
        scale = float(values[TRUTH].abs().max())
        out.append(Measure(word, "threshold / standard deviation", "per pixel", nu, values, False, False, scale))
    return out


def _bispectrum(maps: Mapping[str, Tensor]) -> Measure:
    values = {name: bispectrum(m, bins=6).normalised for name, m in maps.items()}
    x = torch.arange(values[TRUTH].shape[1], dtype=torch.float32)
    scale = float(values[TRUTH].square().mean().sqrt())
    return Measure("bispectrum", "triangle of bands", "B / sqrt(P P P)", x, values, False, False, scale)


def _scattering(maps: Mapping[str, Tensor]) -> Measure:
    shape = (int(maps[TRUTH].shape[1]), int(maps[TRUTH].shape[2]))
    phi = WaveletScattering(shape)
    first = phi.J * phi.L
    values = {name: phi(m).vector[:, first:] for name, m in maps.items()}
    x = torch.arange(values[TRUTH].shape[1], dtype=torch.float32)
    return Measure("wavelet scattering S2", "pair of wavelets", "log2 S2 / S1", x, values, False, False, 1.0)
