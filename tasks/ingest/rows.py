"""From files to rows: read, detect the shape, convert, redact. Every record ends as a row, a broken one quarantined."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.contracts import Message, Record, Row, RowOrigin
from tasks.digest import digest_bytes
from tasks.errors import DataRefused, UsageError
from tasks.ingest.config import Shape
from tasks.ingest.convert import NotARow, messages_of, metadata_of
from tasks.ingest.document import has_sections, read_document, read_sections
from tasks.ingest.read_json import read_json, read_jsonl
from tasks.ingest.read_table import read_table
from tasks.ingest.records import RawRecord
from tasks.ingest.shape import ShapeDecision, detect
from tasks.ingest.sources import SourceFile, same_settings
from tasks.ingest.text import Text, decode, printable
from tasks.privacy.redact import Redactor

EXCERPT_CHARACTERS = 500
_EXCERPT_SOURCE = 4_000  # redacted before it is cut, so that no value is cut in half and missed
_ID_DIGITS = 6
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True)
class LoadedFile:
    """A source file's bytes with their digest."""

    file: SourceFile
    data: bytes
    digest: str


class SourceReport(Record):
    """What was found in one file, for people."""

    source: str
    digest: str
    shape: str
    why: str
    rows: int
    kept: int
    quarantined: int


def load(files: Sequence[SourceFile]) -> tuple[list[LoadedFile], list[str]]:
    """Read the files; a second file with the same bytes is not read again, and named.

    Raises:
        UsageError: a file that may not be read, or equal bytes with different settings.
    """
    loaded: dict[str, LoadedFile] = {}
    copies: list[str] = []
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            raise UsageError(
                "the source cannot be read",
                where=file.shown,
                why=error.strerror or str(error),
                remedy="correct the path or its permissions",
            ) from error
        digest = digest_bytes(data)
        first = loaded.setdefault(digest, LoadedFile(file, data, digest))
        if first.file is file or not data:
            continue
        if not same_settings(first.file, file):
            raise UsageError(
                "two sources hold the same content with different settings",
                where=f"{first.file.shown}, {file.shown}",
                why="shape, columns or split differ",
                remedy="leave one of the two sources out",
            )
        copies.append(f"{file.shown}: the same content as {first.file.shown}")
    return list(loaded.values()), copies


def rows_of(
    loaded: Sequence[LoadedFile], redactor: Redactor, on_file: Callable[[int, int], None]
) -> tuple[list[Row], list[SourceReport]]:
    """Rows of all files, in source order, and what each file was taken for.

    Raises:
        DataRefused: an empty or binary file, or no usable row in any file.
        UsageError: a file whose shape is ambiguous or unknown.
    """
    rows: list[Row] = []
    reports: list[SourceReport] = []
    for done, file in enumerate(loaded):
        made, decision = _rows_of_file(file, redactor)
        rows += made
        kept = sum(row.outcome == "kept" for row in made)
        why = "; ".join(decision.reasons)
        reports.append(SourceReport(source=file.file.shown, digest=file.digest, shape=decision.shape, why=why,
                                    rows=len(made), kept=kept, quarantined=len(made) - kept))  # fmt: skip
        on_file(done + 1, len(loaded))
    if not any(row.outcome == "kept" for row in rows):
        raise _nothing_usable(rows, loaded)
    return rows, reports


def _nothing_usable(rows: Sequence[Row], loaded: Sequence[LoadedFile]) -> DataRefused:
    reasons = Counter(row.reason for row in rows).most_common(3)
    return DataRefused(
        "no row of the data can be used",
        where=", ".join(f.file.shown for f in loaded)[:300],
        why="; ".join(f"{count} x {reason}" for reason, count in reasons) or "no record was found",
        remedy="repair the rows, or say how to read them with data.sources[].shape and columns",
    )


def _rows_of_file(loaded: LoadedFile, redactor: Redactor) -> tuple[list[Row], ShapeDecision]:
    text = decode(loaded.data, loaded.file.shown)
    records, fixed = _records(text, loaded.file)
    config = loaded.file.config
    if fixed in ("sections", "document"):
        pair = {"prompt": "prompt", "completion": "completion"} if fixed == "sections" else {}
        decision = ShapeDecision(fixed, (f"the file is read as {fixed}",), pair)
    else:
        records = [_with_safe_names(record, redactor) for record in records]
        values = [r.value for r in records if r.problem is None]
        if not any(isinstance(v, dict) for v in values):
            decision = ShapeDecision(
                config.shape, ("no record of the file can be read",), {"prompt": "", "completion": ""}
            )
        else:
            decision = detect(values, config.shape, config.columns, loaded.file.shown)
    return [_row(record, loaded, decision, redactor) for record in records], decision


def _with_safe_names(record: RawRecord, redactor: Redactor) -> RawRecord:
    """The record without personal data in its column names: a table without a header has a row's values there."""
    if not isinstance(record.value, dict) or not any(redactor.find(str(name)) for name in record.value):
        return record
    value = {redactor.redact(str(name))[0]: v for name, v in record.value.items()}
    return dataclasses.replace(record, value=value)


def _records(text: Text, file: SourceFile) -> tuple[list[RawRecord], Shape]:
    """Records, and the shape where the format fixes it (auto otherwise)."""
    if file.format in ("txt", "markdown"):
        return _records_of_document(text, file)
    if file.config.shape in ("sections", "document"):
        raise UsageError(
            f"the shape {file.config.shape} is for Markdown and text files",
            where=file.shown,
            remedy="correct data.sources[].shape",
        )
    if file.format == "csv":
        return read_table(text, file.shown), "auto"
    if file.format == "json" or text.content.lstrip().startswith("["):
        return read_json(text, file.shown), "auto"
    return list(read_jsonl(text)), "auto"


def _records_of_document(text: Text, file: SourceFile) -> tuple[list[RawRecord], Shape]:
    shape = file.config.shape
    if shape not in ("auto", "sections", "document") or (shape == "sections" and file.format == "txt"):
        raise UsageError(
            f"a {file.format} file cannot have the shape {shape}",
            where=file.shown,
            remedy="a Markdown file is sections or document, a text file is document",
        )
    if file.config.columns:
        raise UsageError(
            "a document has no columns", where=file.shown, remedy="take out data.sources[].columns for this file"
        )
    if shape == "sections" or (shape == "auto" and file.format == "markdown" and has_sections(text)):
        return list(read_sections(text)), "sections"
    return read_document(text), "document"


def _row(record: RawRecord, loaded: LoadedFile, decision: ShapeDecision, redactor: Redactor) -> Row:
    counts: Counter[str] = Counter()
    problem, messages = record.problem, tuple[Message, ...]()
    if problem is None:
        try:
            messages = _redacted(messages_of(record.value, decision), redactor, counts)
        except NotARow as error:
            problem = error.code, error.words
    origin = RowOrigin(source_uri=loaded.file.shown, source_digest=loaded.digest, record_index=record.index,
                       byte_offset=record.byte_offset, line=record.line)  # fmt: skip
    split = loaded.file.config.split
    return Row(
        row_id=f"{loaded.digest[:16]}:{record.index:0{_ID_DIGITS}d}",
        origin=origin,
        messages=messages,
        raw_excerpt=_excerpt(record.raw, redactor, counts) if problem else "",
        shape=decision.shape,
        declared_split=None if split == "auto" else split,
        metadata=_redacted_metadata(metadata_of(record.value, decision), redactor, counts),
        redactions=dict(sorted(counts.items())),
        steps=("redact",) if counts else (),
        outcome="quarantined" if problem else "kept",
        reason=f"{problem[0]}: {problem[1]}" if problem else "",
    )


def _redacted(messages: Sequence[Message], redactor: Redactor, counts: Counter[str]) -> tuple[Message, ...]:
    made = []
    for message in messages:
        text, found = redactor.redact(message.content)
        counts.update(found)
        made.append(Message(role=message.role, content=text))
    return tuple(made)


def _redacted_metadata(metadata: dict[str, str], redactor: Redactor, counts: Counter[str]) -> dict[str, str]:
    made = {}
    for name, value in metadata.items():
        name, _ = redactor.redact(name)
        made[name], found = redactor.redact(value, before=f"{name}: ")
        counts.update(found)
    return made


def _excerpt(raw: str, redactor: Redactor, counts: Counter[str]) -> str:
    """The beginning of a record that could not be read, with its \\u escapes resolved so that nothing hides in them."""
    text = _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), raw[:_EXCERPT_SOURCE])
    # Read as plain text: what was cut off, or never was JSON, is no longer read as JSON by the second scan.
    redacted, found = redactor.redact(printable(text), keep_numbers=False)
    excerpt, more = redactor.redact(redacted[:EXCERPT_CHARACTERS])
    counts.update(found)
    counts.update(more)
    return excerpt
