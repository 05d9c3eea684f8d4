"""Numbers of a whole sky: auto- and cross-spectra, correlation coefficients, bispectrum, source counts; with errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sundog.data.sky.healpix import checked_map
from sundog.data.sky.sphere import analysis, angular_spectrum, legendre_sum, nside_of, scaled, synthesis
from sundog.data.sky.strips import Sources
from sundog.errors import OptionError, ShapeError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SkySpectra:
    """Binned spectra of a set of maps.

    Attributes
    ----------
    names : of the maps
    edges : (b + 1,) multipoles; bin i holds edges[i] <= l < edges[i + 1]
    power : (n, n, b) C_l, the (2l + 1)-weighted mean of each bin, auto-spectra on the diagonal
    modes : (b,) sum of 2l + 1
    """

    names: tuple[str, ...]
    edges: Array
    power: Array
    modes: Array

    @property
    def ell(self) -> Array:
        """(b,) middle of each bin."""
        return 0.5 * (self.edges[1:] + self.edges[:-1] - 1)

    @property
    def error(self) -> Array:
        """(n, n, b) standard error of Gaussian fields: sqrt((C_ab^2 + C_aa C_bb) / modes); clusters scatter more."""
        auto = np.einsum("iib->ib", self.power)
        return np.sqrt((self.power**2 + auto[:, None] * auto[None]) / self.modes)

    @property
    def correlation(self) -> Array:
        """(n, n, b) C_ab / sqrt(C_aa C_bb)."""
        auto = np.einsum("iib->ib", self.power)
        return self.power / np.sqrt(np.maximum(auto[:, None] * auto[None], 1e-300))

    @property
    def correlation_error(self) -> Array:
        """(n, n, b) (1 - r^2) / sqrt(modes), for Gaussian fields."""
        return (1 - self.correlation**2) / np.sqrt(self.modes)

    def between(self, first: str, second: str) -> Array:
        """(b,) C_l of two maps."""
        return self.power[self.names.index(first), self.names.index(second)]


def sky_spectra(maps: Mapping[str, Array], edges: Sequence[int] | Array, *, threads: int = 1) -> SkySpectra:
    """Full-sky auto- and cross-spectra of RING maps of one NSIDE, means removed.

    Parameters
    ----------
    edges : rising multipoles, the last one at most 3 NSIDE; trust what lies below 2 NSIDE

    Raises
    ------
    ShapeError : maps of unequal NSIDE. DataError : UNSEEN pixels, NESTED order. OptionError : edges that do not fit.

    Example
    -------
    >>> from sundog.data.sky.sphere import gaussian_alm
    >>> x = synthesis(gaussian_alm(np.ones(33), np.random.default_rng(0)), 16)
    >>> found = sky_spectra({"a": x, "b": -2 * x}, [2, 12, 30])
    >>> found.between("a", "b").round(0), found.correlation[0, 1].round(3)
    (array([-2., -2.]), array([-1., -1.]))
    """
    names = tuple(maps)
    nside = nside_of(maps[names[0]])
    edges = _checked_edges(edges, 3 * nside)
    alm = []
    for name in names:
        values = np.asarray(checked_map(maps[name], name, nside=nside), np.float64)
        alm.append(analysis((values - values.mean()).astype(np.float32), int(edges[-1]) - 1, iterations=2,
                            threads=threads))
    power = np.zeros((len(names), len(names), len(edges) - 1))
    for i, j in itertools.combinations_with_replacement(range(len(names)), 2):
        power[i, j] = power[j, i] = binned(angular_spectrum(alm[i], alm[j]), edges)
    ell = np.arange(edges[-1])
    return SkySpectra(names, edges, power, np.add.reduceat(2 * ell + 1, edges[:-1]).astype(float))


def binned(power: Array, edges: Array) -> Array:
    """(2l + 1)-weighted means of C_l in bins.

    Example
    -------
    >>> binned(np.ones(20), np.array([2, 5, 20]))
    array([1., 1.])
    """
    weight = (2 * np.arange(len(power)) + 1)[: edges[-1]]
    return np.add.reduceat(power[: edges[-1]] * weight, edges[:-1]) / np.add.reduceat(weight, edges[:-1])


def geometric_edges(low: int, high: int, number: int) -> Array:
    """About ``number`` bins of equal width in ln l, each at least 1 wide.

    Example
    -------
    >>> geometric_edges(10, 80, 3).tolist()
    [10, 20, 40, 80]
    """
    return np.unique(np.rint(np.geomspace(low, high, number + 1)).astype(int))


@dataclass(frozen=True, eq=False)
class SkyBispectrum:
    """Binned bispectrum of one map.

    triples : (t, 3) numbers of the bins; value : (t,) reduced bispectrum averaged over the triangles of the bins;
    error : (t,) for a Gaussian field of the same spectrum
    """

    edges: Array
    triples: Array
    value: Array
    error: Array


def sky_bispectrum(values: Array, edges: Sequence[int] | Array, *, threads: int = 1) -> SkyBispectrum:
    """Bispectrum of a full-sky map: b_ijk = int M_i M_j M_k / N_ijk, M_i the map kept to the multipoles of bin i.

    N_ijk = sum over l in the bins of (2l1+1)(2l2+1)(2l3+1)/(4 pi) (l1 l2 l3; 0 0 0)^2 = 8 pi^2 int dcos zeta_i zeta_j
    zeta_k with zeta_i = sum (2l+1)/(4 pi) P_l; var = g C_i C_j C_k / N, g = 6, 2, 1 for three, two, no equal bins.

    Source: Bucher, Racine & van Tent 2016, JCAP 05, 055, eq. 3.4-3.9.

    Example
    -------
    >>> from sundog.data.sky.sphere import gaussian_alm
    >>> x = synthesis(gaussian_alm(np.ones(30), np.random.default_rng(0)), 16)
    >>> found = sky_bispectrum(x, [4, 12, 28])
    >>> len(found.value), bool((np.abs(found.value) < 5 * found.error).all())
    (4, True)
    """
    edges, maps, kept, found = _filtered(values, edges, threads)
    zeta, weights = _correlations(kept, 3 * int(edges[-1]) // 2 + 2)
    power = binned(found, edges)
    rows = []
    for i, j, k in itertools.combinations_with_replacement(range(len(maps)), 3):
        triangles = 8 * math.pi**2 * float((weights * zeta[i] * zeta[j] * zeta[k]).sum())
        if triangles > 1e-6 * math.sqrt(edges[-1]):
            value = float((maps[i] * maps[j] * maps[k]).mean()) * 4 * math.pi / triangles
            equal = {1: 6, 2: 2, 3: 1}[len({i, j, k})]
            rows.append((i, j, k, value, math.sqrt(equal * power[i] * power[j] * power[k] / triangles)))
    table = np.array(rows)
    return SkyBispectrum(edges, table[:, :3].astype(int), table[:, 3], table[:, 4])


@dataclass(frozen=True, eq=False)
class SkyTrispectrum:
    """Binned trispectrum of one map.

    pairs : (t, 2) numbers of the bins; value : (t,) connected trispectrum, the mean over quadrilaterals with two sides
    in the one bin and two in the other; error : (t,) for a Gaussian field of the same spectrum
    """

    edges: Array
    pairs: Array
    value: Array
    error: Array


def sky_trispectrum(values: Array, edges: Sequence[int] | Array, *, threads: int = 1) -> SkyTrispectrum:
    """Trispectrum of a full-sky map: T_ij = (<M_i^2 M_j^2> - (1 + 2 delta_ij) <M_i^2> <M_j^2>) / N_ij, M_i the map kept
    to the multipoles of bin i.

    N_ij = 2 pi int dcos zeta_i^2 zeta_j^2 with zeta_i as in `sky_bispectrum`, so that points of unit weight scattered
    with a density n have T = n. Of a Gaussian field, whose mean is 0, var = g/2 int dcos xi_i^2 xi_j^2 / N^2 with the
    correlation functions xi of the filtered maps, g = 24 for i = j and 4 else.

    Source: the kurt-spectrum K^(2,2) of Munshi et al. 2011, MNRAS 412, 1993, summed over its multipole.

    Example
    -------
    >>> from sundog.data.sky.sphere import gaussian_alm
    >>> x = synthesis(gaussian_alm(np.ones(30), np.random.default_rng(0)), 16)
    >>> found = sky_trispectrum(x, [4, 12, 28])
    >>> len(found.value), bool((np.abs(found.value) < 5 * found.error).all())
    (3, True)
    """
    edges, maps, kept, power = _filtered(values, edges, threads)
    top = 2 * int(edges[-1]) + 2
    zeta, weights = _correlations(kept, top)
    xi, _ = _correlations([window * power for window in kept], top)
    rows = []
    for i, j in itertools.combinations_with_replacement(range(len(maps)), 2):
        a, b, same = maps[i] ** 2, maps[j] ** 2, i == j
        # Of a Gaussian map too, the square of its mean square is more than that of its variance.
        more = 3 * float((weights * xi[i] ** 2).sum()) if same else 0.0
        shape = 2 * math.pi * float((weights * zeta[i] ** 2 * zeta[j] ** 2).sum())
        value = float((a * b).mean()) - (3 if same else 1) * float(a.mean()) * float(b.mean()) + more
        spread = (12 if same else 2) * float((weights * xi[i] ** 2 * xi[j] ** 2).sum())
        rows.append((i, j, value / shape, math.sqrt(spread) / shape))
    table = np.array(rows)
    return SkyTrispectrum(edges, table[:, :2].astype(int), table[:, 2], table[:, 3])


def _filtered(values: Array, edges: Sequence[int] | Array, threads: int
              ) -> tuple[Array, list[Array], list[Array], Array]:
    """Checked edges; the map kept to the multipoles of each bin; 1 at these multipoles, else 0; C_l."""
    values = checked_map(values)
    nside = nside_of(values)
    edges = _checked_edges(edges, 3 * nside)
    alm = analysis(np.asarray(values - values.mean(), np.float64), int(edges[-1]) - 1, iterations=2, threads=threads)
    ell = np.arange(edges[-1])
    kept = [((ell >= low) & (ell < high)).astype(float) for low, high in itertools.pairwise(edges)]
    maps = [synthesis(scaled(alm, window), nside, threads=threads) for window in kept]
    return edges, maps, kept, angular_spectrum(alm)


def _correlations(powers: Sequence[Array], top: int) -> tuple[list[Array], Array]:
    """sum (2l+1)/(4 pi) C_l P_l at ``top`` Gauss-Legendre nodes, and their weights."""
    return ([legendre_sum(np.pad(power, (0, top - len(power)))) for power in powers],
            np.polynomial.legendre.leggauss(top)[1])


def source_counts(sources: Sources, edges: Sequence[float], *, sky_fraction: float = 1.0) -> tuple[Array, Array]:
    """dN/dS per steradian in bins of flux, and its Poisson error (that of one source where there is none), (b,) each.

    Example
    -------
    >>> three = Sources(np.ones(3), np.ones(3), np.array([1.0, 1.5, 3.0]))
    >>> (source_counts(three, [0.5, 2.5, 4.5])[0] * 4 * math.pi).tolist()
    [1.0, 0.5]
    """
    flux = np.asarray(edges, float)
    if flux.ndim != 1 or len(flux) < 2 or not (np.diff(flux) > 0).all() or not 0 < sky_fraction <= 1:
        raise OptionError("flux bins do not fit", got=f"{flux.tolist()}, sky {sky_fraction}", do="pass rising edges",
                          expected="rising edges and a sky fraction up to 1")
    number = np.histogram(sources.flux, flux)[0]
    unit = np.diff(flux) * 4 * math.pi * sky_fraction
    return number / unit, np.sqrt(np.maximum(number, 1)) / unit


def _checked_edges(given: Sequence[int] | Array, most: int) -> Array:
    edges = np.asarray(given, int)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or not (np.diff(edges) > 0).all():
        raise OptionError("bins of multipoles do not rise", got=edges.tolist(), expected="rising edges from 0 up",
                          do="pass geometric_edges(20, 500, 10)")
    if edges[-1] > most:
        raise ShapeError("multipoles beyond the map", got=f"l up to {edges[-1]}", expected=f"at most {most} = 3 NSIDE",
                         do="use a finer map or stop earlier")
    return edges
