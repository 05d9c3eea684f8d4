"""Reads our docstrings as numpy sections: a list ends at its first blank line; what follows is a note."""

from __future__ import annotations

import re
from typing import Any

import griffe

LISTS = ("Parameters", "Attributes", "Raises", "Returns", "Yields")
DESCRIBED = ("Parameters", "Attributes", "Raises")  # "name : what it is"; the type is that of the annotation
HEADER = re.compile(r"^([A-Z][A-Za-z ]+)\n(-{3,})$", re.MULTILINE)


class PlainSections(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = numpy_sections(obj.docstring.value)


def numpy_sections(text: str) -> str:
    """The docstring with ``Example`` as ``Examples`` and with a ``Notes`` header after every list that text follows.

    What stands behind the name of a parameter is its meaning, not its type.
    """
    text = re.sub(r"^Example\n-+$", "Examples\n--------", text, flags=re.MULTILINE)
    parts = HEADER.split(text)  # text before, then (title, dashes, body) again and again
    rebuilt = [parts[0]]
    for title, dashes, body in zip(parts[1::3], parts[2::3], parts[3::3]):
        listed, blank, rest = body.strip("\n").partition("\n\n")
        if title in DESCRIBED:
            listed = re.sub(r"^(\S[^:\n]*?) : ", r"\1\n    ", listed, flags=re.MULTILINE)
        notes = title in LISTS and rest.strip()
        rebuilt.append(f"{title}\n{dashes}\n" + (f"{listed}\n\nNotes\n-----\n{rest}\n\n" if notes
                                                 else f"{listed}{blank}{rest}\n\n"))
    return "".join(rebuilt).rstrip()
