"""Named errors. Every message has four parts: what, got, expected, do this."""

from __future__ import annotations


class SundogError(Exception):
    """Base of every error that a user can cause; the command line prints it as one line and exits with 2.

    Parameters
    ----------
    what: what is wrong, in a few words.
    got, expected: what was found and what was needed.
    do: the next action for the user.

    Example
    -------
    >>> print(DataError("context has the wrong width", got="3 columns", expected="1 (m_jj)",
    ...                 do="pass events.context[:, :1]"))
    context has the wrong width: got 3 columns, expected 1 (m_jj); pass events.context[:, :1]
    """

    def __init__(self, what: str, *, got: object = None, expected: object = None, do: str = "") -> None:
        self.what, self.got, self.expected, self.do = what, got, expected, do
        facts = [f"{word} {value}" for word, value in (("got", got), ("expected", expected)) if value is not None]
        message = what + (": " + ", ".join(facts) if facts else "")
        super().__init__(message + (f"; {do}" if do else ""))


class DataError(SundogError):
    """The values themselves are unusable: NaN, Inf, empty, constant, wrong shape, mixed sizes."""


class FileError(SundogError):
    """A file is missing, truncated, unreadable, or of an unknown format."""


class ShapeError(SundogError):
    """Two things that must agree in shape, names or units do not."""


class OptionError(SundogError):
    """An argument has a value that the function does not know."""


class SampleSizeError(SundogError):
    """Too few samples for the question asked; the answer would not be worth its error bar."""


class RunError(SundogError):
    """A run folder is missing, incomplete, or belongs to another fit."""


class TrainingError(SundogError):
    """Training cannot go on: a loss is not finite. Names the objective and the step."""


class MissingExtraError(SundogError):
    """An optional library is absent; the message names the extra that provides it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed",
            expected=f"the optional extra '{extra}'",
            do=f"pip install 'sundog[{extra}]' -c constraints.txt",
        )


class OfflineError(SundogError):
    """A public data set could not be fetched; nothing was written."""
