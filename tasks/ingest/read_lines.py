"""Lines of a file with their exact place in bytes, in any encoding, however long they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from tasks.ingest.text import byte_length, decode, errors_of

_BLOCK = 1 << 18
_PIECE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class Line(NamedTuple):
    """A line with its end; `data` is cut where `size` is more than the limit."""

    data: bytes
    start: int
    size: int


class TextLine(NamedTuple):
    """A decoded line with its end; `text` is cut where `size` is more than the limit. `number` is one-based."""

    text: str
    start: int
    size: int
    number: int


def lines(stream: BinaryIO, start: int, stop: int, encoding: str, limit: int) -> Iterator[Line]:
    """Lines that start in [start, stop); both have to be starts of lines. Memory is bounded by `limit`."""
    if encoding != "utf-8":
        newline = "\n".encode(encoding)
        yield from split_lines(stream, start, stop, newline, limit)
        return
    stream.seek(start)
    readline, position = stream.readline, start
    while position < stop:
        data = readline(limit + 1)
        if not data:
            return
        size = len(data)
        if size > limit and data[-1] != 10:
            size += _skip_line(stream)
        yield Line(data, position, size)
        position += size


def _skip_line(stream: BinaryIO) -> int:
    """Read to the end of the line; how many bytes that were."""
    skipped = 0
    while data := stream.readline(_BLOCK):
        skipped += len(data)
        if data[-1] == 10:
            break
    return skipped


def split_lines(stream: BinaryIO, start: int, stop: int, newline: bytes, limit: int) -> Iterator[Line]:
    """The same for any line end of 1, 2 or 4 bytes at positions that are multiples of its length from `start` on."""
    head, size, position = bytearray(), 0, start
    for block in blocks(stream, start):
        begin = 0
        while begin < len(block):
            if position >= stop:
                return
            end = find_end(block, newline, begin)
            piece = block[begin:] if end < 0 else block[begin : end + len(newline)]
            size += len(piece)
            if len(head) <= limit:
                head += piece
            begin += len(piece)
            if end >= 0:
                yield Line(bytes(head), position, size)
                position, size, head = position + size, 0, bytearray()
    if size:
        yield Line(bytes(head), position, size)


def find_end(block: bytes, newline: bytes, begin: int) -> int:
    found = block.find(newline, begin)
    while found >= 0 and found % len(newline):
        found = block.find(newline, found + 1)
    return found


def blocks(stream: BinaryIO, start: int, size: int = _BLOCK) -> Iterator[bytes]:
    stream.seek(start)
    while block := stream.read(size):
        yield block


def text_lines(
    stream: BinaryIO, start: int, number: int, encoding: str, limit: int, newline: str = "\n"
) -> Iterator[TextLine]:
    """Decoded lines from a byte on; `\\n`, `\\r\\n` and `\\r` end a line.

    Args:
        newline: the most frequent of them, `\\n` or `\\r`; no more than `limit` bytes are held without one.
    """
    stop = stream.seek(0, 2)
    plain = lines(stream, start, stop, encoding, limit)
    found = plain if newline == "\n" else split_lines(stream, start, stop, newline.encode(encoding), limit)
    errors = errors_of(encoding)
    for line in found:
        text = line.data.decode(encoding, errors)
        if line.size > limit or not _has_ends_inside(text):
            yield TextLine(text, line.start, line.size, number)
            number += 1
            continue
        position = line.start
        for piece in _PIECE.findall(text):
            size = byte_length(piece, encoding)
            yield TextLine(piece, position, size, number)
            position, number = position + size, number + 1


def _has_ends_inside(text: str) -> bool:
    """Whether a line holds more line ends than its own."""
    if "\r" not in text:  # then it was cut at "\n"
        return False
    body = text.removesuffix("\n").removesuffix("\r")
    return "\r" in body or "\n" in body


def newline_of(stream: BinaryIO, encoding: str) -> str:
    """The line end of old Macintosh files where nothing else ends a line, else the usual one."""
    stream.seek(0)
    head = decode(stream.read(1 << 16), encoding)
    return "\r" if "\r" in head and "\n" not in head else "\n"
