"""The environment that every HTML page of this room is made in; the pages stand in ``templates``."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates of the package: text is escaped, a name that the page does not know is an error."""
    return Environment(loader=PackageLoader("sundog.reports"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)
