"""Decisions of people about rows, applied to the rows at hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.adapters import row_decisions
from tasks.adapters.row_decisions import Overlay
from tasks.adapters.row_files import Privacy, open_output, reason_code, shard_path
from tasks.adapters.store import Store
from tasks.contracts import Row, Rows
from tasks.errors import DataRefused
from tasks.privacy.leftovers import leftovers
from tasks.privacy.messages import cleaned_messages
from tasks.privacy.redact import Redactor

NEVER_ACCEPTED = ("personal_data",)  # rows that are dropped because a person is in them
_ROW_ID = re.compile(rb'^\{"row_id":"([^"]+)"')


def overlays_at_hand(rows: Rows, store: Store) -> tuple[Overlay, ...]:
    """What was decided about rows of this output; without any decision the rows are not looked at."""
    decided = {overlay.row_id: overlay for overlay in row_decisions.overlays()}
    if not decided:
        return ()
    paths = [shard_path(store, shard) for shard in open_output(store, rows.uri).shards]
    return tuple(decided[row_id] for row_id in _present(paths, set(decided)))


def _present(paths: Iterable[Path], wanted: set[str]) -> Iterator[str]:
    for path in paths:
        with path.open("rb") as stream:
            for line in stream:
                found = _ROW_ID.match(line)
                if found and found[1].decode() in wanted:
                    yield found[1].decode()


def decided(row: Row, overlay: Overlay, redactor: Redactor) -> Row:
    """The row as the decisions want it; `steps` says what was done.

    A merged row stays merged: another row stands for it. A repaired row comes back to be judged again; an accepted one
    comes back where an earlier stage quarantined it for an accepted reason.

    Raises:
        DataRefused: personal data is left in a repaired row; the message names the entity, never the value.
    """
    if row.outcome == "merged":
        return row
    if overlay.messages:
        row = _repaired(row, overlay, redactor)
    code = reason_code(row)
    open_to_people = row.outcome == "quarantined" and row.messages and code not in NEVER_ACCEPTED
    if open_to_people and code in overlay.accepted:
        return _back(row, f"accepted:{code}")
    return row


def _repaired(row: Row, overlay: Overlay, redactor: Redactor) -> Row:
    counts, subjects = Counter(row.redactions), {*row.subjects, *overlay.subjects}

    def clean(text: str) -> str:
        cleaned = redactor.clean(text)
        counts.update(cleaned.counts)
        subjects.update(cleaned.subjects)
        return cleaned.text

    messages = cleaned_messages(overlay.messages, clean)
    named = {"subjects": tuple(sorted(subjects)), "redactions": dict(sorted(counts.items()))}
    changed = row.model_copy(update={"messages": messages, "raw_excerpt": "", **named})
    changed = _back(changed, f"repaired:{overlay.digest[:12]}")
    if left := leftovers(changed, redactor):
        raise DataRefused(
            "personal data is left after a repair",
            where=f"{row.row_id} ({', '.join(sorted(set(left)))})",
            why="the repaired row was searched once more; nothing of this stage was written",
            remedy="end the repair with `tuneloop data quarantine withdraw`, and report the form that it is written in",
        )
    return changed


def _back(row: Row, step: str) -> Row:
    changes = {"outcome": "kept", "reason": "", "repair": "", "steps": (*row.steps, step)}
    return row.model_copy(update=changes)


def redactor_for(privacy: Privacy, key: bytes = b"") -> Redactor:
    """What takes personal data out of what people type about a row: the entities that its source is freed of.

    Nothing that was typed becomes a pseudonym, and what is only reported elsewhere stays here too.

    Args:
        key: the hashes by which erasure finds who was named are made with it; without it there are none.
    """
    actions = {e: "report" if privacy.actions.get(e) == "report" else "redact" for e in privacy.entities}
    return Redactor(privacy.entities, privacy.phone_regions, actions, key)
