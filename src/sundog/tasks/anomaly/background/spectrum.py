"""The law of the mass inside the signal region: where the masses of a background template come from.

The honest law is a smooth curve fitted to the sidebands and interpolated (``smooth_masses``). The published
template methods draw from the events inside the window (``histogram_masses``, ``kde_masses``); those contain the
signal, so the template gets a share of the excess. They are offered for reproduction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2, gaussian_kde
from torch import Tensor

from sundog.errors import DataError, OptionError
from sundog.random import stream
from sundog.tasks.anomaly.background.extent import extent
from sundog.tasks.anomaly.regions import SignalRegion, mass_column

CELLS = 400  # of the grid on which a law is tabulated: 1 GeV in a window of 0.4 TeV
BINS = 80  # of the spectrum that the smooth curve is fitted to
DEGREES = (1, 2, 3, 4)
GOOD_FIT = 0.05  # p-value at which the curve is smooth and flexible enough


@dataclass(frozen=True, eq=False)
class MassLaw:
    """A density of the mass inside the window, constant in each cell of a fine grid.

    Attributes
    ----------
    edges : (c + 1,) ascending, from lo to hi of the window
    density : (c,) per unit of mass, integrates to 1 over the window
    kind : ``smooth``, ``histogram`` or ``kde``
    expected : background events expected inside the window (smooth fit), or the events counted there
    expected_error : standard error of ``expected`` from the fit alone, 0 where counted
    degree, p_value : of the smooth fit
    """

    edges: np.ndarray
    density: np.ndarray
    kind: str
    expected: float
    expected_error: float = 0.0
    degree: int = 0
    p_value: float = 1.0
    _cumulative: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mass = self.density * np.diff(self.edges)
        object.__setattr__(self, "density", self.density / mass.sum())
        object.__setattr__(self, "_cumulative", np.concatenate([[0.0], np.cumsum(mass) / mass.sum()]))

    def sample(self, n: int, seed: int) -> Tensor:
        """n masses, float64 (n,), inside the window."""
        u = torch.rand(n, generator=stream(seed, "masses"), dtype=torch.float64).numpy()
        return torch.from_numpy(np.interp(u, self._cumulative, self.edges))

    def log_prob(self, m: Any) -> Tensor:
        """Natural log of the density per unit of mass, float64 (n,); -inf outside the window."""
        mass = mass_column(m).numpy()
        cell = np.clip(np.searchsorted(self.edges, mass, side="right") - 1, 0, len(self.density) - 1)
        inside = (mass >= self.edges[0]) & (mass <= self.edges[-1])
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.where(inside, np.log(self.density[cell]), -np.inf))


def smooth_masses(m: Any, region: SignalRegion, *, bins: int = BINS) -> MassLaw:
    """Law of the mass from a smooth fit to the sidebands, interpolated into the window.

    Counts in ``bins`` equal bins are fitted by maximum Poisson likelihood with

        n(m) = exp(sum_k c_k L_k(u)),  u = ln m mapped to [-1, 1],

    L_k Legendre polynomials; the degree is the smallest of 1 to 4 with a goodness-of-fit p-value above 5 %
    (else the best of them). Bins that touch the window are left out: the signal cannot enter.

    Parameters
    ----------
    m : (n,) masses of all events, sidebands and window

    Raises
    ------
    DataError, SampleSizeError : a window that does not fit the spectrum, see ``SignalRegion.check``.

    Source: the usual smooth fall of di-jet spectra (CMS and ATLAS searches), in a form without physics constants.

    Example
    -------
    >>> m = 3 + torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> law = smooth_masses(m, SignalRegion(3.4, 3.6))
    >>> abs(law.expected - 4000) < 4 * (4000 + law.expected_error**2) ** 0.5
    True
    """
    mass = mass_column(m).numpy()
    region.check(mass)
    low, high = _ends(mass, region)
    # Edges that include those of the window, so that no bin straddles them.
    corners = (low, region.lo, region.hi, high)
    edges = np.unique(np.concatenate([_steps(a, b, bins, high - low) for a, b in zip(corners[:-1], corners[1:])]))
    counts = np.histogram(mass, edges)[0].astype(float)
    middle = 0.5 * (edges[1:] + edges[:-1])
    outside = (middle < region.lo) | (middle > region.hi)
    fits = []
    for degree in DEGREES:
        fits.append(_Fit.of(middle[outside], counts[outside], np.diff(edges)[outside], degree, (low, high)))
        if fits[-1].p_value > GOOD_FIT:
            break
    best = max(fits, key=lambda fit: (fit.p_value > GOOD_FIT, fit.p_value))
    grid = np.linspace(region.lo, region.hi, CELLS + 1)
    density, error = best.integrate(grid)
    return MassLaw(grid, density, "smooth", float((density * np.diff(grid)).sum()), error, best.degree, best.p_value)


def _ends(mass: np.ndarray, region: SignalRegion) -> tuple[float, float]:
    """The range of the spectrum, see ``extent``; that of all masses where the window would not lie in it."""
    found = extent(mass)
    return (found.lo, found.hi) if found.lo < region.lo and region.hi < found.hi else (mass.min(), mass.max())


def histogram_masses(m: Any, region: SignalRegion, *, bins: int = 60) -> MassLaw:
    """Law of the mass from a histogram of the events inside the window, signal included.

    Source: the convention published with SIGMA (Das & Shih 2024): 60 bins.

    Example
    -------
    >>> m = 3 + torch.rand(5000, generator=torch.Generator().manual_seed(0))
    >>> histogram_masses(m, SignalRegion(3.4, 3.6)).kind
    'histogram'
    """
    mass = mass_column(m).numpy()
    region.check(mass, sidebands=False)
    counts, edges = np.histogram(mass, np.linspace(region.lo, region.hi, bins + 1))
    return MassLaw(edges, counts / np.diff(edges), "histogram", float(counts.sum()))


def kde_masses(m: Any, region: SignalRegion, *, bandwidth: float = 0.01) -> MassLaw:
    """Law of the mass from a kernel density estimate of the events inside the window, signal included.

    Gaussian kernels of width ``bandwidth`` in l = logit((m - lo) / (hi - lo)).

    Source: the convention published with CATHODE (Hallin et al. 2022, section 4).

    Example
    -------
    >>> m = 3 + torch.rand(5000, generator=torch.Generator().manual_seed(0))
    >>> kde_masses(m, SignalRegion(3.4, 3.6)).kind
    'kde'
    """
    mass = mass_column(m).numpy()
    region.check(mass, sidebands=False)
    inside = mass[(mass > region.lo) & (mass < region.hi)]
    u = (inside - region.lo) / region.width
    logit = np.log(u / (1 - u))
    edges = np.linspace(region.lo, region.hi, CELLS + 1)
    v = (0.5 * (edges[1:] + edges[:-1]) - region.lo) / region.width
    # At most 20,000 kernels: bounds kernels x cells at a second.
    some = logit[np.linspace(0, len(logit) - 1, min(len(logit), 20_000)).astype(int)]
    density = gaussian_kde(some, bandwidth / some.std())(np.log(v / (1 - v))) / (v * (1 - v))
    return MassLaw(edges, density, "kde", float(len(inside)))


LAWS: dict[str, Callable[..., MassLaw]] = {"smooth": smooth_masses, "histogram": histogram_masses, "kde": kde_masses}


def mass_law(kind: str, m: Any, region: SignalRegion) -> MassLaw:
    """The law of that kind: ``smooth`` (sidebands only), ``histogram`` or ``kde`` (published variants)."""
    if kind not in LAWS:
        raise OptionError("unknown law of the mass", got=kind, expected=" | ".join(LAWS), do="choose one")
    return LAWS[kind](m, region)


@dataclass(frozen=True)
class _Fit:
    """A fitted curve: coefficients c with covariance, on u = ln m mapped from ``span`` to [-1, 1]."""

    degree: int
    span: tuple[float, float]
    coefficients: np.ndarray
    covariance: np.ndarray
    p_value: float

    @staticmethod
    def of(m: np.ndarray, counts: np.ndarray, widths: np.ndarray, degree: int, span: tuple[float, float]) -> _Fit:
        basis = legendre_basis(m, degree, span)
        c = np.linalg.lstsq(basis, np.log((counts + 0.5) / widths), rcond=None)[0]
        for _ in range(50):  # Newton steps on a concave likelihood
            expected = widths * np.exp(np.clip(basis @ c, -50, 50))
            information = basis.T @ (expected[:, None] * basis)
            step = np.linalg.solve(information, basis.T @ (counts - expected))
            c = c + step * min(1.0, 2.0 / np.abs(step).max())
            if np.abs(step).max() < 1e-9:
                break
        if not np.isfinite(c).all():
            raise DataError("no smooth curve fits the sidebands", got="a fit that does not converge",
                            expected="a falling or flat spectrum without empty stretches",
                            do="cut the sparse tail of the spectrum")
        expected = widths * np.exp(basis @ c)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviance = 2 * np.where(counts > 0, counts * np.log(counts / expected), 0.0).sum() \
                - 2 * (counts - expected).sum()
        p_value = float(chi2.sf(deviance, max(len(counts) - degree - 1, 1)))
        return _Fit(degree, span, c, np.linalg.inv(information), p_value)

    def integrate(self, grid: np.ndarray) -> tuple[np.ndarray, float]:
        """Events per unit of mass in the cells of a grid, and the standard error of their sum."""
        basis = legendre_basis(0.5 * (grid[1:] + grid[:-1]), self.degree, self.span)
        density = np.exp(basis @ self.coefficients)
        gradient = (density * np.diff(grid)) @ basis
        return density, float(np.sqrt(gradient @ self.covariance @ gradient))


def legendre_basis(m: np.ndarray, degree: int, span: tuple[float, float]) -> np.ndarray:
    """Legendre polynomials L_0 to L_degree of u = ln m mapped from ``span`` to [-1, 1]: (n, degree + 1).

    Example
    -------
    >>> legendre_basis(np.array([1.0, 10.0]), 1, (1.0, 10.0)).tolist()
    [[1.0, -1.0], [1.0, 1.0]]
    """
    # ln m needs positive masses; a spectrum that reaches zero or below is used as it is.
    low, high = (np.log(span[0]), np.log(span[1])) if span[0] > 0 else span
    v = np.log(m) if span[0] > 0 else m
    return np.polynomial.legendre.legvander(2 * (v - low) / (high - low) - 1, degree)


def spread_edges(corners: Iterable[float], bins: int) -> np.ndarray:
    """Edges of about ``bins`` bins that grow like the mass itself, with every corner among them.

    Example
    -------
    >>> spread_edges({1.0, 2.0, 4.0}, 4).round(2).tolist()
    [1.0, 1.41, 2.0, 2.83, 4.0]
    """
    ordered = sorted(corners)
    # As in legendre_basis: a spectrum that reaches zero or below has no logarithm.
    there, back = (np.log, np.exp) if ordered[0] > 0 else (np.asarray, np.asarray)
    v = [float(there(corner)) for corner in ordered]
    parts = [back(np.linspace(a, b, max(1, round(bins * (b - a) / (v[-1] - v[0]))) + 1)) for a, b in zip(v, v[1:])]
    edges = np.concatenate(parts)
    for corner in ordered:  # exp(log(x)) is not always x
        edges[np.abs(edges - corner).argmin()] = corner
    return np.unique(edges)[np.append(True, np.diff(np.unique(edges)) > 1e-9 * (ordered[-1] - ordered[0]))]


def _steps(low: float, high: float, bins: int, whole: float) -> np.ndarray:
    return np.linspace(low, high, max(2, round(bins * (high - low) / whole)) + 1)
