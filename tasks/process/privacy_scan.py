"""The second look for personal data, after normalisation: nothing may be left of what is to be replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.adapters.row_files import quarantined
from tasks.contracts import Message, Row
from tasks.errors import DataRefused
from tasks.privacy.redact import Redactor

DROP_CODE = "personal_data"


def redact_again(before: Row, after: Row, redactor: Redactor) -> Row:
    """Replace what only normalisation brought to light; a row that normalisation left alone is not touched."""
    if (before.messages, before.rejected, before.tools) == (after.messages, after.rejected, after.tools):
        return after
    found = _Found(redactor)
    changes = {
        "messages": tuple(_message(message, found) for message in after.messages),
        "rejected": found.clean(after.rejected),
        "tools": found.clean(after.tools),
    }
    if not found.counts:
        return after
    row = after.model_copy(
        update={
            **changes,
            "redactions": dict(sorted((Counter(after.redactions) + found.counts).items())),
            "subjects": tuple(sorted({*after.subjects, *found.subjects})),
            "steps": (*after.steps, "redact_after_normalising"),
        }
    )
    if found.drop and row.outcome == "kept":
        return quarantined(row, DROP_CODE, "it holds personal data whose rows are to be dropped")
    return row


def leftovers(row: Row, redactor: Redactor) -> list[str]:
    """Entities still found in any text of a row, of quarantined rows too: all of it is about to be written."""
    return [entity for text, before in _texts(row) for entity in redactor.must_be_gone(text, before)]


def refuse_personal_data(findings: Sequence[tuple[str, str]]) -> None:
    """Stop where the second scan found something.

    Args:
        findings: row_id and entity of each finding.

    Raises:
        DataRefused: there are findings; the message names rows and entities, never the value.
    """
    if findings:
        raise DataRefused(
            "personal data is left after redaction",
            where=", ".join(f"{row_id} ({entity})" for row_id, entity in findings[:5]),
            why=f"{len(findings)} findings in the second scan; nothing of this stage was written",
            remedy="take these rows out of the source, and report the form they are written in",
        )


class _Found:
    """Cleans texts and adds up what was found in them."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.counts: Counter[str] = Counter()
        self.subjects: set[str] = set()
        self.drop = False

    def clean(self, text: str) -> str:
        cleaned = self._redactor.clean(text)
        self.counts.update(cleaned.counts)
        self.subjects.update(cleaned.subjects)
        self.drop = self.drop or cleaned.drop
        return cleaned.text


def _message(message: Message, found: _Found) -> Message:
    calls = tuple(call.model_copy(update={"arguments": found.clean(call.arguments)}) for call in message.tool_calls)
    return message.model_copy(update={"content": found.clean(message.content), "tool_calls": calls})


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    """Every text of the row that came from its source, with what stands before it as context."""
    for message in row.messages:
        yield message.content, ""
        yield message.name, ""
        for call in message.tool_calls:
            yield call.arguments, ""
            yield call.name, ""
    for text in (row.rejected, row.tools, row.raw_excerpt, row.repair):
        yield text, ""
    for name, value in row.metadata.items():
        yield name, ""
        yield value, f"{name}: "
