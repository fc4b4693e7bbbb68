"""The audit log: every operation on data, each entry chained to the one before it.

An entry's digest covers all its fields and the digest of the entry before, so that no entry can be changed, put in,
moved or taken out of the middle. What no chain can show, that its end was cut off, shows the anchor: HOME/audit.head
names the newest entry this home has written. An entry never holds a personal value: objects are addresses, ids and
counts, and whoever takes a reason from a person takes personal data out of it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters import state, tables
from tasks.adapters.audit_faults import Fault, chain_faults
from tasks.adapters.store import write_atomically
from tasks.contracts import Digest, Record
from tasks.digest import canonical_json, digest_of
from tasks.settings import Settings

Details = Mapping[str, str | int]
_POSTGRES_LOCK = 0x74756E65  # any number that nothing else in this database locks
_ANCHOR_MODE = 0o600
_BATCH = 1000


class AuditEntry(Record):
    """One operation on data."""

    seq: int = Field(ge=1)
    at: datetime = Field(description="UTC.")
    actor: str
    action: str = Field(description="What was done, e.g. dataset.versioned, vault.read.")
    object: str = Field(description="What it was done to: an address, an id, a path.")
    reason: str = ""
    details: dict[str, str | int] = Field(default_factory=dict)
    previous_digest: str = Field(description="Digest of the entry before; empty in the first.")
    digest: Digest

    def computed(self, seq: int) -> Digest:
        """The digest that the entry would have as number `seq`."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        said = {"actor": self.actor, "action": self.action, "object": self.object, "reason": self.reason}
        return digest_of({**said, "details": self.details, "previous": self.previous_digest, "seq": seq, "at": at})


class Head(Record):
    """The newest entry that a home has written."""

    seq: int = Field(0, ge=0)
    digest: str = ""


def actor_name() -> str:
    """TUNELOOP_ACTOR, else the login name, else the number of the user."""
    with contextlib.suppress(OSError, KeyError):
        return Settings().actor or getpass.getuser()
    return f"uid {os.getuid()}"


def record(
    action: str, object: str, *, actor: str | None = None, reason: str = "", details: Details | None = None
) -> AuditEntry:
    """Append one entry. Two processes never continue the same entry.

    Where the log ends before the entry that the anchor names, the new entry takes the number after the anchor's: what
    was cut off stays a gap that `verify` finds, whatever is written later.
    """
    with _alone(), _transaction() as connection:
        newest, anchor = _newest(connection), read_anchor()
        if anchor is None and newest.seq:
            words = f"this home had no {anchor_path().name}: what stood after entry {newest.seq} cannot be proven"
            newest = _head(_append(connection, newest, "audit.anchored", str(newest.seq), actor, words, {}))
        before = anchor if anchor is not None and anchor.seq >= newest.seq else newest
        entry = _append(connection, before, action, object, actor, reason, details or {})
        connection.commit()
        write_anchor(_head(entry))
    return entry


def is_recorded(action: str, object: str) -> bool:
    """Whether an operation has its entry: one that was killed before it wrote one makes up for it."""
    table = tables.audit_log
    query = sa.select(table.c.seq).where(table.c.action == action, table.c.object == object).limit(1)
    with state.engine().connect() as connection:
        return connection.execute(query).first() is not None


def _append(
    connection: sa.Connection,
    before: Head,
    action: str,
    object: str,
    actor: str | None,
    reason: str,
    details: Details,
) -> AuditEntry:
    draft = AuditEntry(
        seq=before.seq + 1,
        at=datetime.now(UTC),
        actor=actor_name() if actor is None else actor,
        action=action,
        object=object,
        reason=reason,
        details=dict(details),
        previous_digest=before.digest,
        digest="",
    )
    entry = draft.model_copy(update={"digest": draft.computed(draft.seq)})
    values = {**entry.model_dump(), "details": canonical_json(entry.details)}
    connection.execute(sa.insert(tables.audit_log).values(**values))
    return entry


def entries(first: int = 1, newest: int | None = None) -> Iterator[AuditEntry]:
    """Entries in the order of their numbers: from `first` on, or only the `newest` so many."""
    table = tables.audit_log
    with state.engine().connect() as connection:
        if newest is not None:
            last = connection.scalar(sa.select(sa.func.max(table.c.seq))) or 0
            first = max(first, last - newest + 1)
        query = sa.select(table).where(table.c.seq >= first).order_by(table.c.seq)
        for row in connection.execution_options(yield_per=_BATCH).execute(query):
            yield _entry(row._mapping)


def verify(expected: Head | None = None) -> list[Fault]:
    """What is wrong with the log; empty where every entry is as it was written.

    Args:
        expected: a head that was noted elsewhere, out of reach of whoever can write to this home.
    """
    with _alone():
        anchor, newest = read_anchor(), head()
    heads = [named for named in (anchor, expected) if named is not None]
    if not _is_healthy(heads):
        links = [(e.seq, e.previous_digest, e.digest, e.computed) for e in entries()]
        return chain_faults(links, [(named.seq, named.digest) for named in heads])
    if anchor is None and newest.seq:
        return [Fault(kind="unanchored", first=newest.seq, last=newest.seq, words=_UNANCHORED)]
    return []


_UNANCHORED = "the file audit.head is gone: nothing shows whether the newest entries were cut off"


def _is_healthy(heads: list[Head]) -> bool:
    """Whether the chain is whole and passes through every head; looks at one entry at a time."""
    before, wanted = Head(), {named.seq: named.digest for named in heads}
    passed = {0} & wanted.keys()
    for entry in entries():
        if entry.seq != before.seq + 1 or entry.previous_digest != before.digest:
            return False
        if entry.computed(entry.seq) != entry.digest or wanted.get(entry.seq, entry.digest) != entry.digest:
            return False
        passed |= {entry.seq} & wanted.keys()
        before = _head(entry)
    return passed == wanted.keys() and len(set(heads)) == len(wanted)


def head() -> Head:
    """The newest entry of the log; seq 0 while there is none. Worth noting outside this machine."""
    with state.engine().connect() as connection:
        return _newest(connection)


def anchor_path() -> Path:
    return Settings().root / "audit.head"


def read_anchor() -> Head | None:
    """What the anchor names; None where there is none or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return Head.model_validate_json(anchor_path().read_text(encoding="utf-8"))
    return None


def write_anchor(newest: Head) -> None:
    write_atomically(anchor_path(), newest.model_dump_json() + "\n", mode=_ANCHOR_MODE)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One writer a home at a time, so that the anchor never goes back; held for milliseconds."""
    lock = Settings().root / "locks" / "audit.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _transaction() -> Iterator[sa.Connection]:
    """A transaction that no other writer of the log overlaps, of whatever home or machine."""
    with state.engine().connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
        yield connection


def _newest(connection: sa.Connection) -> Head:
    table = tables.audit_log
    row = connection.execute(sa.select(table.c.seq, table.c.digest).order_by(table.c.seq.desc()).limit(1)).first()
    return Head() if row is None else Head(seq=row.seq, digest=row.digest)


def _head(entry: AuditEntry) -> Head:
    return Head(seq=entry.seq, digest=entry.digest)


def _entry(row: sa.RowMapping) -> AuditEntry:
    at: datetime = row["at"]
    values = {**row, "at": at.replace(tzinfo=at.tzinfo or UTC), "details": _details(row["details"])}
    return AuditEntry.model_construct(**values)


def _details(text: str) -> object:
    """What the column says, read back; a text that is not canonical JSON any more stays a text and fails its digest."""
    try:
        value: object = json.loads(text)
        return value if canonical_json(value) == text else text
    except ValueError:
        return text
