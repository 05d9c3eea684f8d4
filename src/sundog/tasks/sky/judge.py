"""Is this sky real? Patches go to ``sundog.judge``; spectra, correlations and bispectra are compared on the sphere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sundog.data.dataset import Dataset
from sundog.data.sky.healpix import checked_map
from sundog.data.sky.sphere import analysis, nside_of, pixelisation
from sundog.data.sky.tiles import TileLayout, read_row
from sundog.errors import DataError, SampleSizeError, ShapeError
from sundog.random import numpy_stream
from sundog.simulate.sky.components import POINT_LIKE
from sundog.tasks.sky.measure import SkySpectra, geometric_edges, sky_bispectrum, sky_spectra, sky_trispectrum
from sundog.verdicts.compare import judge
from sundog.verdicts.deciding.moderated import LEVEL, check_numbers, moderated
from sundog.verdicts.verdict import Verdict

Array = NDArray[Any]
Numbers = Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True)
class SphereRow:
    """One number of whole skies: in the truth, in the fakes, and how far apart.

    Attributes
    ----------
    name : "kappa x tsz" (spectrum), "r kappa x tsz" (correlation), "bispectrum kappa" or
        "trispectrum kappa"
    where : the multipoles
    real, fake : means over the skies
    error : standard error of fake - real, moderated: see `moderated`
    null : what 95 % of the relabellings keep the size of the pull below
    pull : (fake - real) / error
    p_value : two-sided, Student's t with the degrees of freedom of both samples and of the prior
    passed : p_value above 0.01 over the number of rows
    """

    name: str
    where: str
    real: float
    fake: float
    error: float
    null: float
    pull: float
    p_value: float
    passed: bool


@dataclass(frozen=True, eq=False)
class SkyVerdict:
    """patches : verdict on square patches, with all statistics of images; sphere : rows on the sphere, worst first.

    p_sphere : of all rows on the sphere at once, by exchanging skies: what decides; the rows say where to look
    """

    patches: Verdict
    sphere: tuple[SphereRow, ...]
    p_sphere: float

    @property
    def passed(self) -> bool:
        """Whether nothing tells the fakes from the truth."""
        return self.patches.passed and self.p_sphere >= LEVEL

    def __str__(self) -> str:
        failed = sum(not row.passed for row in self.sphere)
        head = (f"sphere: {'PASS' if self.p_sphere >= LEVEL else 'FAIL'}, p = {self.p_sphere:.3g} for all at once; "
                f"{failed} of {len(self.sphere)} numbers tell the skies apart alone; worst first")
        lines = [f"{row.name:28} {row.where:>11} real {row.real:11.4g} fake {row.fake:11.4g} +- {row.error:8.2g} "
                 f"pull {row.pull:6.1f} (null {row.null:.1f}) {'' if row.passed else 'FAIL'}".rstrip()
                 for row in self.sphere[:20]]
        return "\n".join([str(self.patches), "", head, *lines])


def judge_skies(real: Sequence[Any], fake: Sequence[Any], *, layout: TileLayout | None = None, patches: int = 200,
                lmax: int | None = None, bins: int = 6, statistics: str | Sequence[str] = "all", seed: int = 0,
                threads: int = 1) -> SkyVerdict:
    """Verdict on generated skies against real ones: on patches of both, and on numbers of whole skies.

    Parameters
    ----------
    real, fake : SkyMaps, GeneratedSky or dicts of RING maps with the same names; five of each, or enough others to
        exchange them in a hundred ways
    layout : of the patches; 64 pixels as wide as those of the maps (at most half a degree) when None
    patches : of each sample (twice as many are cut from the real skies), tangent-plane tiles spread over the sphere
    lmax : of the spectra; 1.5 NSIDE when None
    statistics : of the patches, as for ``sundog.judge``
    bins : of the spectra in ln l from 20 up; the bispectrum takes half as many

    Raises
    ------
    SampleSizeError : too few skies for a p-value below 0.01; says how many are needed. ShapeError : other maps.
    DataError : a number that no sky has, such as the spectrum of a map of zeros.
    """
    check_numbers(len(real), len(fake))
    names = tuple(_maps(real[0]))
    truths, fakes = ([_named(_maps(sky), names) for sky in skies] for skies in (real, fake))
    nside = nside_of(truths[0][names[0]])
    layout = layout or TileLayout(64, min(60 * math.degrees(math.sqrt(math.pi / 3) / nside), 30.0), 16)
    cut = [sky_patches(skies, number, layout, seed=seed, threads=threads)
           for skies, number in ((truths, 2 * patches), (fakes, patches))]
    edges = geometric_edges(20, lmax or 3 * nside // 2, bins)
    wide = edges[:: max(1, len(edges) // max(2, bins // 2))]
    measured = [[_numbers(sky, edges, wide, threads) for sky in skies] for skies in (truths, fakes)]
    return SkyVerdict(judge(cut[0], cut[1], statistics=statistics, seed=seed), *compare_numbers(*measured, seed=seed))


def _named(maps: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
    if set(maps) != set(names):
        raise ShapeError("skies of other maps", got=", ".join(maps), expected=", ".join(names),
                         do="leave out what not all of them have")
    return {name: maps[name] for name in names}


def sky_patches(skies: Sequence[Mapping[str, Array]], number: int, layout: TileLayout, *, seed: int = 0,
                point_like: Sequence[str] = POINT_LIKE, threads: int = 1) -> Dataset:
    """``number`` tangent-plane patches spread at random over skies, as a Dataset with one channel per map.

    Extended maps are read from their harmonics, those in ``point_like`` at the nearest pixel. A patch is a tile of the
    layout: no two of them share more than its overlap.
    """
    rng, names = numpy_stream(seed, "sky patches"), tuple(skies[0])
    places = [(s, row, k) for s in range(len(skies)) for row in range(layout.rows) for k in range(layout.count(row))]
    if len(places) < number:
        raise SampleSizeError("too few tiles on these skies", got=f"{len(places)} tiles", expected=f"{number} patches",
                              do="bring more skies, or use a smaller layout")
    chosen = sorted(places[i] for i in rng.choice(len(places), number, replace=False))
    out = torch.empty(number, len(names), layout.size, layout.size)
    order = rng.permutation(number)
    for (s, c), name in (((s, c), name) for s in range(len(skies)) for c, name in enumerate(names)):
        values = np.asarray(skies[s][name], np.float32)
        alm = None if name in point_like else analysis(values, threads=threads)
        mine = [(i, row, k) for i, (sky, row, k) in enumerate(chosen) if sky == s]
        for row, group in itertools.groupby(mine, key=lambda place: place[1]):
            held = list(group)
            tiles = _nearest(values, layout, row) if alm is None else read_row(alm, layout, row, threads=threads)
            out[order[[i for i, _, _ in held]], c] = torch.from_numpy(tiles[[k for _, _, k in held]])
    facts = {"source": "sundog.tasks.sky.judge.sky_patches", "seed": seed, "skies": len(skies)}
    return Dataset.from_arrays(out, names=names, pixel_arcmin=layout.pixel_arcmin, provenance=facts)


def _nearest(values: Array, layout: TileLayout, row: int) -> Array:
    """The tiles of a row, (tiles, size, size), each pixel that of the map in which it lies."""
    theta, longitude = layout.directions(row)
    phi = np.mod(longitude[None] + layout.longitudes(row)[:, None, None], 2 * math.pi)
    angles = np.stack([np.broadcast_to(theta, phi.shape), phi], -1).reshape(-1, 2)
    return values[pixelisation(nside_of(values)).ang2pix(angles)].reshape(phi.shape)


def _numbers(maps: Mapping[str, Array], edges: Array, wide: Array, threads: int) -> Numbers:
    """(name, where) -> number of one sky, and its error if its maps were Gaussian."""
    spectra: SkySpectra = sky_spectra(maps, edges, threads=threads)
    error, correlation, unsure, out = spectra.error, spectra.correlation, spectra.correlation_error, {}
    for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(spectra.names), 2):
        for k in range(len(edges) - 1):
            where = f"{edges[k]}-{edges[k + 1]}"
            out[f"{a} x {b}", where] = spectra.power[i, j, k], error[i, j, k]
            if i != j:
                out[f"r {a} x {b}", where] = correlation[i, j, k], unsure[i, j, k]
    for name, values in maps.items():
        found = sky_bispectrum(np.asarray(values), wide, threads=threads)
        for triple, *number in zip(found.triples, found.value, found.error):
            out[f"bispectrum {name}", ",".join(str(wide[t]) for t in triple)] = tuple(number)
        four = sky_trispectrum(np.asarray(values), wide, threads=threads)
        for pair, *number in zip(four.pairs, four.value, four.error):
            out[f"trispectrum {name}", ",".join(str(wide[t]) for t in pair)] = tuple(number)
    return out


def compare_numbers(real: Sequence[Numbers], fake: Sequence[Numbers], *, seed: int = 0
                    ) -> tuple[tuple[SphereRow, ...], float]:
    """Rows of numbers measured on skies, worst first, and the p-value of all at once.

    Parameters
    ----------
    real, fake : for each sky (name, where) -> its number, and the error that it would have on Gaussian skies
    """
    keys = list(real[0])
    truth, made = (np.array([[sky[key][0] for key in keys] for sky in skies]) for skies in (real, fake))
    scale = np.mean([[sky[key][1] for key in keys] for sky in (*real, *fake)], axis=0)
    usable = np.isfinite([*truth, *made]).all(0) & (scale > 0)
    if not usable.all():
        raise DataError(f"{keys[int(usable.argmin())][0]} cannot be compared", got="no scatter, or no number",
                        expected="maps that vary", do="leave the map out that is the same in all skies")
    found = moderated(truth, made, scale, [name for name, _ in keys], seed)
    columns = np.stack([truth.mean(0), made.mean(0), found.error, found.band, found.pull, found.p_value], 1).tolist()
    rows = [SphereRow(name, where, a, b, error, band, pull, p, p >= LEVEL / len(keys))
            for (name, where), (a, b, error, band, pull, p) in zip(keys, columns)]
    return tuple(sorted(rows, key=lambda row: row.p_value)), found.p_global


def plausible(maps: Any, frequency_ghz: float = 148.0) -> None:
    """Nothing, if the rms of each map is what a microwave sky in uK_CMB has; for maps that came from elsewhere.

    Between 90 and 220 GHz tSZ, kSZ, CIB and radio have an rms between 0.01 and 1000 uK at any pixel size, and the CIB
    and radio spectra lie within two decades in rms of each other; K instead of uK, or MJy instead of Jy, do not.

    Raises
    ------
    DataError : names the map and its rms.

    Example
    -------
    >>> plausible({"cib": np.random.default_rng(0).normal(size=768) * 4})
    """
    found = {name: float(np.std(np.asarray(checked_map(values, name), float))) for name, values in _maps(maps).items()}
    for name, rms in found.items():
        low, high = (1e-4, 1.0) if name == "kappa" else (1e-2, 1e3)
        if not low <= rms <= high:
            raise DataError(f"{name} cannot be in {'plain numbers' if name == 'kappa' else 'uK_CMB'}",
                            got=f"rms {rms:.3g}", expected=f"{low:g} to {high:g} at {frequency_ghz:g} GHz",
                            do="convert it: sundog.tasks.sky.convert(map, 'K_CMB', 'uK_CMB', nu_ghz)")
    if {"cib", "radio"} <= set(found) and not 1e-2 < found["cib"] / found["radio"] < 1e3:
        raise DataError("CIB and radio are in different units", got=f"rms {found['cib']:.3g} and {found['radio']:.3g}",
                        expected="within a factor of a hundred or so", do="check MJy/sr against Jy/sr")


def _maps(sky: Any) -> dict[str, Array]:
    held = getattr(sky, "maps", sky)
    return dict(held.items() if isinstance(held, Mapping) else held)
