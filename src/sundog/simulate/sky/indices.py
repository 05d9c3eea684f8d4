"""Spectral indices of sources, drawn for every pixel and correlated between bands; and the band they are taken to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.random import numpy_stream
from sundog.simulate.frequency import T_CMB, sz_spectrum, thermodynamic_to_intensity

Array = NDArray[Any]
REFERENCE = 148.0  # GHz, at which skies are simulated
BANDS = np.array([30.0, 90.0, 219.0, 277.0, 350.0])
_BLOCK = 1_000_000


@dataclass(frozen=True)
class Band:
    """A frequency in GHz, and the temperature of the CMB in kelvin."""

    nu_ghz: float
    t_cmb: float = T_CMB

    @property
    def brightness(self) -> float:
        """What a map in uK_CMB at 148 GHz is multiplied with if its brightness in Jy/sr is the same here."""
        return float(thermodynamic_to_intensity(REFERENCE, self.t_cmb)
                     / thermodynamic_to_intensity(self.nu_ghz, self.t_cmb))

    def compton(self) -> float:
        """Colour of the thermal SZ effect, g(nu) / g(148)."""
        return float(sz_spectrum(self.nu_ghz, self.t_cmb) / sz_spectrum(REFERENCE, self.t_cmb))


@dataclass(frozen=True, eq=False)
class SpectralIndices:
    """Law of the index alpha(nu) of S(nu) = S(148) (nu / 148)^alpha: Gaussian, correlated between bands.

    mean : (5,); covariance : (5, 5), at ``BANDS``; between bands alpha is linear in ln nu, beyond them constant.
    Numbers: the Sehgal et al. 2010 sources as measured for Han, Sehgal & Villaescusa-Navarro 2021, arXiv 2105.11444
    (their public data files ``spectra_index``).
    """

    mean: Array
    covariance: Array

    def draw(self, nu_ghz: float, count: int, rng: np.random.Generator) -> Array:
        """(count,) indices at a frequency; the same generator gives the same sources at every frequency."""
        weight = self.weights(nu_ghz)
        root = np.linalg.cholesky(self.covariance).astype(np.float32)
        return rng.standard_normal((count, len(BANDS)), np.float32) @ (root.T @ weight) + np.float32(self.mean @ weight)

    def weights(self, nu_ghz: float) -> Array:
        """(5,) by which the indices of the bands make that of a frequency."""
        return np.array([np.interp(math.log(nu_ghz), np.log(BANDS), unit) for unit in np.eye(len(BANDS))], np.float32)

    def rescaled(self, values: Array, band: Band, seed: tuple[int, str], *, scatter: bool) -> Array:
        """A map (n,) at another frequency: an index for every pixel, or the mean index for all."""
        ratio = math.log(band.nu_ghz / REFERENCE)
        if not scatter:
            return values * np.float32(band.brightness * math.exp(ratio * float(self.mean @ self.weights(band.nu_ghz))))
        rng, out = numpy_stream(seed[0], "spectral index", seed[1]), np.empty_like(values)
        for i in range(0, len(values), _BLOCK):
            part = values[i : i + _BLOCK]
            out[i : i + _BLOCK] = part * np.exp(np.float32(ratio) * self.draw(band.nu_ghz, len(part), rng))
        return out * np.float32(band.brightness)


CIB = SpectralIndices(
    np.array([3.30441823, 3.2027506, 2.9728809, 2.87043785, 2.74548628]),
    np.array([[0.01924419, 0.03109481, -0.03601933, -0.02111375, -0.01388685],
              [0.03109481, 0.19529985, -0.11804429, -0.07088062, -0.04851643],
              [-0.03601933, -0.11804429, 0.32170049, 0.11036153, 0.08731344],
              [-0.02111375, -0.07088062, 0.11036153, 0.13814279, 0.06504608],
              [-0.01388685, -0.04851643, 0.08731344, 0.06504608, 0.09069101]]))
RADIO = SpectralIndices(
    np.array([-0.79922867, -0.81122324, -0.81998951, -0.82183148, -0.82343421]),
    np.array([[0.02491235, 0.01987074, 0.01137748, 0.00875956, 0.00609938],
              [0.01987074, 0.02084420, 0.01689073, 0.01514662, 0.01319729],
              [0.01137748, 0.01689073, 0.01828846, 0.01789095, 0.01716469],
              [0.00875956, 0.01514662, 0.01789095, 0.01789296, 0.01755533],
              [0.00609938, 0.01319729, 0.01716469, 0.01755533, 0.01760844]]))
