"""How a text table is written: separator, decimal mark, header; told from its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sundog.data.formats.raw import unreadable

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THREE = re.compile(r"[+-]?\d{1,3},\d{3}")
MISSING = ("", "na", "nan", "n/a", "null", "none", "-nan", "#n/a", "inf", "-inf", "+inf", "infinity")
ROWS = 50  # that tell the dialect
_NO_HEADER = "there is no header: columns are named x0, x1 ..."


@dataclass(frozen=True)
class Dialect:
    """Of one text file.

    Attributes
    ----------
    separator : one character; a space stands for any white space
    skip : lines before the first row
    names : of the columns, as they stand in the header
    decimal : "." or ","
    notes : what was understood
    """

    separator: str
    skip: int
    names: tuple[str, ...]
    decimal: str = "."
    notes: tuple[str, ...] = ()


def dialect_of(lines: Sequence[str], path: Path) -> Dialect:
    """The dialect of the first lines of a file.

    A header is the first line that is no comment, if it holds text; or the last comment before the first row, if it
    has a word for each column (``numpy.savetxt``); or the numbers 0, 1, 2 ... (pandas, of an array).

    Raises
    ------
    FileError : no rows, or rows that have more cells than the header.

    Example
    -------
    >>> dialect_of(["# m_jj;tau", "3,5;0,25", "3,4;0,5"], Path("a.csv"))
    Dialect(separator=';', skip=1, names=('m_jj', 'tau'), decimal=',', notes=('decimal commas',))
    """
    rows = [(i, line) for i, line in enumerate(lines) if line.strip() and not is_comment(line)]
    if not rows:
        raise unreadable(path, "no rows", "check how the file was written")
    separator = _separator([line for _, line in rows[:ROWS]])
    cells = [split(line, separator) for _, line in rows[:ROWS]]
    decimal, notes = _decimal(cells, separator)
    first, start = cells[0], rows[0][0]
    width = len(cells[1]) if len(cells) > 1 else len(first)
    if not all(_is_number(cell) for cell in first):
        return _headed(first, cells[1:], path, Dialect(separator, start + 1, (), decimal, notes))
    comment = next((line for line in reversed(lines[:start]) if line.strip()), "")
    words = split(comment.lstrip("#% \t"), separator) if comment else []
    if len(words) == width and not all(_is_number(word) for word in words):
        return Dialect(separator, start, tuple(words), decimal, notes)
    plain = tuple(f"x{i}" for i in range(len(first)))
    if first == [str(i) for i in range(len(first))] and _counts(cells):
        return Dialect(separator, start + 1, plain, decimal,
                       (*notes, "the header 0, 1, 2 ... only counts the columns: they are named x0, x1, x2 ..."))
    return Dialect(separator, start, plain, decimal, (*notes, _NO_HEADER))


def split(line: str, separator: str) -> list[str]:
    """The cells of one line, without the white space around them."""
    if separator == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def is_comment(line: str) -> bool:
    """Whether a line is a remark."""
    return line.lstrip()[:1] in ("#", "%")


def _headed(header: list[str], rows: list[list[str]], path: Path, dialect: Dialect) -> Dialect:
    """The dialect with the names of a header, once every row fits it."""
    width = len(header)
    longer = [i for i, row in enumerate(rows) if len(row) > width]
    if longer and all(len(row) == width + 1 and row[-1] == "" for row in rows):
        header = [*header, ""]  # a separator ends every row, but not the header
    elif longer:
        raise unreadable(path, f"{len(rows[longer[0]])} cells in row {longer[0] + 1}, {width} names in the header",
                         "name every column, or check the separators")
    return Dialect(dialect.separator, dialect.skip, tuple(header), dialect.decimal, dialect.notes)


def _separator(lines: list[str]) -> str:
    """The first of tab, semicolon, bar and comma that all lines hold equally often; else white space, if it splits."""
    for mark in "\t;|,":
        counts = {len(split(line, mark)) if mark in line else 1 for line in lines[1:] or lines}
        if min(counts) > 1 and (len(counts) == 1 or mark != ","):
            return mark
    last = [line.split() for line in lines[-5:]]
    if min(map(len, last)) > 1 and all(_is_number(cell) for row in last for cell in row):
        return " "
    return ","


def _decimal(cells: list[list[str]], separator: str) -> tuple[str, tuple[str, ...]]:
    every = [cell for row in cells for cell in row]
    commas = [cell for cell in every if _COMMA.fullmatch(cell)]
    if separator == "," or not commas or any("." in cell and _NUMBER.fullmatch(cell) for cell in every):
        return ".", ()
    unsure = all(_THREE.fullmatch(cell) for cell in commas)
    return ",", ("decimal commas" + (": 1,234 is read as 1.234, not as thousands" if unsure else ""),)


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _COMMA.fullmatch(cell)) or cell.lower() in MISSING


def _counts(cells: list[list[str]]) -> bool:
    """Whether 0, 1, 2 ... can be a header: three columns or more, or rows that are written in another way."""
    return len(cells[0]) > 2 or any(not cell.isdigit() for row in cells[1:] for cell in row)
