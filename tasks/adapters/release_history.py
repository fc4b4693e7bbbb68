"""Which version serves and how it came to that: the `champions` record and the `releases` history.

The `champions` row is the truth that promotions compare and swap. Aliases in the model registry are derived from
it and from the history, by `aliases`; `tasks.adapters.releases` keeps them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters import state, tables
from tasks.contracts import Digest, Record

Action = Literal["registered", "waiting", "promoted", "rejected", "rolled_back", "failed"]
AliasName = Literal["champion", "challenger", "previous"]
_PENDING: tuple[Action, ...] = ("registered", "waiting", "failed")


class Champion(Record):
    """The version that serves, and the one that served before it."""

    version: int
    previous: int | None = None


class ReleaseStep(Record):
    """One thing that happened to a version, with who did it and why."""

    version: int
    adapter_digest: Digest
    action: Action
    actor: str
    reason: str
    at: datetime = Field(description="UTC.")


def champion(model: str) -> Champion | None:
    """The champion of a model, or None. One indexed read: cheap enough to be polled."""
    table = tables.champions
    with state.engine().connect() as connection:
        row = connection.execute(sa.select(table.c.version, table.c.previous).where(table.c.model == model)).first()
    return None if row is None else Champion(version=row.version, previous=row.previous)


def history(model: str) -> tuple[ReleaseStep, ...]:
    """Everything that happened to the versions of a model, oldest first."""
    table = tables.releases
    with state.engine().connect() as connection:
        rows = connection.execute(sa.select(table).where(table.c.model == model).order_by(table.c.id)).all()
    return tuple(
        ReleaseStep(
            version=r.version,
            adapter_digest=r.adapter_digest,
            action=r.action,
            actor=r.actor,
            reason=r.reason,
            at=r.at.replace(tzinfo=UTC),
        )
        for r in rows
    )


def append(
    connection: sa.Connection, model: str, version: int, digest: Digest, action: Action, actor: str, reason: str
) -> None:
    """Add one step to the history, within the caller's transaction."""
    values = {"model": model, "version": version, "adapter_digest": digest, "action": action}
    when = {"actor": actor, "reason": reason, "at": datetime.now(UTC)}
    connection.execute(sa.insert(tables.releases).values(**values, **when))


def note(model: str, version: int, digest: Digest, action: Action, actor: str, reason: str) -> None:
    """Add one step to the history, unless it repeats the version's latest one."""
    latest = latest_action(history(model), version)
    if latest == action:
        return
    with state.engine().begin() as connection:
        append(connection, model, version, digest, action, actor, reason)


def note_registration(model: str, version: int, digest: Digest) -> None:
    """Begin a version's history, if it has none."""
    if latest_action(history(model), version) is None:
        note(model, version, digest, "registered", "tuneloop", "passed the gate")


def latest_action(steps: Sequence[ReleaseStep], version: int) -> Action | None:
    """The last thing that happened to a version; None for a version without history."""
    actions = [step.action for step in steps if step.version == version]
    return actions[-1] if actions else None


def aliases(champion: Champion | None, steps: Sequence[ReleaseStep]) -> dict[AliasName, int]:
    """Which version every alias names.

    The challenger is the version that was registered last, as long as nothing was decided about it.
    """
    named: dict[AliasName, int] = {}
    if champion is not None:
        named["champion"] = champion.version
        if champion.previous is not None:
            named["previous"] = champion.previous
    registered = [step.version for step in steps if step.action == "registered"]
    if registered and latest_action(steps, registered[-1]) in _PENDING and registered[-1] not in named.values():
        named["challenger"] = registered[-1]
    return named


def barred(steps: Sequence[ReleaseStep], digest: Digest) -> ReleaseStep | None:
    """The step by which a person took this adapter out of production, if no one promoted it again since."""
    decisions = [s for s in steps if s.adapter_digest == digest and s.action in ("promoted", "rejected", "rolled_back")]
    return decisions[-1] if decisions and decisions[-1].action != "promoted" else None
