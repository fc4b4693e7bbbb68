"""What is still personal in a row after its personal data was replaced: the check of every stage that changes texts."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.contracts import Row
from tasks.privacy.messages import message_texts
from tasks.privacy.redact import Redactor


def leftovers(row: Row, redactor: Redactor) -> list[str]:
    """Entities still found in any text of a row, of quarantined rows too: all of it is about to be written."""
    return [entity for text, before in _texts(row) for entity in redactor.must_be_gone(text, before)]


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    """Every text of the row that came from its source, with what stands before it as context."""
    for text in (*message_texts(row.messages), row.rejected, row.tools, row.raw_excerpt, row.repair):
        yield text, ""
    for name, value in row.metadata.items():
        yield name, ""
        yield value, f"{name}: "
