"""What people decided about rows in quarantine: the row is taken as it is, or corrected.

A decision is about a row of a source, in whatever dataset it occurs, and takes effect when the dataset is made the next
time. Nothing is changed in place: a later decision is added, and all of them remain readable.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Literal

import sqlalchemy as sa
from pydantic import Field, TypeAdapter

from tasks.adapters.state import batches, engine
from tasks.adapters.tables import row_decisions
from tasks.contracts import Message, Record
from tasks.digest import digest_of

_MESSAGES, _SUBJECTS = TypeAdapter(tuple[Message, ...]), TypeAdapter(tuple[str, ...])


class Decision(Record):
    """One decision of a person."""

    row_id: str
    action: Literal["accept", "repair", "withdraw"] = Field(
        description="accept: taken in spite of a rule; repair: other messages; withdraw: earlier decisions end."
    )
    rule: str = Field("", description="accept: code of the rule.")
    messages: tuple[Message, ...] = Field((), description="repair: the corrected messages, personal data replaced.")
    subjects: tuple[str, ...] = Field((), description="repair: keyed hashes of the identifiers that were replaced.")
    reason: str = Field(min_length=1)
    actor: str
    at: datetime.datetime = Field(description="In UTC.")


class Overlay(Record):
    """What all decisions about one row come to."""

    row_id: str
    accepted: tuple[str, ...] = Field((), description="Codes of rules that the row need not keep.")
    messages: tuple[Message, ...] = Field((), description="Messages in place of the row's own; empty: its own.")
    subjects: tuple[str, ...] = Field(
        (), description="Keyed hashes of the identifiers that the messages were given with."
    )

    @property
    def digest(self) -> str:
        """What takes effect; where nobody is named it is the digest of before persons were noted."""
        return digest_of(self.model_dump(mode="json", exclude=None if self.subjects else {"subjects"}))


def record(decision: Decision) -> None:
    values = decision.model_dump(exclude={"messages", "subjects"})
    values["messages"] = _MESSAGES.dump_json(decision.messages).decode()
    values["subjects"] = _SUBJECTS.dump_json(decision.subjects).decode()
    with engine().begin() as connection:
        connection.execute(sa.insert(row_decisions), values)


def history(row_ids: Iterable[str] | None = None) -> list[Decision]:
    """Decisions in the order they were made; about all rows, or only these."""
    query = sa.select(row_decisions).order_by(row_decisions.c.id)
    with engine().connect() as connection:
        found = [_decision(row._mapping) for row in connection.execute(query)]
    wanted = set(row_ids) if row_ids is not None else None
    return [d for d in found if wanted is None or d.row_id in wanted]


def _decision(row: sa.RowMapping) -> Decision:
    at: datetime.datetime = row["at"]
    values = {name: row[name] for name in Decision.model_fields}
    values["messages"] = _MESSAGES.validate_json(row["messages"])
    values["subjects"] = _SUBJECTS.validate_json(row["subjects"])
    values["at"] = at.replace(tzinfo=at.tzinfo or datetime.UTC)
    return Decision.model_validate(values)


def of_persons(row_ids: Iterable[str], subjects: Iterable[str]) -> list[Decision]:
    """All decisions about rows of which one is among these, or was corrected with an identifier of these persons."""
    made, named = history(), set(subjects)
    wanted = {*row_ids, *(d.row_id for d in made if not named.isdisjoint(d.subjects))}
    return [d for d in made if d.row_id in wanted]


def overlays(row_ids: Iterable[str] | None = None) -> tuple[Overlay, ...]:
    """What holds now, by row id; rows whose decisions were withdrawn are left out."""
    return fold(history(row_ids))


def fold(decisions: Sequence[Decision]) -> tuple[Overlay, ...]:
    """Acceptances add up, the last repair replaces earlier ones, a withdrawal ends both."""
    found: dict[str, Overlay] = {}
    for decision in decisions:
        overlay = found.get(decision.row_id, Overlay(row_id=decision.row_id))
        if decision.action == "accept":
            accepted = tuple(sorted({*overlay.accepted, decision.rule}))
            overlay = overlay.model_copy(update={"accepted": accepted})
        elif decision.action == "repair":
            overlay = overlay.model_copy(update={"messages": decision.messages, "subjects": decision.subjects})
        else:
            overlay = Overlay(row_id=decision.row_id)
        found[decision.row_id] = overlay
    return tuple(o for _, o in sorted(found.items()) if o.accepted or o.messages)


def forget(row_ids: Iterable[str], subjects: Iterable[str] = ()) -> int:
    """Delete what `of_persons` finds, with the text that it holds; how many there were. For erasure only."""
    ids = {d.row_id for d in of_persons(row_ids, subjects)}
    deleted = 0
    with engine().begin() as connection:
        for part in batches(ids):
            deleted += connection.execute(sa.delete(row_decisions).where(row_decisions.c.row_id.in_(part))).rowcount
    return deleted
