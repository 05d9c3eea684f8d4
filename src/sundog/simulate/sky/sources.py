"""Sources at 148 GHz: the flux of dusty galaxies in a halo (CIB), and the counts of radio galaxies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.simulate.frequency import greybody, thermodynamic_to_intensity
from sundog.simulate.sky.cosmology import MatterPower
from sundog.simulate.sky.halos import HEAVIEST, LIGHTEST, bias, mass_function
from sundog.simulate.sky.points import add, deposit, pieces, scatter
from sundog.simulate.sky.shells import Shell, density_power, smoothing

Array = NDArray[Any]
FAINTEST = 1e11  # solar masses: lighter halos hold next to no dust
_NODES = 60  # masses for integrals
_FAINT = 3e-4  # Jy: fainter radio sources are not drawn one by one


def halo_flux(mass: Array, z: float, distance: float, nu_ghz: float = 148.0) -> Array:
    """Flux of the dust in a halo, relative: L(M, z) Theta((1+z) nu) / (chi^2 (1+z)).

    L = M exp(-(log10 M - 12.3)^2 / (2 * 0.3)) (1 + z)^2.4, the last factor constant beyond z = 2; Theta a greybody of
    20.7 K (1+z)^0.2 and beta 1.6. The form is that of Shang et al. 2012, MNRAS 421, 2832, eq. 22-27, the numbers those
    of Viero et al. 2013, ApJ 772, 77, as used for WebSky (Stein et al. 2020, JCAP 10, 012, section 3.3).

    mass : (n,) M200c in solar masses; distance : comoving, Mpc
    """
    decades = np.log10(mass) - 12.3
    light = np.asarray(mass) / 1e12 * np.exp(-(decades**2) / (2 * 0.3)) * (1 + min(z, 2.0)) ** 2.4
    colour = greybody(nu_ghz * (1 + z), 20.7 * (1 + z) ** 0.2) / 1e5
    return light * colour / ((distance / 1e3) ** 2 * (1 + z))


@dataclass(frozen=True)
class DustShell:
    """Mean and shot noise of the dust of one shell, in relative flux.

    faint : flux per steradian of halos below the lightest that is placed; faint_bias; faint_shot : their flux^2 per
    steradian. bright, bright_bias, bright_shot : the same above.
    """

    faint: float
    faint_bias: float
    faint_shot: float
    bright: float
    bright_bias: float
    bright_shot: float

    @staticmethod
    def of(power: MatterPower, shell: Shell, lightest: float = LIGHTEST) -> DustShell:
        """Integrals of the mass function over halo_flux."""
        parts: list[float] = []
        for low, high in ((FAINTEST, lightest), (lightest, HEAVIEST)):
            x = np.linspace(math.log(low), math.log(high), _NODES)
            n = mass_function(power, np.exp(x), shell.z) * shell.volume / (4 * math.pi)
            flux = halo_flux(np.exp(x), shell.z, shell.distance)
            total = float(np.trapezoid(n * flux, x))
            clustered = float(np.trapezoid(n * flux * bias(power, np.exp(x), shell.z), x))
            parts += [total, clustered / total, float(np.trapezoid(n * flux**2, x))]
        return DustShell(*parts)

    def clustered(self) -> float:
        """Bias-weighted flux per steradian of all its halos."""
        return self.faint * self.faint_bias + self.bright * self.bright_bias


def dust_scale(power: MatterPower, shells: tuple[Shell, ...], dust: list[DustShell], d_1000: float) -> float:
    """Jy per relative flux so that the expected CIB has D_1000 = 1000 * 1001 C_1000 / 2 pi = ``d_1000`` uK^2.

    Expected: sum over shells of (flux x bias)^2 C_l of the smoothed matter, plus shot noise.
    """
    ell = 1000
    total = 0.0
    for shell, part in zip(shells, dust):
        window = smoothing(shell, ell)
        seen = window[ell] if len(window) > ell else 0.0
        total += part.clustered() ** 2 * density_power(power, shell, ell)[ell] * seen**2
        total += part.faint_shot + part.bright_shot
    per_uk = float(thermodynamic_to_intensity(148.0))
    return per_uk * math.sqrt(d_1000 * 2 * math.pi / (ell * (ell + 1)) / total)


@dataclass(frozen=True)
class RadioCounts:
    """Power-law counts dN/dS = A (S / Jy)^-slope between two fluxes, at 148 GHz; sources trace matter with a bias.

    A gives a shot noise of 0.14 Jy^2/sr below the cut of 7 mJy: D_3000 = 1.3 uK^2, as in Reichardt et al. 2012,
    ApJ 755, 70, section 6; at 0.5 arcmin pixels, an rms of 6.5 uK (the Sehgal 2010 map: 6.4).
    """

    amplitude: float = 4.35  # 1 / Jy / sr at 1 Jy
    slope: float = 2.25
    faintest: float = 3e-5
    cut: float = 7e-3
    bias: float = 2.0

    def per_steradian(self, low: float | None = None) -> float:
        """Number of sources above a flux in Jy; of all when None."""
        a = self.slope - 1
        return self.amplitude / a * ((low or self.faintest) ** -a - self.cut**-a)

    def moment(self, power: float, low: float, high: float) -> float:
        """int S^power dN/dS dS between two fluxes, Jy^power/sr."""
        a = power + 1 - self.slope
        return self.amplitude / a * (high**a - low**a)

    def shot_noise(self) -> float:
        """int S^2 dN/dS dS, Jy^2/sr."""
        return self.moment(2, self.faintest, self.cut)

    def fluxes(self, uniform: Array, low: float | None = None) -> Array:
        """(n,) fluxes in Jy above ``low`` that as many random numbers between 0 and 1 stand for."""
        a = self.slope - 1
        most, least = (low or self.faintest) ** -a, self.cut**-a
        return (most - uniform * (most - least)) ** (-1 / a)


def radio_kernel(z: Array) -> Array:
    """dN/dz of radio sources, relative: z^2 exp(-z/0.45), peak at 0.9; a round number for active galaxies."""
    return np.asarray(z) ** 2 * np.exp(-np.asarray(z) / 0.45)


def radio_shares(power: MatterPower, shells: tuple[Shell, ...]) -> Array:
    """Share of the radio sources in each shell, (n,), sum 1."""
    model = power.cosmology
    share = [radio_kernel(np.array(s.z)) * float(model.hubble(s.z)) * s.thickness for s in shells]
    return np.array(share) / np.sum(share)


def trace_radio(sky: Any, layer: Any) -> None:
    """Gather the mean density of the radio sources of one shell, in the map where they will be."""
    add(sky.maps["radio"], layer.density(sky.radio.bias), np.float32(sky.radio_share[layer.shell.index]))


def draw_radio(sky: Any) -> None:
    """Draw the radio sources where their mean density is: those above 0.3 mJy one by one.

    Of the others, 19 of 20, the sum in a pixel follows a gamma law of their mean and variance.
    """
    counts, density, low = sky.radio, sky.maps["radio"], _placed(sky.radio)
    expected = sky.region.nested(density)
    expected *= np.float32(sky.pixel * counts.per_steradian(low))
    drawn = np.zeros_like(expected)
    for points in scatter(expected, sky.region, sky.rng("radio")):
        deposit(drawn, points.pixels(sky.nside), counts.fluxes(points.uniform(), low) / sky.pixel)
    mean, square = (counts.moment(power, counts.faintest, low) for power in (1, 2))
    if mean > 0:
        scale, rng = square / mean / sky.pixel, sky.rng("faint radio")
        for some in pieces(len(density)):
            density[some] = rng.standard_gamma(density[some] * np.float32(mean / scale), dtype=np.float32)
        density *= np.float32(scale)
    else:
        density[:] = 0
    sky.region.add(density, drawn)
    density *= np.float32(1 / float(thermodynamic_to_intensity(148.0)))


def _placed(counts: RadioCounts) -> float:
    """Jy above which sources are drawn one by one."""
    return min(max(_FAINT, counts.faintest), counts.cut)
