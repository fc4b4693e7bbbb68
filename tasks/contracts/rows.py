"""Rows on their way through the data stages, and dataset versions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.contracts.record import Digest, Outcome, Record, Split


class ToolCall(Record):
    """One call that an assistant turn makes."""

    id: str = ""
    name: str
    arguments: str = Field(description="JSON object as text, in the writing of the source.")


class Message(Record):
    """One turn of a conversation in the chat form every row is brought to."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = Field("", description="In a turn of a tool: the call it answers.")
    name: str = Field("", description="In a turn of a tool: which tool speaks.")


class RowOrigin(Record):
    """Where a row's bytes are. `row_id` is derived from `source_digest` and `record_index` only.

    A member of an archive is a source of its own: `source_digest`, offset and line are those of its unpacked bytes.
    """

    source_uri: str = Field(description="Path or URI of the source as the user named it, without credentials.")
    source_digest: Digest = Field(description="SHA-256 of the whole source file, unpacked.")
    member: str = Field("", description="Path inside archives, outermost first, parted by `!/`; empty for plain files.")
    container_digest: Digest = Field("", description="SHA-256 of the packed file as it lies at the source.")
    record_index: int = Field(
        ge=0, description="Zero-based index of the record in its source (line, element, section)."
    )
    byte_offset: int = Field(ge=0, description="Where the record starts in the source, in bytes; 0 for whole files.")
    byte_length: int = Field(0, ge=0, description="Bytes of the record; 0 where it has no bytes of its own (Parquet).")
    line: int = Field(ge=1, description="One-based line where the record starts; 1 in files without lines.")


class Row(Record):
    """One example on its way through the data stages, with what happened to it so far.

    `messages` is empty only where a record could not be understood; `raw_excerpt` then holds redacted text.
    """

    row_id: str = Field(description="`<first 16 hex of source digest>:<record index>`.")
    origin: RowOrigin
    messages: tuple[Message, ...] = ()
    raw_excerpt: str = Field("", description="First 500 characters, redacted, of a record that could not be read.")
    shape: str = Field("", description="Detected row shape, e.g. chat, prompt_completion.")
    declared_split: Split | None = Field(None, description="The split its source was given for, if any.")
    rejected: str = Field("", description="Preference pairs: the answer that was not chosen; the last turn was.")
    tools: str = Field("", description="Definitions of the tools the conversation could call: JSON list as text.")
    metadata: dict[str, str] = Field(default_factory=dict, description="agent, conversation_id, timestamp, rating, ...")
    subjects: tuple[str, ...] = Field(
        (), description="Keyed hashes of the personal identifiers that were found before redaction; erasure finds them."
    )
    quality: int | None = Field(None, ge=0, le=100, description="Quality score, see docs/data-quality.md; None before.")
    repair: str = Field("", description="Quarantined rows: the proposed repair, in words.")
    redactions: dict[str, int] = Field(default_factory=dict, description="Entity → how many were replaced.")
    reported: dict[str, int] = Field(default_factory=dict, description="Entity → how many were found and left.")
    steps: tuple[str, ...] = Field((), description="Transformations applied, in order.")
    outcome: Outcome = "kept"
    reason: str = Field("", description="Why it was merged or quarantined: code and plain words.")
    yields_to: str = Field("", description="row_id of the row a merged row yielded to.")
    split: Split | None = None

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant turn."""
        return self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else self.messages

    @property
    def answer(self) -> str:
        """Content of the last assistant turn; empty where there is none."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""


class RowCounts(Record):
    """What happened to how many rows. Always: rows_in = kept + merged + quarantined."""

    rows_in: int = Field(ge=0)
    kept: int = Field(ge=0)
    merged: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    redacted: int = Field(ge=0, description="Rows in which at least one personal value was replaced.")


class Rows(Record):
    """Reference to all rows after a data stage: shards of JSONL, listed in canonical order by `output.json`."""

    uri: str
    digest: Digest
    counts: RowCounts
    reasons: dict[str, int] = Field(default_factory=dict, description="reason code → rows, merged and quarantined.")


class ValidatedRows(Record):
    """Rows after the quality rules, with the report people read."""

    rows: Rows
    rules: int = Field(description="Number of expectations that were loaded and evaluated.")
    warnings: tuple[str, ...] = ()
    report_uri: str = Field(description="Folder with Data Docs.")


class DatasetVersion(Record):
    """An immutable dataset version `ds://project/name@x.y.z`, identified by a digest over its canonical rows."""

    address: str
    version: str
    digest: Digest
    uri: str = Field(
        description="Folder with train.jsonl, test.jsonl, rows.jsonl, profile.json, card.md, card.png, manifest.json."
    )
    manifest_digest: Digest
    counts: RowCounts
    reasons: dict[str, int]
    train_rows: int
    test_rows: int
    tokenizer_digest: Digest
    new: bool = Field(description="False when a version with this digest existed before this run.")
    warnings: tuple[str, ...] = ()
