"""Tables of events: text (units in the header as "name [unit]") and .parquet (units as column metadata)."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sundog.data.atomic import atomic_write, write_text
from sundog.data.formats.blocks import beside, exactly, gathered, lined_up
from sundog.data.formats.dialect import MISSING, ROWS, Dialect, dialect_of, is_comment
from sundog.data.formats.raw import (
    INDEX,
    LATER,
    Raw,
    facts_from_json,
    facts_to_json,
    guard,
    table_of,
    unreadable,
    weight_name,
)
from sundog.errors import ShapeError

_MARK = "# sundog "
_FACTS_SUM = b"sundog crc32"  # of the facts in the footer of a Parquet file
_WITH_UNIT = re.compile(r"(.*\S)\s*\[([^\[\]]*)\]\s*", re.DOTALL)
_HEAD = 1 << 20  # bytes from which the dialect is told
_BLOCK = 1 << 17  # bytes of text that become numbers in one go
# How numbers are written: what matches, what is replaced by what, and the words for it.
_WRITTEN = (
    (r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|Inf", (), ""),
    (r"(\d+|\d{1,3}(,\d{3})+)(\.\d*)?", (",", ""), "commas between thousands"),
    (r"(\d+|\d{1,3}(\.\d{3})+)(,\d*)?", (".", "", ",", "."), "decimal commas, points between thousands"),
    (r"(\d+,?\d*|,\d+)([eE][+-]?\d+)?", (",", "."), "decimal commas"),
    (r"(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", ("d", "e", "D", "e"), "Fortran's exponents"),
)


def read_csv(path: Path, key: str | None = None, columns: Sequence[str] | None = None, exact: bool = False) -> Raw:
    """Columns of numbers of a text table in any common dialect, see ``dialect.dialect_of``; .gz, .bz2 and .zst too.

    In float32 where that loses nothing that the numbers need, or, ``exact``, in float64.

    Raises
    ------
    FileError : not UTF-8 text, rows of unequal length. ShapeError : two columns of one name.
    """
    import pyarrow as pa

    try:
        head, encoding = _head(path)
        if head.startswith(_MARK):
            said = head.split("\n", 1)[0][len(_MARK):]
            return _ours(_texts(path, Dialect(",", 1, ()), encoding), said, path, single='"float64"' not in said)
        if '"context_units": ' in head.split("\n", 1)[0]:
            raise ValueError("a damaged first line: sundog wrote it")
        lines = _lines(head)
        dialect = dialect_of(lines, path)
        named = [name_and_unit(name) for name in dialect.names]
        _all_different([name for name, _ in named if name], dialect.names)
        block = max(_BLOCK, 8 * max(map(len, lines)))  # bytes, of some rows at least
        table = _cells(path, dialect, encoding, block, path.stat().st_size * len(lines) // sum(map(len, lines)),
                       exact)
    except MemoryError:  # one of Arrow's own errors too
        raise
    except (ValueError, OSError, EOFError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise unreadable(path, str(error).strip(), "check the separators (commas) and the encoding (UTF-8)") from error
    return _columns_of(table, named, dialect, path, columns)


def read_parquet(path: Path, key: str | None = None, columns: Sequence[str] | None = None, exact: bool = False) -> Raw:
    """Columns of numbers, with the ``unit`` of each column's metadata; pandas' stored index is left out.

    In float32 where that loses nothing that the numbers need, or, ``exact``, in float64.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BLOCK) as file:
            schema = file.schema_arrow
            metadata = schema.metadata or {}
            facts = metadata.get(b"sundog")
            if _FACTS_SUM in metadata and (facts is None or metadata[_FACTS_SUM] != b"%d" % zlib.crc32(facts)):
                raise unreadable(path, "facts that their checksum does not fit")
            if facts is not None:
                guard(path, file.metadata.num_rows * len(schema.names) * 4)
                return _ours(file.read(), facts.decode(), path)
            _all_different(schema.names, schema.names)
            index = [name for name in json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
                     if isinstance(name, str) and name in schema.names and name not in (columns or ())]
            wanted = [name for name in schema.names if name not in index and (columns is None or name in columns)] \
                or schema.names
            empty = schema.empty_table()
            numbers = [name for name in wanted if number_column(empty[name]) is not None]
            guard(path, file.metadata.num_rows * len(numbers) * 4)
            whole = lined_up(lambda name: _column(file, name, path), numbers, file.metadata.num_rows, exact)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, str(error).splitlines()[0]) from error
    found = {**dict.fromkeys(wanted), **dict(zip(numbers, whole.T))}
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    why = {name: str(schema.field(name).type) for name, x in found.items() if x is None}
    raw = table_of(found, path, columns, units, why, whole)
    return raw.noted(*(f"left out pandas' index {name!r}" for name in index))


def _column(file: Any, name: str, path: Path) -> np.ndarray:
    found = number_column(file.read([name], use_pandas_metadata=False)[name])
    assert found is not None
    return exactly(found, f"numbers of {name!r} in {path}")


def write_csv(raw: Raw, path: Path) -> Path:
    """As many digits as the numbers have; a comment line only for facts the header cannot hold."""
    values, names, units = _flat(raw, path)
    header = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units)]
    text = io.StringIO()
    single = values.dtype == np.float32  # nine digits bring float32 back, seventeen float64: the reader must know
    if _says_more_than(raw, header) or not single:
        facts = {**raw.facts, "type": str(values.dtype)}
        text.write(_MARK + facts_to_json({**facts, "crc32": _sum(facts, values)}) + "\n")
    csv.writer(text, lineterminator="\n").writerow(header)
    np.savetxt(text, values, fmt="%.9g" if single else "%.17g", delimiter=",")
    return write_text(path, text.getvalue())


def write_parquet(raw: Raw, path: Path) -> Path:
    """One column per feature, context column and weight, units in the column metadata; checksums of pages and facts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values, names, units = _flat(raw, path)
    columns = [pa.field(name, pa.from_numpy_dtype(values.dtype), metadata={"unit": unit})
               for name, unit in zip(names, units)]
    facts = facts_to_json(raw.facts)
    schema = pa.schema(columns, metadata={"sundog": facts, _FACTS_SUM.decode(): str(zlib.crc32(facts.encode()))})
    table = pa.table([np.ascontiguousarray(column) for column in values.T], schema=schema)
    return atomic_write(path, lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))


def _head(path: Path) -> tuple[str, str]:
    """The first megabyte as text, and its encoding. A gigabyte of text from a few bytes is refused."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        content = stream.read(_HEAD)
        if path.stat().st_size < len(content) / 200:
            size = len(content)
            while block := stream.read(1 << 24):
                size += len(block)
                guard(path, size)
    encoding = "utf16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf8"
    whole = len(content) < _HEAD
    try:
        text = content.decode("utf-16" if encoding == "utf16" else "utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(content) - 4:  # else a character was cut in two
            raise
        text = content[: error.start].decode(encoding if encoding == "utf16" else "utf-8-sig")
    if "\0" in text:
        raise ValueError("bytes of zero: no text")
    return text, encoding


def _lines(head: str) -> list[str]:
    """Whole lines of the beginning of a text; enough of them to tell the dialect."""
    for size in (1 << 15, len(head)):
        lines = re.split(r"\r\n|\n|\r", head[:size])
        if (len(lines) > 1 and size > _HEAD // 2) or size < len(head):
            del lines[-1]
        if sum(not is_comment(line) for line in lines) > ROWS:
            break
    return lines


def _cells(path: Path, dialect: Dialect, encoding: str, block: int, rows: int, exact: bool) -> Any:
    """The cells as an array (rows, columns) where all are numbers, else as an Arrow table of text."""
    import pyarrow as pa

    for clean in (dialect.separator == " ", True):
        try:
            return gathered(lambda: _numbers(path, dialect, encoding, block, clean), len(dialect.names),  # noqa: B023
                            rows + rows // 16 + 99, exact)
        except pa.ArrowInvalid:
            pass
        try:
            return _texts(path, dialect, encoding, clean)
        except pa.ArrowInvalid as caught:
            error = caught
        if clean or not _has_remarks(path):
            break
    raise error


def _numbers(path: Path, dialect: Dialect, encoding: str, block: int, clean: bool) -> Iterator[np.ndarray]:
    """Some rows (m, columns) after the other, NaN where a cell is empty."""
    from pyarrow import csv as arrow

    read, parse, convert = _how(dialect, encoding, "float64", block)
    with _stream(path, dialect, clean) as stream, arrow.open_csv(stream, read, parse, convert) as batches:
        for batch in batches:
            yield batch.to_tensor(null_to_nan=True).to_numpy()


def _texts(path: Path, dialect: Dialect, encoding: str, clean: bool = False) -> Any:
    """The cells as an Arrow table of text; without names in the dialect, of what Arrow finds."""
    from pyarrow import csv as arrow

    with _stream(path, dialect, clean) as stream:
        return arrow.read_csv(stream, *_how(dialect, encoding, "string", _HEAD << 3))


def _how(dialect: Dialect, encoding: str, kind: str, block: int) -> tuple[Any, Any, Any]:
    from pyarrow import csv as arrow

    labels = [str(i) for i in range(len(dialect.names))]
    return (arrow.ReadOptions(skip_rows=dialect.skip, column_names=labels or None, encoding=encoding, block_size=block),
            arrow.ParseOptions(delimiter=dialect.separator, newlines_in_values=not labels),
            arrow.ConvertOptions(column_types=dict.fromkeys(labels, kind), decimal_point=dialect.decimal,
                                 strings_can_be_null=False, null_values=[""]))  # other words for it are text


def _stream(path: Path, dialect: Dialect, clean: bool) -> Any:
    import pyarrow as pa

    return _cleaned(path, dialect) if clean else pa.input_stream(str(path), compression="detect")


def _cleaned(path: Path, dialect: Dialect) -> Any:
    """The text without remarks between rows, and with one space for any white space where that separates."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        lines = stream.read().splitlines()
    skipped, rows = lines[: dialect.skip], lines[dialect.skip:]
    rows = [b" ".join(row.split()) if dialect.separator == " " else row for row in rows
            if row.strip()[:1] not in (b"#", b"%")]
    return pa.BufferReader(b"\n".join([*skipped, *rows]) + b"\n")


def _has_remarks(path: Path) -> bool:
    """Whether a # or % stands anywhere in the text."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as stream:
        while block := stream.read(1 << 24):
            if b"#" in block or b"%" in block:
                return True
    return False


def _columns_of(table: Any, named: list[tuple[str, str]], dialect: Dialect, path: Path,
                columns: Sequence[str] | None) -> Raw:
    found: dict[str, np.ndarray | None] = {}
    units: dict[str, str] = {}
    why: dict[str, str] = {}
    notes = list(dialect.notes)
    numbers = isinstance(table, np.ndarray)
    for i, (name, unit) in enumerate(named):
        if not name and (np.isnan(table[:, i]).all() if numbers else _blank(table[i])):
            notes.append(f"left out the empty column {i + 1}")
            continue
        if not name and i:
            raise unreadable(path, f"no name for column {i + 1}", "name it in the header")
        name = name or "Unnamed: 0"
        found[name], said = (table[:, i], "") if numbers else _number_column(table[i])
        units[name] = unit
        why |= {name: said} if found[name] is None else {}
        notes += [f"column {name!r}: {said}"] if found[name] is not None and said else []
    if found.get("Unnamed: 0") is None and "Unnamed: 0" in found and "Unnamed: 0" not in (columns or ()):
        del found["Unnamed: 0"]
        notes.append("left out the labels of the rows in the first column, which has no name")
    return table_of(found, path, columns, units, why, table if numbers else None).noted(*notes)


def _blank(column: Any) -> bool:
    """Whether a column of text holds nothing."""
    import pyarrow.compute as pc

    return pc.all(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py() is not False


def _number_column(column: Any) -> tuple[np.ndarray | None, str]:
    """Numbers of a column and how they were written; or None and the first cell that is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(column)
    nothing = pc.is_in(pc.utf8_lower(text), pa.array([word for word in MISSING if "inf" not in word]))
    text = pc.if_else(nothing, None, text)
    flags = pc.is_in(pc.utf8_lower(text), pa.array(["true", "false"]))
    if pc.all(flags).as_py() and text.null_count < len(text):
        return pc.equal(pc.utf8_lower(text), "true").cast(pa.float64()).to_numpy(), "true and false are 1 and 0"
    for pattern, changes, words in _WRITTEN:
        if pc.all(pc.match_substring_regex(text, rf"^[+-]?({pattern})$")).as_py() is not False:
            for old, new in zip(changes[::2], changes[1::2]):
                text = pc.replace_substring(text, old, new)
            return text.cast(pa.float64()).to_numpy(), words
    plain = pc.match_substring_regex(text, rf"^[+-]?({_WRITTEN[0][0]})$")
    first = pc.index(pc.fill_null(plain, True), False).as_py()
    return None, f"{text[first].as_py()!r} in row {first + 1}"


def number_column(column: Any) -> np.ndarray | None:
    """An Arrow column as numbers, NaN where it is empty; None if it holds none."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    elif pa.types.is_dictionary(column.type) or pa.types.is_boolean(kind):
        column = column.cast(kind).cast(pa.uint8()) if pa.types.is_boolean(kind) else column.cast(kind)
    return column.to_numpy()


def _flat(raw: Raw, path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Values, context and weights side by side: (n, columns), names, units."""
    if raw.values.ndim != 2 or raw.facts["time_step"] is not None:
        raise ShapeError("images and series do not fit a table", got=path.suffix, expected=".npz, .h5 or .fits",
                         do=f"save to {path.stem}.npz")
    names, units = _labels(raw.facts, raw.weights is not None)
    parts = [part.T for part in (raw.values, raw.context) if part is not None]
    return beside([*(x for part in parts for x in part), *([] if raw.weights is None else [raw.weights])]), names, units


def _labels(facts: Mapping[str, Any], weighted: bool) -> tuple[list[str], list[str]]:
    """Names and units of the columns of a table of ours, in its order."""
    names, units = [*facts["names"], *facts["context_names"]], [*facts["units"], *facts["context_units"]]
    if weighted:
        names, units = [*names, weight_name(names)], [*units, ""]
    return names, units


def _ours(table: Any, said: str, path: Path, *, single: bool = False) -> Raw:
    """Undo ``_flat``: columns are taken by name, in whatever order they stand; ``single``: they were float32."""
    facts = facts_from_json(said, path)
    d, c = len(facts["names"]), len(facts["context_names"])
    names, units = _labels(facts, weighted=table.num_columns > d + c)
    held = {name: i for i, name in enumerate(table.column_names)}
    spelled = [name if name in held else f"{name} [{unit}]" for name, unit in zip(names, units)]
    if len(held) != len(spelled) or set(held) != set(spelled):
        raise unreadable(path, f"columns {', '.join(held)}; sundog wrote {', '.join(names)}",
                         "name them as they were, or take out what sundog noted to read it as any other table")
    columns = [number_column(table[held[name]]) for name in spelled]
    if any(column is None for column in columns):
        raise unreadable(path, "text in a column of numbers")
    values = beside([column for column in columns if column is not None])
    values = values.astype(np.float32) if single else values
    stated = json.loads(said)
    if "crc32" in stated and stated.pop("crc32") != _sum(stated, values):
        raise unreadable(path, "numbers that their checksum does not fit",
                         "write the file again; if you changed them on purpose, take crc32 out of its first line")
    return Raw(values[:, :d], context=values[:, d : d + c] if c else None,
               weights=values[:, d + c] if values.shape[1] > d + c else None, facts=facts, ours=True)


def _sum(facts: Mapping[str, Any], values: np.ndarray) -> int:
    """CRC-32 of the facts and of the numbers (rows, columns)."""
    return zlib.crc32(np.ascontiguousarray(values).data, zlib.crc32(facts_to_json(facts).encode()))


def _says_more_than(raw: Raw, header: list[str]) -> bool:
    """Whether a reader of the plain header would get another Dataset."""
    named = [name_and_unit(column) for column in header]
    plain: dict[str, Any] = {
        "names": tuple(name for name, _ in named), "units": tuple(unit for _, unit in named), "context_names": (),
        "context_units": (), "pixel_arcmin": None, "periodic": False, "held_out_fraction": 0.2, "provenance": {},
        **LATER,
    }
    odd = any(name.lower() in (*MISSING, *INDEX) or not re.fullmatch(r"[A-Za-z_][\w\-+*/^ \[\]]*", name)
              for name in header)
    return raw.weights is not None or odd or plain != dict(raw.facts)


def name_and_unit(column: str) -> tuple[str, str]:
    """Name and unit of a header such as ``m_jj [TeV]``."""
    match = _WITH_UNIT.fullmatch(column)
    return (match[1].strip(), match[2].strip()) if match else (column.strip(), "")


def _all_different(names: Sequence[str], header: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise ShapeError("two columns share a name", got=", ".join(header), expected="names all different",
                         do="rename one of them in the header")
