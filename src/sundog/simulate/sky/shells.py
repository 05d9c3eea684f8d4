"""Shells: matter between two distances as one lognormal map, its velocities, and the convergence it makes.

Approximations: Limber's within a shell, and shells independent of each other. Below l of about 20 the second one
shows; GLASS computes what is left out here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre

from sundog.data.sky.sphere import gaussian_alm, legendre_angles, legendre_power, legendre_sum, n_alm
from sundog.random import numpy_stream
from sundog.simulate.sky.cosmology import Z_LAST_SCATTERING, Cosmology, MatterPower

Array = NDArray[Any]
SMOOTHING = 10.0  # Mpc: what tracers see of a shell; unsmoothed, exp(b g) puts all clusters into one pixel
SIGMA_T_MPC2 = 6.6524587e-29 / 3.0856775814913673e22**2  # Thomson cross-section
SOLAR_MASS_IN_PROTONS = 1.98841e30 / 1.67262192e-27
LMAX_VELOCITY = 400  # beyond, linear velocities have next to no power
TOLERATED = 0.01  # of a spectrum, that a lognormal transform may miss unsaid
_EMPTIEST = 1e-3  # 1 + xi of a correlation function that has a logarithm
HELIUM = 0.24  # mass fraction; electrons per baryon mass: 1 - Y/2, helium doubly ionised


@dataclass(frozen=True)
class Shell:
    """Matter between two comoving distances (Mpc), seen at their mean.

    weight : Born weight W of the convergence, kappa = sum over shells of W delta
    """

    index: int
    low: float
    high: float
    z: float
    weight: float

    @property
    def distance(self) -> float:
        """Its middle, Mpc."""
        return 0.5 * (self.low + self.high)

    @property
    def thickness(self) -> float:
        """Mpc."""
        return self.high - self.low

    @property
    def volume(self) -> float:
        """Over the whole sky, Mpc^3."""
        return 4 * math.pi / 3 * (self.high**3 - self.low**3)

    @property
    def smoothing_angle(self) -> float:
        """Radians: SMOOTHING seen from here; half the sky at most."""
        return min(SMOOTHING / self.distance, 1.0)


def shells(model: Cosmology, thickness: float = 200.0, z_max: float = 4.2) -> tuple[Shell, ...]:
    """Shells of equal thickness from here to ``z_max``.

    Example
    -------
    >>> from sundog.simulate.sky.cosmology import cosmology
    >>> len(shells(cosmology("wmap5")))
    38
    """
    count = math.ceil(float(model.distance(z_max)) / thickness)
    edges = np.linspace(0, float(model.distance(z_max)), count + 1)
    middles = 0.5 * (edges[1:] + edges[:-1])
    weights = lensing_kernel(model, middles) * np.diff(edges)
    return tuple(Shell(i, float(edges[i]), float(edges[i + 1]), float(model.redshift(middles[i])), float(weights[i]))
                 for i in range(count))


def lensing_kernel(model: Cosmology, distance: Array) -> Array:
    """W(chi) = 3/2 Omega_m (H0/c)^2 (1 + z) chi (chi* - chi) / chi*, 1/Mpc: kappa = int dchi W delta.

    Source: Lewis & Challinor 2006, Phys. Rep. 429, 1, eq. 3.12 with the Poisson equation.
    """
    source = float(model.distance(Z_LAST_SCATTERING))
    z = model.redshift(distance)
    return 1.5 * model.omega_m * model.hubble(0.0) ** 2 * (1 + z) * distance * (source - distance) / source


def density_power(power: MatterPower, shell: Shell, lmax: int) -> Array:
    """C_l of the mean contrast of a shell: 1/Dchi^2 int dchi/chi^2 P((l + 1/2)/chi, z), Limber; C_0 = 0."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    chi = shell.distance + 0.5 * shell.thickness * nodes
    found = np.zeros(lmax + 1)
    ell = np.arange(1, lmax + 1)
    for x, w in zip(chi, 0.5 * shell.thickness * weights):
        found[1:] += w / x**2 * power((ell + 0.5) / x, float(power.cosmology.redshift(x)))
    return found / shell.thickness**2


def lognormal_power(power: Array) -> Array:
    """C_l of the Gaussian g for which exp(g - var/2) - 1 has the C_l given, up to their end; none negative but C_0, the
    mean of xi_g, for which `gaussian_alm` draws 0.

    xi_g = ln(1 + xi) with a band limit; what the limit changes below itself is taken back by two steps C_g <- C_g C/C',
    C' the spectrum that C_g makes, by a quadrature that sees a half beyond the limit.

    Not every spectrum has such a g. Where xi_g is no correlation function its negative C_l are set to 0, and if the
    lognormal field then misses the spectrum by more than 1 % in a band of a tenth of the multipoles, a warning says so.

    Source: Coles & Jones 1991, MNRAS 248, 1, eq. 33; on the sphere Xavier et al. 2016, MNRAS 459, 3693, eq. 11.

    Example
    -------
    >>> power = 1e-4 / np.arange(1, 66) ** 2
    >>> made = legendre_power(np.expm1(legendre_sum(np.pad(lognormal_power(power), (0, 65)))))
    >>> bool(np.allclose(made[:65], power, atol=1e-9))
    True
    """
    n, beyond = len(power), (0, len(power) // 2)
    xi = legendre_sum(np.pad(power, beyond))
    found = legendre_power(np.log1p(np.maximum(xi, _EMPTIEST - 1)))[:n]
    failed = xi.min() < _EMPTIEST - 1 or found[1:].min(initial=0) < 0
    found[1:] = np.maximum(found[1:], 0)
    for _ in range(2):
        made = legendre_power(np.expm1(legendre_sum(np.pad(found, beyond))))[:n]
        found[1:] *= np.divide(power[1:], made[1:], out=np.ones(n - 1), where=made[1:] > power[1:] / 2)
    if failed:
        _warn_of_miss(power, legendre_power(np.expm1(legendre_sum(np.pad(found, beyond))))[:n])
    return found


def _warn_of_miss(wanted: Array, got: Array) -> None:
    weight = 2 * np.arange(len(wanted)) + 1
    edges = np.unique(np.linspace(1, len(wanted), 11).astype(int))[:-1]
    sums = [np.add.reduceat(weight * power, edges) for power in (wanted, got)]
    miss = (sums[1] - sums[0]) / np.maximum(sums[0], 0.01 * sums[0].max())  # where there is power at all
    worst = int(np.argmax(np.abs(miss)))
    if abs(miss[worst]) > TOLERATED:
        ends = np.append(edges, len(wanted))
        warnings.warn(f"no lognormal field has this spectrum: the nearest is {100 * miss[worst]:+.1f} % off at "
                      f"l {ends[worst]} to {ends[worst + 1] - 1}; take a lower NSIDE", stacklevel=3)


def variance(power: Array) -> float:
    """Variance of a field on the sphere: sum (2l + 1) C_l / 4 pi."""
    return float(((2 * np.arange(len(power)) + 1) * power).sum() / (4 * math.pi))


def smoothing(shell: Shell, lmax: int) -> Array:
    """exp(-l(l+1) (R/chi)^2 / 2): the Gaussian smoothing under the tracers of a shell; ends where it is below 3e-4."""
    top = min(lmax, math.ceil(4 / shell.smoothing_angle))
    ell = np.arange(top + 1)
    return np.exp(-0.5 * ell * (ell + 1) * shell.smoothing_angle**2)


def far_lensing_power(power: MatterPower, z_min: float, lmax: int) -> Array:
    """C_l of the convergence from beyond the last shell: int dchi W^2/chi^2 P((l + 1/2)/chi, z)."""
    model = power.cosmology
    low, high = float(model.distance(z_min)), float(model.distance(Z_LAST_SCATTERING))
    nodes, weights = np.polynomial.legendre.leggauss(32)
    chi = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    found = np.zeros(lmax + 1)
    ell = np.arange(1, lmax + 1)
    for x, w in zip(chi, 0.5 * (high - low) * weights):
        found[1:] += w * float(lensing_kernel(model, x)) ** 2 / x**2 * power((ell + 0.5) / x, float(model.redshift(x)))
    return found


def lensing_power(power: MatterPower, lmax: int) -> Array:
    """Expected C_l of the whole convergence, (lmax + 1,): shells and what lies beyond; C_0 = 0."""
    layers = shells(power.cosmology)
    near = sum(shell.weight**2 * density_power(power, shell, lmax) for shell in layers)
    return near + far_lensing_power(power, float(power.cosmology.redshift(layers[-1].high)), lmax)


def optical_depth(model: Cosmology, shell: Shell) -> float:
    """Thomson optical depth of a shell: sigma_T n_e(today) (1 + z)^2 Dchi, of the share of its gas that is ionised."""
    electrons = model.density * model.omega_b / model.omega_m * SOLAR_MASS_IN_PROTONS * (1 - HELIUM / 2)
    return SIGMA_T_MPC2 * electrons * ionised(shell.z) * (1 + shell.z) ** 2 * shell.thickness


def ionised(z: float) -> float:
    """Share of the baryons that are free to scatter: 1 - stars - cold gas.

    6 % in stars and 2 % in cold gas today (Fukugita & Peebles 2004, ApJ 616, 643, table 1); stars decline with
    redshift as in Madau & Dickinson 2014, ARA&A 52, 415, fig. 11.
    """
    return 1 - 0.06 * math.exp(-0.75 * z) - 0.02


def draw_velocities(power: MatterPower, shells: tuple[Shell, ...], seed: int, lmax: int = LMAX_VELOCITY) -> Array:
    """Coefficients of v/c in the middle of each shell, (shells, n_alm), complex64, correlated as `velocity_power`."""
    lmax = min(lmax, LMAX_VELOCITY)
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
def velocity_power(power: MatterPower, shells: tuple[Shell, ...], lmax: int = LMAX_VELOCITY) -> Array:
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
        j0, ratio = np.sinc(k * x / math.pi), 1 / 3 - (k * x) ** 2 / 30
        np.divide(j0 - np.cos(k * x), (k * x) ** 2, out=ratio, where=k * x > 1e-2)
        parallel[i], across[i] = (np.trapezoid(p * f * k, np.log(k)) for f in (j0 - 2 * ratio, ratio))
    return r, parallel / (2 * math.pi**2), across / (2 * math.pi**2)
