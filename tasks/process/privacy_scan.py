"""The second look for personal data, after normalisation: nothing may be left of what is to be replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.contracts import Message, Row
from tasks.errors import DataRefused
from tasks.privacy.redact import Redactor


def redact_again(before: Row, after: Row, redactor: Redactor) -> Row:
    """Replace what only normalisation brought to light; a row that normalisation left alone is not touched."""
    if before.messages == after.messages:
        return after
    counts = Counter(after.redactions)
    messages = []
    for message in after.messages:
        text, found = redactor.redact(message.content)
        counts.update(found)
        messages.append(Message(role=message.role, content=text))
    if counts == Counter(after.redactions):
        return after
    steps = (*after.steps, "redact_after_normalising")
    return after.model_copy(
        update={"messages": tuple(messages), "redactions": dict(sorted(counts.items())), "steps": steps}
    )


def refuse_personal_data(rows: Sequence[Row], redactor: Redactor) -> None:
    """Check every text that is about to be written, of quarantined rows too.

    Raises:
        DataRefused: a configured entity was found; the message names rows and entities, never the value.
    """
    found = [(row.row_id, entity) for row in rows for entity in _entities(row, redactor)]
    if found:
        raise DataRefused(
            "personal data is left after redaction",
            where=", ".join(f"{i} ({e})" for i, e in found[:5]),
            why=f"{len(found)} findings in the second scan; nothing of this stage was written",
            remedy="take these rows out of the source, and report the form they are written in",
        )


def _entities(row: Row, redactor: Redactor) -> list[str]:
    texts = [(m.content, "") for m in row.messages] + [(v, f"{k}: ") for k, v in row.metadata.items()]
    texts.append((row.raw_excerpt, ""))
    return [span.entity for text, before in texts for span in redactor.find(text, before)]
