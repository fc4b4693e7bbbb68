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
    counts = Counter(row.redactions)
    messages = []
    for message in overlay.messages:
        text, found = redactor.redact(message.content)
        counts.update(found)
        messages.append(message.model_copy(update={"content": text}))
    changed = row.model_copy(
        update={"messages": tuple(messages), "raw_excerpt": "", "redactions": dict(sorted(counts.items()))}
    )
    return _back(changed, f"repaired:{overlay.digest[:12]}")


def _back(row: Row, step: str) -> Row:
    changes = {"outcome": "kept", "reason": "", "repair": "", "steps": (*row.steps, step)}
    return row.model_copy(update=changes)


def redactor_for(privacy: Privacy) -> Redactor:
    """What takes personal data out of what people type: the entities that the dataset is freed of.

    Pseudonyms would need the key, and what is only reported elsewhere stays here too.
    """
    actions = {e: "report" if privacy.actions.get(e) == "report" else "redact" for e in privacy.entities}
    return Redactor(privacy.entities, privacy.phone_regions, actions)
