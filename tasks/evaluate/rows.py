"""The rows that are compared: reading a dataset version, in an order that depends on content only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.adapters.json_lines import read_records
from tasks.contracts import Message, Row, Split
from tasks.digest import digest_of
from tasks.errors import DataRefused


def read_split(folder: Path, split: Split) -> tuple[Row, ...]:
    """Rows of a dataset version, ordered by the digest of their messages.

    A version's digest does not cover the order of its files, so nothing that is stored under it may depend on that.

    Raises:
        DataRefused: there are no rows.
    """
    path = folder / f"{split}.jsonl"
    rows = read_records(path, Row) if path.is_file() else []
    if not rows:
        raise DataRefused(
            f"the dataset version has no {split} rows",
            where=str(path),
            why="all rows went to the other split",
            remedy="add rows, or change split.test_share",
        )
    return tuple(sorted(rows, key=lambda row: (messages_digest(row.messages), row.row_id)))


def sample(rows: Sequence[Row], max_rows: int | None, seed: int) -> tuple[Row, ...]:
    """At most `max_rows` rows, chosen by a seeded hash of their content, in the order given."""
    if max_rows is None or max_rows >= len(rows):
        return tuple(rows)
    order = sorted(range(len(rows)), key=lambda i: digest_of([seed, messages_digest(rows[i].messages), i]))
    return tuple(rows[i] for i in sorted(order[:max_rows]))


def messages_digest(messages: Sequence[Message]) -> str:
    """Digest of what is said by whom."""
    return digest_of([[m.role, m.content] for m in messages])


def prompt_text(row: Row) -> str:
    """The prompt as plain text, without the system message, which says nothing about this row."""
    return "\n".join(m.content for m in row.prompt if m.role != "system")
