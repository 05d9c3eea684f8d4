"""Hot gas: pressure (Battaglia 2012) and density (Battaglia 2016) of a halo, integrated Compton y, harmonic shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.simulate.sky.cosmology import Cosmology, MatterPower
from sundog.simulate.sky.halos import LIGHTEST, HaloLaw, bias, mass_function, virial_radius
from sundog.simulate.sky.shells import Shell, optical_depth, variance, velocity_power

Array = NDArray[Any]
FAINTEST = 1e12  # solar masses: lighter halos hold a few per cent of the pressure
OUTER = 4.0  # radius in R200c where the profile ends
ELECTRONS = 0.518  # electron pressure over thermal pressure, fully ionised with X = 0.76
# sigma_T/(m_e c^2) G (1e14 Msun) Msun/Mpc^3 Mpc: makes y dimensionless with pressures in G Msun^2/Mpc^4.
_Y_UNIT = 6.6524587e-29 / 8.1871057769e-14 * 6.6743e-11 * 1.98841e30**2 / 3.0856775814913673e22**3
_X = np.geomspace(1e-4, OUTER, 400)


def shape(mass: Any, z: Any) -> tuple[Any, Any, Any]:
    """P0, x_c and beta of P/P200 = P0 (x/x_c)^-0.3 [1 + x/x_c]^-beta.

    Source: Battaglia et al. 2012, ApJ 758, 75, eq. 10-11 and table 1 (AGN feedback, 200 critical).
    """
    m = np.asarray(mass) / 1e14
    return (18.1 * m**0.154 * (1 + z) ** -0.758, 0.497 * m**-0.00865 * (1 + z) ** 0.731,
            4.35 * m**0.0393 * (1 + z) ** 0.415)


def profile(x: Array, mass: float, z: float) -> Array:
    """Thermal pressure over P200 = 200 rho_c G M f_b / (2 R200) at radii x = r / R200."""
    p0, xc, beta = shape(mass, z)
    return p0 * (x / xc) ** -0.3 * (1 + x / xc) ** -beta


def integrated_y(model: Cosmology, mass: Array, z: float, distance: float) -> Array:
    """Compton y integrated over the solid angle of each halo, steradian: sigma_T/(m_e c^2) int P_e dV / D_A^2.

    mass : (n,) M200c; distance : comoving, Mpc
    """
    mass = np.atleast_1d(mass)
    radius = virial_radius(model, mass, z)
    p0, xc, beta = (np.reshape(v, (-1, 1)) for v in np.broadcast_arrays(*shape(mass, z)))
    inside = np.trapezoid(p0 * (_X / xc) ** -0.3 * (1 + _X / xc) ** -beta * _X**3, np.log(_X), axis=1)
    baryons = model.omega_b / model.omega_m
    pressure = 200 * float(model.critical_density(z)) * mass * baryons / (2 * radius)
    volume = 4 * math.pi * radius**3 * inside
    return _Y_UNIT * ELECTRONS * pressure * volume / (distance / (1 + z)) ** 2


def pressure_window(ell: Array, theta: float, mass: float, z: float) -> Array:
    """Harmonic transform of the projected pressure of a halo with R200c seen under ``theta`` (radians); 1 at l = 0.

    u(l) = int dx x^2 P(x) sin(l theta x)/(l theta x) / int dx x^2 P(x), flat sky.
    """
    weight = profile(_X, mass, z) * _X**3 * np.gradient(np.log(_X))
    scale = np.sinc(np.outer(np.asarray(ell) * theta, _X) / math.pi)
    return scale @ weight / weight.sum()


def gas_window(ell: Array, theta: float, mass: float, z: float) -> Array:
    """Harmonic transform of the projected gas density of a halo with R200c seen under ``theta``; 1 at l = 0.

    rho = rho0 (x/0.5)^-0.2 [1 + (x/0.5)^alpha]^-(beta - 0.2)/alpha, x = r/R200, out to where it holds the baryons of
    the halo, 4 R200 at most.
    Source: Battaglia 2016, JCAP 08, 058, eq. A1-A2 and table 2 (AGN feedback), with the exponent that falls as x^-beta.
    """
    m = mass / 1e14
    rho0, alpha, beta = (4000 * m**0.29 * (1 + z) ** -0.66, 0.88 * m**-0.03 * (1 + z) ** 0.19,
                         3.83 * m**0.04 * (1 + z) ** -0.025)
    density = rho0 * (2 * _X) ** -0.2 * (1 + (2 * _X) ** alpha) ** (-(beta - 0.2) / alpha)
    weight = density * _X**3 * np.gradient(np.log(_X))
    weight[3 / 200 * np.cumsum(weight) > 1] = 0
    scale = np.sinc(np.outer(np.asarray(ell) * theta, _X) / math.pi)
    return scale @ weight / weight.sum()


def mean_gas_window(power: MatterPower, shells: tuple[Shell, ...], lmax: int, largest: float,
                    lightest: float = LIGHTEST) -> Array:
    """(lmax + 1,) rms of `gas_window` over the halos with R200c below ``largest`` (radians).

    Each counts by what it adds to the C_l of the kinetic SZ: tau^2 <v^2> n M^2 / V^2.
    """
    ell = np.unique(np.geomspace(1, max(lmax, 2), 60).astype(int))
    found, total = np.zeros(len(ell)), 0.0
    for shell, velocity in zip(shells, np.einsum("lss->sl", velocity_power(power, shells))):
        law = HaloLaw.of(power, shell, lightest)
        scattered = optical_depth(power.cosmology, shell) ** 2 * variance(velocity) / shell.volume**2
        mass = np.exp(law.log_mass)
        theta = virial_radius(power.cosmology, mass, shell.z) * (1 + shell.z) / shell.distance
        for i in np.flatnonzero(theta < largest)[::4]:
            share = scattered * law.number[i] * mass[i] ** 2
            found += share * gas_window(ell, theta[i], mass[i], shell.z) ** 2
            total += share
    if not total:
        return np.ones(lmax + 1)
    return np.interp(np.arange(lmax + 1), ell, np.sqrt(found / total))


def faint_gas(power: MatterPower, shell: Shell, lightest: float = LIGHTEST) -> tuple[float, float]:
    """Mean Compton y of the halos of a shell too light to be placed, and the bias of that gas."""
    x = np.linspace(math.log(FAINTEST), math.log(max(lightest, 1.01 * FAINTEST)), 20)
    number = mass_function(power, np.exp(x), shell.z) * shell.volume / (4 * math.pi)
    y = number * integrated_y(power.cosmology, np.exp(x), shell.z, shell.distance)
    total = float(np.trapezoid(y, x))
    return total, float(np.trapezoid(y * bias(power, np.exp(x), shell.z), x)) / total
