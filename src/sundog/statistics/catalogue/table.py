"""The catalogue: which statistic applies to which kind of data, and the one frame in which two samples are measured."""

from __future__ import annotations

from collections.abc import Sequence

from sundog.errors import OptionError
from sundog.statistics.catalogue.events import EVENT_STATISTICS
from sundog.statistics.catalogue.features import features
from sundog.statistics.catalogue.frame import Frame, Statistic
from sundog.statistics.catalogue.images import IMAGE_STATISTICS

__all__ = ["Frame", "Statistic", "catalogue", "choose", "features"]

_CATALOGUE = {"events": EVENT_STATISTICS, "images": IMAGE_STATISTICS}


def catalogue(kind: str) -> tuple[Statistic, ...]:
    """Return all statistics for "events" or "images", in the order of the documentation.

    Example
    -------
    >>> [statistic.name for statistic in catalogue("events")]
    ['marginals', 'correlations', 'pair projections', 'radius']
    """
    if kind not in _CATALOGUE:
        raise OptionError(
            "unknown kind of data", got=repr(kind), expected="'events' or 'images'", do="pass dataset.kind"
        )
    return _CATALOGUE[kind]


def choose(kind: str, names: str | Sequence[str] = "all") -> tuple[Statistic, ...]:
    """Return the statistics of these names, in the order asked; "all" returns the whole catalogue of that kind.

    Example
    -------
    >>> choose("images", ["power spectrum"])[0].compare
    'mean'
    """
    known = {statistic.name: statistic for statistic in catalogue(kind)}
    if isinstance(names, str):
        names = list(known) if names == "all" else [names]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise OptionError(
            f"unknown statistic of {kind}",
            got=", ".join(map(str, unknown)) or "no name at all",
            expected="one of " + ", ".join(known),
            do="choose among these names, or pass 'all'",
        )
    return tuple(known[name] for name in names)
