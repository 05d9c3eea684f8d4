"""The CMB behind the foregrounds: its spectrum (CAMB), a Gaussian draw, and lensing by a given convergence."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import optional
from sundog.data.sky.sphere import (
    analysis,
    gaussian_alm,
    gradient,
    lmax_of,
    nside_of,
    pixelisation,
    scaled,
    values_at,
)
from sundog.errors import OptionError
from sundog.random import numpy_stream
from sundog.simulate.sky.cosmology import Cosmology, camb_settings, cosmology

Array = NDArray[Any]
_BLOCK = 4_000_000  # directions looked up at once


@lru_cache(maxsize=4)
def cmb_power(model: str | Cosmology = "wmap5", lmax: int = 3000) -> Array:
    """C_l of the unlensed CMB temperature in uK^2, (lmax + 1,), from CAMB; C_0 = C_1 = 0.

    Raises
    ------
    MissingExtraError : camb is not installed.
    """
    camb, model = optional("camb", "sky"), cosmology(model)
    settings = camb.set_params(**camb_settings(model), As=2e-9)
    settings.set_matter_power(redshifts=[0.0], kmax=2.0)
    settings.set_for_lmax(lmax + 100, lens_potential_accuracy=0)
    results = camb.get_results(settings)
    amplitude = (model.sigma_8 / results.get_sigma8_0()) ** 2  # unlensed spectra are linear in A_s
    return amplitude * results.get_unlensed_scalar_cls(lmax, CMB_unit="muK", raw_cl=True)[: lmax + 1, 0]


def lensed_cmb(kappa: Array, seed: int = 0, *, power: Array | None = None, model: str | Cosmology = "wmap5",
               threads: int = 1) -> Array:
    """HEALPix map of a Gaussian CMB seen through a convergence map, uK_CMB, float64, of the NSIDE of ``kappa``.

    T(n) = T_unlensed(n + grad phi), laplacian phi = -2 kappa, moved along great circles and looked up exactly in the
    harmonics (no interpolation between pixels).

    Parameters
    ----------
    kappa : (12 NSIDE^2,) RING, dimensionless; used up to l = 2 NSIDE
    power : (L + 1,) C_l of the unlensed temperature in uK^2; that of ``model`` up to 3 NSIDE when None
    Source: Lewis 2005, PRD 71, 083008, eq. A15-A16.
    """
    nside = nside_of(kappa)
    power = cmb_power(cosmology(model), 3 * nside) if power is None else np.asarray(power, float)
    if power.ndim != 1 or len(power) < 3 or not np.isfinite(power).all() or power.min() < 0:
        raise OptionError("not a CMB spectrum", got=f"shape {power.shape}", expected="C_l >= 0 in uK^2 from l = 0",
                          do="pass C_l, not l(l+1)C_l/2pi")
    alm = gaussian_alm(power, numpy_stream(seed, "cmb"))
    theta, phi = deflected(analysis(np.asarray(kappa, float), threads=threads), nside, threads=threads)
    blocks = range(0, len(theta), _BLOCK)
    return np.concatenate([values_at(alm, theta[i : i + _BLOCK], phi[i : i + _BLOCK], threads=threads,
                                     epsilon=1e-7) for i in blocks])


def deflected(kappa_alm: Array, nside: int, *, threads: int = 1) -> tuple[Array, Array]:
    """Directions (theta, phi) from which the light in each pixel came.

    cos theta' = cos d cos theta - sin d sin theta cos a,  sin(phi' - phi) = sin a sin d / sin theta',
    with the deflection grad phi = d (cos a e_theta + sin a e_phi).
    """
    ell = np.arange(lmax_of(kappa_alm) + 1)
    potential = scaled(kappa_alm, 2 / np.maximum(ell * (ell + 1), 1) * (ell > 0))
    south, east = gradient(potential, nside, threads=threads)
    angles = pixelisation(nside).pix2ang(np.arange(12 * nside**2))
    theta, phi = angles[:, 0], angles[:, 1]
    distance = np.hypot(south, east)
    share = np.where(distance > 0, np.sin(distance) / np.where(distance > 0, distance, 1), 1.0)
    cosine = np.cos(distance) * np.cos(theta) - share * south * np.sin(theta)
    moved = np.arccos(np.clip(cosine, -1, 1))
    along = np.cos(distance) * np.sin(theta) + share * south * np.cos(theta)  # sin theta' cos(phi' - phi)
    return moved, np.mod(phi + np.arctan2(share * east, along), 2 * math.pi)
