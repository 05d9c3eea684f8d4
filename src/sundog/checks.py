"""The vocabulary of checks at the doors: each returns the value unchanged, or raises an error of four parts."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Iterable
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

from sundog.errors import MissingExtraError, OptionError

UNSEEN = -1.6375e30  # what HEALPix files hold where nothing was observed


def unseen(lowest: float) -> bool:
    """Whether the lowest of some numbers stands for a pixel that was not observed, to the precision of float32."""
    return abs(lowest / UNSEEN - 1) < 1e-5


def at_least(value: int, least: int, what: str) -> int:
    """``value``, if it is a whole number of at least ``least``, else an OptionError."""
    return whole(value, what, least=least)


def positive(value: float, what: str) -> float:
    """``value`` as a float, if it is finite and above 0, else an OptionError."""
    return number(value, what, above=0)


def whole(value: Any, what: str, least: float | None = None, above: float | None = None, below: float | None = None
          ) -> int:
    """``value`` as an int, if it is a whole number within these bounds.

    Raises
    ------
    OptionError : no whole number, or out of range.
    """
    found = number(value, what, least=least, above=above, below=below, kind="a whole number")
    if found != int(found):
        raise OptionError(f"{what} is not whole", got=value, expected="a whole number",
                          do=f"pass {what}={round(found)}")
    return int(value)


def number(value: Any, what: str, least: float | None = None, above: float | None = None, below: float | None = None,
           kind: str = "a finite number") -> float:
    """``value`` as a float, if it is finite and within ``least`` <= value, ``above`` < value < ``below``.

    Raises
    ------
    OptionError : no number, not finite, or out of range.

    Example
    -------
    >>> number(0.5, "share", least=0, below=1)
    0.5
    """
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", least), (">", above), ("<", below)) if bound is not None]
    expected = " ".join([kind, " and ".join(bounds)]).strip()
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"{what} is not a number", got=repr(value), expected=expected, do=f"pass {what} as a number")
    found = float(value)
    if not (abs(found) < float("inf") and (least is None or found >= least) and (above is None or found > above)
            and (below is None or found < below)):
        bound = f" = {least:g} or more" if least is not None and found < least else " within these bounds"
        raise OptionError(f"{what} out of range", got=value, expected=expected, do=f"pass {what}{bound}")
    return found


def flag(value: Any, what: str) -> bool:
    """``value``, if it is True or False.

    Raises
    ------
    OptionError : anything else.
    """
    if not (isinstance(_plain(value), int) and value in (True, False)):
        raise OptionError(f"{what} is a yes or no", got=repr(value), expected="true or false", do=f"pass {what}=True")
    return bool(value)


def several(value: Any, what: str, count: int | None = None) -> tuple[Any, ...]:
    """``value`` as a tuple: one number stands for a sequence of one.

    Raises
    ------
    OptionError : a text, or not ``count`` of them.
    """
    if isinstance(value, str):
        raise OptionError(f"{what} is a text", got=repr(value), expected="numbers", do=f"pass e.g. {what}=[64,64]")
    value = _plain(value)
    found = tuple(value) if isinstance(value, Iterable) else (value,)
    if count is not None and len(found) != count:
        raise OptionError(f"{what} has another length", got=len(found), expected=f"{count} numbers",
                          do=f"pass {count} of them")
    return found


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


def enough_memory(size: float, what: str, do: str) -> None:
    """Nothing, if about ``size`` bytes are to be had, else an OptionError before they are taken.

    Example
    -------
    >>> enough_memory(1e6, "a million bytes", "take fewer")
    """
    left = memory_left()
    if size > left:
        raise OptionError(f"not enough memory for {what}", got=f"about {size / 1e9:.3g} GB",
                          expected=f"at most the {left / 1e9:.3g} GB that are free", do=do)


def memory_left() -> float:
    """Bytes that are free on this machine, and in the control group of a batch job; inf where the system does not tell.

    Example
    -------
    >>> memory_left() > 1e6
    True
    """
    found = [math.inf]
    with suppress(OSError, ValueError, KeyError):
        found.append(1024.0 * int(_named_numbers(Path("/proc/meminfo"))["MemAvailable:"]))
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip())
        for folder in (group, *group.parents[:-3]):  # up to /sys/fs/cgroup
            with suppress(OSError, ValueError, KeyError):
                most = int((folder / "memory.max").read_text())
                held = int((folder / "memory.current").read_text())
                found.append(float(most - held + int(_named_numbers(folder / "memory.stat")["inactive_file"])))
    return min(found)


def _named_numbers(file: Path) -> dict[str, str]:
    """Name -> number of a file with one of each a line."""
    return {name: number for name, number, *_ in map(str.split, file.read_text().splitlines())}


def near(name: str, known: Iterable[str]) -> str:
    """A suggestion such as "did you mean tau21_j1?", or an empty text."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    close = close or [word for word in names if name and name.lower() in word.lower()][:3]
    return f"did you mean {' or '.join(close)}?" if close else ""


def optional(library: str, extra: str) -> Any:
    """The module of an optional library.

    Raises
    ------
    MissingExtraError : it is not installed; the message names the extra that provides it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError(library, extra) from error


def _plain(value: Any) -> Any:
    """The number inside an array or a tensor without axes; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value
