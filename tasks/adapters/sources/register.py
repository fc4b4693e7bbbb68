"""What earlier syncs saw of a source: documents with their versions, keyed hashes of records, and every change."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from tasks.adapters import state, tables
from tasks.adapters.sources.connector import Fingerprint, Item, Known
from tasks.adapters.sources.record_index import RecordIndex
from tasks.contracts import Record

Change = Literal["added", "changed", "removed", "unchanged"]
_BATCH = 5_000


class RecordChanges(Record):
    """How many records of a source differ from the sync before."""

    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True)
class Noted:
    """What became of one document."""

    uri: str
    change: Change
    records: RecordChanges | None = None


class Register:
    """The memory of one source.

    Args:
        source: digest of what the source is (see `identity`).
        shown: its address for people.
    """

    def __init__(self, source: str, shown: str) -> None:
        self._source, self._engine = source, state.engine()
        with self._engine.begin() as connection:
            self.salt = _salt(connection, source, shown)

    def known(self) -> dict[str, Known]:
        table = tables.source_documents
        columns = (table.c.address, table.c.token, table.c.digest, table.c.size, table.c.present)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(table.c.source == self._source)).all()
        return {r.address: Known(token=r.token, digest=r.digest, size=r.size, present=r.present) for r in rows}

    def note(self, seen: Sequence[tuple[Item, Known | None, Fingerprint]]) -> list[Noted]:
        """Write down what was fingerprinted: documents and changes in one transaction, so that nothing counts twice."""
        changes = [_change(known, found) for _, known, found in seen]
        both = list(zip(seen, changes, strict=True))
        new = [self._row(item, found) for (item, known, found), _ in both if known is None]
        other = [
            self._row(item, found)
            for (item, known, found), change in both
            if known is not None and (change != "unchanged" or known.token != found.token)
        ]
        events = [
            self._event(item.address, change, found.digest, known.digest if known and known.present else "")
            for (item, known, found), change in both
            if change != "unchanged"
        ]
        with self._engine.begin() as connection:
            self._write(connection, new, other, events)
            counts = [self._records(connection, found.index) if found.index else None for _, _, found in seen]
        return [Noted(item.uri, change, count) for ((item, _, _), change), count in zip(both, counts, strict=True)]

    def finish(self, listed: Collection[str], known: dict[str, Known]) -> tuple[str, ...]:
        """After a complete listing: what was known and is not there any more is removed. Returns their addresses."""
        table, now = tables.source_documents, datetime.now(UTC)
        here = set(listed)
        gone = sorted(address for address, old in known.items() if old.present and address not in here)
        with self._engine.begin() as connection:
            mine = sa.and_(table.c.source == self._source, table.c.address == sa.bindparam("a"))
            _execute(connection, sa.update(table).where(mine).values(present=False), [{"a": a} for a in gone])
            seen = sa.update(table).where(table.c.source == self._source, table.c.present)
            connection.execute(seen.values(last_seen=now))
            events = [self._event(address, "removed", "", known[address].digest) for address in gone]
            _execute(connection, sa.insert(tables.source_changes), events)
        return tuple(gone)

    def _write(
        self,
        connection: sa.Connection,
        new: list[dict[str, Any]],
        other: list[dict[str, Any]],
        events: list[dict[str, Any]],
    ) -> None:
        table = tables.source_documents
        mine = sa.and_(table.c.source == sa.bindparam("s"), table.c.address == sa.bindparam("a"))
        changed = [{"s": row.pop("source"), "a": row.pop("address"), **row} for row in other]
        for row in changed:
            del row["first_seen"]
        _execute(connection, sa.insert(table), new)
        _execute(connection, sa.update(table).where(mine), changed)
        _execute(connection, sa.insert(tables.source_changes), events)

    def _row(self, item: Item, found: Fingerprint) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {
            "source": self._source, "address": item.address, "token": found.token, "digest": found.digest,
            "size": found.size, "present": True, "first_seen": now, "last_seen": now,
        }  # fmt: skip

    def _event(self, address: str, change: str, digest: str, previous: str) -> dict[str, Any]:
        return {
            "source": self._source, "address": address, "change": change, "digest": digest, "previous": previous,
            "at": datetime.now(UTC),
        }  # fmt: skip

    def _records(self, connection: sa.Connection, index: RecordIndex) -> RecordChanges:
        """Compare with the records of the sync before, key by key, and keep what is there now."""
        table = tables.source_records
        old = connection.execute(
            sa.select(table.c.key, table.c.digest).where(table.c.source == self._source).order_by(table.c.key)
        )
        added, changed, removed = [], [], []
        unchanged = 0
        for key, before, after in _side_by_side((tuple(row) for row in old), index.entries):
            if before is None:
                added.append({"source": self._source, "key": key, "digest": after})
            elif after is None:
                removed.append({"s": self._source, "k": key})
            elif before != after:
                changed.append({"s": self._source, "k": key, "digest": after})
            else:
                unchanged += 1
        mine = sa.and_(table.c.source == sa.bindparam("s"), table.c.key == sa.bindparam("k"))
        _execute(connection, sa.insert(table), added)
        _execute(connection, sa.update(table).where(mine), changed)
        _execute(connection, sa.delete(table).where(mine), removed)
        return RecordChanges(added=len(added), changed=len(changed), removed=len(removed), unchanged=unchanged)


def distrust(source: str, address: str) -> None:
    """The version of a document turned out to be wrong: the next sync reads it again whatever the source says."""
    table = tables.source_documents
    with state.engine().begin() as connection:
        row = sa.update(table).where(table.c.source == source, table.c.address == address)
        connection.execute(row.values(token=""))


def history(source: str) -> list[tuple[str, str]]:
    """(address, change) of a source, oldest first."""
    table = tables.source_changes
    chosen = sa.select(table.c.address, table.c.change).where(table.c.source == source).order_by(table.c.id)
    with state.engine().connect() as connection:
        return [(row.address, row.change) for row in connection.execute(chosen)]


def addresses_of(digest: str) -> list[tuple[str, str]]:
    """Source and address of every document that had this content when it was last read."""
    table = tables.source_documents
    columns = (table.c.source, table.c.address)
    chosen = sa.select(*columns).where(table.c.digest == digest).order_by(*columns)
    with state.engine().connect() as connection:
        return [(row.source, row.address) for row in connection.execute(chosen)]


def _change(known: Known | None, found: Fingerprint) -> Change:
    if known is None or not known.present:
        return "added"
    return "unchanged" if known.digest == found.digest else "changed"


def _salt(connection: sa.Connection, source: str, shown: str) -> bytes:
    table = tables.data_sources
    salt = connection.execute(sa.select(table.c.salt).where(table.c.source == source)).scalar()
    if salt is None:
        salt = secrets.token_bytes(16)
        connection.execute(sa.insert(table).values(source=source, shown=shown, salt=salt))
    return bytes(salt)


def _side_by_side(
    old: Iterable[tuple[bytes, bytes]], new: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """(key, digest before, digest after) of two lists that are sorted by key."""
    before, after = iter(old), iter(new)
    left, right = next(before, None), next(after, None)
    while left or right:
        if right is None or (left and left[0] < right[0]):
            assert left
            yield left[0], left[1], None
            left = next(before, None)
        elif left is None or right[0] < left[0]:
            yield right[0], None, right[1]
            right = next(after, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(before, None), next(after, None)


def _execute(connection: sa.Connection, statement: sa.Executable, rows: list[dict[str, Any]]) -> None:
    for some in (rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)):
        connection.execute(statement, some)
