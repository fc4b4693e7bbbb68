"""What was asked and answered through the gateway, without personal data.

Prompt and answer arrive here redacted. The user tag of a client, and the identifiers that were found in prompt and
answer before they were replaced, are stored as keyed hashes only, so that requests of or about one person can be found
(and erased) by whoever knows tag or identifier, but neither can be read back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters import state, tables
from tasks.adapters.claim import claim
from tasks.adapters.state import batches
from tasks.adapters.store import write_atomically
from tasks.contracts import Message, Record
from tasks.settings import Settings


class LoggedRequest(Record):
    """One answered request. `prompt` and `answer` hold redacted text."""

    id: str = Field(description="Answer id, as the client got it.")
    at: datetime = Field(description="UTC.")
    model: str
    version: int
    agent: str = Field("", description="Which agent asked, as the client named it.")
    user: str = Field("", description="Keyed hash of the client's user tag; empty without one.")
    prompt: tuple[Message, ...]
    answer: str
    prompt_tokens: int
    completion_tokens: int
    milliseconds: int


def append(request: LoggedRequest, subjects: Collection[str] = (), key_fingerprint: str = "") -> None:
    """Write one request.

    Args:
        subjects: keyed hashes of the identifiers that were found in it before it was redacted.
        key_fingerprint: of the key of these hashes; empty where nothing was looked for.
    """
    values = {**request.model_dump(exclude={"prompt"}), "key_fingerprint": key_fingerprint}
    prompt = json.dumps([m.model_dump(exclude_defaults=True) for m in request.prompt], ensure_ascii=False)
    named = [{"subject": subject, "request": request.id} for subject in sorted(set(subjects))]
    with state.engine().begin() as connection:
        connection.execute(sa.insert(tables.requests).values(**values, prompt=prompt))
        if named:
            connection.execute(sa.insert(tables.request_subjects), named)


def recent(model: str, hours: float) -> tuple[LoggedRequest, ...]:
    """Requests to any version of a model in the last `hours`, oldest first."""
    table = tables.requests
    since = datetime.now(UTC) - timedelta(hours=hours)
    chosen = (
        sa.select(*(table.c[name] for name in LoggedRequest.model_fields))
        .where(table.c.model == model, table.c.at >= since)
        .order_by(table.c.at, table.c.id)
    )
    with state.engine().connect() as connection:
        rows: Sequence[sa.RowMapping] = connection.execute(chosen).mappings().all()
    return tuple(_request(row) for row in rows)


def of_users(hashes: Collection[str]) -> tuple[str, ...]:
    """Ids of the requests of these users, given by the keyed hashes of their tags."""
    table = tables.requests
    wanted = sa.select(table.c.id).where(table.c.user.in_(sorted(set(hashes) - {""}))).order_by(table.c.id)
    with state.engine().connect() as connection:
        return tuple(connection.scalars(wanted))


def of_subjects(hashes: Collection[str]) -> tuple[str, ...]:
    """Ids of the requests in whose prompt or answer one of these identifiers was, given by their keyed hashes."""
    table = tables.request_subjects
    with state.engine().connect() as connection:
        found = {
            request
            for part in batches(hashes)
            for request in connection.scalars(sa.select(table.c.request).where(table.c.subject.in_(part)))
        }
    return tuple(sorted(found))


def by_key() -> dict[str, int]:
    """Fingerprint of the key of their subjects → requests; empty for those that were not searched for subjects."""
    fingerprint = tables.requests.c.key_fingerprint
    counted = sa.select(fingerprint, sa.func.count()).group_by(fingerprint).order_by(fingerprint)
    with state.engine().connect() as connection:
        return {row[0]: row[1] for row in connection.execute(counted)}


def known(ids: Collection[str]) -> tuple[str, ...]:
    """Those of the ids that are in the log."""
    table = tables.requests
    with state.engine().connect() as connection:
        found = {
            i for part in batches(ids) for i in connection.scalars(sa.select(table.c.id).where(table.c.id.in_(part)))
        }
    return tuple(sorted(found))


def delete(ids: Collection[str]) -> int:
    """Delete requests with prompt, answer and subjects; how many were there."""
    table, subjects, deleted = tables.requests, tables.request_subjects, 0
    with state.engine().begin() as connection:
        for part in batches(ids):
            connection.execute(sa.delete(subjects).where(subjects.c.request.in_(part)))
            deleted += connection.execute(sa.delete(table).where(table.c.id.in_(part))).rowcount
    return deleted


def _request(row: sa.RowMapping) -> LoggedRequest:
    values = {**row, "at": row["at"].replace(tzinfo=UTC), "prompt": json.loads(row["prompt"])}
    return LoggedRequest.model_validate(values)


def user_hash(tag: str) -> str:
    """Keyed hash of a user tag (HMAC-SHA-256, 32 hex digits); empty for an empty tag."""
    if not tag:
        return ""
    return hmac.new(_user_key(Settings().root), tag.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def _user_key(root: Path) -> bytes:
    """This home's key of user hashes, made once (256 bits, readable by its owner only)."""
    path = root / "keys" / "user_tags.key"
    if not path.is_file():
        with claim(root / "locks" / "user-tags.lock", "key of user tags"):
            if not path.is_file():
                write_atomically(path, secrets.token_hex(32), mode=0o600)
    return bytes.fromhex(path.read_text(encoding="utf-8"))
