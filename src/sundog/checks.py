"""The vocabulary of checks at the doors: each returns the value unchanged, or raises an error of four parts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sundog.errors import OptionError


def at_least(value: int, least: int, what: str) -> int:
    """``value``, if it is a whole number of at least ``least``.

    Raises
    ------
    OptionError : smaller, or not a whole number.
    """
    if value != int(value) or value < least:
        raise OptionError(f"{what} out of range", got=value, expected=f"a whole number >= {least}",
                          do=f"pass {what} = {max(least, 1)} or more")
    return int(value)


def positive(value: float, what: str) -> float:
    """``value`` as a float, if it is finite and above 0.

    Raises
    ------
    OptionError : zero, negative or not finite.
    """
    if not 0 < value < float("inf"):
        raise OptionError(f"{what} out of range", got=value, expected="a finite number > 0",
                          do=f"pass a positive {what}")
    return float(value)


def one_of(value: str, known: Iterable[str], what: str) -> str:
    """``value``, if it is among the ``known`` words; the error names them and the nearest one.

    Raises
    ------
    OptionError : an unknown word.
    """
    names = list(known)
    if value not in names:
        raise OptionError(f"unknown {what}", got=repr(value), expected=", ".join(names),
                          do=near(str(value), names) or "pass one of these")
    return value


def near(name: str, known: Iterable[str]) -> str:
    """A suggestion such as "did you mean tau21_j1?", or an empty text."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""
