"""Harmonics on the sphere: maps to coefficients and back, by ducc0.

Conventions. A HEALPix map is an array of 12 NSIDE^2 numbers in RING order. Coefficients of a real map, ``alm``, are a
complex array of (L+1)(L+2)/2 numbers with m >= 0 and l running fastest, as healpy and ducc0 store them:
x(n) = sum_lm a_lm Y_lm(n), and C_l = sum_m |a_lm|^2 / (2l + 1). float32 maps go with complex64 coefficients.
Results do not depend on the number of threads: each m, each ring is summed by one thread in a fixed order.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import optional
from sundog.errors import ShapeError

Array = NDArray[Any]
ARCMIN = math.pi / (180 * 60)


def ducc() -> Any:
    """The library of spherical transforms.

    Raises
    ------
    MissingExtraError : ducc0 is not installed.
    """
    return optional("ducc0", "sky")


def n_alm(lmax: int) -> int:
    """Number of coefficients up to lmax: (lmax + 1)(lmax + 2)/2."""
    return (lmax + 1) * (lmax + 2) // 2


def lmax_of(alm: Array) -> int:
    """Band limit of an array of coefficients.

    Raises
    ------
    ShapeError : a length that no band limit gives.

    Example
    -------
    >>> lmax_of(np.zeros(n_alm(17), np.complex64))
    17
    """
    lmax = (math.isqrt(8 * alm.shape[-1] + 1) - 3) // 2
    if n_alm(lmax) != alm.shape[-1]:
        raise ShapeError("not harmonic coefficients", got=f"{alm.shape[-1]} numbers", expected="(L+1)(L+2)/2 of them",
                         do="pass what analysis returned")
    return lmax


def nside_of(values: Array) -> int:
    """NSIDE of a HEALPix map, from its length.

    Raises
    ------
    ShapeError : not 12 NSIDE^2 pixels with NSIDE a power of two.

    Example
    -------
    >>> nside_of(np.zeros(12 * 8**2))
    8
    """
    n = np.shape(values)[-1] if np.ndim(values) else 0
    nside = math.isqrt(n // 12)
    if 12 * nside**2 != n or nside < 1:
        raise ShapeError("not a HEALPix map", got=f"{n} pixels", expected="12 NSIDE^2: 768, 3072, 12288, 49152 ...",
                         do="read the whole sphere; a partial map must be filled with UNSEEN first")
    if nside & (nside - 1):
        raise ShapeError("NSIDE is not a power of two", got=f"{n} pixels, NSIDE {nside}",
                         expected="NSIDE 1, 2, 4, 8 ...", do="resample the map: nested order and strips need it")
    return nside


@lru_cache(maxsize=8)
def pixelisation(nside: int, scheme: str = "RING") -> Any:
    """The geometry object of ducc0 (``pix2vec``, ``vec2pix``, ``query_disc`` ...)."""
    return ducc().healpix.Healpix_Base(nside, scheme)


@lru_cache(maxsize=8)
def _rings(nside: int, rings: int | None = None) -> dict[str, Any]:
    return {name: values[:rings] for name, values in pixelisation(nside).sht_info().items()}


def synthesis(alm: Array, nside: int, *, rings: int | None = None, threads: int = 1, out: Array | None = None) -> Array:
    """HEALPix map of the coefficients, (12 NSIDE^2,), sampled at the pixel centres (no pixel window).

    Parameters
    ----------
    alm : (n,) complex64 or complex128
    rings : only the first so many, from the north pole on, at their share of the cost
    out : the array to fill, of the precision of ``alm``; it must be contiguous

    Example
    -------
    >>> alm = np.zeros(n_alm(4), np.complex128); alm[0] = math.sqrt(4 * math.pi)  # the monopole of a map of ones
    >>> bool(np.allclose(synthesis(alm, 4), 1.0))
    True
    """
    lmax = lmax_of(alm)
    target = None if out is None else out.reshape(1, -1)
    values = ducc().sht.synthesis(alm=alm.reshape(1, -1), spin=0, lmax=lmax, nthreads=threads, map=target,
                                  **_rings(nside, rings))
    return values[0]


def adjoint(values: Array, lmax: int, *, nside: int | None = None, rings: int | None = None, threads: int = 1) -> Array:
    """sum over pixels of x_p Y*_lm(n_p): the exact coefficients of Dirac peaks of weight x_p at the pixel centres.

    nside, rings : of a map of the first rings alone
    """
    values = np.ascontiguousarray(values)
    found = ducc().sht.adjoint_synthesis(map=values.reshape(1, -1), spin=0, lmax=lmax, nthreads=threads,
                                         **_rings(nside or nside_of(values), rings))
    return found[0]


def analysis(values: Array, lmax: int | None = None, *, iterations: int = 3, threads: int = 1) -> Array:
    """Coefficients of a HEALPix map up to lmax (default 2 NSIDE), with iterations against the quadrature error.

    a <- a + (4 pi / N) A^T (x - A a): one pass is right to about 1 %, three to 1e-5 for a map whose band limit is
    below 2 NSIDE. What the map holds above lmax stays in the residual.
    """
    nside = nside_of(values)
    lmax = 2 * nside if lmax is None else lmax
    values = np.ascontiguousarray(values, dtype=values.dtype if values.dtype in (np.float32, np.float64) else float)
    area = values.dtype.type(4 * math.pi / values.size)
    alm = adjoint(values, lmax, threads=threads) * area
    for _ in range(iterations):
        alm += adjoint(values - synthesis(alm, nside, threads=threads), lmax, threads=threads) * area
    return alm


def ring_values(alm: Array, theta: Array, n_phi: int, *, phi0: float = 0.0, threads: int = 1) -> Array:
    """Values on rings of constant colatitude, (len(theta), n_phi), at longitudes phi0 + 2 pi k / n_phi: a CAR band.

    Exact at every point; memory and time are those of the rings asked for.
    """
    n = len(theta)
    values = ducc().sht.synthesis(
        alm=alm.reshape(1, -1), spin=0, lmax=lmax_of(alm), nthreads=threads, theta=np.asarray(theta, float),
        nphi=np.full(n, n_phi, np.uint64), phi0=np.full(n, phi0), ringstart=np.arange(n, dtype=np.uint64) * n_phi)
    return values.reshape(n, n_phi)


def values_at(alm: Array, theta: Array, phi: Array, *, threads: int = 1, epsilon: float | None = None) -> Array:
    """Values at any directions (n,), to a relative accuracy of ``epsilon`` (default 1e-5 or 1e-11 by precision)."""
    epsilon = epsilon or (1e-5 if alm.dtype == np.complex64 else 1e-11)
    where = np.stack([np.asarray(theta, float), np.mod(np.asarray(phi, float), 2 * math.pi)], 1)
    return ducc().sht.synthesis_general(alm=alm.reshape(1, -1), spin=0, lmax=lmax_of(alm), loc=where,
                                        epsilon=epsilon, nthreads=threads)[0]


def gradient(alm: Array, nside: int, *, threads: int = 1) -> tuple[Array, Array]:
    """Derivatives of the map: d/dtheta and (1/sin theta) d/dphi, two HEALPix maps."""
    found = ducc().sht.synthesis_deriv1(alm=alm.reshape(1, -1), lmax=lmax_of(alm), nthreads=threads, **_rings(nside))
    return found[0], found[1]


def rotated(alm: Array, psi: float, theta: float, phi: float, *, threads: int = 1) -> Array:
    """Coefficients of the sky turned by psi about z, then theta about y, then phi about z (active, radians)."""
    return ducc().sht.rotate_alm(alm, lmax_of(alm), psi, theta, phi, nthreads=threads)


def scaled(alm: Array, factor: Array) -> Array:
    """Coefficients times f_l, a new array; l beyond the end of ``factor`` gets 0."""
    lmax, out, start = lmax_of(alm), np.empty_like(alm), 0
    f = np.zeros(lmax + 1, alm.real.dtype)
    f[: min(len(factor), lmax + 1)] = factor[: lmax + 1]
    for m in range(lmax + 1):
        stop = start + lmax + 1 - m
        np.multiply(alm[start:stop], f[m:], out=out[start:stop])
        start = stop
    return out


def truncated(alm: Array, lmax: int) -> Array:
    """Coefficients with l and m up to a lower lmax."""
    top = lmax_of(alm)
    starts = np.cumsum([0, *range(top + 1, top + 1 - lmax, -1)])
    return np.concatenate([alm[start : start + lmax + 1 - m] for m, start in enumerate(starts)])


def angular_spectrum(first: Array, second: Array | None = None) -> Array:
    """C_l = [a_l0 b_l0 + 2 sum_m Re(a_lm b*_lm)] / (2l + 1), (L+1,) float64.

    Example
    -------
    >>> alm = gaussian_alm(np.ones(201), np.random.default_rng(0))
    >>> bool(abs(angular_spectrum(alm)[1:].mean() - 1) < 0.05)
    True
    """
    b = first if second is None else second
    lmax, start, total = lmax_of(first), 0, np.zeros(lmax_of(first) + 1)
    for m in range(lmax + 1):
        stop = start + lmax + 1 - m
        product = first[start:stop].real.astype(float) * b[start:stop].real
        product += first[start:stop].imag.astype(float) * b[start:stop].imag
        total[m:] += product if m == 0 else 2 * product
        start = stop
    return total / (2 * np.arange(lmax + 1) + 1)


def gaussian_alm(power: Array, rng: np.random.Generator, dtype: Any = np.complex128) -> Array:
    """Coefficients of a Gaussian field with C_l = ``power``: <|a_lm|^2> = C_l, a_l0 real.

    Drawn from low l to high: a lower band limit gives the same coefficients, cut.

    Example
    -------
    >>> low, high = (gaussian_alm(np.ones(n), np.random.default_rng(0)) for n in (9, 33))
    >>> bool(np.array_equal(low, truncated(high, 8)))
    True
    """
    lmax = len(power) - 1
    real = np.float32 if np.dtype(dtype) == np.complex64 else np.float64
    drawn = rng.standard_normal(2 * n_alm(lmax), real).view(dtype)  # l by l, m = 0 ... l
    ell = np.arange(lmax + 1)
    first, amplitude = ell * (ell + 1) // 2, np.sqrt(np.clip(power, 0, None) / 2).astype(real)
    alm = np.concatenate([drawn[first[m:] + m] * amplitude[m:] for m in range(lmax + 1)])
    alm[: lmax + 1] = alm[: lmax + 1].real * real(math.sqrt(2))
    return alm


def gaussian_beam(lmax: int, fwhm_arcmin: float) -> Array:
    """B_l = exp(-l(l+1) sigma^2 / 2) of a Gaussian beam, sigma = FWHM / sqrt(8 ln 2); (lmax + 1,).

    Example
    -------
    >>> round(float(gaussian_beam(1000, 10.0)[1000]), 4)
    0.4659
    """
    sigma = fwhm_arcmin * ARCMIN / math.sqrt(8 * math.log(2))
    ell = np.arange(lmax + 1)
    return np.exp(-0.5 * ell * (ell + 1) * sigma**2)


def legendre_sum(power: Array) -> Array:
    """Correlation function xi(theta) = sum_l (2l+1)/(4 pi) C_l P_l(cos theta) on the Gauss-Legendre nodes, (L+1,)."""
    n = len(power)
    alm = (power * np.sqrt((2 * np.arange(n) + 1) / (4 * math.pi))).astype(complex)
    values = ducc().sht.synthesis_2d(alm=alm[None], spin=0, lmax=n - 1, mmax=0, geometry="GL", ntheta=n, nphi=1)
    return values[0, :, 0]


def legendre_power(xi: Array) -> Array:
    """C_l of a correlation function given on the Gauss-Legendre nodes: the inverse of ``legendre_sum``.

    Example
    -------
    >>> power = np.linspace(2, 1, 65)
    >>> bool(np.allclose(legendre_power(legendre_sum(power)), power))
    True
    """
    n = len(xi)
    alm = ducc().sht.analysis_2d(map=np.ascontiguousarray(xi[None, :, None]), spin=0, lmax=n - 1, mmax=0, geometry="GL")
    return alm[0].real / np.sqrt((2 * np.arange(n) + 1) / (4 * math.pi))


def legendre_angles(n: int) -> Array:
    """Colatitudes (radians) of the n Gauss-Legendre nodes, in the order of ``legendre_sum``."""
    return np.arccos(-np.polynomial.legendre.leggauss(n)[0])
