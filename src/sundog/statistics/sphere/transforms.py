"""Harmonic transforms on the sphere with gradients: HEALPix maps, Gauss-Legendre grids, any spin.

Coefficients of a real map, m >= 0, are stored as healpy and ducc0 store them, l running fastest; gradients with respect
to them are those of Re and Im as torch defines them. A field of spin s > 0 is a pair of maps (f1, f2) with
f1 + i f2 = - sum (E + i B) sY, angles counted from south to east; for spin 2 that is (Q, U) of HEALPix. Transforms run
on the CPU in ducc0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sundog.checks import optional
from sundog.errors import OptionError


def _sht() -> Any:
    return optional("ducc0", "sky")


def degrees(lmax: int) -> Tensor:
    """Return l of every coefficient, ((lmax + 1)(lmax + 2) / 2,)."""
    return torch.cat([torch.arange(m, lmax + 1) for m in range(lmax + 1)])


def copies(lmax: int) -> Tensor:
    """Return how often a coefficient stands in the full set: 1 for m = 0, else 2."""
    found = torch.full(((lmax + 1) * (lmax + 2) // 2,), 2.0, dtype=torch.float64)
    found[: lmax + 1] = 1.0
    return found


def truncation(lmax: int, low: int) -> Tensor:
    """Return the places of the coefficients with l <= low among those with l <= lmax."""
    starts = torch.cumsum(torch.tensor([0, *range(lmax + 1, 1, -1)]), 0)
    return torch.cat([starts[m] + torch.arange(low + 1 - m) for m in range(low + 1)])


def ring_order(nside: int) -> Tensor:
    """Return for each pixel in RING order its place in NESTED order, (12 nside^2,)."""
    base = _sht().healpix.Healpix_Base(nside, "RING")
    return torch.from_numpy(base.ring2nest(np.arange(12 * nside**2)).astype(np.int64))


def pixel_vectors(nside: int) -> np.ndarray:
    """Return the unit vectors of the pixel centres in RING order, (12 nside^2, 3)."""
    return np.asarray(_sht().healpix.Healpix_Base(nside, "RING").pix2vec(np.arange(12 * nside**2)))


def grid_vectors(grid: tuple[int, int]) -> np.ndarray:
    """Return the unit vectors of a Gauss-Legendre grid, (rings, n_phi, 3), north to south."""
    z = -np.polynomial.legendre.leggauss(grid[0])[0]
    z = np.sort(z)[::-1]
    phi = 2 * math.pi * np.arange(grid[1]) / grid[1]
    s = np.sqrt(1 - z**2)
    return np.stack([s[:, None] * np.cos(phi), s[:, None] * np.sin(phi), np.broadcast_to(z[:, None], (*grid,))], -1)


@lru_cache(maxsize=32)
def grid_weights(grid: tuple[int, int]) -> Tensor:
    """Return the solid angle of each point of a Gauss-Legendre grid, (rings, 1), steradian; 4 pi in total."""
    return torch.from_numpy(np.asarray(_sht().misc.GL_weights(*grid)))[:, None]


def analyse_healpix(x: Tensor, lmax: int, iterations: int = 3) -> Tensor:
    """Return the coefficients (n, k), l <= lmax, of HEALPix maps x (n, 12 nside^2) in RING order.

    a <- a + (4 pi / N) A^T (x - A a), ``iterations`` times, starting from 0 and one pass more.
    """
    nside = math.isqrt(x.shape[-1] // 12)
    area = 4 * math.pi / (12 * nside**2)

    def forward(row: np.ndarray) -> np.ndarray:
        return _series(_adjoint(row, nside, lmax), nside, lmax, iterations)

    def backward(grad: Tensor) -> Tensor:
        rows = _rows(grad / _weights(lmax, grad))
        return _stacked(_synthesis(_series(row, nside, lmax, iterations), nside, lmax) for row in rows) * area

    return _Linear.apply(x, forward, backward)  # type: ignore[no-any-return]


def synthesise_healpix(alm: Tensor, nside: int, lmax: int) -> Tensor:
    """Return HEALPix maps (n, 12 nside^2) in RING order of coefficients alm (n, k)."""

    def backward(grad: Tensor) -> Tensor:
        moved = _stacked(_adjoint(row, nside, lmax) for row in _rows(grad))
        return moved * _weights(lmax, moved) * (12 * nside**2 / (4 * math.pi))

    return _Linear.apply(alm, lambda row: _synthesis(row, nside, lmax), backward)  # type: ignore[no-any-return]


def synthesise(alm: Tensor, spin: int, lmax: int, grid: tuple[int, int]) -> Tensor:
    """Return the field of coefficients (n, c, k) on a Gauss-Legendre grid, (n, 1 or 2, rings, n_phi).

    c = 1 for spin 0, and for a field of spin s without B; c = 2 for E and B.
    """
    mode = "GRAD_ONLY" if spin and alm.shape[1] == 1 else "STANDARD"

    def backward(grad: Tensor) -> Tensor:
        moved = _stacked(_grid_adjoint(row, spin, lmax, mode) for row in _rows(grad))
        return moved * _weights(lmax, moved)

    return _Linear.apply(alm, lambda row: _grid_synthesis(row, spin, lmax, grid, mode), backward)  # type: ignore[no-any-return]


def analyse(field: Tensor, spin: int, lmax: int) -> Tensor:
    """Return the coefficients (n, c, k) of fields (n, 1 or 2, rings, n_phi) on a Gauss-Legendre grid; c = 1 or 2.

    Exact where the field times a harmonic has no degree above 2 rings - 1.
    """
    grid = (field.shape[-2], field.shape[-1])

    def backward(grad: Tensor) -> Tensor:
        rows = _rows(grad / _weights(lmax, grad))
        return _stacked(_grid_synthesis(row, spin, lmax, grid, "STANDARD") for row in rows)

    weighted = field * grid_weights(grid).to(field)
    return _Linear.apply(weighted, lambda row: _grid_adjoint(row, spin, lmax, "STANDARD"), backward)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """A linear map of each row, and the gradient that belongs to it, both in ducc0 on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, row: Callable[..., np.ndarray], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.back = back
        return _stacked(row(one) for one in _rows(x)).to(x.device)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(grad.cpu()).to(grad.device), None, None


def _weights(lmax: int, like: Tensor) -> Tensor:
    return copies(lmax).to(torch.float32 if like.dtype == torch.complex64 else torch.float64)


def _series(start: np.ndarray, nside: int, lmax: int, iterations: int) -> np.ndarray:
    """sum_i (1 - area A^T A)^i start, self-adjoint where every m < 0 is counted."""
    total = start
    for _ in range(iterations):
        total = start + total - _adjoint(_synthesis(total, nside, lmax), nside, lmax)
    return total


def _rows(x: Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(row) for row in x.detach().cpu().resolve_conj().numpy()]


def _stacked(rows: Any) -> Tensor:
    return torch.from_numpy(np.stack(list(rows)))


@lru_cache(maxsize=8)
def _rings(nside: int) -> dict[str, Any]:
    return dict(_sht().healpix.Healpix_Base(nside, "RING").sht_info())


def _synthesis(alm: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    return np.asarray(_sht().sht.synthesis(alm=alm[None], spin=0, lmax=lmax, nthreads=1, **_rings(nside)))[0]


def _adjoint(x: np.ndarray, nside: int, lmax: int) -> np.ndarray:
    """Area of a pixel times the adjoint of the synthesis."""
    found = _sht().sht.adjoint_synthesis(map=x[None], spin=0, lmax=lmax, nthreads=1, **_rings(nside))[0]
    return np.asarray(found) * x.dtype.type(4 * math.pi / (12 * nside**2))


def _grid_synthesis(alm: np.ndarray, spin: int, lmax: int, grid: tuple[int, int], mode: str) -> np.ndarray:
    return np.asarray(_sht().sht.synthesis_2d(alm=alm, spin=spin, lmax=lmax, geometry="GL", ntheta=grid[0],
                                              nphi=grid[1], mode=mode, nthreads=1))


def _grid_adjoint(field: np.ndarray, spin: int, lmax: int, mode: str) -> np.ndarray:
    return np.asarray(_sht().sht.adjoint_synthesis_2d(map=field, spin=spin, lmax=lmax, geometry="GL", mode=mode,
                                                      nthreads=1))


def checked_nside(pixels: int) -> int:
    """Return NSIDE of a map with so many pixels; any NSIDE, since only RING order is transformed."""
    nside = math.isqrt(pixels // 12)
    if 12 * nside**2 != pixels or nside < 1:
        raise OptionError("not a HEALPix map", got=f"{pixels} pixels", expected="12 NSIDE^2: 768, 3072, 12288 ...",
                          do="pass the whole sphere, missing pixels by mask=")
    return nside
