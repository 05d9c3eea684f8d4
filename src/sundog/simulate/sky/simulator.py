"""simulate_sky: correlated kappa, tSZ, kSZ, CIB and radio maps from one draw of the matter, shell by shell; and others.

Per shell: a lognormal contrast delta = exp(g - var/2) - 1 with the non-linear spectrum less the one-halo term; halos, a
Poisson process around the smoothed g; their gas, dust, and mass; radio sources; a radial velocity. The contrast that
lenses and scatters is

    d = delta + (halo mass - its mean given g),

so the halos add their one-halo term and nothing else: d has the non-linear spectrum. Halos smaller than a pixel go into
their pixel; larger ones are convolved with their profile, bin by bin of angular size, at a cost independent of their
number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.checks import at_least
from sundog.data.sky.sphere import adjoint, gaussian_alm, gaussian_beam, scaled, synthesis, truncated
from sundog.errors import OptionError
from sundog.random import numpy_stream
from sundog.simulate.frequency import T_CMB, sz_spectrum, thermodynamic_to_intensity
from sundog.simulate.sky import shells as matter
from sundog.simulate.sky.components import COMPONENTS, NAMES, REFERENCE, component
from sundog.simulate.sky.cosmology import Cosmology, MatterPower, cosmology, matter_power
from sundog.simulate.sky.halos import (
    HEAVIEST,
    LIGHTEST,
    NEAREST,
    HaloLaw,
    HalosAround,
    concentration,
    nfw_window,
    one_halo_power,
    virial_angle,
)  # fmt: skip
from sundog.simulate.sky.maps import SkyMaps, Unfinished, growing, new_maps
from sundog.simulate.sky.points import FINEST, Region, add, deposit, pieces, release, scatter
from sundog.simulate.sky.pressure import faint_gas, gas_window, integrated_y, mean_gas_window, pressure_window
from sundog.simulate.sky.shells import Shell
from sundog.simulate.sky.sources import DustShell, RadioCounts, dust_scale, halo_flux, radio_shares

Array = NDArray[Any]
RESOLVED = 0.75  # R200c in pixels above which a halo is given its profile
CIB_D_1000 = 3.0  # uK^2 at 148 GHz: about 2 clustered and 1 of shot noise, near what SPT and ACT measure
_SMALLEST, _LARGEST = 16, 8192
_MARGIN = 2.0  # degrees around a cap, from which clusters reach into it
_NODES = 256  # of tables of ln M
_RESOLVED = np.dtype([("pixel", np.int32), *((name, np.float32) for name in (
    "log_mass", "radius", "z", "tsz", "kappa", "ksz"))])


def simulate_sky(nside: int, seed: int = 0, cosmology: str | Cosmology = "wmap5", out: str | Path | None = None, *,
                 extra: Sequence[str] = (), min_halo: float = LIGHTEST, cib_d_1000: float = CIB_D_1000,
                 radio: RadioCounts | None = None, tsz_beam: float = 0.0, cap: float | None = None,
                 threads: int = 1) -> SkyMaps:
    """A sky at 148 GHz: kappa, thermal and kinetic SZ, CIB and radio sources, correlated; uK_CMB.

    Same arguments, same bits, whatever the number of threads. Maps carry no beam; kappa and the Gaussian parts are
    sampled at the pixel centres with a band limit of 2.5 NSIDE, point sources fill one pixel.

    Parameters
    ----------
    nside : power of two, 16 to 8192
    cosmology : "wmap5" (that of the Sehgal 2010 skies), "planck18", or a Cosmology
    out : folder for the maps, written as memory maps while the sky grows; in memory when None. A sky that was stopped
        there goes on, to the same bits, from the state that is kept once a minute
    extra : further components by name: "free_free"
    min_halo : solar masses (M200c) above which halos are placed one by one, 4e7 of them at 1e13; the gas and dust of
        lighter ones follow the smoothed matter. 1e14 takes a third of the time and loses shot noise
    cib_d_1000 : 1000 * 1001 C_1000 / 2 pi of the CIB in uK^2; its amplitude is set, not predicted
    radio : counts of the radio sources
    tsz_beam : FWHM in arcmin, two pixels at least, that the clusters are seen with before the map has pixels: nothing
        rings. 0: none. (`sundog.tasks.sky.with_beam` smooths maps that have pixels.)
    cap : only what lies within so many degrees of the north pole, at little more than its share of the cost; NaN
        elsewhere. It is the whole sky's but for the number of halos, which is not held to the mass function
    threads : of the spherical transforms

    Raises
    ------
    OptionError : NSIDE, cosmology or seed out of range. MissingExtraError : ducc0 or camb is not installed.

    Source: the parts are cited at their functions; the recipe follows the peak-patch and lognormal skies of Stein et
    al. 2020 (JCAP 10, 012) and Tessore et al. 2023 (OJAp 6, 11). Limits: docs/sky.md.

    Example
    -------
    >>> sky = simulate_sky(16, seed=1, min_halo=3e14)
    >>> sky.nside, bool(sky.tsz.max() <= 0), bool(sky.radio.min() >= 0)
    (16, True, True)
    """
    model = _checked(nside, seed, cosmology, min_halo, tsz_beam, cap)
    names = tuple(dict.fromkeys((*NAMES, *(component(name).name for name in extra))))
    radio = radio or RadioCounts()
    facts = {"simulator": "sundog.simulate.sky.simulate_sky", "seed": seed, "nside": nside, "cosmology": model.name,
             "min_halo": min_halo, "cib_d_1000": cib_d_1000, **({"tsz_beam_arcmin": tsz_beam} if tsz_beam else {}),
             **({} if cap is None else {"cap_degrees": cap})}
    region = Region(nside) if cap is None else Region(nside, math.radians(cap + _MARGIN))
    unfinished = Unfinished(out, f"{facts} {model} {radio} {names}")
    with growing(out) as place:
        grown = place if cap is None else None
        builder = _Builder.start(seed, model, new_maps(grown, region.pixels, names), region, min_halo, radio, tsz_beam,
                                 threads, grown)
        _grow(builder, cib_d_1000, unfinished)
        maps = builder.maps if cap is None else _alone(builder.maps, Region(nside, math.radians(cap)), place)
        sky = SkyMaps(maps, frequency_ghz=REFERENCE, provenance={**facts, "halos": builder.halos})
        if out is not None:
            sky.save(out)
    unfinished.forget()
    return sky


def _grow(builder: _Builder, cib_d_1000: float, unfinished: Unfinished) -> None:
    """Draw the sky, from where a stopped one had come."""
    dust = [DustShell.of(builder.power, shell, builder.min_halo) for shell in builder.shells]
    jansky = dust_scale(builder.power, builder.shells, dust, cib_d_1000)
    velocities = matter.draw_velocities(builder.power, builder.shells, builder.seed, builder.lmax)
    if state := unfinished.load():
        builder.restore(state)
    for shell in builder.shells[builder.done :]:
        builder.add(shell, dust[shell.index], jansky, velocities[shell.index])
        builder.done += 1
        unfinished.keep(builder.state)
    builder.add_far_lensing()
    builder.add_resolved_halos()
    builder.finish_dust(jansky)
    for name in builder.maps:
        if draw := COMPONENTS[name].draw:
            draw(builder)


def _alone(maps: dict[str, Array], cap: Region, place: Path | None) -> dict[str, Array]:
    """Whole maps that are NaN outside a cap."""
    out = new_maps(place, 12 * cap.nside**2, maps)
    for name, values in out.items():
        values[:] = np.nan
        values[: cap.pixels] = maps[name][: cap.pixels]
    return out


def _checked(nside: int, seed: int, name: str | Cosmology, min_halo: float, tsz_beam: float,
             cap: float | None) -> Cosmology:
    if nside != int(nside) or nside & (int(nside) - 1) or not _SMALLEST <= nside <= _LARGEST:
        raise OptionError("cannot simulate this NSIDE", got=nside, expected="a power of two, 16 to 8192",
                          do="try 128 first; 512 takes 20 s of CPU")
    at_least(seed, 0, "seed")
    if not 1e12 <= min_halo <= 1e15:
        raise OptionError("min_halo out of range", got=min_halo, expected="1e12 to 1e15 solar masses",
                          do="pass min_halo=1e13")
    narrowest = 120 * math.degrees(math.sqrt(math.pi / 3) / nside)
    if tsz_beam and not narrowest <= tsz_beam < 600:
        raise OptionError("a beam that these pixels do not hold", got=f"{tsz_beam:g} arcmin at NSIDE {nside}",
                          expected=f"{narrowest:.3g} (two pixels) to 600 arcmin", do="use a finer map or a wider beam")
    if cap is not None and not 1 <= cap <= 90:
        raise OptionError("cap out of range", got=f"{cap:g} degrees", expected="1 to 90 degrees from the north pole",
                          do="leave it out for the whole sky")
    return cosmology(name)


@dataclass(eq=False)
class _Builder:
    """A sky under construction.

    ``resolved`` holds, per bin of angular size, the halos larger than a pixel; ``sums`` what shells have gathered for
    the end, in ``place`` where maps are on disk; ``done`` counts the shells.
    """

    region: Region
    seed: int
    power: MatterPower
    shells: tuple[Shell, ...]
    maps: dict[str, Array]
    min_halo: float
    radio: RadioCounts
    radio_share: Array
    tsz_beam: float
    threads: int
    place: Path | None = None
    resolved: dict[int, list[Array]] = field(default_factory=dict)
    sums: dict[str, Array] = field(default_factory=dict)
    halos: int = 0
    done: int = 0

    @staticmethod
    def start(seed: int, model: Cosmology, maps: dict[str, Array], region: Region, min_halo: float,
              radio: RadioCounts, tsz_beam: float, threads: int, place: Path | None = None) -> _Builder:
        power, layers = matter_power(model), matter.shells(model)
        return _Builder(region, seed, power, layers, maps, min_halo, radio,
                        radio_shares(power, layers), tsz_beam, threads, place)

    @property
    def nside(self) -> int:
        return self.region.nside

    @property
    def lmax(self) -> int:
        return 5 * self.nside // 2

    @property
    def pixel(self) -> float:
        """Solid angle of a pixel, steradian."""
        return 4 * math.pi / (12 * self.nside**2)

    def rng(self, *stream: str | int) -> np.random.Generator:
        """Random numbers of one purpose of this sky."""
        return numpy_stream(self.seed, "sky", *stream)

    def synthesis(self, alm: Array) -> Array:
        """The part of the map of coefficients that this sky has."""
        return synthesis(alm, self.nside, rings=self.region.rings, threads=self.threads)

    def add(self, shell: Shell, dust: DustShell, jansky: float, velocity: Array) -> None:
        """Everything that one shell contributes."""
        power = matter.lognormal_power(self.two_halo_power(shell))
        alm = gaussian_alm(power, self.rng(shell.index, "density"), np.complex64)
        contrast = _exponential(self.synthesis(alm), 1.0, matter.variance(power))
        contrast -= 1
        window = matter.smoothing(shell, self.lmax)
        smooth = _cut(alm, window)
        del alm
        layer = Layer(self, shell, self.synthesis(smooth), matter.variance(power[: len(window)] * window**2))
        self._faint_halos(layer, dust, jansky)
        for name in self.maps:
            if trace := COMPONENTS[name].layer:
                trace(self, layer)
        places = replace(self.region, nside=placement_nside(shell, self.nside))
        same = places == self.region
        mean = self._around(layer, layer.tracer, self.region)
        contrast -= mean.mass(1 / (self.unit(shell) * self.pixel))
        if not same:
            tracer = synthesis(smooth, places.nside, rings=places.rings, threads=self.threads)
            mean = self._around(layer, tracer, places)
        around = replace(mean, level=places.nested(mean.level, mean.zero))
        del layer, mean, smooth
        small, large = self._placed(shell, around, places, jansky)
        self._matter(shell, contrast, small, large, velocity)

    def _around(self, layer: Layer, tracer: Array, region: Region) -> HalosAround:
        """The halos of a shell around its smoothed matter, in its order."""
        law = HaloLaw.of(self.power, layer.shell, self.min_halo)
        return law.around(tracer) if region.rings is None else law.around(tracer, 12 * region.nside**2, layer.seen)

    def two_halo_power(self, shell: Shell) -> Array:
        """C_l of the contrast of a shell, less what the halos will add to it in these maps."""
        whole = matter.density_power(self.power, shell, self.lmax)
        halos = one_halo_power(self.power, shell, self.lmax, self.min_halo, resolution=self.resolution)
        return np.maximum(whole - halos, 0.1 * whole)  # the halos of the nearest 200 Mpc exceed Limber's sum there

    @property
    def resolution(self) -> float:
        """R200c in radians from which a halo has its profile."""
        return RESOLVED * math.sqrt(self.pixel)

    def halo_window(self, name: str) -> Array:
        """(3 NSIDE,) what halos with a profile are seen through, so that they ring less.

        Clusters of the tSZ: a Gaussian of the width of a pixel. Mass and its kSZ: nothing up to the band limit of the
        matter around them, whose power counts on theirs, then a cosine squared.
        """
        ell = np.arange(3 * self.nside)
        if name == "tsz":
            return np.exp(-0.5 * ell * (ell + 1) * self.pixel / (8 * math.log(2)))
        return np.cos(0.5 * math.pi * np.clip((ell - self.lmax) / (ell[-1] - self.lmax), 0, 1)) ** 2

    def _faint_halos(self, layer: Layer, dust: DustShell, jansky: float) -> None:
        """Halos too light to be placed: mean and variance of their dust (Jy/sr), mean of their gas."""
        field_ = layer.density(dust.faint_bias)
        add(self.gathered("dust"), field_, np.float32(dust.faint * jansky))
        add(self.gathered("dust shot"), field_, np.float32(dust.faint_shot * jansky**2 / self.pixel))
        del field_
        y, y_bias = faint_gas(self.power, layer.shell, self.min_halo)
        add(self.maps["tsz"], layer.density(y_bias), np.float32(y * _micro_kelvin_per_y()))

    def unit(self, shell: Shell) -> float:
        """Solar masses per steradian of a shell."""
        return self.power.cosmology.density * shell.volume / (4 * math.pi)

    def _placed(self, shell: Shell, around: HalosAround, places: Region, jansky: float) -> tuple[Array, Array]:
        """Contrast of the halos of a shell that are smaller than a pixel; and the larger ones.

        Dust of all and gas of the small ones go into the maps.
        """
        model, small = self.power.cosmology, np.float32(self.resolution)
        flux_of = Table(lambda m: halo_flux(m, shell.z, shell.distance) * jansky)
        y_of = Table(lambda m: integrated_y(model, m, shell.z, shell.distance) * -_micro_kelvin_per_y())
        size, per_pixel = virial_angle(shell, model), np.float32(1 / self.pixel)
        contrast = np.zeros(len(self.region.ring), np.float32)
        cib, gas = (self.gathered(name, len(contrast)) for name in ("cib", "tsz"))
        kept = []
        for points in scatter(around.number(), places, self.rng(shell.index, "halos")):
            log_mass, at = around.masses(points.pixel, points.uniform()), points.pixels(self.nside)
            closeness = shell_closeness(shell, points.uniform(1))
            radius = size * closeness * np.exp(log_mass * np.float32(1 / 3))
            nearness = closeness * closeness * per_pixel
            flux = flux_of(log_mass) * nearness
            flux[flux > self.radio.cut / self.pixel] = 0  # found and masked, as radio sources are
            tsz, mass = y_of(log_mass) * -nearness, np.exp(log_mass) * np.float32(1 / self.unit(shell))
            large = np.flatnonzero(radius >= small)
            kept.append(_resolved(shell, at[large], log_mass[large], radius[large], tsz[large] * np.float32(self.pixel),
                                  mass[large]))
            tsz[large] = mass[large] = 0
            self.halos += len(at)
            deposit(cib, at, flux)
            deposit(gas, at, tsz)
            deposit(contrast, at, mass * per_pixel)
        release(cib)
        release(gas)
        return self.region.in_rings(contrast), np.concatenate(kept)

    def _matter(self, shell: Shell, contrast: Array, small: Array, large: Array, velocity: Array) -> None:
        """Lensing and scattering by the contrast, which is changed in place, and by halos.

        The large ones go into their bins of angular size (factors of two), the gas of the small ones waits for its
        profile, which reaches further than their mass.
        """
        speed = self.synthesis(velocity)
        speed *= np.float32(-T_CMB * 1e6 * matter.optical_depth(self.power.cosmology, shell))
        large["pixel"] = self.region.ring[large["pixel"]]
        large = large[large["pixel"] < self.region.pixels]
        large["ksz"] *= speed[large["pixel"]]
        size = np.floor(np.log2(large["radius"] / self.resolution)).astype(int)
        for b in np.unique(size):
            self.resolved.setdefault(int(b), []).append(large[size == b])
        add(self.gathered("ksz"), small, speed)
        add(self.maps["ksz"], speed, contrast)
        contrast += small
        add(self.maps["kappa"], contrast, np.float32(shell.weight))

    def state(self) -> dict[str, Array]:
        """Arrays from which `restore` goes on after the shells that are done."""
        halos = {f"resolved {b}": np.concatenate(parts) for b, parts in self.resolved.items()}
        sums = {f"sum {name}": values for name, values in self.sums.items()}
        return {**{f"map {name}": values for name, values in self.maps.items()}, **halos, **sums,
                "count": np.array([self.done, self.halos])}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up the state of a sky that was stopped."""
        for name, values in self.maps.items():
            add(values, state[f"map {name}"])
        for name in state:
            if name.startswith("sum "):
                add(self.gathered(name[4:], len(values := state[name])), values)
        self.resolved = {int(name.split()[1]): [state[name]] for name in state if name.startswith("resolved")}
        self.done, self.halos = map(int, state["count"])

    def add_far_lensing(self) -> None:
        """The convergence from beyond the last shell: a Gaussian field."""
        z_max = float(self.power.cosmology.redshift(self.shells[-1].high))
        power = matter.far_lensing_power(self.power, z_max, self.lmax)
        add(self.maps["kappa"], self.synthesis(gaussian_alm(power, self.rng("far"), np.complex64)))

    def add_resolved_halos(self) -> None:
        """Convolve the halos larger than a pixel with their profile, one bin of angular size at a time."""
        lmax = 3 * self.nside - 1
        for size, parts in self.resolved.items():
            self.resolved[size] = [np.concatenate(parts)]
        bins = [halos for halos, in self.resolved.values()]
        for name in ("tsz", "kappa", "ksz"):
            beamed = name == "tsz" and self.tsz_beam > 0
            smooth = gaussian_beam(lmax, self.tsz_beam) if beamed else self.halo_window(name)
            total: Any = scaled(self._unresolved(lmax), smooth) if beamed else 0
            if name == "ksz":
                window = mean_gas_window(self.power, self.shells, lmax, self.resolution, self.min_halo)
                total = scaled(self._adjoint(self.sums["ksz"], lmax), window * self.pixel)
            for halos in bins:
                peaks = np.zeros_like(self.maps[name])
                np.add.at(peaks, halos["pixel"], halos[name])
                window = smooth * _window(name, halos, lmax, self.power.cosmology)
                total += scaled(self._adjoint(peaks, lmax), window)
            if bins or beamed or name == "ksz":
                values = self.synthesis(total)
                add(self.maps[name], np.minimum(values, 0, out=values) if name == "tsz" else values)
        if not self.tsz_beam:
            self.region.add(self.maps["tsz"], self.sums["tsz"])

    def _unresolved(self, lmax: int) -> Array:
        """Coefficients of the gas without a profile, points and faint halos, which leave their map."""
        self.region.add(self.maps["tsz"], self.sums["tsz"])
        found = self._adjoint(self.maps["tsz"] * np.float32(self.pixel), lmax)
        self.maps["tsz"][:] = 0
        return found

    def _adjoint(self, peaks: Array, lmax: int) -> Array:
        return adjoint(peaks, lmax, nside=self.nside, rings=self.region.rings, threads=self.threads)

    def finish_dust(self, jansky: float) -> None:
        """Draw the halos too light to be placed, all shells at once: a gamma law with their mean and variance."""
        cib, mean, shot = self.maps["cib"], self.sums["dust"], self.sums["dust shot"]
        rng = self.rng("dust")
        for some in pieces(len(cib)):
            cib[some] += rng.standard_gamma(mean[some] ** 2 / shot[some], dtype=np.float32) * (shot[some] / mean[some])
        self.region.add(cib, self.sums["cib"])
        cib /= np.float32(thermodynamic_to_intensity(REFERENCE))

    def gathered(self, name: str, pixels: int | None = None) -> Array:
        """What shells have gathered for the end of the sky, (pixels,); in RING order unless a number is given."""
        if name not in self.sums:
            self.sums |= new_maps(self.place and self.place / "sums", pixels or self.region.pixels, [name])
        return self.sums[name]


@dataclass(frozen=True, eq=False)
class Layer:
    """One shell of matter, for tracers of it.

    tracer : (pixels,) the smoothed Gaussian field; seen : its variance
    """

    sky: _Builder
    shell: Shell
    tracer: Array
    seen: float

    def density(self, bias: float) -> Array:
        """(pixels,) float32 of tracers with a linear bias, mean 1."""
        return _exponential(self.tracer.copy(), bias, self.seen)


def placement_nside(shell: Shell, nside: int) -> int:
    """NSIDE at which the halos of a shell are placed: its pixels stay below 0.7 of the smoothing length."""
    wanted = math.sqrt(math.pi / 3) / (0.7 * shell.smoothing_angle)
    return min(nside, FINEST, 2 ** math.ceil(math.log2(max(wanted, 16))))


def _resolved(shell: Shell, at: Array, log_mass: Array, radius: Array, tsz: Array, mass: Array) -> Array:
    """Rows of halos that are larger than a pixel; ``ksz`` is the mass still."""
    rows = np.empty(len(at), _RESOLVED)
    for name, values in (("pixel", at), ("log_mass", log_mass), ("radius", radius), ("z", shell.z), ("tsz", tsz),
                         ("kappa", mass * shell.weight), ("ksz", mass)):
        rows[name] = values
    return rows


def shell_closeness(shell: Shell, uniform: Array) -> Array:
    """Middle of the shell over distance, of points uniform in its volume beyond NEAREST."""
    low, high = ((edge / shell.distance) ** 3 for edge in (max(shell.low, NEAREST), shell.high))
    return 1 / np.cbrt(np.float32(low) + np.float32(high - low) * uniform)


class Table:
    """A positive law of halo mass, called with ln M (float32): its logarithm is kept in equal steps."""

    def __init__(self, law: Callable[[Array], Array]) -> None:
        low, high = math.log(9e11), math.log(1.1 * HEAVIEST)
        self.low, self.per_step = np.float32(low), np.float32((_NODES - 1) / (high - low))
        nodes = law(np.exp(np.linspace(low, high, _NODES)))
        self.logs = np.log(np.maximum(nodes, 1e-35)).astype(np.float32)
        self.rise = np.append(np.diff(self.logs), np.float32(0))

    def __call__(self, log_mass: Array) -> Array:
        where = (log_mass - self.low) * self.per_step
        i = where.astype(np.int32)
        where -= i
        where *= self.rise[i]
        where += self.logs[i]
        return np.exp(where, out=where)


def _window(name: str, halos: Array, lmax: int, model: Cosmology) -> Array:
    """Transform of the profile of a bin of halos: the rms over eight groups of rising size and equal power."""
    law = {"tsz": pressure_window, "ksz": gas_window,
           "kappa": lambda ell, theta, mass, z: nfw_window(ell, theta, concentration(model, mass, z))}[name]
    ell, order = np.unique(np.geomspace(1, lmax, 120).astype(int)), np.argsort(halos["radius"])
    weight = halos[name][order].astype(float) ** 2
    ends = np.searchsorted(np.cumsum(weight), np.linspace(0, weight.sum(), 9)[1:-1])
    found = np.zeros(len(ell))
    for rows, share in zip(np.split(order, ends), np.split(weight, ends)):
        if share.sum():
            theta, mass, z = (float(np.average(v, weights=share))
                              for v in (halos["radius"][rows], np.exp(halos["log_mass"][rows]), halos["z"][rows]))
            found += share.sum() * law(ell, theta, mass, z) ** 2
    return np.interp(np.arange(lmax + 1), ell, np.sqrt(found / weight.sum()))


def _exponential(g: Array, bias: float, variance: float) -> Array:
    """exp(b g - b^2 var / 2), in place of g: mean 1."""
    g *= np.float32(bias)
    g -= np.float32(0.5 * bias**2 * variance)
    return np.exp(g, out=g)


def _cut(alm: Array, window: Array) -> Array:
    """Coefficients times a window, up to its end."""
    return scaled(truncated(alm, len(window) - 1), window)


def _micro_kelvin_per_y() -> float:
    return float(sz_spectrum(REFERENCE)) * T_CMB * 1e6
