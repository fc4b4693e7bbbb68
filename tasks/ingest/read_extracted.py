"""Readers of web pages, PDFs and Word documents: their text as Markdown, then read as Markdown is.

A record's bytes are the whole file: what was extracted has no bytes of its own in it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import DataRefused
from tasks.ingest.config import Shape
from tasks.ingest.document import has_sections, section_records
from tasks.ingest.extract_process import extract
from tasks.ingest.extract_result import Extracted
from tasks.ingest.read_lines import TextLine
from tasks.ingest.records import Part, RawRecord, ReadLimits


def extracted_part(path: Path, format: str, where: str, shape: Shape, limits: ReadLimits) -> Part:
    """The file as one part.

    Raises:
        DataRefused: the file is empty.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataRefused(
            "the file is empty",
            where=where,
            why="it holds no bytes",
            remedy="give a file with text, or take it out of data.sources",
        )
    sections = shape == "sections"
    if shape == "auto" and format != "pdf":
        sections = has_sections(_lines(_extracted(path, format, limits).text), limits)
    return Part(layout="sections" if sections else "extracted", byte_end=size)


def read_extracted(path: Path, format: str, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """The document as one record, or one record a section."""
    found = _extracted(path, format, limits)
    if found.code:
        yield RawRecord(0, 0, 1, "", None, (found.code, found.words), part.byte_end, found.repair)
    elif part.layout == "sections":
        for record in section_records(_lines(found.text), "utf-8", limits):
            yield dataclasses.replace(record, byte_offset=0, line=1, byte_length=part.byte_end)
    else:
        yield RawRecord(0, 0, 1, found.text, {"text": found.text.strip()}, None, part.byte_end)


def _extracted(path: Path, format: str, limits: ReadLimits) -> Extracted:
    status = path.stat()
    return _cached(path, format, limits.record_bytes, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)  # a document is looked at, then read
def _cached(path: Path, format: str, max_bytes: int, changed: int, size: int) -> Extracted:  # noqa: ARG001
    return extract(path, format, max_bytes)


def _lines(text: str) -> Iterator[TextLine]:
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        yield TextLine(line, 0, len(line.encode("utf-8", "replace")), number)
