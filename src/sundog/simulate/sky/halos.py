"""Halos: how many of which mass (Tinker 2008), how clustered (Tinker 2010), which around which matter.

Masses are M200c: 200 times the critical density inside the radius R200c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import sici

from sundog.simulate.sky.cosmology import Cosmology, MatterPower
from sundog.simulate.sky.shells import Shell

Array = NDArray[Any]
LIGHTEST, HEAVIEST = 1e13, 5e15
NEAREST = 40.0  # Mpc: one cluster on the doorstep would be most of the power of a sky at low l
DELTA_C = 1.686
_MASSES = 100  # nodes of ln M
_LEVELS, _ROWS = 2048, 65  # values of g that are told apart, for numbers of halos and for their masses
_TOP, _PER_UNIT = 24, 16  # table of ln M: up to one halo in e^24
_AT_ONCE = 2**18  # pixels: few enough for the cache
_DEPTHS = 3  # distances in a shell, for the mean over them
# Tinker et al. 2008, ApJ 688, 709, table 2: overdensity over the mean, and A, a, b, c at z = 0.
_DELTA = np.log10([200, 300, 400, 600, 800, 1200, 1600, 2400, 3200])
_TABLE = {"A": [0.186, 0.200, 0.212, 0.218, 0.248, 0.255, 0.260, 0.260, 0.260],
          "a": [1.47, 1.52, 1.56, 1.61, 1.87, 2.13, 2.30, 2.53, 2.66],
          "b": [2.57, 2.25, 2.05, 1.87, 1.59, 1.51, 1.46, 1.44, 1.41],
          "c": [1.19, 1.27, 1.34, 1.45, 1.58, 1.80, 1.97, 2.24, 2.44]}
_SPLINES = {name: CubicSpline(_DELTA, values) for name, values in _TABLE.items()}


def mass_function(power: MatterPower, mass: Array, z: float) -> Array:
    """Comoving number density per ln M, 1/Mpc^3: f(sigma) rho/M |dln sigma/dln M|.

    f = A [(sigma/b)^-a + 1] exp(-c/sigma^2), with A, a, b, c at the overdensity 200/Omega_m(z) and their evolution.

    Parameters
    ----------
    mass : (n,) M200c in solar masses
    Source: Tinker et al. 2008, ApJ 688, 709, eq. 2-8.
    """
    model = power.cosmology
    delta = math.log10(200 / float(model.omega_m_at(z)))
    A, a, b, c = (float(_SPLINES[name](min(delta, _DELTA[-1]))) for name in "Aabc")
    decline = 10 ** -((0.75 / math.log10(10**delta / 75)) ** 1.2)
    A, a, b = A * (1 + z) ** -0.14, a * (1 + z) ** -0.06, b * (1 + z) ** -decline
    sigma, slope = _sigma(power, mass, z)
    f = A * ((sigma / b) ** -a + 1) * np.exp(-c / sigma**2)
    return f * model.density / mass * np.abs(slope)


def bias(power: MatterPower, mass: Array, z: float) -> Array:
    """Linear bias b(nu), nu = 1.686/sigma, at the overdensity 200/Omega_m(z).

    Source: Tinker et al. 2010, ApJ 724, 878, eq. 6 and table 2.
    """
    y = math.log10(200 / float(power.cosmology.omega_m_at(z)))
    nu = DELTA_C / _sigma(power, mass, z)[0]
    fade = math.exp(-((4 / y) ** 4))
    A, a = 1 + 0.24 * y * fade, 0.44 * y - 0.88
    C = 0.019 + 0.107 * y + 0.19 * fade
    return 1 - A * nu**a / (nu**a + DELTA_C**a) + 0.183 * nu**1.5 + C * nu**2.4


def _sigma(power: MatterPower, mass: Array, z: float) -> tuple[Array, Array]:
    """sigma(M, z) and dln sigma / dln M."""
    spline = _sigma_today(power)
    x = np.log(mass)
    return np.exp(spline(x)) * float(power.cosmology.growth(z)), spline(x, 1)


@lru_cache(maxsize=4)
def _sigma_today(power: MatterPower) -> CubicSpline:
    x = np.linspace(math.log(1e9), math.log(2e16), 80)
    return CubicSpline(x, np.log(power.sigma(np.exp(x))))


def virial_radius(model: Cosmology, mass: Array, z: float) -> Array:
    """R200c, physical Mpc."""
    return np.cbrt(mass / (4 * math.pi / 3 * 200 * float(model.critical_density(z))))


def virial_angle(shell: Shell, model: Cosmology) -> np.float32:
    """R200c in radians of one solar mass in the middle of a shell."""
    return np.float32(virial_radius(model, np.array(1.0), shell.z) * (1 + shell.z) / shell.distance)


@dataclass(frozen=True, eq=False)
class HaloLaw:
    """The halos of a shell where the Gaussian field of its matter is g: dN/dlnM = N(M) exp(b(M) g) / S(M).

    S(M) is the mean of exp(b g) over the sky, so that a sky holds as many halos of each mass as the mass function says.

    Attributes
    ----------
    log_mass : (n,) ln M in equal steps; number : (n,) N(M) dlnM on the sky, the trapezoid rule's weights; bias : (n,)
    """

    log_mass: Array
    number: Array
    bias: Array

    @staticmethod
    def of(power: MatterPower, shell: Shell, lightest: float = LIGHTEST, heaviest: float = HEAVIEST) -> HaloLaw:
        """Of a shell, between two masses."""
        x = np.linspace(math.log(lightest), math.log(heaviest), _MASSES)
        number = mass_function(power, np.exp(x), shell.z) * shell.volume * (x[1] - x[0])
        number[[0, -1]] /= 2
        return HaloLaw(x, number, bias(power, np.exp(x), shell.z))

    def around(self, g: Array, pixels: int | None = None, variance: float | None = None) -> HalosAround:
        """The halos around a field g, (pixels,); of part of the sky, with the number of pixels and the variance of g on
        the whole, where the mean of exp(b g) is exp(b^2 var / 2)."""
        low, high = float(g.min()), float(g.max())
        step = max(high - low, 1e-6) / (_LEVELS - 1)
        where, count = np.empty(len(g), np.int16), np.zeros(_LEVELS)
        for start in range(0, len(g), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            where[some] = (g[some] - np.float32(low)) * np.float32(1 / step) + np.float32(0.5)
            count += np.bincount(where[some], minlength=_LEVELS)
        weight = np.exp(np.outer(low + step * np.arange(_LEVELS), self.bias))
        mean = count @ weight / where.size if variance is None else np.exp(0.5 * self.bias**2 * variance)
        expected = self.number * weight / mean / (pixels or where.size)
        t, rows = np.arange(_TOP * _PER_UNIT + 2) / _PER_UNIT, np.linspace(0, _LEVELS - 1, _ROWS).astype(int)
        edges = np.concatenate([self.log_mass[:1], 0.5 * (self.log_mass[1:] + self.log_mass[:-1]), self.log_mass[-1:]])
        table = np.stack([np.interp(t, _exponent(expected[row]), edges) for row in rows])
        zero = int(np.clip(-low / step, 0, _LEVELS - 1))
        return HalosAround(self, where, expected, table.astype(np.float32), zero)


@dataclass(frozen=True, eq=False)
class HalosAround:
    """Halos expected in each pixel of a field.

    Attributes
    ----------
    level : (pixels,) which of the levels of g; expected : (levels, n) halos of each mass in one pixel of that level
    table : ln M for some of the levels and t = -ln P(heavier) in equal steps
    zero : the level of g = 0
    """

    law: HaloLaw
    level: Array
    expected: Array
    table: Array
    zero: int

    def number(self) -> Array:
        """(pixels,) halos expected."""
        return self.expected.sum(1)[self.level]

    def mass(self, unit: float = 1.0) -> Array:
        """(pixels,) float32 their mass, in solar masses times ``unit``."""
        return (self.expected @ np.exp(self.law.log_mass) * unit).astype(np.float32)[self.level]

    def masses(self, pixels: Array, uniform: Array) -> Array:
        """ln M of halos in these pixels, float32, from one uniform number in (0, 1] each.

        Interpolated in g and t: ln M is nearly straight in both.
        """
        y = self.level[pixels] * np.float32((_ROWS - 1) / (_LEVELS - 1))
        x = np.minimum(-np.log(uniform), np.float32(_TOP)) * np.float32(_PER_UNIT)
        i, j = np.minimum(y.astype(np.int32), _ROWS - 2), x.astype(np.int32)
        flat, across = self.table.ravel(), self.table.shape[1]
        y, x, k = y - i, x - j, i * across + j
        near = flat[k] + x * (flat[k + 1] - flat[k])
        return near + y * (flat[k + across] + x * (flat[k + across + 1] - flat[k + across]) - near)


def _exponent(number: Array) -> Array:
    """-ln of the share of halos heavier than each edge between the masses; rising."""
    heavier = np.append(np.cumsum(number[::-1])[::-1], 0)
    return -np.log(np.maximum(heavier / heavier[0], 1e-30)) + 1e-9 * np.arange(len(heavier))


def one_halo_power(power: MatterPower, shell: Shell, lmax: int, lightest: float = LIGHTEST, *,
                   resolution: float = 0.0) -> Array:
    """C_l that the masses of a shell's halos add to its contrast, (lmax + 1,); C_0 = 0.

    C_l = (4 pi / V) int dlnM n(M) (M / rho)^2 <u(l | M)^2>, the mean over distances in the shell: that of points with
    the profile u of their mass, one by one.

    Parameters
    ----------
    resolution : halos whose R200c is seen under a smaller angle (radians) are points
    Source: Cooray & Sheth 2002, Phys. Rep. 372, 1, eq. 87.
    """
    model, law = power.cosmology, HaloLaw.of(power, shell, lightest)
    mass = np.exp(law.log_mass)
    ell = np.unique(np.geomspace(1, max(lmax, 2), 60).astype(int))
    cubes = np.linspace(max(shell.low, NEAREST) ** 3, shell.high**3, 2 * _DEPTHS + 1)[1::2]
    found = np.zeros(len(ell))
    for chi in np.cbrt(cubes):
        theta = virial_radius(model, mass, shell.z) * (1 + shell.z) / chi
        u = nfw_window(ell, theta[:, None], concentration(model, mass, shell.z)[:, None])
        u[theta < resolution] = 1
        found += (law.number * (mass / model.density) ** 2) @ u**2 / _DEPTHS
    spline = np.interp(np.log(np.arange(1, lmax + 1)), np.log(ell), found)
    return np.concatenate([[0], spline * 4 * math.pi / shell.volume**2])


def nfw_window(ell: Array, theta: Any, concentration: Any) -> Array:
    """Harmonic transform of the projected NFW profile cut at R200 (angle ``theta``, radians), 1 at l = 0.

    u = [sin x (Si((1+c)x) - Si(x)) - sin(cx)/((1+c)x) + cos x (Ci((1+c)x) - Ci(x))] / [ln(1+c) - c/(1+c)], with
    x = l theta/c.
    Source: Cooray & Sheth 2002, Phys. Rep. 372, 1, eq. 81.
    """
    c, x = concentration, np.maximum(np.asarray(ell, float), 1e-3) * theta / concentration
    (s1, c1), (s0, c0) = sici((1 + c) * x), sici(x)
    norm = np.log(1 + c) - c / (1 + c)
    return (np.sin(x) * (s1 - s0) - np.sin(c * x) / ((1 + c) * x) + np.cos(x) * (c1 - c0)) / norm


def concentration(model: Cosmology, mass: Any, z: Any) -> Any:
    """c200c = 5.71 (M / 2e12 h^-1)^-0.084 (1 + z)^-0.47.

    Source: Duffy et al. 2008, MNRAS 390, L64, table 1 (full sample, 200 critical).
    """
    return 5.71 * (mass * model.h / 2e12) ** -0.084 * (1 + z) ** -0.47
