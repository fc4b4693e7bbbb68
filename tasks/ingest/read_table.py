"""Reader of CSV and TSV: a header line, then one record a row; quoted fields may span lines.

What a spreadsheet program would take for a formula is text like any other.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tasks.errors import DataRefused, UsageError
from tasks.ingest.read_lines import TextLine, newline_of, text_lines
from tasks.ingest.records import NOT_UTF8, Part, Problem, RawRecord, ReadLimits, too_large
from tasks.ingest.text import Encoding, decode, is_damaged, repair_of, width_of

_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR = re.compile(r'\ufeff?"?sep=([^\r\n"])"?[\r\n]+', re.IGNORECASE)  # a line of Excel's, above the header
_UNCLOSED: Problem = ("broken_csv", "a quoted field is opened and never closed")
_MOST_SHOWN = 4096
_AHEAD_BYTES = 1 << 20
_NEAR_SHARE = 64  # of the longest record: a field that is open for longer than one such part hardly ever ends
csv.field_size_limit(1 << 30)  # records are bounded by their bytes


class TableRow(NamedTuple):
    """One row of a table; `fields` is empty where it has a problem."""

    text: str
    start: int
    size: int
    number: int
    fields: list[str]
    problem: Problem | None


class _Unclosed(Exception):
    """A quoted field goes on to the end of what may be read."""


class _Table:
    """The rows of one file from any start of a row on.

    An opening quote that is never closed would swallow the rest of the file: its line is given up and reading goes on
    with the next one. `open_until` keeps that from being tried for every line: a field that is open from one line to
    that byte is open for every line between that ends inside a field.
    """

    def __init__(self, stream: BinaryIO, encoding: Encoding, limits: ReadLimits, where: str) -> None:
        self._stream, self._encoding, self._limit = stream, encoding.name, limits.record_bytes
        self._newline = newline_of(stream, encoding.name)
        self.open_until = 0
        first = self._first(encoding.bom_bytes, 1, where)
        named = _SEPARATOR.fullmatch(first.text)
        if named:
            first = self._first(first.start + first.size, first.number + 1, where)
        self._delimiter = named[1] if named else _delimiter(first.text)
        header = next(self.rows(first.start, first.number))
        if problem := header.problem or (NOT_UTF8 if is_damaged(header.text) else None):
            raise _bad_header(header.text, problem, encoding.name, where)
        self.header = [name.strip() for name in header.fields]
        self.start, self.number = header.start + header.size, header.number + _ends(header.text)

    def _first(self, start: int, number: int, where: str) -> TextLine:
        """The first line that is not blank."""
        for line in self._lines(start, number):
            if line.text.strip("\ufeff \t\r\n"):
                return line
        raise _no_header(where)

    def _lines(self, start: int, number: int) -> Iterator[TextLine]:
        return text_lines(self._stream, start, number, self._encoding, self._limit, self._newline)

    def rows(self, start: int, number: int) -> Iterator[TableRow]:
        """Rows and blank lines from the start of one of them on."""
        source = self._lines(start, number)
        while (line := next(source, None)) is not None:
            if line.size > self._limit:
                shown = line.text[:_MOST_SHOWN]
                yield TableRow(shown, line.start, line.size, line.number, [], too_large(self._limit))
            elif '"' not in line.text:
                fields = line.text.rstrip("\r\n").split(self._delimiter)
                yield TableRow(line.text, line.start, line.size, line.number, fields, None)
            else:
                row, passed = self._quoted(line, source)
                if row.problem and passed > line.size:
                    source = self._lines(line.start + line.size, line.number + 1)
                yield row

    def _quoted(self, line: TextLine, source: Iterator[TextLine]) -> tuple[TableRow, int]:
        """The row that begins with a line that has quotes, and how many bytes were read for it."""
        try:
            reader = csv.reader((line.text, "\n"), delimiter=self._delimiter)
            fields = next(reader)
            if reader.line_num == 1:  # the second line was not asked for: no field is open at the end of the first
                return TableRow(line.text, line.start, line.size, line.number, fields, None), line.size
            if line.start >= self.open_until:
                return self._spanning(line, source)
            problem = _UNCLOSED
        except csv.Error as error:
            problem = ("broken_csv", f"not valid CSV ({error})")
        return TableRow(line.text, line.start, line.size, line.number, [], problem), line.size

    def _spanning(self, line: TextLine, source: Iterator[TextLine]) -> tuple[TableRow, int]:
        held, sizes = io.StringIO(newline=""), [line.size]
        try:
            fields = next(csv.reader(self._feed(line, source, held, sizes), delimiter=self._delimiter))
        except _Unclosed:
            return TableRow(line.text, line.start, line.size, line.number, [], _UNCLOSED), sizes[0]
        return TableRow(held.getvalue(), line.start, sizes[0], line.number, fields, None), sizes[0]

    def _feed(self, line: TextLine, source: Iterator[TextLine], held: io.StringIO, sizes: list[int]) -> Iterator[str]:
        """Lines for as long as the csv reader asks for more, which it does inside a quoted field."""
        held.write(line.text)
        yield line.text
        end, near = line.start + line.size, True
        for following in source:
            sizes[0] += following.size
            if sizes[0] > self._limit:
                break
            if near and sizes[0] > self._limit // _NEAR_SHARE:
                near = False
                if ahead := self._open_to(following.start, line.start + self._limit):
                    end = ahead
                    break
            held.write(following.text)
            end = following.start + following.size
            yield following.text
        self.open_until = end
        raise _Unclosed

    def _open_to(self, start: int, stop: int) -> int:
        """The end of the last line before `stop`, if a field that is open at `start` is still open there, else 0.

        Looks at many lines at a time. 0 also where that cannot be: then the lines are gone through one by one.
        """
        if self._encoding != "utf-8" or self._newline != "\n":
            return 0
        place, last = self._stream.tell(), False
        while not last:
            wanted = min(_AHEAD_BYTES, stop - start)
            self._stream.seek(start)
            block = self._stream.read(wanted + 1)
            at_end = len(block) <= wanted
            whole = block if at_end else block[: block.rfind(b"\n", 0, wanted) + 1]
            last = at_end or wanted == stop - start
            doubtful = b"\r" in block[len(whole) : wanted] if last else not whole
            if doubtful or not self._stays_open(whole):
                start = 0
                break
            start += len(whole)
        self._stream.seek(place)
        return start

    def _stays_open(self, data: bytes) -> bool:
        """Whether a field that is open before these lines is open after each of them."""
        reader = csv.reader(('"' + decode(data, self._encoding), "\n"), delimiter=self._delimiter)
        try:
            next(reader)
        except csv.Error:
            return False
        return reader.line_num == 2


def _delimiter(line: str) -> str:
    """The character that parts the header into most columns; ties go to the one that comes first in the list."""
    return max(_DELIMITERS, key=lambda d: (len(next(csv.reader([line], delimiter=d))), -_DELIMITERS.index(d)))


def _ends(text: str) -> int:
    """Line ends in a row."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _bad_header(text: str, problem: Problem, encoding: str, where: str) -> DataRefused:
    repair = repair_of(text.encode("utf-8", "surrogateescape")) if problem == NOT_UTF8 and encoding == "utf-8" else ""
    return DataRefused(
        "the header of the table cannot be read",
        where=where,
        why=problem[1],
        remedy=repair or "repair the first line, or export the table again",
    )


def _no_header(where: str) -> DataRefused:
    return DataRefused(
        "the table has no header",
        where=where,
        why="nothing stands below the line that names the separator",
        remedy="give a file with rows, or take it out of data.sources",
    )


def table_parts(path: Path, encoding: Encoding, where: str, limits: ReadLimits) -> list[Part]:
    """Parts of a table, cut at starts of rows.

    Raises:
        DataRefused: a header without rows, or one that cannot be read.
        UsageError: a column name that occurs twice.
    """
    with path.open("rb") as stream:
        table = _Table(stream, encoding, limits, where)
        if len(set(table.header)) < len(table.header):
            raise UsageError(
                "two columns of the table have the same name",
                where=where,
                why=f"{len(table.header)} columns in the header",
                remedy="give each column a name of its own",
            )
        parts = list(_parts(table, path.stat().st_size, encoding, limits))
    if not parts:
        raise DataRefused(
            "the table has a header and no rows",
            where=where,
            why=f"its only line has {len(table.header)} columns",
            remedy="give a file with rows, or take it out of data.sources",
        )
    return parts


def _parts(table: _Table, size: int, encoding: Encoding, limits: ReadLimits) -> Iterator[Part]:
    start, number, index, count = table.start, table.number, 0, 0
    for row in table.rows(start, number):
        if not row.text.strip():
            continue
        full = row.start - start >= limits.part_bytes or count >= limits.part_records
        if count and full and row.start >= table.open_until:
            yield Part(layout="table", byte_start=start, byte_end=row.start, first_index=index, first_line=number,
                       encoding=encoding.name)  # fmt: skip
            start, number, index, count = row.start, row.number, index + count, 0
        count += 1
    if count:
        yield Part(layout="table", byte_start=start, byte_end=size, first_index=index, first_line=number,
                   encoding=encoding.name)  # fmt: skip


def read_table(path: Path, part: Part, where: str, limits: ReadLimits) -> Iterator[RawRecord]:
    """Records as mappings from column to text; the header is no record."""
    index = part.first_index
    with path.open("rb", buffering=1 << 18) as stream:
        table = _Table(stream, encoding_of_part(stream, part), limits, where)
        for row in table.rows(part.byte_start, part.first_line):
            if row.start >= part.byte_end:
                return
            if row.text.strip():
                yield _record(row, index, table.header, part.encoding)
                index += 1


def encoding_of_part(stream: BinaryIO, part: Part) -> Encoding:
    """The encoding of the file that a part was cut from, with its byte order mark."""
    stream.seek(0)
    mark = "\ufeff".encode(part.encoding)
    return Encoding(part.encoding, len(mark) if stream.read(len(mark)) == mark else 0)


def _record(row: TableRow, index: int, header: list[str], encoding: str) -> RawRecord:
    raw = row.text.rstrip("\r\n")
    too_long = row.problem is not None and row.problem[0] == "too_large"
    length = row.size if too_long else row.size - (len(row.text) - len(raw)) * width_of(encoding)
    problem = row.problem or _problem(raw, row.fields, header)
    if problem:
        damaged = problem == NOT_UTF8 and encoding == "utf-8"
        repair = repair_of(raw.encode("utf-8", "surrogateescape")) if damaged else ""
        return RawRecord(index, row.start, row.number, raw, None, problem, length, repair)
    return RawRecord(index, row.start, row.number, raw, dict(zip(header, row.fields, strict=True)), None, length)


def _problem(raw: str, fields: list[str], header: list[str]) -> Problem | None:
    if is_damaged(raw):
        return NOT_UTF8
    if len(fields) < len(header):
        return "missing_field", f"has {len(fields)} of {len(header)} columns"
    if len(fields) > len(header):
        return "broken_csv", f"has {len(fields)} columns where the header names {len(header)}"
    return None
