"""Reader of JSON Lines: where a file is cut into parts, and the records of a part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.ingest.read_lines import Line, blocks, find_end, lines
from tasks.ingest.read_value import Unreadable, parse
from tasks.ingest.records import NOT_UTF8, Part, RawRecord, ReadLimits, too_large
from tasks.ingest.text import decode, repair_of, width_of

_BUFFER = 1 << 18
_EXCERPT = 4096  # bytes that are shown of a line that is too long
_BOM = b"\xef\xbb\xbf"


def line_parts(path: Path, encoding: str, start: int, limits: ReadLimits) -> list[Part]:
    """Parts of a file of lines, from byte `start` on."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        cuts = [(start, 0), *_cuts(stream, encoding, start, limits)]
    ends = [*(offset for offset, _ in cuts[1:]), size]
    return [
        Part(layout="lines", byte_start=offset, byte_end=end, first_index=line, first_line=line + 1, encoding=encoding)
        for (offset, line), end in zip(cuts, ends, strict=True) if end > offset
    ]  # fmt: skip


def _cuts(stream: BinaryIO, encoding: str, start: int, limits: ReadLimits) -> Iterator[tuple[int, int]]:
    """Where parts begin behind the first: byte and zero-based line."""
    newline, base, line = "\n".encode(encoding), start, 0  # of the block
    part_byte, part_line = start, 0
    for block in blocks(stream, start):
        begin = 0
        while True:
            count = _count(block, newline, begin)
            full = base + len(block) - part_byte >= limits.part_bytes
            if not full and line + count - part_line < limits.part_records:
                line += count
                break
            wanted = limits.part_records - (line - part_line)
            cut, passed = _cut(block, newline, begin, wanted, part_byte + limits.part_bytes - base)
            line += passed
            if cut < 0:
                break
            begin, part_byte, part_line = cut, base + cut, line
            yield part_byte, part_line
        base += len(block)


def _cut(block: bytes, newline: bytes, begin: int, wanted: int, least: int) -> tuple[int, int]:
    """Behind the `wanted`-th line end, or the first at or behind position `least`; -1 where the block has neither."""
    passed = 0
    while (found := find_end(block, newline, begin)) >= 0:
        begin, passed = found + len(newline), passed + 1
        if passed == wanted or begin >= least:
            return begin, passed
    return -1, passed


def _count(block: bytes, newline: bytes, begin: int) -> int:
    if len(newline) == 1:
        return block.count(newline, begin)
    count = 0
    while (begin := find_end(block, newline, begin)) >= 0:
        begin, count = begin + len(newline), count + 1
    return count


def read_lines(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """JSON Lines: one record a line; the index is the zero-based line, so blank lines leave gaps."""
    index, limit = part.first_index, limits.record_bytes
    with path.open("rb", buffering=_BUFFER) as stream:
        for line in lines(stream, part.byte_start, part.byte_end, part.encoding, limit):
            if line.size > limit:
                yield _too_large(line, index, part.encoding, limit)
            else:
                record = _record(line, index, part.encoding)
                if record is not None:
                    yield record
            index += 1


def _too_large(line: Line, index: int, encoding: str, limit: int) -> RawRecord:
    width = width_of(encoding)
    raw = decode(line.data[: _EXCERPT // width * width], encoding)
    return RawRecord(index, line.start, index + 1, raw, None, too_large(limit), line.size)


def _record(line: Line, index: int, encoding: str) -> RawRecord | None:
    """The record of a line, None where the line is blank."""
    if encoding != "utf-8":
        return _wide_record(line, index, encoding)
    data = line.data.lstrip()
    if data.startswith(_BOM):  # two files put together
        data = data[3:].lstrip()
    start = line.start + len(line.data) - len(data)
    data = data.rstrip()
    if not data:
        return None
    try:
        value = parse(data)
    except Unreadable as error:
        raw = data.decode("utf-8", "surrogateescape")
        repair = repair_of(data) if error.problem == NOT_UTF8 else ""
        return RawRecord(index, start, index + 1, raw, None, error.problem, len(data), repair)
    return RawRecord(index, start, index + 1, data.decode(), value, None, len(data))


def _wide_record(line: Line, index: int, encoding: str) -> RawRecord | None:
    text = decode(line.data, encoding)
    bare = text.lstrip("\ufeff \t\r\n")
    width = width_of(encoding)
    start = line.start + width * (len(text) - len(bare))  # what was stripped is one unit a character
    bare = bare.rstrip()
    if not bare:
        return None
    length = min(len(bare.encode(encoding, "surrogatepass")), line.start + line.size - start)
    try:
        return RawRecord(index, start, index + 1, bare, parse(bare.encode("utf-8", "surrogatepass")), None, length)
    except Unreadable as error:
        return RawRecord(index, start, index + 1, bare, None, error.problem, length)
