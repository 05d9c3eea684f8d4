"""Flat LCDM: distances, growth, and the matter power spectrum (CAMB); the presets WMAP-5 and Planck.

Lengths in Mpc and masses in solar masses, without any h; H in 1/Mpc (that is H/c).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, RectBivariateSpline

from sundog.checks import one_of, optional
from sundog.errors import OptionError

Array = NDArray[Any]
C_KM_S = 299_792.458
CRITICAL = 2.77536627e11  # critical density today, h^2 solar masses / Mpc^3
Z_LAST_SCATTERING = 1089.0
_Z_POWER = 10.0  # above, P(k, z) follows the linear growth


@dataclass(frozen=True)
class Cosmology:
    """A flat universe with massless neutrinos.

    Attributes
    ----------
    name : preset or any word of yours
    h, omega_m, omega_b, n_s, sigma_8 : the usual five; omega_m includes baryons
    t_cmb : kelvin

    Example
    -------
    >>> round(float(cosmology("wmap5").distance(1.0)))
    3330
    """

    name: str
    h: float
    omega_m: float
    omega_b: float
    n_s: float
    sigma_8: float
    t_cmb: float = 2.7255

    def __post_init__(self) -> None:
        fine = (0.3 < self.h < 1.5 and 0.05 < self.omega_m <= 1 and 0 < self.omega_b < self.omega_m
                and 0.5 < self.n_s < 1.5 and 0.2 < self.sigma_8 < 2 and 2 < self.t_cmb < 4)
        if not fine:
            raise OptionError("not a cosmology of this universe", got=self, expected="flat LCDM, h about 0.7 (not 70)",
                              do="start from cosmology('planck18') and dataclasses.replace")

    @property
    def density(self) -> float:
        """Mean comoving matter density, solar masses / Mpc^3."""
        return self.omega_m * CRITICAL * self.h**2

    def hubble(self, z: Any) -> Any:
        """H(z)/c in 1/Mpc."""
        return 100 * self.h / C_KM_S * np.sqrt(self.omega_m * (1 + np.asarray(z)) ** 3 + 1 - self.omega_m)

    def omega_m_at(self, z: Any) -> Any:
        """Omega_m(z)."""
        cube = self.omega_m * (1 + np.asarray(z)) ** 3
        return cube / (cube + 1 - self.omega_m)

    def critical_density(self, z: Any) -> Any:
        """Critical density at z, physical, solar masses / Mpc^3."""
        return CRITICAL * self.h**2 * (self.omega_m * (1 + np.asarray(z)) ** 3 + 1 - self.omega_m)

    def distance(self, z: Any) -> Any:
        """Comoving distance chi(z) in Mpc."""
        return _background(self)[0](np.log1p(z))

    def redshift(self, distance: Any) -> Any:
        """z of a comoving distance in Mpc."""
        return np.expm1(_background(self)[1](distance))

    def growth(self, z: Any) -> Any:
        """Linear growth D(z), 1 today."""
        return _background(self)[2](np.log1p(z))

    def growth_rate(self, z: Any) -> Any:
        """f = dlnD/dlna, by the fit Omega_m(z)^0.55."""
        return self.omega_m_at(z) ** 0.55


PRESETS = {
    "wmap5": Cosmology("wmap5", h=0.71, omega_m=0.264, omega_b=0.044, n_s=0.96, sigma_8=0.80),
    "planck18": Cosmology("planck18", h=0.6736, omega_m=0.3153, omega_b=0.0493, n_s=0.9649, sigma_8=0.8111),
}


def cosmology(name: str | Cosmology = "wmap5") -> Cosmology:
    """The preset of that name, or the cosmology itself.

    ``wmap5``: the parameters of the Sehgal et al. 2010 skies (ApJ 709, 920, section 2); ``planck18``: Planck 2018
    results VI (A&A 641, A6, table 2, TT,TE,EE+lowE+lensing), with massless neutrinos.

    Raises
    ------
    OptionError : an unknown name.
    """
    if isinstance(name, Cosmology):
        return name
    return PRESETS[one_of(name, PRESETS, "cosmology")]


@lru_cache(maxsize=8)
def _background(model: Cosmology) -> tuple[CubicSpline, CubicSpline, CubicSpline]:
    """Splines of chi and D against ln(1 + z), and of ln(1 + z) against chi; the trapezoid rule on 40 000 steps."""
    x = np.linspace(0, np.log1p(Z_LAST_SCATTERING), 40_001)
    z, step = np.expm1(x), x[1]
    speed = (1 + z) / model.hubble(z)
    chi = np.concatenate([[0], np.cumsum(speed[1:] + speed[:-1]) * step / 2])
    # D ~ H int_z^inf (1+z)/H^3 dz; beyond the table matter alone is left and the integral is 2/5 (1+z)^2 / H^3.
    integrand = (1 + z) ** 2 / model.hubble(z) ** 3
    inner = np.concatenate([[0], np.cumsum(integrand[1:] + integrand[:-1]) * step / 2])
    tail = 0.4 * (1 + z[-1]) ** 2 / model.hubble(z[-1]) ** 3
    growth = model.hubble(z) * (inner[-1] - inner + tail)
    thin = slice(None, None, 10)
    return (CubicSpline(x[thin], chi[thin]), CubicSpline(chi[thin], x[thin]),
            CubicSpline(x[thin], growth[thin] / growth[0]))


@dataclass(frozen=True, eq=False)
class MatterPower:
    """P(k, z) in Mpc^3: linear today and non-linear with redshift.

    k : (n,) 1/Mpc; linear : (n,) at z = 0
    """

    cosmology: Cosmology
    k: Array
    linear: Array
    _table: RectBivariateSpline

    def __call__(self, k: Array, z: float) -> Array:
        """Non-linear P(k, z); power laws continue it beyond the table, linear growth above z = 10."""
        top = min(z, _Z_POWER)
        x, (low, high) = np.log(k), np.log(self.k[[0, -1]])
        inside = self._table(top, np.clip(x, low, high).ravel(), grid=False).reshape(x.shape)
        slopes = [float(self._table(top, edge, dy=1, grid=False)) for edge in (low, high)]
        inside = inside + slopes[0] * np.minimum(x - low, 0) + slopes[1] * np.maximum(x - high, 0)
        return np.exp(inside) * float(self.cosmology.growth(z) / self.cosmology.growth(top)) ** 2

    def sigma(self, mass: Array) -> Array:
        """Linear rms contrast today in spheres of mean mass M (solar masses): top hat in space."""
        radius = np.cbrt(3 * np.asarray(mass) / (4 * math.pi * self.cosmology.density))
        return np.array([self._rms(r) for r in np.ravel(radius)]).reshape(np.shape(radius))

    def _rms(self, radius: float) -> float:
        x = self.k * radius
        window = np.where(x < 1e-2, 1 - x**2 / 10, 3 * (np.sin(x) - x * np.cos(x)) / np.maximum(x, 1e-2) ** 3)
        return math.sqrt(np.trapezoid(self.linear * window**2 * self.k**3, np.log(self.k)) / (2 * math.pi**2))


def camb_settings(model: Cosmology) -> dict[str, Any]:
    """A cosmology in the words of ``camb.set_params``, without its amplitude."""
    return {"H0": 100 * model.h, "ombh2": model.omega_b * model.h**2, "mnu": 0.0, "omk": 0.0, "ns": model.n_s,
            "omch2": (model.omega_m - model.omega_b) * model.h**2, "TCMB": model.t_cmb}


@lru_cache(maxsize=4)
def matter_power(model: Cosmology) -> MatterPower:
    """P(k, z) of a cosmology, by CAMB with its default non-linear correction; remembered for the process.

    Raises
    ------
    MissingExtraError : camb is not installed.
    """
    camb = optional("camb", "sky")
    z = np.concatenate([np.linspace(0, 2, 9), [2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8.5, _Z_POWER]])
    trial, kmax = 2e-9, 20.0
    settings = camb.set_params(**camb_settings(model), WantCls=False, As=trial, redshifts=list(z[::-1]), kmax=kmax)
    settings.NonLinear = camb.model.NonLinear_both
    results = camb.get_results(settings)
    # Transfer functions know no amplitude: they serve for sigma_8 and for the spectra that have it right.
    settings.InitPower.set_params(As=trial * (model.sigma_8 / results.get_sigma8_0()) ** 2, ns=model.n_s)
    results.power_spectra_from_transfer(settings.InitPower)
    kh, _, nonlinear = results.get_matter_power_spectrum(
        minkh=1e-4 / model.h, maxkh=0.99 * kmax / model.h, npoints=400)
    linear = results.get_linear_matter_power_spectrum(hubble_units=False, k_hunit=False)
    k = kh * model.h
    at_zero = np.exp(CubicSpline(np.log(linear[0]), np.log(linear[2][0]))(np.log(k)))
    # Rounded: the last digits of CAMB depend on its threads, and the sky must not.
    digits = np.round(np.log(nonlinear / model.h**3), 6)
    return MatterPower(model, k, np.exp(np.round(np.log(at_zero), 6)), RectBivariateSpline(z, np.log(k), digits))
