"""The second look for personal data, after normalisation: nothing may be left of what is to be replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.adapters.row_files import quarantined
from tasks.contracts import Row
from tasks.errors import DataRefused
from tasks.privacy.messages import cleaned_messages
from tasks.privacy.redact import Redactor

DROP_CODE = "personal_data"


def redact_again(before: Row, after: Row, redactor: Redactor) -> Row:
    """Replace what only normalisation brought to light; a row that normalisation left alone is not touched."""
    if (before.messages, before.rejected, before.tools) == (after.messages, after.rejected, after.tools):
        return after
    found = _Found(redactor)
    changes = {
        "messages": cleaned_messages(after.messages, found.clean),
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
