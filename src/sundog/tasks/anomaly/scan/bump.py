"""The bump hunt: a smooth curve through the sidebands of a spectrum, and the excess over it inside the window.

Counts n_i in bins of the mass follow Poisson laws with means b_i,

    b_i = f_i exp(sum_k c_k L_k(u_i)),   u = ln m mapped to [-1, 1],

fitted by maximum likelihood to the bins outside the window; inside stands the interpolation b with its error sigma. For
a spectrum before any cut f_i is the width of the bin, and the law is profiled over several (``laws.py``). After a cut
f_i is the curve of the spectrum before, and the exponential is the efficiency of the cut: a few selected events cannot
fix the shape of a spectrum, but they need not. Its logarithm is a line plus a curvature that is small unless the events
say otherwise: normal priors of width 0.2 on c_2 and 0.1 on c_3, so that nothing is switched on and off by a few events.

The excess of the n events counted inside has the significance

    Z^2 = 2 [ n ln( n (b + s) / (b^2 + n s) ) - (b^2 / s) ln( 1 + s (n - b) / (b (b + s)) ) ],   s = sigma^2,

negative below b. Source: Li & Ma 1983, eq. 17, in the form of Cowan 2012 (background known to sigma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2, norm

from sundog.errors import DataError, OptionError, SampleSizeError
from sundog.tasks.anomaly.background.spectrum import legendre_basis, spread_edges
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.tasks.anomaly.scan.closed import evolved_laws
from sundog.tasks.anomaly.scan.laws import PENALTY, LawFit, envelope, laws, table
from sundog.tasks.anomaly.scan.process import PROCESS, process_versions

BINS = 60  # of the spectrum up to its 99.5 % quantile
CURVATURES = (np.inf, np.inf, 0.2, 0.1)  # prior widths of c_0 to c_3 of the logarithm of an efficiency
FEWEST_BESIDE = 20  # events that pass the cut outside the window: a curve through fewer says nothing
CROWD = 5.0  # expected events in the merged bins of the goodness of fit


@dataclass(frozen=True, eq=False)
class Shape:
    """The spectrum before a cut: curve (k,) in every bin, and the relative error of its sum inside the window."""

    curve: np.ndarray
    error: float


@dataclass(frozen=True, eq=False)
class BumpFit:
    """A spectrum, the curve through its sidebands, and what stands above it inside the window.

    Attributes
    ----------
    region : the window
    edges : (k + 1,) of the bins; the edges of the window are among them
    counts, background : (k,) events counted, and the fitted curve
    inside : (k,) whether a bin lies in the window
    observed, expected, expected_error : inside the window: events, curve, and its standard error from the fit
    degree : coefficients of the law (effective ones), the normalisation not counted
    p_fit : goodness of the fit beside the window
    shape : of the spectrum before the cut, None for a spectrum that was not cut
    laws : all laws that were fitted, the best first; print them
    """

    region: SignalRegion
    edges: np.ndarray
    counts: np.ndarray
    background: np.ndarray
    inside: np.ndarray
    observed: int
    expected: float
    expected_error: float
    degree: float
    p_fit: float
    shape: Shape | None = None
    laws: tuple[LawFit, ...] = ()

    @property
    def excess(self) -> float:
        """Events above the curve."""
        return self.observed - self.expected

    @property
    def significance(self) -> float:
        """Z of the excess in standard deviations, asymptotic; negative for a deficit."""
        return float(count_significance(self.observed, self.expected, self.expected_error))

    @property
    def p_value(self) -> float:
        """One-sided local p-value of ``significance``, asymptotic."""
        return float(norm.sf(self.significance))

    @property
    def pulls(self) -> np.ndarray:
        """(count - curve) / sqrt(curve) in each bin."""
        return (self.counts - self.background) / np.sqrt(np.maximum(self.background, 1e-9))

    def __str__(self) -> str:
        return (f"{self.observed} events, {self.expected:.1f} +- {self.expected_error:.1f} expected: "
                f"{self.significance:+.1f} sigma, p = {self.p_value:.2g}")


@dataclass(frozen=True)
class Peak:
    """Where the excess sits: a Gaussian on the curve, fitted inside the window; 68 % errors, units of the mass."""

    mass: float
    mass_error: float
    width: float
    width_error: float
    events: float


def common_edges(m: Any, regions: Sequence[SignalRegion], bins: int = BINS) -> np.ndarray:
    """Bin edges for a spectrum, (k + 1,): those of every window are among them.

    Bins grow like the mass itself; the sparse last 0.5 % of the spectrum gets a few wide ones.

    Example
    -------
    >>> edges = common_edges(np.linspace(3, 5, 1000), [SignalRegion(3.4, 3.6)])
    >>> bool((np.abs(edges - 3.4) < 1e-9).any()), bool((np.abs(edges - 3.6) < 1e-9).any())
    (True, True)
    """
    mass = mass_column(m).numpy()
    low, high = float(mass.min()), float(mass.max())
    tail = float(np.quantile(mass, 0.995))
    corners = {edge for region in regions for edge in (region.lo, region.hi) if low < edge < high}
    if all(tail > edge for edge in corners):
        return np.unique(np.concatenate([spread_edges({low, tail, *corners}, bins),
                                         spread_edges({tail, high}, max(3, bins // 12))]))
    return spread_edges({low, high, *corners}, bins)


def fit_bump(m: Any, region: SignalRegion, edges: Any, before: BumpFit | None = None, *, evolved: bool = False,
             seed: int = 0, curvatures: Sequence[float] = CURVATURES) -> BumpFit:
    """The curve through the sidebands of the masses m (n,), and the count inside the window.

    For a spectrum that was not cut the law is profiled over those of ``sundog.tasks.anomaly.scan.laws``, so that the
    choice is part of the error; the efficiency of a cut is a polynomial of degree 3, see above.

    before : fit of the spectrum before the cut; its relative error is added to that of this fit
    evolved : profile over closed forms as well, evolved beside the window (``closed.py``, ten CPU seconds); the name of
        each in ``laws`` is its formula in u, ln m mapped to [-1, 1]
    seed : of those searches
    curvatures : widths of the priors of the coefficients of the logarithm of an efficiency

    Raises
    ------
    SampleSizeError : fewer than 20 events beside the window.
    OptionError : bins that straddle an edge of the window; ``evolved`` after a cut, or from masses that reach zero.

    Example
    -------
    >>> m = 3 - np.log(np.random.default_rng(0).uniform(0.2, 1, 5000)) / 1.6
    >>> region = SignalRegion(3.3, 3.7)
    >>> fit = fit_bump(m, region, common_edges(m, [region]))
    >>> abs(fit.significance) < 4
    True
    """
    edges = np.asarray(edges, dtype=float)
    inside = bins_inside(edges, region)
    counts = np.histogram(mass_column(m).numpy(), edges)[0]
    beside = int(counts[~inside].sum())
    if beside < FEWEST_BESIDE:
        raise SampleSizeError("too few events pass the cut beside the window", got=beside,
                              expected=f"at least {FEWEST_BESIDE}", do="cut at a larger background efficiency")
    shape = shape_before(before, edges)
    if evolved and (before is not None or edges[0] <= 0):
        raise OptionError("no law can be evolved here", got="a spectrum after a cut" if before is not None else
                          f"masses from {edges[0]:g}", expected="masses above 0, before a cut", do="leave evolved out")
    more = evolved_laws(counts, edges, inside, seed) if evolved else None
    fits = fit_curves(counts[None], edges, inside, shape, more, curvatures)
    background, degree = fits.background[0], float(fits.degree[0])
    p_fit = _goodness(counts[~inside], background[~inside], degree)
    return BumpFit(region, edges, counts, background, inside, int(counts[inside].sum()), float(fits.expected[0]),
                   float(fits.error[0]), degree, p_fit, shape, fits.laws)


@dataclass(frozen=True, eq=False)
class Curves:
    """Fits of t spectra at once.

    Attributes
    ----------
    background : (t, k) expected counts of the curve, in every bin
    expected, error : (t,) its sum inside the window, with the standard error
    degree : (t,) coefficients of the best laws (effective ones), the normalisation not counted
    laws : all laws fitted to the first spectrum, the best first
    """

    background: np.ndarray
    expected: np.ndarray
    error: np.ndarray
    degree: np.ndarray
    laws: tuple[LawFit, ...]


def fit_curves(counts: np.ndarray, edges: np.ndarray, inside: np.ndarray, shape: Shape | None = None,
               more: Mapping[str, np.ndarray] | None = None, curvatures: Sequence[float] = CURVATURES) -> Curves:
    """Curves through the bins of counts (t, k) that are not ``inside`` (k,), the law profiled for each spectrum.

    more : further laws, name -> basis (k, p)
    """
    if shape is None:
        f, candidates = np.diff(edges), {name: [(basis, np.zeros(basis.shape[1]))] for name, basis in
                                         (laws(edges) | dict(more or {})).items()}
        if edges[0] > 0:
            candidates[PROCESS] = process_versions(edges, inside)
    else:
        whole = legendre_basis(0.5 * (edges[1:] + edges[:-1]), len(curvatures) - 1, (edges[0], edges[-1]))
        candidates, f = {"efficiency": [(whole, np.array(curvatures) ** -2.0)]}, shape.curve
    fits = [_most_likely(counts, f, inside, versions) for versions in candidates.values()]
    background, expected, error, deviance, sizes = (np.stack(part) for part in zip(*fits))
    badness = deviance + PENALTY * sizes
    best, spread = envelope(badness, expected, error)
    pick = (best, np.arange(len(counts)))
    of_shape = 0.0 if shape is None else shape.error * expected[pick]
    told = table(list(candidates), badness[:, 0], sizes[:, 0], expected[:, 0], error[:, 0])
    return Curves(background[pick], expected[pick], np.hypot(spread, of_shape), sizes[pick] - 1, told)


def _most_likely(counts: np.ndarray, f: np.ndarray, inside: np.ndarray,
                 versions: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """The fit of a law, of its version (basis, prior) with the largest evidence for each spectrum.

    Curve (t, k); events inside the window, their error, -2 ln L and effective coefficients, (t,) each.
    """
    found = []
    for basis, prior in versions:
        c, information = _newton(basis[~inside], counts[:, ~inside], f[~inside], prior)
        b = f * np.exp(np.clip(c @ basis.T, -50, 50))
        beside = b[:, ~inside]
        deviance = -2 * (counts[:, ~inside] * np.log(beside) - beside).sum(1)
        gradient = b[:, inside] @ basis[inside]
        variance = np.einsum("ti,ti->t", gradient, _solve(information, gradient))
        size = np.full(len(counts), float(basis.shape[1]))
        evidence = np.zeros(len(counts))
        if len(versions) > 1:
            free = np.diag(prior)[None] + np.zeros_like(information)
            size -= np.trace(np.linalg.solve(information, free), axis1=1, axis2=2)
            evidence = -0.5 * (deviance + c**2 @ prior + np.linalg.slogdet(information)[1])
        found.append((evidence, b, b[:, inside].sum(1), np.sqrt(np.maximum(variance, 0)), deviance, size))
    evidence, *parts = (np.stack(part) for part in zip(*found))
    best = (evidence.argmax(0), np.arange(len(counts)))
    return tuple(part[best] for part in parts)


def shape_before(before: BumpFit | None, edges: np.ndarray) -> Shape | None:
    """The curve of the spectrum before the cut, for ``fit_curves``."""
    if before is None:
        return None
    if not np.array_equal(before.edges, edges):
        raise OptionError("the spectrum before the cut has other bins", got=f"{len(before.edges) - 1} bins",
                          expected=f"the {len(edges) - 1} of the cut spectrum", do="use common_edges for both")
    return Shape(before.background, before.expected_error / before.expected)


def count_significance(n: Any, b: Any, sigma: Any) -> np.ndarray:
    """Z of n counts where b +- sigma are expected (all broadcast); negative below b. The formula of this page.

    Example
    -------
    >>> float(count_significance(100, 100, 5).round(2)), float(count_significance(130, 100, 5).round(2))
    (0.0, 2.54)
    """
    n, b, s = np.asarray(n, float), np.maximum(np.asarray(b, float), 1e-9), np.asarray(sigma, float) ** 2
    s = np.maximum(s, 1e-12 * b**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(n > 0, n * np.log(n * (b + s) / (b**2 + n * s)), 0.0)
    squared = 2 * (first - b**2 / s * np.log1p(s * (n - b) / (b * (b + s))))
    return np.sign(n - b) * np.sqrt(np.maximum(squared, 0.0))


def locate(m: Any, fit: BumpFit) -> Peak | None:
    """Mass and width of the excess, or None where there is none above one standard deviation.

    Events inside the window follow (B b(m) + S N(m; mass, width)) / (B + S), b the fitted curve; mass, width and
    S > 0 maximise the likelihood. The width is at least 1 % of the window and at most half of it.

    m : (n,) masses of the events that were counted
    """
    mass = mass_column(m).double().numpy()
    mass = mass[(mass > fit.region.lo) & (mass < fit.region.hi)]
    if fit.significance < 1 or len(mass) == 0:
        return None
    grid = fit.edges[:-1][fit.inside], fit.edges[1:][fit.inside], fit.background[fit.inside]
    cell = np.clip(np.searchsorted(grid[0], mass, side="right") - 1, 0, len(grid[0]) - 1)
    density = grid[2][cell] / (grid[1] - grid[0])[cell]
    lo, hi, w = fit.region.lo, fit.region.hi, fit.region.width

    def fall(p: np.ndarray) -> float:
        s, at, width = p
        if s < 0 or width <= 0:  # a step of the finite differences leads there
            return np.inf
        held = norm.cdf(hi, at, width) - norm.cdf(lo, at, width)
        return float(s + fit.expected - np.log(density + s * norm.pdf(mass, at, width) / max(held, 1e-3)).sum())

    bounds = [(0.0, 3.0 * len(mass)), (lo, hi), (0.01 * w, 0.5 * w)]
    starts = [np.array([max(fit.excess, 1.0), at, width * w]) for at in np.linspace(lo, hi, 13)[1:-1]
              for width in (0.05, 0.1, 0.25)]
    best = minimize(fall, min(starts, key=fall), method="L-BFGS-B", bounds=bounds)
    error = _errors(fall, best.x, np.array([max(1.0, best.x[0] ** 0.5), 0.01 * w, 0.01 * w]))
    return Peak(float(best.x[1]), error[1], float(best.x[2]), error[2], float(best.x[0]))


def bins_inside(edges: np.ndarray, region: SignalRegion) -> np.ndarray:
    """Which bins lie in the window: (k,) booleans; its edges must be edges of bins."""
    middle = 0.5 * (edges[1:] + edges[:-1])
    inside = (middle > region.lo) & (middle < region.hi)
    near = 1e-6 * (edges[-1] - edges[0])
    if not inside.any() or any(np.abs(edges - at).min() > near for at in (region.lo, region.hi)):
        raise OptionError("the bins do not fit the window", got=f"{len(edges) - 1} bins",
                          expected=f"edges at {region.lo:g} and {region.hi:g}", do="use common_edges")
    return inside


def _newton(basis: np.ndarray, counts: np.ndarray, widths: np.ndarray,
            prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (t, p) of the maximum-likelihood curves, and their information matrices (t, p, p).

    prior: (p,) inverse variances of coefficients about zero.
    """
    k, p = basis.shape
    products = (basis[:, :, None] * basis[:, None]).reshape(k, p * p)
    # Start: least squares of the logarithms, weighted like the counts.
    weight = counts + 0.5
    target = np.log(weight / widths)
    c = _solve((weight @ products).reshape(-1, p, p) + np.diag(prior), (weight * target) @ basis)
    for _ in range(40):
        b = widths * np.exp(np.clip(c @ basis.T, -50, 50))
        information = (b @ products).reshape(-1, p, p) + np.diag(prior)
        step = _solve(information, (counts - b) @ basis - prior * c)
        size = np.abs(step).max(1, keepdims=True)
        c = c + step * np.minimum(1.0, 1.0 / np.maximum(size, 1e-12))
        if size.max() < 1e-8:
            break
    if not np.isfinite(c).all():
        raise DataError("no smooth curve fits the sidebands", got="a fit that does not converge",
                        expected="a spectrum without empty stretches", do="cut the sparse tail of the spectrum")
    return c, information


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Solutions (t, p) of t small systems; a tiny ridge keeps curves through almost empty bins solvable."""
    ridge = 1e-9 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(matrix.shape[-1])
    return np.linalg.solve(matrix + ridge, vector[..., None])[..., 0]


def _goodness(counts: np.ndarray, expected: np.ndarray, degree: float) -> float:
    """p-value of Pearson's chi-square over bins merged until each expects five events."""
    group = np.floor(np.cumsum(expected) / CROWD).astype(int)
    _, group = np.unique(group, return_inverse=True)
    n, b = np.bincount(group, counts), np.bincount(group, expected)
    free = len(n) - degree - 1
    return float(chi2.sf(((n - b) ** 2 / b).sum(), free)) if free > 0 else 1.0


def _errors(fall: Any, at: np.ndarray, step: np.ndarray) -> list[float]:
    """Standard errors from the curvature of a negative log-likelihood, by central differences."""
    k = len(at)
    hessian = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            corners = [(a, b, fall(at + a * step * (np.arange(k) == i) + b * step * (np.arange(k) == j)))
                       for a in (-1, 1) for b in (-1, 1)]
            hessian[i, j] = sum(a * b * value for a, b, value in corners) / (4 * step[i] * step[j])
    if not np.isfinite(hessian).all():  # the maximum lies at a bound: a step leads out of the allowed range
        return [float("inf")] * k
    with np.errstate(invalid="ignore"):
        found = np.sqrt(np.diag(np.linalg.pinv(hessian)))
    return [float(e) if np.isfinite(e) else float("inf") for e in found]
