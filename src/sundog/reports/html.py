"""What every HTML page of this room is made with: one file that loads nothing, pictures and numbers inside it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullFormatter, ScalarFormatter

DPI = 144  # a figure 7 inches wide is then sharp on a screen and in print
SETTINGS = re.compile(r"(\w+=\S+ ?)+")  # how a Plan is written
NARROW = 3.0  # decades of a logarithmic axis below which 2 and 5 are written beside the powers of ten


@dataclass(frozen=True)
class Picture:
    """One figure of the page: title, one-sentence caption, the PNG as base64 text, and its width in inches."""

    title: str
    caption: str
    png: str
    inches: float


def picture_of(title: str, figure: Figure, caption: str) -> Picture:
    """The figure as a PNG for a page."""
    _space_logarithms(figure)
    _take_names_literally(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(title, caption, base64.b64encode(buffer.getvalue()).decode("ascii"), figure.get_figwidth())


def render(template: str, numbers: Any = None, *, filters: dict[str, Callable[..., Any]] | None = None,
           **context: Any) -> str:
    """The HTML of a page: a template with its context, and ``numbers`` as JSON inside it for machines.

    Text is escaped, a name that the page does not know is an error. The templates stand in ``templates`` and extend
    ``page.html``.
    """
    pages = Environment(loader=PackageLoader("sundog.reports"), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)
    pages.filters.update({"told": told, **(filters or {})})
    return pages.get_template(template).render(
        payload=embedded(numbers), written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **context)


def told(value: Any) -> str:
    """Facts as people write them: no braces, quotes or names of classes.

    Example
    -------
    >>> told({"seed": 3, "sides": (1, 2), "held": {"out": 0.2}, "plan": "steps=100 batch=None schedule='one-cycle'"})
    'seed 3, sides 1 2, held (out 0.2), plan (steps 100, schedule one-cycle)'
    """
    if isinstance(value, str) and SETTINGS.fullmatch(value):
        value = dict(part.split("=", 1) for part in value.split())
    if isinstance(value, dict):
        parts = ((name, f"({told(held)})" if isinstance(held, dict) or SETTINGS.fullmatch(str(held)) else told(held))
                 for name, held in value.items() if held not in (None, "None"))
        return ", ".join(f"{str(name).replace('_', ' ')} {text}" for name, text in parts)
    return " ".join(map(told, value)) if isinstance(value, list | tuple) else str(value).strip("'")


def embedded(numbers: Any) -> str:
    """JSON that can stand inside a script element, whatever the names in it: <, > and & as escapes of JSON.

    Example
    -------
    >>> "<" in embedded({"<!--<script>": 1}), json.loads(embedded({"<!--<script>": 1}))
    (False, {'<!--<script>': 1})
    """
    text = json.dumps(numbers)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _space_logarithms(figure: Figure) -> None:
    """Few numbers on a logarithmic axis, as people write them, so that none stands upon another."""
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if axis.get_scale() != "log" or not isinstance(axis.get_major_formatter(), LogFormatter):
                continue
            decades = abs(math.log10(limits[1] / limits[0]))
            if decades < NARROW:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.7 else tuple(range(1, 10))))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def _take_names_literally(figure: Figure) -> None:
    """A dollar in the name of a column is no formula; the powers of ten on an axis are."""
    powers = {label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)
              if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter)
              for label in (axis.get_offset_text(), *axis.get_ticklabels(), *axis.get_ticklabels(minor=True))}
    for text in figure.findobj(Text):
        if text not in powers:
            text.set_parse_math(False)
