"""Free-free emission of ionised gas: its law with frequency, and a clumpy patch of it for a simulated sky.

    T(nu) = T_e (1 - exp(-tau)),  tau = 0.05468 T_e^-1.5 nu_9^-2 EM g(nu),
    g(nu) = ln{exp[5.960 - sqrt(3)/pi ln(nu_9 T_4^-1.5)] + e},  nu_9 = nu / GHz, T_4 = T_e / 10^4 K

Source: Draine 2011, Physics of the Interstellar and Intergalactic Medium, ch. 10, as in Planck 2015 X, A&A 594, A10,
table 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sundog.data.sky.sphere import gaussian_alm
from sundog.simulate.frequency import thermodynamic_to_rayleigh_jeans
from sundog.simulate.sky.indices import REFERENCE, Band

ELECTRONS_K = 7000.0  # temperature of the gas
MEAN_EM = 10.0  # cm^-6 pc: emission measure of a clean patch far from the Galactic plane
INDEX, LOWEST = -3.0, 10.0  # slope of C_l of ln EM, and the l below which it is flat
LOG_WIDTH = 0.8  # standard deviation of ln EM


def gaunt_factor(nu_ghz: float, electrons_k: float = ELECTRONS_K) -> float:
    """Gaunt factor of free-free emission, natural units: about 4 at 30 GHz, 3 at 350 GHz."""
    slow = math.log(nu_ghz * (electrons_k / 1e4) ** -1.5)
    return math.log(math.exp(5.960 - math.sqrt(3) / math.pi * slow) + math.e)


def free_free_uk(emission_measure: Any, nu_ghz: float, electrons_k: float = ELECTRONS_K) -> Any:
    """Brightness temperature in uK_RJ of gas with an emission measure in cm^-6 pc.

    Example
    -------
    >>> round(float(free_free_uk(10.0, 30.0)), 1)
    28.0
    """
    depth = 0.05468 * electrons_k**-1.5 * nu_ghz**-2 * np.asarray(emission_measure) * gaunt_factor(nu_ghz, electrons_k)
    return -1e6 * electrons_k * np.expm1(-depth)


def free_free_colour(band: Band) -> float:
    """What an optically thin map at 148 GHz is multiplied with, uK_CMB over uK_CMB."""
    def thin(nu: float) -> float:
        return nu**-2 * gaunt_factor(nu) / float(thermodynamic_to_rayleigh_jeans(nu, band.t_cmb))

    return thin(band.nu_ghz) / thin(REFERENCE)


def draw_free_free(sky: Any) -> None:
    """Add free-free emission to a sky under construction: a lognormal emission measure of mean `MEAN_EM`."""
    ell = np.arange(sky.lmax + 1)
    power = np.maximum(ell, LOWEST) ** INDEX * (ell > 0)
    power *= LOG_WIDTH**2 * 4 * math.pi / ((2 * ell + 1) * power).sum()
    log_em = sky.synthesis(gaussian_alm(power, sky.rng("free-free"), np.complex64))
    em = MEAN_EM * np.exp(log_em - 0.5 * LOG_WIDTH**2)
    sky.maps["free_free"] += free_free_uk(em, REFERENCE) / np.float32(thermodynamic_to_rayleigh_jeans(REFERENCE))
