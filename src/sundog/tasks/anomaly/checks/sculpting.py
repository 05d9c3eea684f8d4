"""Sculpting: a cut that keeps the background of one mass more often than of another carves a bump out of nothing.

Two looks, neither of which can see a signal:

* beside the window: do the masses of the events that pass differ from the masses of all, and does the efficiency rise
  towards the window from both sides (negative curvature of its log-odds, centred on the window)?
* on template events over the whole spectrum, which are background by construction: the same cut, the same fit. What
  stands above the curve inside the window is the *spurious signal* S +- e. A small template knows little of it, so that
  its error is part of the test: n events on b +- sigma are ``left`` with the significance of n on
  b + max(S, 0) +- sqrt(sigma^2 + e^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, norm

from sundog.errors import ShapeError
from sundog.tasks.anomaly.regions import SignalRegion, mass_column
from sundog.tasks.anomaly.scan.bump import FEWEST_BESIDE, BumpFit, count_significance, fit_bump

FIRM = 3.0  # standard deviations from which a deviation is taken for real
HARMFUL = 0.5  # spurious signal that matters, in units of the statistical error of the excess


@dataclass(frozen=True)
class Sculpting:
    """How far a cut shapes the mass spectrum of the background.

    Attributes
    ----------
    distance, p_value : Kolmogorov-Smirnov distance between the masses of sideband events that pass and that fail
    curvature : of the log-odds of passing against u^2, u = (m - centre) / half width, in standard errors;
        negative where the efficiency rises towards the window
    spurious, spurious_error : events that the cut makes appear inside the window in a background sample (template),
        scaled to the data; None where there is no template
    noise : statistical error of the excess in the data
    left : standard deviations of the excess beside the spurious signal and its error; None where there is no template
    """

    distance: float
    p_value: float
    curvature: float
    spurious: float | None
    spurious_error: float | None
    noise: float
    left: float | None = None

    @property
    def sculpted(self) -> bool:
        """Whether an excess in this window may be the work of the cut.

        With a template: a spurious signal three standard errors above zero and above half of the noise. Without:
        an efficiency that rises towards the window at three standard deviations.
        """
        if self.spurious is not None and self.spurious_error is not None:
            return self.spurious > max(FIRM * self.spurious_error, HARMFUL * self.noise)
        return self.curvature < -FIRM

    @property
    def correlated(self) -> bool:
        """Whether the efficiency depends on the mass at all; harmless as long as the dependence is smooth."""
        return self.p_value < 2 * norm.sf(FIRM)

    def __str__(self) -> str:
        if self.spurious is None:
            said = f"efficiency beside the window: curvature {self.curvature:+.1f} sigma (no template to test inside)"
        else:
            said = (f"spurious signal {self.spurious:+.1f} +- {self.spurious_error:.1f} events (noise {self.noise:.1f})"
                    f", {self.left:+.1f} sigma left beside it")
        verdict = "SCULPTED: an excess here may be the work of the cut" if self.sculpted else "not sculpted"
        return f"{said}; the cut {'depends' if self.correlated else 'does not depend'} on the mass; {verdict}"


def sculpting(m: Any, passed: Any, fit: BumpFit, template: tuple[Any, Any] | None = None) -> Sculpting:
    """How far the cut ``passed`` shapes the background around the window of ``fit``.

    Parameters
    ----------
    m, passed : (n,) masses of all events and which of them the cut keeps; only those beside the window are used
    fit : of the spectrum of the events kept
    template : masses (k,) of background events over the whole spectrum and which of them the same cut keeps

    Example
    -------
    >>> from sundog.tasks.anomaly.scan.bump import common_edges
    >>> generator = np.random.default_rng(0)
    >>> m, region = generator.uniform(3, 4.6, 40_000), SignalRegion(3.3, 3.7)
    >>> edges = common_edges(m, [region])
    >>> noise = generator.normal(size=40_000)
    >>> fair, unfair = noise > 2, np.abs(m - 3.5 + 0.3 * noise) < 0.03
    >>> [sculpting(m, cut, fit_bump(m[cut], region, edges)).sculpted for cut in (fair, unfair)]
    [False, True]
    """
    mass, kept = mass_column(m).numpy(), np.asarray(passed, dtype=bool)
    if mass.shape != kept.shape:
        raise ShapeError("the cut does not fit the events", got=kept.shape, expected=mass.shape,
                         do="pass one boolean per event")
    beside = ~fit.region.contains(mass).numpy()
    masses, cut = mass[beside], kept[beside]
    distance, p_value = 0.0, 1.0
    if 0 < cut.sum() < len(cut):
        found = ks_2samp(masses[cut], masses[~cut], method="asymp")
        distance, p_value = float(found.statistic), float(found.pvalue)
    noise = float(np.hypot(fit.expected**0.5, fit.expected_error))
    if template is None:
        return Sculpting(distance, p_value, _curvature(masses, cut, fit.region), None, None, noise)
    spurious, error = _spurious(template, fit)
    left = count_significance(fit.observed, fit.expected + max(spurious, 0.0), np.hypot(fit.expected_error, error))
    return Sculpting(distance, p_value, _curvature(masses, cut, fit.region), spurious, error, noise, float(left))


def _spurious(template: tuple[Any, Any], fit: BumpFit) -> tuple[float, float]:
    """Excess of the template inside the window, per expected event, times the events expected in the data.

    Where fewer pass beside the window than a curve needs, the expectation is their number times that of all events
    inside, over that of all beside.
    """
    m, passed = mass_column(template[0]).numpy(), np.asarray(template[1], dtype=bool)
    inside = fit.region.contains(m).numpy()
    observed, beside = float((passed & inside).sum()), float((passed & ~inside).sum())
    if beside < FEWEST_BESIDE:
        ratio = inside.sum() / max((~inside).sum(), 1)
        expected, error = max(beside, 1.0) * ratio, max(beside, 1.0) ** 0.5 * ratio
    else:
        found = fit_bump(m[passed], fit.region, fit.edges, fit_bump(m, fit.region, fit.edges))
        expected, error = found.expected, found.expected_error
    scale = fit.expected / expected
    return (observed - expected) * scale, float(np.hypot(max(observed, expected, 1.0) ** 0.5, error)) * scale


def _curvature(m: np.ndarray, passed: np.ndarray, region: SignalRegion) -> float:
    """z-score of c in logit p(pass | m) = a + b u + c v, v = min(u^2, 9): logistic regression by Newton steps.

    Three half widths away a signal region has no business; v stops growing there, or the far tail would decide.
    """
    if not 0 < passed.sum() < len(passed):
        return 0.0
    u = (m - region.centre) / (0.5 * region.width)
    x = np.stack([np.ones_like(u), u / np.abs(u).max(), np.minimum(u**2, 9.0)], 1)
    share = passed.mean()
    beta = np.array([np.log(share / (1 - share)), 0.0, 0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        information = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(3)
        step = np.linalg.solve(information, x.T @ (passed - p))
        beta += step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[2] / np.linalg.inv(information)[2, 2] ** 0.5)
