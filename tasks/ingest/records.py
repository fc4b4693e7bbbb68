"""What readers hand on: one record of a source, understood or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RawRecord:
    """A record as it stands in its source.

    Attributes:
        index: zero-based, counts broken records too.
        raw: the record's own text.
        value: what it holds (a mapping in all but broken records).
        problem: reason code and plain words where it could not be read.
    """

    index: int
    byte_offset: int
    line: int
    raw: str
    value: object = None
    problem: tuple[str, str] | None = None


NOT_UTF8 = ("invalid_utf8", "holds bytes that are not UTF-8 text")
