"""Wavelet phase harmonics of two-dimensional maps: S11, S00, S01, C00, C01, Cphase and low-pass moments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sundog.checks import one_of
from sundog.errors import DataError, OptionError, ShapeError
from sundog.statistics.harmonics.labels import KINDS, HarmonicCoefficients
from sundog.statistics.harmonics.model import HarmonicModel
from sundog.statistics.harmonics.moments import Filters, harmonic_moments
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.scattering.moments.masked import checked_mask, far_weights
from sundog.statistics.wavelets.filters import (
    WAVELETS,
    check_bank,
    default_scales,
    frequencies,
    full_bank,
    low_pass,
    orientations,
)

DEFAULT_KINDS = ("S11", "S00", "S01", "C01", "Cphase", "L")


class PhaseHarmonics:
    """Transform that measures the wavelet phase harmonics of maps of one size.

    With W_(j,l) = x * psi_(j,l), [z]^p = |z| exp(i p arg z) and Cov(f, g)(tau) = < f(r + tau) g(r)^* > - <f> <g>^*:

        S11(1)       = Cov(W_1, W_1)           power
        S00(1)       = Cov(|W_1|, |W_1|)       sparsity
        S01(1)       = Cov(|W_1|, W_1)         sign of the field, within a scale
        C01(1,2)     = Cov(|W_1|, W_2)         envelope of a fine scale against a coarse scale, j1 < j2, all l1, l2
        Cphase(1,2)  = Cov(W_1, [W_2]^p)       p = 2^(j2 - j1), l1 = l2: aligned phases of two scales
        C00(1,2)     = Cov(|W_1|, |W_2|)       j1 < j2; not among the default kinds
        L(j)         = Cov([y]^p1, [y]^p2)     y = x * phi_j minus its mean, (p1, p2) = (0,0), (0,1), (1,1)

    Complex maps (Q + iU) have orientations over the full turn, and in addition the covariance of W_(j,l) with the
    conjugate of W_(j,l+L); L(1,1) likewise. Lags are 2^n pixels, n = 1 ... translations, in directions
    (cos, sin)(pi l2 / L - pi a / A) along (x, y), rounded to whole pixels, for S11, S00, C01 where l1 = l2, and Cphase
    (there n < J - j2).

    Parameters
    ----------
    shape : (ny, nx) of the maps.
    J : octaves; floor(log2(shorter side)) - 2 when None.
    L : orientations over half a turn.
    wavelet : "bump", with the numbers of pywph, or "morlet", with those of kymatio.
    translations : N for lags of 2, 4 ... 2^N pixels; 0 for none. directions : A per half a turn.
    kinds : which kinds to measure; S11 is always among them, since it normalises the others.
    complex_maps : whether the maps are complex.
    max_octaves : largest j2 - j1; all when None.
    boundary, mask : as in `ScatteringCovariance`; an average over two octaves keeps the distance of the coarser one.

    Errors: OptionError for options that do not exist or a J too large; DataError and ShapeError for unusable maps.
    Source: Allys et al. 2020, PRD 102, 103506; lags and complex maps as in Regaldo-Saint Blancard et al. 2021, A&A 649,
    L18, and 2022, arXiv 2208.03538. All scales stay at full resolution: values are exact up to rounding.

    Example
    -------
    >>> x = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> c = PhaseHarmonics((32, 32), J=3, L=4)(x)
    >>> c.vector.shape, c["C01"].shape, bool((c.normalised()["S00"] < 0.5).all())
    (torch.Size([2, 174]), torch.Size([2, 96]), True)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        J: int | None = None,
        L: int = 4,
        wavelet: str = "bump",
        *,
        translations: int = 0,
        directions: int = 4,
        kinds: Sequence[str] = DEFAULT_KINDS,
        complex_maps: bool = False,
        max_octaves: int | None = None,
        boundary: str = "periodic",
        mask: Tensor | None = None,
    ) -> None:
        one_of(wavelet, WAVELETS, "wavelet")
        one_of(boundary, ("periodic", "edge-mask"), "boundary")
        for kind in kinds:
            one_of(kind, KINDS, "kind")
        self.shape = (int(shape[0]), int(shape[1]))
        self.J = default_scales(self.shape) if J is None else J
        self.L, self.wavelet, self.complex_maps, self.boundary = L, wavelet, complex_maps, boundary
        check_bank(self.shape, self.J, L)
        _check_lags(translations, directions, self.shape)
        chosen = tuple(kind for kind in KINDS if kind in kinds or kind == "S11")
        reach = self.J if max_octaves is None else max_octaves
        self.model = HarmonicModel(self.J, L, 2 if complex_maps else 1, chosen, translations, directions, reach)
        self.labels = self.model.labels()
        self._valid = None if mask is None and boundary == "periodic" else checked_mask(mask, self.shape)
        self._filters: Filters | None = None
        self._ready: dict[tuple[torch.dtype, torch.device], Filters] = {}
        if self._valid is not None:
            self._weights()  # a mask that is too large is an error now, not at the first map

    def __call__(self, x: Tensor) -> HarmonicCoefficients:
        """Coefficients of maps x (..., ny, nx), as (..., K); integers become float64, NaN and Inf raise DataError."""
        x = self._admitted(x)
        maps = x.reshape(-1, *self.shape)
        filters = self._prepared(maps)
        if filters.valid is not None:
            mean = maps[:, filters.valid].mean(1)[:, None, None]
            maps = (maps - mean) * filters.valid
        unit = _deviation(maps.detach())  # a fixed unit changes nothing but rounding and underflow
        step = max(1, 2**16 // maps[0].numel()) if x.device.type == "cpu" else len(maps)
        rows = [self._vector(harmonic_moments(part, self.model, filters)) for part in (maps / unit).split(step)]
        vector = torch.cat(rows) * unit[:, 0] ** 2
        return HarmonicCoefficients(vector.reshape(*x.shape[:-2], -1), self.labels)

    def _vector(self, blocks: dict[str, Tensor]) -> Tensor:
        columns = []
        for kind, values in blocks.items():
            columns.append(values.real if values.is_complex() else values)
            has_phase = self.model.layout[kind][1]
            if has_phase.any():
                columns.append(values.imag[:, torch.from_numpy(np.flatnonzero(has_phase)).to(values.device)])
        return torch.cat(columns, 1)

    def _admitted(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and x.is_complex():
            if not self.complex_maps:
                raise DataError("complex maps", got=x.dtype, expected="real maps", do="build with complex_maps=True")
            x = torch.view_as_complex(checked_images(torch.view_as_real(x)).contiguous())
        else:
            x = checked_images(x)
            x = torch.complex(x, torch.zeros_like(x)) if self.complex_maps else x
        if tuple(x.shape[-2:]) != self.shape:
            raise ShapeError("maps of another size", got=tuple(x.shape[-2:]), expected=self.shape,
                             do=f"build PhaseHarmonics({tuple(x.shape[-2:])})")
        return x

    def _prepared(self, like: Tensor) -> Filters:
        key = (like.dtype, like.device)
        if key not in self._ready:
            exact = self._filters = self._filters or self._build()
            real = like.real if like.is_complex() else like
            weights = tuple(None if w is None else w.to(real) for w in exact.weights)
            valid = None if exact.valid is None else exact.valid.to(like.device)
            self._ready[key] = Filters(
                exact.psi.to(real), exact.phi.to(real), exact.lags.to(like.device), valid, weights
            )
        return self._ready[key]

    def _build(self) -> Filters:
        model, (rows, columns) = self.model, (frequencies(n) for n in self.shape)
        psi = full_bank(self.wavelet, self.shape, self.J, self.L, model.turn)
        phi = torch.stack([low_pass(rows, columns, j) for j in model.low_octaves])
        lags = model.lags(orientations(self.wavelet, self.L, model.turn))
        return Filters(psi, phi, lags, self._valid, self._weights())

    def _weights(self) -> tuple[Tensor | None, ...]:
        """Weights (ny, nx) of each octave: equal beyond 2^(j + 1) pixels from the mask, 0 nearer to it."""
        if self._valid is None:
            return (None,) * self.J
        areas = self._valid[None].double()
        found = far_weights(self._valid, areas, self.boundary == "periodic", [self.shape] * self.J)
        return tuple(weights[0] for weights in found)


def _deviation(maps: Tensor) -> Tensor:
    """Standard deviation of each map (n, 1, 1); 1 where it vanishes."""
    square = (maps - maps.mean((-2, -1), keepdim=True)).abs().square().mean((-2, -1), keepdim=True)
    return torch.where(square > 0, square.sqrt(), torch.ones_like(square))


def _check_lags(translations: int, directions: int, shape: tuple[int, int]) -> None:
    largest = int(math.log2(min(shape))) - 1
    if not 0 <= translations <= largest or directions < 1:
        raise OptionError("lags do not fit the map",
                          got=f"translations={translations} (to {2**translations} pixels), directions={directions}",
                          expected=f"translations 0 to {largest}, directions at least 1",
                          do=f"pass translations={min(largest, 2)}")
