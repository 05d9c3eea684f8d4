"""Radial velocities of the shells: Gaussian, linear theory, correlated between shells."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, spherical_jn

from sundog.data.sky.sphere import gaussian_alm, legendre_angles, n_alm
from sundog.random import numpy_stream
from sundog.simulate.sky.cosmology import MatterPower
from sundog.simulate.sky.shells import Shell

Array = NDArray[Any]
LMAX = 400  # beyond, linear velocities have next to no power


def draw_velocities(power: MatterPower, shells: tuple[Shell, ...], seed: int, lmax: int = LMAX) -> Array:
    """Coefficients of v/c in the middle of each shell, (shells, n_alm), complex64, correlated as `velocity_power`."""
    lmax = min(lmax, LMAX)
    square_root = _square_root(power, shells)
    white = np.stack([gaussian_alm(np.ones(lmax + 1), numpy_stream(seed, "sky", shell.index, "velocity"), np.complex64)
                      for shell in shells])
    out, start = np.empty((len(shells), n_alm(lmax)), np.complex64), 0
    for m in range(lmax + 1):
        stop = start + lmax + 1 - m
        mixed = np.matmul(square_root[m : lmax + 1], white[:, start:stop].T[:, :, None])
        out[:, start:stop] = mixed[:, :, 0].T
        start = stop
    return out


@lru_cache(maxsize=2)
def velocity_power(power: MatterPower, shells: tuple[Shell, ...], lmax: int = LMAX) -> Array:
    """C_l of the radial velocities (v/c)^2 between the middles of shells, (lmax + 1, shells, shells).

    Two points at distances chi, chi' in directions theta apart lie r apart, and
    <v v'> = A A' [Psi_perp cos theta + (Psi_par - Psi_perp) (chi - chi' cos theta)(chi cos theta - chi') / r^2],
    A = f a H D.
    """
    model = power.cosmology
    theta = legendre_angles(2 * lmax + 1)
    weights = np.polynomial.legendre.leggauss(2 * lmax + 1)[1]
    polynomials = eval_legendre(np.arange(lmax + 1)[:, None], np.cos(theta)) * weights * 2 * math.pi
    chi = np.array([shell.distance for shell in shells])
    z = np.array([shell.z for shell in shells])
    rate = model.growth_rate(z) * model.hubble(z) / (1 + z) * model.growth(z)
    near, far, cosine = chi[:, None, None], chi[None, :, None], np.cos(theta)
    r = np.sqrt(np.maximum((near - far) ** 2 + 4 * near * far * np.sin(theta / 2) ** 2, 1e-12))
    grid, along, across = psi(power)
    parallel, perpendicular = (np.interp(r, grid, values) for values in (along, across))
    sight = (near - far * cosine) * (near * cosine - far) / r**2
    xi = perpendicular * cosine + (parallel - perpendicular) * sight
    found = np.tensordot(polynomials, xi, (1, 2)) * rate[:, None] * rate
    return 0.5 * (found + found.transpose(0, 2, 1))


@lru_cache(maxsize=2)
def _square_root(power: MatterPower, shells: tuple[Shell, ...]) -> Array:
    """Symmetric root of `velocity_power` at each l, negative eigenvalues of its rounding taken as 0."""
    values, vectors = np.linalg.eigh(velocity_power(power, shells))
    root = (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.transpose(0, 2, 1)
    return root.astype(np.float32)


@lru_cache(maxsize=2)
def psi(power: MatterPower) -> tuple[Array, Array, Array]:
    """r in Mpc, and the correlations today per (f a H)^2, Mpc^2, of velocities along and across the separation r.

    Psi_par = 1/(2 pi^2) int dk P (j0(kr) - 2 j1(kr)/(kr)), Psi_perp = 1/(2 pi^2) int dk P j1(kr)/(kr).
    Source: Gorski 1988, ApJ 332, L7, eq. 4-5.
    """
    k = np.geomspace(power.k[0], 2.0, 4000)  # beyond k = 2/Mpc nothing moves
    p = np.exp(np.interp(np.log(k), np.log(power.k), np.log(power.linear)))
    r = np.concatenate([[0.0], np.geomspace(0.3, 20_000, 600)])
    parallel, across = np.empty_like(r), np.empty_like(r)
    for i, x in enumerate(r):
        j0, ratio = spherical_jn(0, k * x), np.full_like(k, 1 / 3)
        np.divide(spherical_jn(1, k * x), k * x, out=ratio, where=k * x > 1e-6)
        parallel[i], across[i] = (np.trapezoid(p * f * k, np.log(k)) for f in (j0 - 2 * ratio, ratio))
    return r, parallel / (2 * math.pi**2), across / (2 * math.pi**2)
