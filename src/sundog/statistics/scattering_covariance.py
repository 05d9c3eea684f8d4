"""Scattering covariances of two-dimensional maps: S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sundog.errors import OptionError, ShapeError
from sundog.statistics.coefficients import Labels, ScatteringCoefficients
from sundog.statistics.samples import checked_images
from sundog.statistics.scattering_masked import MaskedPlan, checked_mask, make_masked_plan, masked_moments
from sundog.statistics.scattering_moments import Plan, make_plan, moments
from sundog.statistics.wavelets import ACCURACY, check_bank, default_scales


class ScatteringCovariance:
    """Transform that measures the scattering covariances of maps of one size.

    With W_(j,l) = x * psi_(j,l), M = |W|, psi_3 real in Fourier space and < > the mean over pixels:

        S1(1)     = <M_1>                                     j1 = 0 ... J-1
        S2(1)     = <M_1^2>
        S3(2,3)   = <W_3 (M_2 * psi_3)^*>                      j2 <= j3
        S4(1,2,3) = <(M_1 * psi_3) (M_2 * psi_3)^*>            j1 <= j2 <= j3

    and the mean and the variance, to which wavelets are blind. Values are raw; divide with ``.normalised()``.

    Parameters
    ----------
    shape : (ny, nx) of the maps, even, odd or rectangular.
    J : octaves; floor(log2(shorter side)) - 2 when None.
    L : orientations over half a turn.
    wavelet : "morlet", with the numbers of kymatio.
    isotropic : return the average over rotations only (``.iso()`` without computing imaginary parts).
    boundary : "periodic", or "edge-mask": averages of octave j leave out a border of 2^(j + 1) pixels.
    mask : (ny, nx), 0 where pixels are missing; averages of octave j keep 2^(j + 1) pixels away from them. Missing
        pixels are set to the mean of the others. The values there have no influence and no gradient.
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
        accuracy: str = "default",
    ) -> None:
        for name, value, known in (
            ("wavelet", wavelet, ("morlet",)),
            ("boundary", boundary, ("periodic", "edge-mask")),
            ("accuracy", accuracy, tuple(ACCURACY)),
        ):
            if value not in known:
                raise OptionError(f"unknown {name}", got=value, expected=" | ".join(known), do="choose one of them")
        self.shape = (int(shape[0]), int(shape[1]))
        self.J = default_scales(self.shape) if J is None else J
        self.L, self.isotropic, self.accuracy = L, isotropic, accuracy
        check_bank(self.shape, self.J, L)
        self.boundary = boundary
        self._valid = None if mask is None and boundary == "periodic" else checked_mask(mask, self.shape)
        self._full, self._index = _layout(self.J, L, imaginary=self._valid is not None or not isotropic)
        self.labels = self._full.rotations[2] if isotropic else self._full
        self._plans: dict[tuple[torch.dtype, torch.device], tuple[Plan | MaskedPlan, Tensor]] = {}

    def __call__(self, x: Tensor) -> ScatteringCoefficients:
        """Coefficients of maps x (..., ny, nx), as (..., K); integers become float64, NaN and Inf raise DataError."""
        x = checked_images(x)
        if tuple(x.shape[-2:]) != self.shape:
            raise ShapeError(
                "maps of another size",
                got=tuple(x.shape[-2:]),
                expected=self.shape,
                do=f"build ScatteringCovariance({tuple(x.shape[-2:])})",
            )
        return self._measure(x)

    def _measure(self, x: Tensor) -> ScatteringCoefficients:
        maps = x.reshape(-1, *self.shape)
        plan, index = self._plan(maps)
        seen = maps if isinstance(plan, Plan) else maps[:, plan.valid]
        mean = seen.flatten(1).mean(1)
        variance = (seen.flatten(1) - mean[:, None]).square().mean(1)
        # A fixed unit changes nothing but rounding and underflow, since every moment is homogeneous; so does a fixed
        # shift, unless missing pixels are filled with the mean.
        shift, unit = (mean.detach() if isinstance(plan, Plan) else mean)[:, None, None], variance.detach().sqrt()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        standard = (maps - shift) / unit[:, None, None]
        if isinstance(plan, Plan):
            s1, s2, blocks = moments(standard, plan)
        else:
            s1, s2, blocks = masked_moments(standard * plan.valid, plan)
        columns = [
            mean[:, None],
            variance[:, None],
            s1.flatten(1) * unit[:, None],
            s2.flatten(1) * unit[:, None] ** 2,
            blocks.index_select(1, index) * unit[:, None] ** 2,
        ]
        full = ScatteringCoefficients(torch.cat(columns, 1).reshape(*x.shape[:-2], -1), self._full)
        return full.iso() if self.isotropic else full

    def _plan(self, like: Tensor) -> tuple[Plan | MaskedPlan, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._plans:
            quality, cut = ACCURACY[self.accuracy]
            plan: Plan | MaskedPlan
            if self._valid is None:
                plan = make_plan(self.shape, self.J, self.L, quality, cut, not self.isotropic, like)
            else:
                periodic = self.boundary == "periodic"
                plan = make_masked_plan(self._valid, periodic, self.J, self.L, quality, like)
            self._plans[key] = plan, torch.from_numpy(self._index).to(like.device)
        return self._plans[key]


def _layout(J: int, L: int, imaginary: bool) -> tuple[Labels, np.ndarray]:
    """Labels of the full vector, and where its S3 and S4 stand in the flat blocks of `moments`."""
    rows: list[tuple[str, str, list[np.ndarray]]] = [("mean", "re", []), ("var", "re", [])]
    j, ell = (a.ravel() for a in np.meshgrid(np.arange(J), np.arange(L), indexing="ij"))
    one = [j, np.full_like(j, -1), np.full_like(j, -1), ell, np.full_like(j, -1), np.full_like(j, -1)]
    rows += [("S1", "re", one), ("S2", "re", one)]
    sizes = [L * (1 + (j3 + 1) * L) ** 2 for j3 in range(J)]
    parts = ("re", "im") if imaginary else ("re",)
    starts = np.concatenate([[0], np.cumsum(sizes) * len(parts)])[:-1]
    index = []
    for kind, triple in (("S3", _pairs(J, L)), ("S4", _triples(J, L))):
        j1, j2, j3, l1, l2, l3 = triple
        width = 1 + (j3 + 1) * L
        first = np.where(j1 < 0, 0, 1 + j1 * L + l1)
        for number, part in enumerate(parts):
            rows.append((kind, part, triple))
            place = (l3 * width + first) * width + 1 + j2 * L + l2
            index.append(starts[j3] + number * np.array(sizes)[j3] + place)
    empty = [np.full(1, -1)] * 6
    columns = [np.concatenate([(r[2] or empty)[i] for r in rows]) for i in range(6)]
    lengths = [len((r[2] or empty)[0]) for r in rows]
    labels = Labels(
        np.repeat([r[0] for r in rows], lengths),
        np.repeat([r[1] for r in rows], lengths),
        np.column_stack(columns[:3]),
        np.column_stack(columns[3:]),
        L,
    )
    return labels, np.concatenate(index)


def _pairs(J: int, L: int) -> list[np.ndarray]:
    grid = np.meshgrid(np.arange(J), np.arange(J), np.arange(L), np.arange(L), indexing="ij")
    j2, j3, l2, l3 = (g[grid[0] <= grid[1]] for g in grid)
    none = np.full_like(j2, -1)
    return [none, j2, j3, none, l2, l3]


def _triples(J: int, L: int) -> list[np.ndarray]:
    grid = np.meshgrid(*[np.arange(J)] * 3, *[np.arange(L)] * 3, indexing="ij")
    kept = (grid[0] <= grid[1]) & (grid[1] <= grid[2])
    return [g[kept] for g in grid]
