"""Scattering covariances of two-dimensional maps: S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

from typing import overload

from torch import Tensor, broadcast_tensors, stack

from sundog.checks import one_of
from sundog.errors import ShapeError
from sundog.statistics.scattering.fields import FieldCovariance, Measure, Together
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.cross import CrossCoefficients
from sundog.statistics.scattering.labels.octaves import Labels
from sundog.statistics.scattering.moments.plane import Pairs, make_plan, pair_moments
from sundog.statistics.wavelets.filters import ACCURACY, WAVELETS, check_bank, default_scales, octave_filters


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
    >>> import torch
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
        quality, cut = ACCURACY[one_of(accuracy, ACCURACY, "accuracy")]
        one_of(wavelet, WAVELETS, "wavelet")
        self.shape = (int(shape[0]), int(shape[1]))
        self.J = default_scales(self.shape) if J is None else J
        self.L, self.isotropic, self.accuracy, self.wavelet = L, isotropic, accuracy, wavelet
        check_bank(self.shape, self.J, L)

        def whole(like: Tensor) -> Measure:
            plan = make_plan(self.shape, self.J, L, quality, cut, not isotropic, like, wavelet)
            return lambda x, pairs: pair_moments(x, pairs, plan)

        self._field = FieldCovariance(
            self.shape, self.J, L, lambda j: octave_filters(self.shape, wavelet, j, L, quality), whole,
            isotropic=isotropic, boundary=boundary, mask=mask, regions=regions, what="maps",
        )  # fmt: skip
        self.boundary, self.labels = boundary, self._field.labels

    @property
    def cross_labels(self) -> Labels:
        """Meaning of the entries that two maps give."""
        labels = self._field.cross[0]
        return labels.rotations[2] if self.isotropic else labels

    @overload
    def __call__(self, x: Tensor) -> ScatteringCoefficients: ...
    @overload
    def __call__(self, x: Tensor, y: Tensor) -> CrossCoefficients: ...
    def __call__(self, x: Tensor, y: Tensor | None = None) -> ScatteringCoefficients | CrossCoefficients:
        """Coefficients of maps x (..., ny, nx), or between x and y (shapes broadcast), as (..., K).

        Integers become float64, NaN and Inf raise DataError; with regions (..., R, K).
        """
        if y is None:
            return self._field.measure(x)
        x, y = self._field.checked(x), self._field.checked(y)
        x, y = broadcast_tensors(x, y.to(x))
        maps = stack([x, y], -3).reshape(-1, 2, *self.shape)
        (cross,) = self._field.pairs(maps, ((0, 1),), x.shape[:-2])[1].values()
        return cross

    def channels(self, x: Tensor, pairs: Pairs | None = None) -> tuple[list[ScatteringCoefficients], Together]:
        """Coefficients of every channel of maps x (..., C, ny, nx), and those of ``pairs`` of channels (all a < b).

        Every channel is transformed once, so that this is cheaper than one call per channel and pair.

        Example
        -------
        >>> import torch
        >>> x = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> alone, together = ScatteringCovariance((16, 16), J=2, L=2).channels(x)
        >>> len(alone), list(together)
        (3, [(0, 1), (0, 2), (1, 2)])
        """
        x = self._field.checked(x)
        if x.ndim < 3:
            raise ShapeError("maps without channels", got=tuple(x.shape), expected="(..., C, ny, nx)",
                             do="call phi(x) for one map")
        C = x.shape[-3]
        wanted = tuple((a, b) for a in range(C) for b in range(a + 1, C)) if pairs is None else pairs
        alone = tuple((c, c) for c in range(C))
        return self._field.pairs(x.reshape(-1, C, *self.shape), alone + wanted, x.shape[:-3])
