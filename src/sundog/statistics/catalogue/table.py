"""The catalogue: which statistic applies to which kind of data, and the one frame in which two samples are measured."""

from __future__ import annotations

from collections.abc import Sequence

from sundog.checks import one_of
from sundog.statistics.catalogue.events import EVENT_STATISTICS
from sundog.statistics.catalogue.features import features
from sundog.statistics.catalogue.frame import Frame, Statistic
from sundog.statistics.catalogue.images import IMAGE_STATISTICS
from sundog.statistics.catalogue.series import SERIES_STATISTICS

__all__ = ["Frame", "Statistic", "catalogue", "choose", "features"]

_CATALOGUE = {"events": EVENT_STATISTICS, "images": IMAGE_STATISTICS, "series": SERIES_STATISTICS}


def catalogue(kind: str) -> tuple[Statistic, ...]:
    """Return all statistics for "events", "images" or "series", in the order of the documentation.

    Example
    -------
    >>> [statistic.name for statistic in catalogue("events")]
    ['marginals', 'correlations', 'pair projections', 'radius']
    """
    return _CATALOGUE[one_of(kind, _CATALOGUE, "kind of data")]


def choose(kind: str, names: str | Sequence[str] = "all") -> tuple[Statistic, ...]:
    """Return the statistics of these names, in the order asked; "all" returns the whole catalogue of that kind.

    Example
    -------
    >>> choose("images", ["power spectrum"])[0].compare
    'power'
    """
    known = {statistic.name: statistic for statistic in catalogue(kind)}
    if isinstance(names, str):
        names = list(known) if names == "all" else [names]
    return tuple(known[one_of(name, known, f"statistic of {kind}")] for name in names or [""])
