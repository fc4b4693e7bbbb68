"""Keys of the gateway: 256 random bits, of which only the SHA-256 is kept in the state database."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from tasks.adapters import state, tables
from tasks.adapters.store import write_atomically
from tasks.errors import EnvironmentUnusable

_PREFIX = "tl-"
_KEY_MODE = 0o600


def create_key(label: str) -> str:
    """A new key, known to the database from now on. The caller is the only one who has it in the clear."""
    key = _PREFIX + secrets.token_urlsafe(32)
    values = {"sha256": _fingerprint(key), "label": label, "created_at": datetime.now(UTC)}
    with state.engine().begin() as connection:
        connection.execute(sa.insert(tables.api_keys).values(**values))
    return key


def ensure_key_file(path: Path, label: str = "gateway") -> str:
    """The key in a file that only its owner can read; made when there is none or the database does not know it."""
    if path.is_file():
        key = path.read_text(encoding="utf-8").strip()
        if verify(key):
            path.chmod(_KEY_MODE)
            return key
    key = create_key(label)
    write_atomically(path, key + "\n", mode=_KEY_MODE)
    return key


def read_key_file(path: Path) -> str:
    """The key in `path`.

    Raises:
        EnvironmentUnusable: there is no such file, or its key is not known here.
    """
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        why = error.strerror or "it cannot be read"
        raise EnvironmentUnusable("the gateway has no key", where=str(path), why=why, remedy=_REMEDY) from error
    if not verify(key):
        why = "this home does not know the key in the file"
        raise EnvironmentUnusable("the gateway has no valid key", where=str(path), why=why, remedy=_REMEDY)
    return key


_REMEDY = "tuneloop up makes a key (HOME/keys/gateway.key) and starts the gateway with it"


def verify(key: str) -> bool:
    """Whether a key is known. Every stored fingerprint is compared, each in constant time."""
    given = _fingerprint(key)
    with state.engine().connect() as connection:
        known = connection.execute(sa.select(tables.api_keys.c.sha256)).scalars().all()
    matches = [hmac.compare_digest(given, fingerprint) for fingerprint in known]
    return any(matches)


def revoke(key: str) -> None:
    """Forget a key."""
    with state.engine().begin() as connection:
        connection.execute(sa.delete(tables.api_keys).where(tables.api_keys.c.sha256 == _fingerprint(key)))


@contextlib.contextmanager
def temporary_key(label: str) -> Iterator[str]:
    """A key that is valid while the block runs."""
    key = create_key(label)
    try:
        yield key
    finally:
        revoke(key)


def _fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
