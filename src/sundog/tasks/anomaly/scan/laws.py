"""The laws that a background spectrum may follow, and the choice among them as part of the error.

Every law is exp(sum_k c_k B_k(m)), linear in its coefficients, so that one maximum-likelihood fit serves all:

* ``legendre 1`` to ``4``: B_k Legendre polynomials of ln m (the first is a power law);
* ``dijet 3``, ``4``, ``5``: (1 - x)^p1 x^-(p2 + p3 ln x + p4 ln^2 x), x = m / (1.5 times the end of the spectrum),
  in place of the collision energy, which data do not say;
* ``power x exponential``: m^a exp(b m);
* ``gaussian process``: no form, smooth on a length that grows with the mass (``process.py``).

Discrete profiling: with Lambda = -2 ln L + 2 (number of coefficients) of each law, the expected count b inside the
window has the envelope min over laws of Lambda + ((b - b_law) / sigma_law)^2. Its minimum is the expectation, and where
it has risen by one lies the error: laws that the spectrum cannot tell apart widen it.

Source: Dauncey, Kenzie, Wardle & Davies 2015 (discrete profiling); CMS and ATLAS di-jet searches for the functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from sundog.tasks.anomaly.background.spectrum import legendre_basis

BEYOND = 1.5  # of the end of the spectrum: where the di-jet functions end
PENALTY = 2.0  # of each coefficient (Akaike 1974)
FAMILIES = (("legendre 1", "legendre 2", "legendre 3", "legendre 4"), ("dijet 3", "dijet 4", "dijet 5"))


@dataclass(frozen=True)
class LawFit:
    """One law fitted beside a window.

    Attributes
    ----------
    name, coefficients : of the law; of a Gaussian process the effective number
    worse : Lambda above that of the best law
    expected, error : events inside the window, and the standard error from the fit of this law
    p_better : of a likelihood ratio (Wilks): probability that a useless coefficient gains as much over the law with
        one less; None where there is none
    spurious : events that this law puts above (+) or below (-) the best law inside the window
    """

    name: str
    coefficients: float
    worse: float
    expected: float
    error: float
    p_better: float | None
    spurious: float

    def __str__(self) -> str:
        gained = "" if self.p_better is None else f", last coefficient p = {self.p_better:.2g}"
        return (f"{self.name:>19}: {self.expected:.1f} +- {self.error:.1f} expected ({self.spurious:+.1f}), "
                f"worse by {self.worse:.1f}{gained}")


def laws(edges: np.ndarray) -> dict[str, np.ndarray]:
    """Basis (k, p) of every law at the middles of the bins; only Legendre polynomials where masses reach zero.

    Example
    -------
    >>> {name: basis.shape for name, basis in laws(np.linspace(3.0, 5.0, 11)).items()}["dijet 4"]
    (10, 4)
    """
    m = 0.5 * (edges[1:] + edges[:-1])
    whole = legendre_basis(m, 4, (edges[0], edges[-1]))
    found = {f"legendre {degree}": whole[:, : degree + 1] for degree in (1, 2, 3, 4)}
    if edges[0] > 0:
        x = m / (BEYOND * edges[-1])
        parts = np.stack([np.ones_like(m), np.log1p(-x), *(np.log(x) ** k for k in (1, 2, 3))], 1)
        found |= {f"dijet {p}": _independent(parts[:, :p]) for p in (3, 4, 5)}
        found["power x exponential"] = _independent(np.stack([np.ones_like(m), np.log(m), m], 1))
    return found


def envelope(badness: np.ndarray, expected: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best law (t,) and error (t,) of the profile over laws: the farther end at which the envelope has risen by one.

    badness, expected, error : (laws, t) Lambda, events inside the window, their error under each law

    Example
    -------
    >>> best, error = envelope(np.array([[0.0], [0.0]]), np.array([[100.0], [110.0]]), np.array([[3.0], [4.0]]))
    >>> int(best[0]), float(error[0])
    (0, 14.0)
    """
    best = badness.argmin(0)
    pick = (best, np.arange(badness.shape[1]))
    reach = error * np.sqrt(np.maximum(1 - (badness - badness[pick]), 0))
    near = badness - badness[pick] < 1
    apart = np.where(near, np.abs(expected - expected[pick]) + reach, 0.0)
    return best, apart.max(0)


def table(names: list[str], badness: np.ndarray, counts: np.ndarray, expected: np.ndarray, error: np.ndarray
          ) -> tuple[LawFit, ...]:
    """The laws of one spectrum, the best first: badness, coefficients, expected, error (laws,)."""
    best = int(badness.argmin())
    deviance = dict(zip(names, badness - PENALTY * counts))
    before = {law: family[i - 1] for family in FAMILIES for i, law in enumerate(family) if i}
    rows = [LawFit(name, float(counts[i]), float(badness[i] - badness[best]), float(expected[i]), float(error[i]),
                   float(chi2.sf(max(deviance[before[name]] - deviance[name], 0.0), 1)) if name in before else None,
                   float(expected[i] - expected[best])) for i, name in enumerate(names)]
    return tuple(sorted(rows, key=lambda row: row.worse))


def _independent(basis: np.ndarray) -> np.ndarray:
    """The same law by columns that are orthogonal: what is nearly collinear would not fit."""
    return np.linalg.qr(basis)[0] * len(basis) ** 0.5
