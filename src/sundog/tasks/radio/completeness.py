"""What a source finder finds of a mock survey: the share of the true sources by flux, and what it finds beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import beta

from sundog.checks import at_least, positive
from sundog.errors import SampleSizeError
from sundog.tasks.radio.catalogue import Catalogue


@dataclass(frozen=True, eq=False)
class Completeness:
    """Of true sources by flux, in b bins of equal numbers of them.

    Attributes
    ----------
    edges : (b + 1,) fluxes, mJy
    true : (b,) number of sources
    share, low, high : (b,) found, and its central 68 % interval (Clopper & Pearson 1934)
    chance : (b,) share that as many sources at random places would match
    flux_ratio : (b,) median of found over true flux; NaN where none is found
    match : (n,) row of the found catalogue for each true source, -1 where none
    false : found sources that no true one explains
    """

    edges: np.ndarray
    true: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    flux_ratio: np.ndarray
    match: np.ndarray
    false: int

    def __str__(self) -> str:
        lines = [f"{a:9.3g} to {b:9.3g} mJy: {n:4d} true, found {s:.2f} ({x:.2f} to {y:.2f}; by chance {c:.2f}), "
                 f"flux found / true {r:.2f}"
                 for a, b, n, s, x, y, c, r in zip(self.edges, self.edges[1:], self.true, self.share, self.low,
                                                   self.high, self.chance, self.flux_ratio)]
        return "\n".join([*lines, f"found where nothing is: {self.false}"])


def completeness(truth: Catalogue, found: Catalogue, *, radius_arcsec: float = 6.0, area_deg2: float, bins: int = 5,
                 ) -> Completeness:
    """Which sources of a truth a catalogue holds, one for one, the nearest pairs first.

    A pair lies within ``radius_arcsec``, or half the largest angular size of the true source if that is more: an
    extended source is found where it is brightest.

    Parameters
    ----------
    truth, found : such as `Survey.truth` and `find_sources` of its mosaic
    area_deg2 : of the survey, from which chance matches are reckoned: 1 - exp(-density pi r^2)

    Raises
    ------
    SampleSizeError : fewer true sources than bins. OptionError : impossible numbers.

    Example
    -------
    >>> truth = Catalogue.of({"ra": [10.0, 10.1], "dec": [0.0, 0.0], "flux_mjy": [1.0, 9.0], "las_arcsec": [0.0, 0.0]})
    >>> seen = Catalogue.of({"ra": [10.1001], "dec": [0.0], "flux_mjy": [8.1]})
    >>> told = completeness(truth, seen, area_deg2=1.0, bins=2)
    >>> told.share.tolist(), told.match.tolist(), told.false
    ([0.0, 1.0], [-1, 0], 0)
    """
    at_least(bins, 1, "bins")
    positive(radius_arcsec, "radius_arcsec")
    positive(area_deg2, "area_deg2")
    if len(truth) < bins:
        raise SampleSizeError("too few true sources", got=len(truth), expected=f"at least {bins}", do="pass fewer bins")
    reach = np.fmax(radius_arcsec, truth.las_arcsec / 2)
    match = _matched(truth, found, np.radians(reach / 3600))
    edges = np.quantile(truth.flux_mjy, np.linspace(0, 1, bins + 1))
    where = np.clip(np.searchsorted(edges, truth.flux_mjy, side="right") - 1, 0, bins - 1)
    hit = match >= 0
    true, seen = (np.bincount(where[rows], minlength=bins) for rows in (slice(None), hit))
    low = np.where(seen > 0, beta.ppf(0.16, np.maximum(seen, 1), true - seen + 1), 0.0)
    high = np.where(seen < true, beta.ppf(0.84, seen + 1, np.maximum(true - seen, 1)), 1.0)
    by_chance = 1 - np.exp(-len(found) / area_deg2 * np.pi * (reach / 3600) ** 2)
    ratio = np.full(len(truth), np.nan)
    ratio[hit] = found.flux_mjy[match[hit]] / truth.flux_mjy[hit]
    inside = [where == i for i in range(bins)]
    return Completeness(
        edges, true, seen / np.maximum(true, 1), low, high,
        np.array([by_chance[rows].mean() if rows.any() else 0.0 for rows in inside]),
        np.array([np.median(ratio[rows & hit]) if (rows & hit).any() else np.nan for rows in inside]),
        match, len(found) - int(hit.sum()))


def _matched(truth: Catalogue, found: Catalogue, reach: np.ndarray) -> np.ndarray:
    """Row of ``found`` for each true source within its reach (n,) in radians, each used once; -1 for none."""
    match = np.full(len(truth), -1)
    if not len(found):
        return match
    a, b = (_vectors(catalogue) for catalogue in (truth, found))
    near = cKDTree(b).query_ball_point(a, 2 * np.sin(reach / 2))
    pairs = sorted((float(np.linalg.norm(a[i] - b[j])), i, j) for i, rows in enumerate(near) for j in rows)
    used: set[int] = set()
    for _, i, j in pairs:
        if match[i] < 0 and j not in used:
            match[i] = j
            used.add(j)
    return match


def _vectors(catalogue: Catalogue) -> np.ndarray:
    ra, dec = np.radians(catalogue.ra), np.radians(catalogue.dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], 1)
