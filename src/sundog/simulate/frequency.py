"""Frequency: the colour of the SZ effect, brightness against temperature, greybodies.

x = h nu / (k T_CMB). Numbers to 1e-4 need T_CMB said: it is an argument everywhere (2.7255 K; some codes use 2.726).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import one_of
from sundog.errors import OptionError

Array = NDArray[Any]
T_CMB = 2.7255  # Fixsen 2009, ApJ 707, 916
PLANCK, BOLTZMANN, LIGHT = 6.62607015e-34, 1.380649e-23, 299_792_458.0  # SI, exact since 2019
JY = 1e-26  # W / m^2 / Hz
UNITS = {"uK_CMB": 1e-6, "mK_CMB": 1e-3, "K_CMB": 1.0, "Jy/sr": 1.0, "MJy/sr": 1e6, "y": 1.0}


def sz_spectrum(nu_ghz: Any, t_cmb: float = T_CMB) -> Any:
    """Colour g of the thermal SZ effect in temperature, Delta T = g(nu) y T_CMB: g = x coth(x/2) - 4.

    Non-relativistic; negative below 217.5 GHz.

    Parameters
    ----------
    nu_ghz : number or array, GHz
    Source: Sunyaev & Zeldovich 1972; Carlstrom, Holder & Reese 2002, ARA&A 40, 643, eq. 2.

    Example
    -------
    >>> [round(float(sz_spectrum(nu)), 4) for nu in (90, 148, 217, 353)]
    [-1.5979, -0.9785, -0.0078, 2.2407]
    """
    x = _x(nu_ghz, t_cmb)
    return x / np.tanh(x / 2) - 4


def thermodynamic_to_intensity(nu_ghz: Any, t_cmb: float = T_CMB) -> Any:
    """dB/dT at T_CMB in Jy/sr per uK: what a change of the CMB temperature adds to the brightness.

    dB/dT = 2 k nu^2/c^2 x^2 e^x / (e^x - 1)^2.

    Example
    -------
    >>> round(float(thermodynamic_to_intensity(148)), 3)
    393.348
    """
    nu = np.asarray(nu_ghz, float) * 1e9
    return 2 * BOLTZMANN * (nu / LIGHT) ** 2 * thermodynamic_to_rayleigh_jeans(nu_ghz, t_cmb) / JY * 1e-6


def thermodynamic_to_rayleigh_jeans(nu_ghz: Any, t_cmb: float = T_CMB) -> Any:
    """uK of brightness (Rayleigh-Jeans) temperature per uK of CMB temperature: x^2 e^x / (e^x - 1)^2, 1 at low nu.

    Example
    -------
    >>> round(float(thermodynamic_to_rayleigh_jeans(148)), 4)
    0.5845
    """
    x = _x(nu_ghz, t_cmb)
    return (x / (2 * np.sinh(x / 2))) ** 2


def greybody(nu_ghz: Any, temperature: Any, beta: float = 1.6, gamma: float = 1.7) -> Any:
    """Relative luminosity nu^beta B_nu(T), continued by nu^-gamma where its slope has fallen to -gamma.

    Frequencies count in units of k T / h, so that float32 does not overflow.
    Source: Shang et al. 2012, MNRAS 421, 2832, eq. 26-27.
    """
    T = np.asarray(temperature, float)
    x = PLANCK * np.asarray(nu_ghz, float) * 1e9 / (BOLTZMANN * T)
    turn = _turning_point(beta, gamma)
    body = _grey(np.minimum(x, turn), beta) * np.maximum(x / turn, 1.0) ** -gamma
    return body * T ** (3 + beta)


def convert(values: Any, unit: str, to: str, nu_ghz: float, t_cmb: float = T_CMB) -> Any:
    """Values in another unit among uK_CMB, mK_CMB, K_CMB, Jy/sr, MJy/sr and y (Compton, thermal SZ only).

    Raises
    ------
    OptionError : an unknown unit.

    Example
    -------
    >>> round(float(convert(1.0, "K_CMB", "MJy/sr", 148.0)), 3)
    393.348
    """
    if one_of(unit, UNITS, "unit") == one_of(to, UNITS, "unit"):
        return values
    return values * (_in_micro_kelvin(unit, nu_ghz, t_cmb) / _in_micro_kelvin(to, nu_ghz, t_cmb))


def _in_micro_kelvin(unit: str, nu_ghz: float, t_cmb: float) -> float:
    """uK_CMB per unit."""
    if unit == "y":
        return float(sz_spectrum(nu_ghz, t_cmb)) * t_cmb * 1e6
    if unit.endswith("/sr"):
        return UNITS[unit] / float(thermodynamic_to_intensity(nu_ghz, t_cmb))
    return UNITS[unit] * 1e6


def _grey(x: Any, beta: float) -> Any:
    return x ** (3 + beta) / np.expm1(x)


def _turning_point(beta: float, gamma: float) -> float:
    """x where d ln(x^(3+beta)/(e^x - 1))/d ln x = -gamma, by iteration of x = (3 + beta + gamma)(1 - e^-x)."""
    x = 3 + beta + gamma
    for _ in range(50):
        x = (3 + beta + gamma) * (1 - np.exp(-x))
    return float(x)


def _x(nu_ghz: Any, t_cmb: float) -> Any:
    nu = np.asarray(nu_ghz, float)
    if not (np.all(nu > 0) and np.all(nu < 1e5)):
        raise OptionError("frequency out of range", got=nu_ghz, expected="GHz, above 0", do="pass 148, not 148e9")
    if not 0 < t_cmb < 1e3:
        raise OptionError("T_CMB out of range", got=t_cmb, expected="kelvin, about 2.7255", do="pass t_cmb=2.7255")
    return PLANCK * nu * 1e9 / (BOLTZMANN * t_cmb)
