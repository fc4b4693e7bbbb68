"""The journal of erasures: what was found before anything was deleted, and what was done so far.

It holds no value and no keyed hash of a person, only hashes of the keyed hashes: whoever repeats the command names the
person again, and the entry that fits is found.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Collection
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters import state, tables
from tasks.contracts import Record, Row
from tasks.digest import canonical_json, digest_of

_TABLE = tables.erasures


class Erasure(Record):
    """One erasure, running or finished."""

    id: str = Field(description="Number of the certificate.")
    marks: tuple[str, ...] = Field(description="Hashes of the keyed hashes that were searched for.")
    actor: str
    reason: str
    started_at: datetime = Field(description="UTC.")
    finished_at: datetime | None = None
    plan: str = Field(description="JSON.")
    done: str = Field("{}", description="JSON.")


def mark(keyed_hash: str) -> str:
    """What the journal knows a keyed hash by; the keyed hash cannot be computed from it."""
    return digest_of(["erased", keyed_hash])


def keyed_metadata(name: str, value: str, key: bytes) -> str:
    """Keyed hash of a metadata value such as author=4711, by which a person can be named as well."""
    return hmac.digest(key, f"{name}={value}".encode("utf-8", "surrogatepass"), "sha256").hex()


def all_marks() -> frozenset[str]:
    """Marks of everybody whose erasure was ever asked for: their rows are not taken in again."""
    with state.engine().connect() as connection:
        return frozenset(m for marks in connection.scalars(sa.select(_TABLE.c.marks)) for m in json.loads(marks))


def is_erased(row: Row, marks: frozenset[str], key: bytes) -> bool:
    """Whether a row is one of a person whose erasure was asked for."""
    if not marks:
        return False
    named = (keyed_metadata(name, value, key) for name, value in row.metadata.items())
    return any(mark(keyed) in marks for keyed in (*row.subjects, *row.metadata.values(), *named))


def begin(marks: Collection[str], actor: str, reason: str, plan: str) -> Erasure:
    """A new entry with a number of its own."""
    now = datetime.now(UTC)
    made = Erasure(id=f"erasure-{now:%Y%m%d}-{secrets.token_hex(4)}", marks=tuple(sorted(set(marks))), actor=actor,
                   reason=reason, started_at=now, plan=plan)  # fmt: skip
    with state.engine().begin() as connection:
        connection.execute(sa.insert(_TABLE).values(**{**made.model_dump(), "marks": canonical_json(made.marks)}))
    return made


def of(marks: Collection[str]) -> list[Erasure]:
    """Entries with exactly these marks, or with some of them, oldest first."""
    with state.engine().connect() as connection:
        rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.started_at, _TABLE.c.id)).mappings().all()
    return [entry for entry in map(_entry, rows) if set(entry.marks) & set(marks)]


def save(erasure: Erasure, *, plan: str | None = None, done: str, finished: bool = False) -> Erasure:
    """Write down what was done; the entry as it is then."""
    at = datetime.now(UTC) if finished else None
    changed = {"done": done, "finished_at": at, "plan": erasure.plan if plan is None else plan}
    with state.engine().begin() as connection:
        connection.execute(sa.update(_TABLE).where(_TABLE.c.id == erasure.id).values(**changed))
    return erasure.model_copy(update=changed)


def _entry(row: sa.RowMapping) -> Erasure:
    times = {name: _utc(row[name]) for name in ("started_at", "finished_at")}
    return Erasure.model_validate({**row, **times, "marks": json.loads(row["marks"])})


def _utc(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
