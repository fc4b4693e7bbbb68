"""Readers of Markdown and plain text: sections with a quoted message and a JSON answer, or the file as one document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tasks.ingest.read_lines import TextLine, newline_of, text_lines
from tasks.ingest.read_value import Unreadable, parse
from tasks.ingest.records import NOT_UTF8, Part, Problem, RawRecord, ReadLimits, too_large
from tasks.ingest.text import Encoding, decode, is_damaged, repair_of

_HEADING = re.compile(r"(#{1,6})\s+\S")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})\s*(\w*)")
_MOST_SHOWN = 4096


@dataclass
class _Section:
    """A heading's own part of a Markdown file while it is read; its texts are dropped where it grows too large."""

    start: int
    line: int
    level: int
    size: int = 0
    too_large: bool = False
    lines: list[str] = field(default_factory=list)
    quote: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def is_empty(self) -> bool:
        return self.is_title() and not any(t.strip() for t in self.text)

    def is_title(self) -> bool:
        """Whether it asks and answers nothing."""
        return not (self.too_large or self.quote or self.answers)


def read_document(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """The whole file as one record."""
    length = part.byte_end - part.byte_start
    with path.open("rb") as stream:
        stream.seek(part.byte_start)
        data = stream.read(min(length, limits.record_bytes))
    text = decode(data, part.encoding)
    problem, repair = _fault(text, part.encoding)
    if length > limits.record_bytes:
        problem, text = too_large(limits.record_bytes), text[:_MOST_SHOWN]
    value = None if problem else {"text": text.strip()}
    yield RawRecord(part.first_index, part.byte_start, 1, text, value, problem, length, repair)


def has_sections(lines: Iterable[TextLine], limits: ReadLimits) -> bool:
    """Whether Markdown holds at least one section with a quote and a JSON answer."""
    return any(s.quote and s.answers for s in _sections(lines, limits.record_bytes))


def sections_part(path: Path, encoding: Encoding, shape: str, limits: ReadLimits) -> Part:
    """A Markdown file as one part: of sections, where it has some or where the shape says so, or as a document."""
    with path.open("rb") as stream:
        found = shape == "sections" or (shape == "auto" and has_sections(_lines(stream, encoding, limits), limits))
    return Part(layout="sections" if found else "document", byte_start=encoding.bom_bytes, byte_end=path.stat().st_size,
                encoding=encoding.name)  # fmt: skip


def _lines(stream: BinaryIO, encoding: Encoding, limits: ReadLimits) -> Iterator[TextLine]:
    newline = newline_of(stream, encoding.name)
    return text_lines(stream, encoding.bom_bytes, 1, encoding.name, limits.record_bytes, newline)


def read_sections(path: Path, part: Part, limits: ReadLimits) -> Iterator[RawRecord]:
    """One record for every heading of the second level or below that has something under it.

    A heading of the first level, and what stands before every heading, is the book's title with its introduction: a
    record only where it holds a quote or an answer, or is too large to be looked into.
    """
    with path.open("rb") as stream:
        lines = _lines(stream, Encoding(part.encoding, part.byte_start), limits)
        yield from section_records(lines, part.encoding, limits)


def section_records(lines: Iterable[TextLine], encoding: str, limits: ReadLimits) -> Iterator[RawRecord]:
    """The records of Markdown text."""
    index = 0
    for section in _sections(lines, limits.record_bytes):
        if section.is_empty() or (section.level < 2 and section.is_title()):
            continue
        raw = "".join(section.lines)
        value, problem = _value(section, limits)
        fault, repair = _fault(raw, encoding)
        yield RawRecord(index, section.start, section.line, raw, value, fault or problem, section.size, repair)
        index += 1


def _fault(raw: str, encoding: str) -> tuple[Problem | None, str]:
    if not is_damaged(raw):
        return None, ""
    return NOT_UTF8, repair_of(raw.encode("utf-8", "surrogateescape")) if encoding == "utf-8" else ""


def _value(section: _Section, limits: ReadLimits) -> tuple[dict[str, str], Problem | None]:
    if section.too_large:
        return {}, too_large(limits.record_bytes)
    if not section.answers:
        return {}, ("no_answer", "the section has no fenced json block as its answer")
    if len(section.answers) > 1:
        return {}, ("broken_section", "the section has more than one fenced json block")
    if not section.quote:
        return {}, ("missing_field", "the section has no quoted message")
    answer = section.answers[0].strip()
    try:
        value = parse(answer.encode("utf-8", "surrogateescape"))
    except Unreadable as error:
        code = error.problem[0]
        return {}, (code, "the section's answer is not valid JSON" if code == "broken_json" else error.problem[1])
    if "\n" in answer:
        answer = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {"prompt": "\n".join(section.quote).strip(), "completion": answer}, None


def _sections(lines: Iterable[TextLine], limit: int) -> Iterator[_Section]:
    """Sections in order, each when it is complete; headings inside fenced blocks are text."""
    current, fence, block = _Section(0, 1, 0), "", list[str]()
    for line in lines:
        opened = _FENCE.match(line.text)
        heading = None if fence else _HEADING.match(line.text)
        if heading:
            yield current
            current = _Section(line.start, line.number, len(heading.group(1)))
        elif fence and opened and opened.group(1).startswith(fence.split()[0]):
            _close(current, fence, block)
            fence, block = "", []
        elif fence and not current.too_large:
            block.append(line.text)
        elif opened and not fence:
            fence = f"{opened.group(1)} {opened.group(2).lower()}"
        elif not current.too_large:
            _add(current, line.text)
        _grow(current, line, limit)
    yield current


def _grow(section: _Section, line: TextLine, limit: int) -> None:
    section.size += line.size
    if section.too_large:
        return
    section.lines.append(line.text)
    if section.size > limit:
        section.too_large = True
        section.lines = ["".join(section.lines)[:_MOST_SHOWN]]
        section.quote, section.text, section.answers = [], [], []


def _close(section: _Section, fence: str, block: list[str]) -> None:
    (section.answers if fence.endswith(" json") else section.text).append("".join(block))


def _add(section: _Section, text: str) -> None:
    if text.lstrip().startswith(">"):
        section.quote.append(text.lstrip()[1:].strip())
    else:
        section.text.append(text)
