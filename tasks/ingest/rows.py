"""From one record of a source to one row: converted, personal data replaced, a broken one quarantined.

Nothing here knows where the record came from but for its address; nothing that was personal leaves this module.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.contracts import Message, Record, Row, RowOrigin, Split
from tasks.ingest.convert import Converted, NotARow, converted, metadata_of
from tasks.ingest.records import RawRecord
from tasks.ingest.shape import ShapeDecision
from tasks.ingest.text import printable
from tasks.privacy.messages import cleaned_messages
from tasks.privacy.redact import Redactor

EXCERPT_CHARACTERS = 500
_EXCERPT_SOURCE = 4_000  # redacted before it is cut, so that no value is cut in half and missed
_ID_DIGITS = 6
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_ANY_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/bfnrt]))")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NOTHING = Converted(())


class Place(Record):
    """What all rows of one file share."""

    source_uri: str
    source_digest: str
    member: str = ""
    container_digest: str = ""
    declared_split: Split | None = None


class Findings(NamedTuple):
    """What was found in the texts of one row so far."""

    counts: Counter[str]
    reported: Counter[str]
    subjects: set[str]
    drops: set[str]


class Cleaner:
    """Replaces personal data in the texts of one row after the other and remembers what it found."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.found = Findings(Counter(), Counter(), set(), set())

    def text(self, text: str, before: str = "", *, keep_numbers: bool = True) -> str:
        if not text:
            return text
        cleaned = self._redactor.clean(text, before, keep_numbers=keep_numbers)
        self.found.counts.update(cleaned.counts)
        self.found.reported.update(cleaned.reported)
        self.found.subjects.update(cleaned.subjects)
        if cleaned.drop:
            self.found.drops.update(e for e in cleaned.counts if self._redactor.actions[e] == "drop")
        return cleaned.text

    def messages(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return cleaned_messages(messages, self.text)

    def metadata(self, metadata: Mapping[str, str]) -> dict[str, str]:
        return {self.text(name): self.text(value, before=f"{name}: ") for name, value in metadata.items()}

    def excerpt(self, raw: str) -> str:
        """The beginning of a record that could not be read, its escapes resolved: nothing hides in them or beside them.

        Only `\\u` is one in every format: a text may well hold `C:\\new`.
        """
        head = raw[:_EXCERPT_SOURCE]
        is_json = head.lstrip()[:1] in ("{", "[")
        text = _resolved(head) if is_json else _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), head)
        # Read as plain text: what was cut off, or never was JSON, is no longer read as JSON by the second scan.
        return self.text(self.text(printable(text), keep_numbers=False)[:EXCERPT_CHARACTERS])


def make_row(record: RawRecord, place: Place, decision: ShapeDecision, redactor: Redactor) -> Row:
    """The row of one record; it is quarantined where the record is no row or holds what rows may not hold."""
    cleaner = Cleaner(redactor)
    problem, made, repair = record.problem, _NOTHING, record.repair
    if problem is None:
        try:
            made = converted(record.value, decision)
        except NotARow as error:
            problem, repair = (error.code, error.words), error.repair
    messages = cleaner.messages(made.messages)
    rejected, tools = cleaner.text(made.rejected), cleaner.text(made.tools)
    metadata = cleaner.metadata(metadata_of(record.value, decision))
    excerpt = cleaner.excerpt(record.raw) if problem else ""
    found = cleaner.found
    if problem is None and found.drops:
        names = ", ".join(sorted(found.drops))
        problem, messages, rejected, tools = ("personal_data", f"holds {names}, which drops a row"), (), "", ""
    return Row(
        row_id=row_id(place.source_digest, record.index),
        origin=_origin(record, place),
        messages=messages,
        rejected=rejected,
        tools=tools,
        raw_excerpt=excerpt,
        shape=decision.shape,
        declared_split=place.declared_split,
        metadata=metadata,
        redactions=dict(sorted(found.counts.items())),
        reported=dict(sorted(found.reported.items())),
        subjects=tuple(sorted(found.subjects)),
        steps=("redact",) if found.counts else (),
        outcome="quarantined" if problem else "kept",
        reason=f"{problem[0]}: {problem[1]}" if problem else "",
        repair=repair if problem else "",
    )


def subjects_in(raw: str, redactor: Redactor) -> set[str]:
    """Keyed hashes of the identifiers anywhere in a record, in what no row shows of it too.

    It is read as it stands and with its JSON escapes resolved: what it was meant to be is not known of a broken one.
    """
    texts = {printable(raw), _resolved(raw)}
    return {s for text in texts for s in redactor.clean(text, keep_numbers=False).subjects}


def _resolved(raw: str) -> str:
    text = _ANY_ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), raw)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # two halves are one character


def without_person(row: Row) -> Row:
    """The row of a person whose erasure was asked for: its place, and nothing that was in it."""
    return Row(
        row_id=row.row_id,
        origin=row.origin,
        shape=row.shape,
        outcome="quarantined",
        reason="erased: a person asked for the erasure of what this record holds",
        repair="take the record out of the source",
    )


def row_id(source_digest: str, index: int) -> str:
    return f"{source_digest[:16]}:{index:0{_ID_DIGITS}d}"


def with_safe_names(record: RawRecord, redactor: Redactor) -> RawRecord:
    """The record without personal data in its column names: a table without a header has a row's values there."""
    if not isinstance(record.value, dict) or not any(redactor.find(str(name)) for name in record.value):
        return record
    value = {redactor.redact(str(name))[0]: v for name, v in record.value.items()}
    return dataclasses.replace(record, value=value)


def _origin(record: RawRecord, place: Place) -> RowOrigin:
    return RowOrigin(
        source_uri=place.source_uri,
        source_digest=place.source_digest,
        member=place.member,
        container_digest=place.container_digest,
        record_index=record.index,
        byte_offset=record.byte_offset,
        byte_length=record.byte_length,
        line=record.line,
    )
