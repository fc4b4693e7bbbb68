"""Readers of Markdown and plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.ingest.records import NOT_UTF8, RawRecord
from tasks.ingest.text import Cursor, Text, is_damaged

_HEADING = re.compile(r"(#{1,6})\s+\S")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})\s*(\w*)")


@dataclass
class _Section:
    """A heading's own part of a Markdown file while it is read."""

    start: int
    level: int
    lines: list[str] = field(default_factory=list)
    quote: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def read_document(text: Text) -> list[RawRecord]:
    """The whole file as one record."""
    problem = NOT_UTF8 if is_damaged(text.content) else None
    return [RawRecord(0, text.bom_bytes, 1, text.content, {"text": text.content.strip()}, problem)]


def has_sections(text: Text) -> bool:
    """Whether a Markdown file holds at least one section with a quote and a JSON answer."""
    return any(s.quote and s.answers for s in _sections(text.content))


def read_sections(text: Text) -> Iterator[RawRecord]:
    """One record for every heading of the second level or below that has something under it."""
    cursor, index = Cursor(text), 0
    for section in _sections(text.content):
        if section.level < 2 or not (section.quote or section.answers or any(t.strip() for t in section.text)):
            continue
        offset, line = cursor.at(section.start)
        raw = "".join(section.lines)
        value, problem = _value(section)
        yield RawRecord(index, offset, line, raw, value, NOT_UTF8 if is_damaged(raw) else problem)
        index += 1


def _value(section: _Section) -> tuple[dict[str, str], tuple[str, str] | None]:
    if not section.answers:
        return {}, ("no_answer", "the section has no fenced json block as its answer")
    if len(section.answers) > 1:
        return {}, ("broken_section", "the section has more than one fenced json block")
    if not section.quote:
        return {}, ("missing_field", "the section has no quoted message")
    answer = section.answers[0].strip()
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return {}, ("broken_json", "the section's answer is not valid JSON")
    if "\n" in answer:
        answer = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {"prompt": "\n".join(section.quote).strip(), "completion": answer}, None


def _sections(content: str) -> list[_Section]:
    """Sections in order; headings inside fenced blocks are text."""
    current = _Section(0, 0)
    sections, fence, block, position = [current], "", list[str](), 0
    for line in content.splitlines(keepends=True):
        opened = _FENCE.match(line)
        heading = None if fence else _HEADING.match(line)
        if heading:
            current = _Section(position, len(heading.group(1)))
            sections.append(current)
        elif fence and opened and opened.group(1).startswith(fence.split()[0]):
            _close(current, fence, block)
            fence, block = "", []
        elif fence:
            block.append(line)
        elif opened:
            fence = f"{opened.group(1)} {opened.group(2).lower()}"
        else:
            _add(current, line)
        current.lines.append(line)
        position += len(line)
    return sections


def _close(section: _Section, fence: str, block: list[str]) -> None:
    (section.answers if fence.endswith(" json") else section.text).append("".join(block))


def _add(section: _Section, line: str) -> None:
    if line.lstrip().startswith(">"):
        section.quote.append(line.lstrip()[1:].strip())
    else:
        section.text.append(line)
