"""Scattering covariances of HEALPix maps: rotation-invariant S1, S2, S3, S4 with their gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from sundog.checks import at_least, one_of, whole
from sundog.errors import OptionError, ShapeError
from sundog.statistics.samples.admission import checked_finite
from sundog.statistics.scattering.labels.coefficients import ScatteringCoefficients
from sundog.statistics.scattering.labels.octaves import Labels
from sundog.statistics.scattering.moments.masked import checked_mask
from sundog.statistics.sphere.envelopes import envelopes, steering
from sundog.statistics.sphere.transforms import (
    analyse,
    analyse_healpix,
    copies,
    degrees,
    grid_vectors,
    grid_weights,
    pixel_vectors,
    ring_order,
    synthesise,
    truncation,
)

# Accuracy -> (rings of a grid over what linear fields need, orientations per L).
ACCURACY = {"fast": (1.0, 2), "default": (1.5, 3), "accurate": (2.5, 4)}
HARMONICS = 2  # n = 0 and 1: envelopes of spin 0 and 2
MASK_REACH = 1.7 * math.pi  # in units of 1 / l of the wavelet's centre: 2^(j + 1) pixels of the planar bump wavelet


@dataclass(frozen=True)
class _Octave:
    """One octave: band limit, window psi (k,), grid, places in the sky's coefficients, weights (P,) that sum to 1."""

    lmax: int
    psi: Tensor
    grid: tuple[int, int]
    places: Tensor
    weights: Tensor


class SphereScatteringCovariance:
    """Transform that measures the scattering covariances of HEALPix maps of one NSIDE.

    W_j(chi) = x * psi_j turned by chi, a bump-steerable wavelet centred at l = lmax / 2^(j + 1); M = |W|. Averages over
    chi leave fields without a frame: A_0 = mean M (spin 0) and A_1 = mean M e^(2 i chi) (spin 2). With < > the mean
    over the sphere and * psi_3 the isotropic window of octave j3:

        S1(j)              = <A_0>
        S2(j)              = <mean over chi of M^2>
        S3(j2, j3, n)      = <(x * psi_3)_2n ((A_n)_2 * psi_3)^*>                       j2 <= j3
        S4(j1, j2, j3, n)  = <((A_n)_1 * psi_3) ((A_n)_2 * psi_3)^*>                    j1 <= j2 <= j3

    for n = 0, 1, where (x)_2 is x as a gradient field of spin 2: S3 with n = 1 asks whether fine ripples lie across the
    coarse ones (positive) or along them. n is what remains of the differences of angles of a plane: their harmonic. All
    values are invariant under rotations of the sky. Labels hold n as the last angle. Divide with ``.normalised()``.

    Parameters
    ----------
    nside : of the maps, 12 nside^2 pixels.
    J : octaves; as many as leave the coarsest wavelet at l >= 4 when None.
    L : sharpness of the wavelets, as many orientations per half a turn as the planar ones.
    lmax : band limit of the analysis, 2 nside when None.
    nested : whether the maps come in NESTED order; RING otherwise.
    mask : (12 nside^2,), 0 where pixels are missing, in the same order. They are set to the mean of the others, and
        averages of an octave keep 1.7 pi / l away from them, l its centre.
    accuracy : "fast", "default" or "accurate": finer grids and more orientations. A rotation of the sky changes
        normalised coefficients of a strongly skewed map by 3e-3, 3e-4 and 1e-4.

    Errors: MissingExtraError without ducc0; OptionError, ShapeError, DataError for bad options and maps.
    Source: Mousset, Allys, Price et al. 2024, A&A 691, A269 (scattering covariances on the sphere); McEwen et al. 2007
    (steerable wavelets). Harmonics of angles instead of slices at fixed chi make the values independent of the poles.

    Example
    -------
    >>> x = torch.randn(2, 12 * 8**2, generator=torch.Generator().manual_seed(0))
    >>> phi = SphereScatteringCovariance(8, J=2)
    >>> len(phi.labels), phi(x).normalised()["S3"].shape
    (20, torch.Size([2, 6]))
    """

    def __init__(
        self,
        nside: int,
        J: int | None = None,
        L: int = 4,
        *,
        lmax: int | None = None,
        nested: bool = False,
        mask: Tensor | None = None,
        accuracy: str = "default",
    ) -> None:
        self.nside, self.L = int(nside), int(L)
        self.lmax = 2 * self.nside if lmax is None else int(lmax)
        one_of(accuracy, ACCURACY, "accuracy")
        at_least(self.nside, 1, "nside")
        whole(self.lmax, "band limit lmax", least=4, below=3 * self.nside)
        at_least(self.L, 2, "sharpness L of the wavelets")
        self.J = max(1, int(math.log2(self.lmax)) - 2) if J is None else int(J)
        largest = int(math.log2(self.lmax)) - 1
        if not 1 <= self.J <= largest:
            raise OptionError("number of octaves J does not fit the sky", got=f"J={J} with lmax={self.lmax}",
                              expected=f"1 to {largest} (the coarsest wavelet at l >= 2)",
                              do=f"pass J={max(1, largest - 1)}, the default")
        self.accuracy, self.nested = accuracy, nested
        self._order = ring_order(self.nside) if nested else None
        valid = None if mask is None else checked_mask(mask, (12 * self.nside**2,)).cpu()
        self._valid = valid if valid is None or self._order is None else valid[self._order]
        self.labels = _labels(self.J)
        self._octaves = [self._octave(j) for j in range(self.J)]

    def __call__(self, x: Tensor) -> ScatteringCoefficients:
        """Coefficients of maps x (..., 12 nside^2), as (..., K); integers become float64."""
        x = checked_finite(x, "maps") if self._valid is None else self._finite_where_valid(x)
        if x.ndim < 1 or x.shape[-1] != 12 * self.nside**2:
            raise ShapeError("maps of another size", got=tuple(x.shape),
                             expected=f"(..., {12 * self.nside**2}), NSIDE {self.nside}",
                             do="build SphereScatteringCovariance(nside) for these maps")
        maps = x.reshape(-1, x.shape[-1])
        maps = maps if self._order is None else maps[:, self._order.to(x.device)]
        vector = torch.cat([self._measure(one) for one in maps.split(1)])
        return ScatteringCoefficients(vector.reshape(*x.shape[:-1], -1), self.labels)

    def _measure(self, x: Tensor) -> Tensor:
        valid = None if self._valid is None else self._valid.to(x.device)
        seen = x if valid is None else x[:, valid]
        mean = seen.mean(-1, keepdim=True)
        variance = (seen - mean).square().mean(-1, keepdim=True)
        unit = variance.detach().sqrt()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))  # a fixed unit changes nothing but rounding
        standard = (x - mean) / unit
        alm = analyse_healpix(standard if valid is None else torch.where(valid, standard, 0.0), self.lmax)
        one, two, layers = [], [], [_Layer(alm, torch.stack([alm, torch.zeros_like(alm)], 1), self.lmax)]
        for octave in self._octaves:
            found = envelopes(_spin_fields(alm, octave, self.L), self.L, self.L * ACCURACY[self.accuracy][1])
            weights = octave.weights.to(found)
            one.append((found[:, 0] * weights).sum(-1))
            two.append((found[:, 3] * weights).sum(-1))
            field = found.unflatten(2, octave.grid)
            scalar = analyse(field[:, :1], 0, octave.lmax)[:, 0]
            layers.append(_Layer(scalar, analyse(field[:, 1:3], 2, octave.lmax), octave.lmax))
        blocks = [self._products(layers[: j + 2], octave) for j, octave in enumerate(self._octaves)]
        s3 = [blocks[j3][:, n, 0, 1 + j2] for j2, j3 in _pairs(self.J) for n in range(HARMONICS)]
        s4 = [blocks[j3][:, n, 1 + j1, 1 + j2] for j1, j2, j3 in _triples(self.J) for n in range(HARMONICS)]
        moments = [torch.stack(one, 1) * unit, *(torch.stack(part, 1) * unit**2 for part in (two, s3, s4))]
        return torch.cat([mean, variance, *moments], 1)

    def _products(self, layers: list[_Layer], octave: _Octave) -> Tensor:
        """< (F_a * psi_3) (F_b * psi_3)^* > of the sky and the envelopes up to this octave, (n, HARMONICS, R, R)."""
        scalar = torch.stack([f.scalar[:, truncation(f.lmax, octave.lmax)] for f in layers], 1)
        spin2 = torch.stack([f.spin2[..., truncation(f.lmax, octave.lmax)] for f in layers], 1)
        psi = octave.psi.to(scalar.real)
        found = []
        for spin, rows in ((0, scalar[:, :, None]), (2, spin2)):
            if self._valid is None:
                weights = psi * (copies(octave.lmax).to(psi) / (4 * math.pi)).sqrt()
                flat = torch.view_as_real(rows * weights).flatten(2)
                found.append(flat @ flat.mT)
                continue
            maps = synthesise((rows * psi).flatten(0, 1), spin, octave.lmax, octave.grid)
            maps = maps.unflatten(0, rows.shape[:2]).flatten(3)
            found.append((maps * octave.weights.to(psi)).flatten(2) @ maps.flatten(2).mT)
        return torch.stack(found, 1)

    def _octave(self, j: int) -> _Octave:
        centre = self.lmax / 2 ** (j + 1)
        lmax = min(self.lmax, int(2 * centre))
        rings = math.ceil(ACCURACY[self.accuracy][0] * (lmax + 1))
        grid = (rings, 2 * rings)
        ell = degrees(lmax).double()
        away = (ell - centre) ** 2
        inside = (ell > 0) & (ell < 2 * centre)
        safe = torch.where(inside, centre**2 - away, 1.0)
        psi = torch.where(inside, torch.exp(-away / safe), 0.0)
        weights = (grid_weights(grid) / (4 * math.pi)).expand(grid).flatten()
        if self._valid is not None:
            weights = self._far_from_mask(weights, grid, MASK_REACH / centre, j)
        return _Octave(lmax, psi, grid, truncation(self.lmax, lmax), weights)

    def _far_from_mask(self, weights: Tensor, grid: tuple[int, int], reach: float, j: int) -> Tensor:
        missing = pixel_vectors(self.nside)[~self._valid.numpy()]  # type: ignore[union-attr]
        if not len(missing):
            return weights
        chord = cKDTree(missing).query(grid_vectors(grid).reshape(-1, 3))[0]
        kept = torch.from_numpy(chord > 2 * math.sin(min(reach, math.pi) / 2)) & (reach < math.pi)
        if not bool(kept.any()):
            raise OptionError("the mask leaves no part of the sky to the coarsest wavelets",
                              got=f"J={self.J}, which keeps {math.degrees(reach):.0f} degrees away from the mask",
                              expected="some directions farther away than that",
                              do=f"pass J={j}" if j else "use a smaller mask")
        return weights * kept / (weights * kept).sum()

    def _finite_where_valid(self, x: Tensor) -> Tensor:
        """The maps with masked pixels, which may hold NaN or UNSEEN, set to 0."""
        if not isinstance(x, Tensor) or x.shape[-1] != 12 * self.nside**2:
            return checked_finite(x, "maps")
        valid = self._valid
        if self._order is not None:
            valid = torch.empty_like(valid).index_copy_(0, self._order, valid)  # type: ignore[arg-type]
        return checked_finite(torch.where(valid.to(x.device), x, torch.zeros_like(x)), "maps")  # type: ignore[union-attr]


@dataclass(frozen=True)
class _Layer:
    """Coefficients of a field: as a scalar (n, k), as a spin-2 field with E and B (n, 2, k); band limit."""

    scalar: Tensor
    spin2: Tensor
    lmax: int


def _spin_fields(alm: Tensor, octave: _Octave, L: int) -> Tensor:
    """The wavelet transform of an octave as fields of spin 0, 1 ... L, (n, 1 + 2 L, P)."""
    one = (alm[:, octave.places] * octave.psi.to(alm.real))[:, None]
    return torch.cat([synthesise(one, s, octave.lmax, octave.grid) for s in range(L + 1)], 1).flatten(2)


def expected_power(power: Tensor, transform: SphereScatteringCovariance) -> Tensor:
    """Return S2 (J,) of a statistically isotropic sky with C_l = ``power`` (lmax + 1,).

    S2(j) = sum_l (2l + 1) / (4 pi) C_l psi_j(l)^2 sum_(|s| <= min(L, l)) c_s^2.
    """
    c = steering(transform.L) ** 2
    by_spin = torch.cat([c[:1], 2 * c[1:]]).cumsum(0)
    found = []
    for octave in transform._octaves:
        psi = octave.psi[: octave.lmax + 1]  # m = 0 comes first
        ell = torch.arange(octave.lmax + 1)
        share = by_spin[ell.clamp_max(transform.L)]
        found.append(((2 * ell + 1) / (4 * math.pi) * power[: octave.lmax + 1].double() * psi**2 * share).sum())
    return torch.stack(found)


def _pairs(J: int) -> list[tuple[int, int]]:
    return [(j2, j3) for j2 in range(J) for j3 in range(j2, J)]


def _triples(J: int) -> list[tuple[int, int, int]]:
    return [(j1, j2, j3) for j1 in range(J) for j2 in range(j1, J) for j3 in range(j2, J)]


def _labels(J: int) -> Labels:
    rows = [("mean", -1, -1, -1, -1, -1, -1), ("var", -1, -1, -1, -1, -1, -1)]
    rows += [(kind, j, -1, -1, -1, -1, -1) for kind in ("S1", "S2") for j in range(J)]
    rows += [("S3", -1, j2, j3, -1, 0, n) for j2, j3 in _pairs(J) for n in range(HARMONICS)]
    rows += [("S4", j1, j2, j3, 0, n, n) for j1, j2, j3 in _triples(J) for n in range(HARMONICS)]
    numbers = np.array([row[1:] for row in rows])
    kinds = np.array([row[0] for row in rows])
    return Labels(kinds, np.full(len(rows), "re"), numbers, HARMONICS, True, "harmonics")
