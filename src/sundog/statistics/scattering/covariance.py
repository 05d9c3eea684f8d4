"""Scattering covariances of two-dimensional maps: S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

from functools import cached_property
from typing import overload

import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.statistics.samples.admission import checked_images
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.scattering.labels.octaves import Labels, layout
from sundog.statistics.scattering.moments.masked import (
    MaskedPlan,
    checked_mask,
    checked_regions,
    make_masked_plan,
    masked_moments,
    masked_pair_moments,
)
from sundog.statistics.scattering.moments.pairs import Pairs, pair_moments
from sundog.statistics.scattering.moments.plane import Plan, make_plan, moments
from sundog.statistics.wavelets.filters import ACCURACY, WAVELETS, check_bank, default_scales


class ScatteringCovariance:
    """Transform that measures the scattering covariances of maps of one size.

    With W_(j,l) = x * psi_(j,l), M = |W|, psi_3 real in Fourier space and < > the mean over pixels:

        S1(1)     = <M_1>                                     j1 = 0 ... J-1
        S2(1)     = <M_1^2>
        S3(2,3)   = <W_3 (M_2 * psi_3)^*>                      j2 <= j3
        S4(1,2,3) = <(M_1 * psi_3) (M_2 * psi_3)^*>            j1 <= j2 <= j3

    and the mean and the variance, to which wavelets are blind. Values are raw; divide with ``.normalised()``.
    With a second map, the same between the two: see `CrossCoefficients`.

    Parameters
    ----------
    shape : (ny, nx) of the maps, even, odd or rectangular.
    J : octaves; floor(log2(shorter side)) - 2 when None.
    L : orientations over half a turn.
    wavelet : "morlet", with the numbers of kymatio, or "bump", bump-steerable with those of pywph.
    isotropic : return the average over rotations only (``.iso()`` without computing imaginary parts).
    boundary : "periodic", or "edge-mask": averages of octave j leave out a border of 2^(j + 1) pixels.
    mask : (ny, nx), 0 where pixels are missing; averages of octave j keep 2^(j + 1) pixels away from them. Missing
        pixels are set to the mean of the others. The values there have no influence and no gradient.
    regions : (R, ny, nx) weights from 0 up: averages are taken over each region alone and come back as (..., R, K).
        Unlike masked pixels, those outside a region are seen by the wavelets that reach over its border.
    accuracy : "fast", "default" or "accurate". Coarse octaves are computed on small grids; against float64 direct sums
        the normalised coefficients of a 256 x 256 map are wrong by less than 1e-3, 1e-4, 1e-5.

    Errors: OptionError for options that do not exist or a J too large for the map.
    Source: Cheng, Morel, Allys, Menard, Mallat 2024, PNAS Nexus 3, pgae103. Their present code has one factor psi_3
    in S3 instead of the two of the paper; here both stand.

    Example
    -------
    >>> x = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    >>> phi = ScatteringCovariance((32, 32), J=3, L=4, isotropic=True)
    >>> len(phi.labels), phi(x).normalised()["S4"].shape
    (192, torch.Size([160]))
    """

    def __init__(
        self,
        shape: tuple[int, int],
        J: int | None = None,
        L: int = 4,
        wavelet: str = "morlet",
        *,
        isotropic: bool = False,
        boundary: str = "periodic",
        mask: Tensor | None = None,
        regions: Tensor | None = None,
        accuracy: str = "default",
    ) -> None:
        for name, value, known in (
            ("wavelet", wavelet, WAVELETS),
            ("boundary", boundary, ("periodic", "edge-mask")),
            ("accuracy", accuracy, tuple(ACCURACY)),
        ):
            if value not in known:
                raise OptionError(f"unknown {name}", got=value, expected=" | ".join(known), do="choose one of them")
        self.shape = (int(shape[0]), int(shape[1]))
        self.J = default_scales(self.shape) if J is None else J
        self.L, self.isotropic, self.accuracy, self.wavelet = L, isotropic, accuracy, wavelet
        check_bank(self.shape, self.J, L)
        self.boundary = boundary
        plain = mask is None and regions is None and boundary == "periodic"
        self._valid = None if plain else checked_mask(mask, self.shape)
        self._regions = checked_regions(regions, self.shape)
        self._full, self._index = layout(self.J, L, self._valid is not None or not isotropic)
        self.labels = self._full.rotations[2] if isotropic else self._full
        self._plans: dict[tuple[torch.dtype, torch.device], tuple[Plan | MaskedPlan, Tensor]] = {}

    @cached_property
    def _cross(self) -> tuple[Labels, Tensor]:
        labels, index = layout(self.J, self.L, self._valid is not None or not self.isotropic, cross=True)
        return labels, torch.from_numpy(index)

    @cached_property
    def cross_labels(self) -> Labels:
        """Meaning of the entries that two maps give."""
        return self._cross[0].rotations[2] if self.isotropic else self._cross[0]

    @overload
    def __call__(self, x: Tensor) -> ScatteringCoefficients: ...
    @overload
    def __call__(self, x: Tensor, y: Tensor) -> CrossCoefficients: ...
    def __call__(self, x: Tensor, y: Tensor | None = None) -> ScatteringCoefficients | CrossCoefficients:
        """Coefficients of maps x (..., ny, nx), or between x and y (shapes broadcast), as (..., K).

        Integers become float64, NaN and Inf raise DataError; with regions (..., R, K).
        """
        x = self._checked(x)
        if y is None:
            return self._measure(x)
        x, y = torch.broadcast_tensors(x, self._checked(y).to(x))
        maps = torch.stack([x, y], -3).reshape(-1, 2, *self.shape)
        (cross,) = self._pairs(maps, ((0, 1),), x.shape[:-2])[1].values()
        return cross

    def channels(
        self, x: Tensor, pairs: Pairs | None = None
    ) -> tuple[list[ScatteringCoefficients], dict[tuple[int, int], CrossCoefficients]]:
        """Coefficients of every channel of maps x (..., C, ny, nx), and those of ``pairs`` of channels (all a < b).

        Every channel is transformed once, so that this is cheaper than one call per channel and pair.

        Example
        -------
        >>> x = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> alone, together = ScatteringCovariance((16, 16), J=2, L=2).channels(x)
        >>> len(alone), list(together)
        (3, [(0, 1), (0, 2), (1, 2)])
        """
        x = self._checked(x)
        if x.ndim < 3:
            raise ShapeError(
                "maps without channels", got=tuple(x.shape), expected="(..., C, ny, nx)", do="call phi(x) for one map"
            )
        C = x.shape[-3]
        wanted = tuple((a, b) for a in range(C) for b in range(a + 1, C)) if pairs is None else pairs
        alone = tuple((c, c) for c in range(C))
        return self._pairs(x.reshape(-1, C, *self.shape), alone + wanted, x.shape[:-3])

    def _checked(self, x: Tensor) -> Tensor:
        x = checked_images(x)
        if tuple(x.shape[-2:]) != self.shape:
            raise ShapeError(
                "maps of another size",
                got=tuple(x.shape[-2:]),
                expected=self.shape,
                do=f"build ScatteringCovariance({tuple(x.shape[-2:])})",
            )
        return x

    def _measure(self, x: Tensor) -> ScatteringCoefficients:
        maps = x.reshape(-1, *self.shape)
        plan, index = self._plan(maps)
        mean, variance, unit, standard = _standardised(maps, plan)
        if isinstance(plan, Plan):
            s1, s2, blocks = (value[:, None] for value in moments(standard, plan))
        else:
            s1, s2, blocks = masked_moments(standard, plan)
        return self._coefficients((mean, variance, unit), s1, s2, blocks[..., index], x.shape[:-2])

    def _pairs(
        self, maps: Tensor, pairs: Pairs, batch: tuple[int, ...]
    ) -> tuple[list[ScatteringCoefficients], dict[tuple[int, int], CrossCoefficients]]:
        """Coefficients of maps (n, C, ny, nx) for pairs of channels; (c, c) is a channel alone."""
        plan, index = self._plan(maps)
        mean, variance, unit, standard = (
            value.unflatten(0, maps.shape[:2]) for value in _standardised(maps.flatten(0, 1), plan)
        )
        if isinstance(plan, Plan):
            s1, s2, blocks = pair_moments(standard, pairs, plan)
            s1, s2, blocks = s1[:, :, None], s2[:, :, None], blocks[:, :, None]
        else:
            s1, s2, blocks = masked_pair_moments(standard, pairs, plan)
        alone, together = [], {}
        labels, place = self._cross[0], self._cross[1].to(maps.device)
        power = s2 * unit[:, :, None, None, None] ** 2
        for p, (a, b) in enumerate(pairs):
            if a == b:
                facts = (mean[:, a], variance[:, a], unit[:, a])
                alone.append(self._coefficients(facts, s1[:, a], s2[:, a], blocks[:, p, :, index], batch))
                continue
            cov = self._average(standard[:, a] * standard[:, b], plan) - self._average(
                standard[:, a], plan
            ) * self._average(standard[:, b], plan)
            values = torch.cat([cov[..., None], blocks[:, p, :, place]], -1) * (unit[:, a] * unit[:, b])[:, None, None]
            both = torch.stack([variance[:, a], variance[:, b]], -1)
            shaped = [self._batched(value, batch) for value in (values, power[:, a], power[:, b], both)]
            full = CrossCoefficients(shaped[0], labels, shaped[1], shaped[2], shaped[3])
            together[a, b] = full.iso() if self.isotropic else full
        return alone, together

    def _coefficients(
        self, facts: tuple[Tensor, Tensor, Tensor], s1: Tensor, s2: Tensor, third: Tensor, batch: tuple[int, ...]
    ) -> ScatteringCoefficients:
        """From mean, variance (n, R), unit (n,); S1, S2 (n, R, J, L), third (n, R, c) of maps divided by the unit."""
        mean, variance, unit = facts
        unit = unit[:, None, None]
        columns = [mean[..., None], variance[..., None], s1.flatten(2) * unit, s2.flatten(2) * unit**2, third * unit**2]
        full = ScatteringCoefficients(self._batched(torch.cat(columns, -1), batch), self._full)
        return full.iso() if self.isotropic else full

    def _batched(self, value: Tensor, batch: tuple[int, ...]) -> Tensor:
        """(n, R, ...) -> (*batch, R, ...), without R when there are no regions."""
        value = value if self._regions is not None else value[:, 0]
        return value.reshape(*batch, *value.shape[1:])

    @staticmethod
    def _average(values: Tensor, plan: Plan | MaskedPlan) -> Tensor:
        """Mean over the map or over each region: (n, R)."""
        if isinstance(plan, Plan):
            return values.mean((-2, -1))[:, None]
        return torch.einsum("nyx,ryx->nr", values, plan.regions)

    def _plan(self, like: Tensor) -> tuple[Plan | MaskedPlan, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._plans:
            quality, cut = ACCURACY[self.accuracy]
            plan: Plan | MaskedPlan
            if self._valid is None:
                plan = make_plan(self.shape, self.J, self.L, quality, cut, not self.isotropic, like, self.wavelet)
            else:
                sizes = (self.J, self.L, quality, self.wavelet)
                plan = make_masked_plan(self._valid, self._regions, self.boundary == "periodic", sizes, like)
            self._plans[key] = plan, torch.from_numpy(self._index).to(like.device)
        return self._plans[key]


def _standardised(maps: Tensor, plan: Plan | MaskedPlan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance (n, R), unit (n,), and maps (n, ny, nx) of mean 0 and variance 1, 0 where missing.

    A fixed unit changes nothing but rounding and underflow, since every moment is homogeneous; so does a fixed shift,
    unless missing pixels are filled with the mean.
    """
    if isinstance(plan, Plan):
        mean = maps.mean((-2, -1))
        variance = (maps - mean[:, None, None]).square().mean((-2, -1))
        unit = variance.detach().sqrt()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        return mean[:, None], variance[:, None], unit, (maps - mean.detach()[:, None, None]) / unit[:, None, None]
    maps = torch.where(plan.valid, maps, torch.zeros_like(maps))
    shift = maps[:, plan.valid].mean(1)
    standard = (maps - shift[:, None, None]) * plan.valid
    first, second = (torch.einsum("nyx,ryx->nr", power, plan.regions) for power in (standard, standard.square()))
    unit = standard[:, plan.valid].square().mean(1).detach().sqrt()
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    return first + shift[:, None], second - first**2, unit, standard / unit[:, None, None]
