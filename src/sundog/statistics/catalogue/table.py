"""The catalogue: which statistic applies to which kind of data, and the one frame in which two samples are measured."""

from __future__ import annotations

from collections.abc import Sequence

from sundog.checks import one_of
from sundog.statistics.catalogue.events import EVENT_STATISTICS
from sundog.statistics.catalogue.features import features
from sundog.statistics.catalogue.filaments import FILAMENT_GRAPH
from sundog.statistics.catalogue.frame import Frame, Statistic
from sundog.statistics.catalogue.images import IMAGE_STATISTICS
from sundog.statistics.catalogue.series import SERIES_STATISTICS

__all__ = ["Frame", "Statistic", "catalogue", "choose", "features"]

_CATALOGUE = {"events": EVENT_STATISTICS, "images": IMAGE_STATISTICS, "series": SERIES_STATISTICS}
_ON_REQUEST = {"images": (FILAMENT_GRAPH,)}  # not in "all": slow, or of an extra


def catalogue(kind: str, on_request: bool = False) -> tuple[Statistic, ...]:
    """Return all statistics for "events", "images" or "series", in the order of the documentation.

    With ``on_request`` those too that are measured only when they are named.

    Example
    -------
    >>> [statistic.name for statistic in catalogue("events")]
    ['marginals', 'correlations', 'pair projections', 'radius']
    """
    return _CATALOGUE[one_of(kind, _CATALOGUE, "kind of data")] + (_ON_REQUEST.get(kind, ()) if on_request else ())


def choose(kind: str, names: str | Sequence[str] = "all") -> tuple[Statistic, ...]:
    """Return the statistics of these names, in the order asked; "all" returns the whole catalogue of that kind.

    Example
    -------
    >>> choose("images", ["power spectrum"])[0].compare
    'power'
    """
    known = {statistic.name: statistic for statistic in catalogue(kind, on_request=True)}
    if isinstance(names, str):
        names = [statistic.name for statistic in catalogue(kind)] if names == "all" else [names]
    return tuple(known[one_of(name, known, f"statistic of {kind}")] for name in names or [""])
