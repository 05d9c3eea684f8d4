"""Halos: how many of which mass (Tinker 2008), how clustered (Tinker 2010), where (inverse CDF of exp(b g)).

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

from sundog.data.sky.sphere import pixelisation
from sundog.simulate.sky.cosmology import Cosmology, MatterPower
from sundog.simulate.sky.shells import Shell

Array = NDArray[Any]
LIGHTEST, HEAVIEST = 1e13, 5e15
_BIN = 0.48  # of ln M, at most
DELTA_C = 1.686
_FINE = 8  # mass nodes per bin, for integrals
_FINEST = 512  # NSIDE at which halos are placed; below, they are spread inside its pixels
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


@dataclass(frozen=True, eq=False)
class HaloBins:
    """The halos of a shell in bins of mass.

    edges : (b + 1,) ln M; number : (b,) expected on the sky; bias : (b,) of the number-weighted mean;
    slope : (b,) of ln n against ln M inside the bin
    """

    edges: Array
    number: Array
    bias: Array
    slope: Array

    @staticmethod
    def of(power: MatterPower, shell: Shell, lightest: float = LIGHTEST, heaviest: float = HEAVIEST) -> HaloBins:
        """Of a shell, between two masses, in equal steps of ln M."""
        bins = math.ceil(math.log(heaviest / lightest) / _BIN)
        edges = np.linspace(math.log(lightest), math.log(heaviest), bins + 1)
        x = np.linspace(edges[0], edges[-1], bins * _FINE + 1)
        n = mass_function(power, np.exp(x), shell.z) * shell.volume
        b = bias(power, np.exp(x), shell.z)
        first = np.arange(bins) * _FINE
        rows = first[:, None] + np.arange(_FINE + 1)
        number = np.trapezoid(n[rows], x[rows], axis=1)
        mean = np.trapezoid((n * b)[rows], x[rows], axis=1) / np.maximum(number, 1e-300)
        ends = np.log(np.maximum(n, 1e-280))
        slope = (ends[first + _FINE] - ends[first]) / np.diff(edges)
        return HaloBins(edges, number, mean, slope)

    def masses(self, which: int, count: int, rng: np.random.Generator) -> Array:
        """ln M of ``count`` halos of a bin, (count,) float32: dn/dlnM ~ exp(slope ln M) inside it."""
        width, s = self.edges[1] - self.edges[0], float(self.slope[which])
        u = rng.random(count, np.float32)
        return (self.edges[which] + np.log1p(u * math.expm1(s * width)) / s).astype(np.float32)


def placement_nside(shell: Shell, nside: int) -> int:
    """NSIDE at which the halos of a shell are placed: its pixels stay below 0.7 of the smoothing length."""
    wanted = math.sqrt(math.pi / 3) / (0.7 * shell.smoothing_angle)
    return min(nside, _FINEST, 2 ** math.ceil(math.log2(max(wanted, 8))))


def draw_pixels(weight: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` pixel numbers, ascending, drawn with probability proportional to ``weight`` (n,).

    Sorted uniforms as normalised sums of exponentials: the look-up then walks the table once, instead of jumping.

    Example
    -------
    >>> drawn = draw_pixels(np.array([1.0, 0.0, 3.0]), 4000, np.random.default_rng(0))
    >>> bool(abs((drawn == 0).mean() - 0.25) < 0.03), 1 in drawn
    (True, False)
    """
    if count == 0:
        return np.zeros(0, np.int64)
    table = np.cumsum(weight, dtype=np.float64)
    steps = np.cumsum(rng.standard_exponential(count + 1))
    uniform = steps[:-1] * (table[-1] / steps[-1])
    return np.minimum(np.searchsorted(table, uniform, side="right"), len(weight) - 1)


def refine(pixels: Array, coarse: int, nside: int, rng: np.random.Generator) -> Array:
    """RING pixels of a finer map: each pixel replaced by a random one of those inside it."""
    if coarse == nside:
        return pixels
    factor = (nside // coarse) ** 2
    nested = pixelisation(coarse, "RING").ring2nest(pixels) * factor + rng.integers(0, factor, len(pixels))
    return pixelisation(nside, "NEST").nest2ring(nested)


def nfw_window(ell: Array, theta: float, concentration: float) -> Array:
    """Harmonic transform of the projected NFW profile cut at R200 (angle ``theta``, radians), 1 at l = 0.

    u = [sin x (Si((1+c)x) - Si(x)) - sin(cx)/((1+c)x) + cos x (Ci((1+c)x) - Ci(x))] / [ln(1+c) - c/(1+c)], with
    x = l theta/c.
    Source: Cooray & Sheth 2002, Phys. Rep. 372, 1, eq. 81.
    """
    c, x = concentration, np.maximum(np.asarray(ell, float), 1e-3) * theta / concentration
    (s1, c1), (s0, c0) = sici((1 + c) * x), sici(x)
    norm = math.log(1 + c) - c / (1 + c)
    return (np.sin(x) * (s1 - s0) - np.sin(c * x) / ((1 + c) * x) + np.cos(x) * (c1 - c0)) / norm


def concentration(model: Cosmology, mass: Any, z: Any) -> Any:
    """c200c = 5.71 (M / 2e12 h^-1)^-0.084 (1 + z)^-0.47.

    Source: Duffy et al. 2008, MNRAS 390, L64, table 1 (full sample, 200 critical).
    """
    return 5.71 * (mass * model.h / 2e12) ** -0.084 * (1 + z) ** -0.47
