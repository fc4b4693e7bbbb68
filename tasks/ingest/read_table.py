"""Reader of CSV and TSV: a header line, then one record a row; quoted fields may span lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from tasks.errors import DataRefused, UsageError
from tasks.ingest.records import NOT_UTF8, RawRecord
from tasks.ingest.text import Cursor, Text, is_damaged

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_FIELD = 16_000_000


def read_table(text: Text, where: str) -> list[RawRecord]:
    """Records as mappings from column to text; the header is no record.

    Raises:
        DataRefused: a header without rows.
        UsageError: a column name that occurs twice.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    lines = list(io.StringIO(text.content, newline=""))
    delimiter = _delimiter(lines)
    header, start = _header(lines, delimiter)
    if len(set(header)) < len(header):
        raise UsageError(
            "two columns of the table have the same name",
            where=where,
            why=f"{len(header)} columns in the header",
            remedy="give each column a name of its own",
        )
    records = list(_records(text, lines, start, header, delimiter))
    if not records:
        raise DataRefused(
            "the table has a header and no rows",
            where=where,
            why=f"its only line has {len(header)} columns",
            remedy="give a file with rows, or take it out of data.sources",
        )
    return records


def _delimiter(lines: list[str]) -> str:
    """The character that parts the header into most columns; ties go to the one that comes first in the list."""
    first = next(line for line in lines if line.strip())
    return max(_DELIMITERS, key=lambda d: (len(next(csv.reader([first], delimiter=d))), -_DELIMITERS.index(d)))


def _header(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    first = next(i for i, line in enumerate(lines) if line.strip())
    reader = csv.reader(lines[first:], delimiter=delimiter)
    return [name.strip() for name in next(reader)], first + reader.line_num


def _records(text: Text, lines: list[str], start: int, header: list[str], delimiter: str) -> Iterator[RawRecord]:
    cursor, index = Cursor(text), 0
    positions = _positions(lines)
    for first, end, fields, problem in _rows(lines, start, delimiter):
        raw = "".join(lines[first:end]).rstrip("\r\n")
        if not raw.strip():
            continue
        offset, _ = cursor.at(positions[first])
        problem = problem or _problem(raw, fields, header)
        value = None if problem else dict(zip(header, fields, strict=True))
        yield RawRecord(index, offset, first + 1, raw, value, problem)
        index += 1


def _positions(lines: list[str]) -> list[int]:
    positions, at = [], 0
    for line in lines:
        positions.append(at)
        at += len(line)
    return positions


def _rows(lines: list[str], start: int, delimiter: str) -> Iterator[tuple[int, int, list[str], tuple[str, str] | None]]:
    """First line, line behind the last, fields and problem of every row.

    An opening quote that is never closed would swallow the rest of the file: its line is given up and reading goes
    on with the next one.
    """
    while start < len(lines):
        reader = csv.reader(iter(lines[start:]), delimiter=delimiter)
        first, resume = start, len(lines)
        try:
            for fields in reader:
                end = start + reader.line_num
                if end >= len(lines) and end - first > 1 and _is_open(lines[first:], delimiter):
                    yield first, first + 1, [], ("broken_csv", "a quoted field is opened and never closed")
                    resume = first + 1
                    break
                yield first, end, fields, None
                first = end
        except csv.Error as error:
            yield first, first + 1, [], ("broken_csv", f"not valid CSV ({error})")
            resume = first + 1
        start = resume


def _is_open(lines: list[str], delimiter: str) -> bool:
    try:
        next(csv.reader(iter(lines), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _problem(raw: str, fields: list[str], header: list[str]) -> tuple[str, str] | None:
    if is_damaged(raw):
        return NOT_UTF8
    if len(fields) < len(header):
        return "missing_field", f"has {len(fields)} of {len(header)} columns"
    if len(fields) > len(header):
        return "broken_csv", f"has {len(fields)} columns where the header names {len(header)}"
    return None
