"""What readers hand on: parts of a document, and records in them, understood or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tasks.contracts import Record

Problem = tuple[str, str]
Layout = Literal["lines", "elements", "whole", "table", "row_group", "sections", "document", "extracted", "broken"]

NOT_UTF8: Problem = ("invalid_utf8", "holds bytes that are not UTF-8 text")


class ReadLimits(Record):
    """Where documents are cut into parts, and what is too much for one record."""

    part_bytes: int = Field(4 << 20, ge=1, description="A part ends with the first record that reaches this size.")
    part_records: int = Field(4096, ge=1, description="Most records of a part, where the format can be cut.")
    record_bytes: int = Field(
        16 << 20, ge=1, description="A longer record is quarantined without being held in memory."
    )


LIMITS = ReadLimits()


class Part(Record):
    """A stretch of a document that can be read by itself. Parts depend on the document's bytes and limits alone."""

    layout: Layout = Field(description="How the stretch is read.")
    byte_start: int = Field(0, ge=0)
    byte_end: int = Field(ge=0, description="No record of the part starts at or behind this byte.")
    first_index: int = Field(0, ge=0, description="Index of the first record.")
    first_line: int = Field(1, ge=1)
    encoding: str = "utf-8"
    row_group: int = Field(0, ge=0, description="Parquet only.")
    problem: Problem | None = Field(None, description="Layout broken: why this stretch cannot be read.")

    @property
    def shape(self) -> Literal["auto", "sections", "document"]:
        """The row shape where the format fixes it."""
        if self.layout == "sections":
            return "sections"
        return "document" if self.layout in ("document", "extracted") else "auto"


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it stands in its source.

    Attributes:
        index: zero-based, counts broken records too.
        line: one-based; 1 in formats without lines.
        raw: the record's own text; only its beginning where the record is too large to be held.
        value: what it holds (a mapping in all but broken records).
        problem: reason code and plain words where it could not be read.
        byte_length: bytes of the record from `byte_offset` on; 0 where it has none of its own (Parquet).
        repair: what would make it readable, in words.
    """

    index: int
    byte_offset: int
    line: int
    raw: str
    value: object = None
    problem: Problem | None = None
    byte_length: int = 0
    repair: str = ""


def too_large(limit: int) -> Problem:
    return "too_large", f"is longer than {_size(limit)} or holds too many values to be read as one record"


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count} bytes"
