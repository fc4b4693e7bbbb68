"""The vault: original texts of rows, encrypted, for a limited time. Off unless TUNELOOP_VAULT_DAYS says for how long.

Every item has a random key of its own (AES-256-GCM), which lies in the state database, encrypted with the vault's
key; the encrypted text lies in HOME/vault. Row id, item name and time of expiry are authenticated with both, so that
none of them can be exchanged. Forgetting an item deletes its key first: from then on the file, and every copy of it in
a backup of files, is noise.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import Field

from tasks.adapters import audit, state, tables
from tasks.adapters.claim import claim
from tasks.adapters.store import write_atomically
from tasks.contracts import Record
from tasks.digest import digest_bytes
from tasks.errors import DataRefused, EnvironmentUnusable, UsageError
from tasks.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_ITEMS, _SUBJECTS = tables.vault_items, tables.vault_subjects
_KEY_BYTES, _NONCE_BYTES = 32, 12
_ORPHAN_SECONDS = 3600  # a file without entry is a killed attempt's, unless someone is writing it right now


class Original(Record):
    """What is kept of one row."""

    row_id: str
    text: bytes = Field(description="The record as it is at the source.")
    subjects: tuple[str, ...] = Field((), description="Keyed hashes of the identifiers in it.")


class _Item(Record):
    """One entry of the index."""

    row_id: str
    item: str
    wrapped_key: str
    key_fingerprint: str
    kept_at: datetime
    expires_at: datetime

    @property
    def bound(self) -> bytes:
        """What both encryptions authenticate."""
        return f"{self.row_id}|{self.item}|{self.expires_at.astimezone(UTC).isoformat()}".encode()


def is_on() -> bool:
    return Settings().vault_days > 0


def keep(row_id: str, text: bytes, subjects: tuple[str, ...] = ()) -> None:
    """Keep the original of one row; see `keep_all`."""
    keep_all([Original(row_id=row_id, text=text, subjects=subjects)])


def keep_all(originals: Sequence[Original]) -> int:
    """Keep the originals of rows until TUNELOOP_VAULT_DAYS from now; how many are new. Audited once.

    An original that is there already stays with the expiry that it has: reading a source again prolongs nothing.

    Raises:
        UsageError: the vault is off.
    """
    if not is_on():
        raise UsageError("the vault is off", where="TUNELOOP_VAULT_DAYS", remedy="set it to a number of days")
    now = datetime.now(UTC)
    known = {item.row_id: item for item in _find([o.row_id for o in originals])}
    fresh = [o for o in originals if o.row_id not in known or known[o.row_id].expires_at <= now]
    sealed = [_seal(original, now) for original in {o.row_id: o for o in fresh}.values()]
    with state.engine().begin() as connection:
        _delete(connection, [item.row_id for item in sealed])
        if sealed:
            connection.execute(sa.insert(_ITEMS), [item.model_dump() for item in sealed])
        _add_subjects(connection, originals)
    _unlink([known[item.row_id].item for item in sealed if item.row_id in known])
    if sealed:
        audit.record("vault.kept", f"{len(sealed)} rows", details={"days": Settings().vault_days})
    return len(sealed)


def read(row_id: str, reason: str) -> bytes:
    """The original of a row; who read it and why is in the audit log before the text is out.

    Raises:
        UsageError: no reason, or the vault holds no such row.
        DataRefused: its time is over, or entry or file are not what was written.
    """
    if not reason.strip():
        raise UsageError("reading an original needs a reason", where=row_id, remedy="say why with --reason")
    found = _find([row_id])
    if not found or found[0].expires_at <= datetime.now(UTC):
        why = "its time is over" if found else "nothing is kept of this row"
        raise UsageError("the vault has no such original", where=row_id, why=why, remedy="read it at its source")
    audit.record("vault.read", row_id, reason=reason)
    return _open(found[0])


def expire(now: datetime | None = None) -> int:
    """Delete what is older than its time, and files that no entry names; how many entries there were."""
    with state.engine().connect() as connection:
        query = sa.select(_ITEMS.c.row_id).where(_ITEMS.c.expires_at <= (now or datetime.now(UTC)))
        old = list(connection.scalars(query))
    _forget(old)
    _sweep()
    if old:
        audit.record("vault.expired", f"{len(old)} rows")
    return len(old)


def forget(*, row_ids: Collection[str] = (), subjects: Collection[str] = ()) -> int:
    """Delete the originals of rows, and of persons by their keyed hashes; how many there were. Audited."""
    found = sorted(kept(row_ids=row_ids, subjects=subjects))
    _forget(found)
    if found:
        audit.record("vault.forgotten", f"{len(found)} rows")
    return len(found)


def kept(*, row_ids: Collection[str] = (), subjects: Collection[str] = ()) -> set[str]:
    """Ids of the rows among these, and of the rows of these persons, whose originals are in the vault."""
    ids = {item.row_id for item in _find(row_ids)}
    with state.engine().connect() as connection:
        for part in state.batches(subjects):
            query = sa.select(_SUBJECTS.c.row_id).where(_SUBJECTS.c.subject.in_(part))
            ids |= set(connection.scalars(query))
    return ids


def _seal(original: Original, now: datetime) -> _Item:
    """Encrypt one original into its file; the entry that makes it readable is the caller's to write."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    master, fingerprint = _vault_key()
    key = AESGCM.generate_key(bit_length=8 * _KEY_BYTES)
    until = now + timedelta(days=Settings().vault_days)
    draft = _Item(row_id=original.row_id, item=secrets.token_hex(16), wrapped_key="", key_fingerprint=fingerprint,
                  kept_at=now, expires_at=until)  # fmt: skip
    _write(_file(draft.item), _encrypt(AESGCM(key), original.text, draft.bound))
    return draft.model_copy(update={"wrapped_key": _encrypt(master, key, draft.bound).hex()})


def _open(item: _Item) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    master, fingerprint = _vault_key()
    if item.key_fingerprint != fingerprint:
        raise EnvironmentUnusable(
            "the vault was locked with another key",
            where=item.row_id,
            why=f"its key has the fingerprint {item.key_fingerprint}, this one {fingerprint}",
            remedy="set TUNELOOP_VAULT_KEY to that key, or bring HOME/keys/vault.key back",
        )
    try:
        key = _decrypt(master, bytes.fromhex(item.wrapped_key), item.bound)
        return _decrypt(AESGCM(key), _file(item.item).read_bytes(), item.bound)
    except (InvalidTag, ValueError, OSError) as error:
        raise DataRefused(
            "an original in the vault is not what was kept",
            where=item.row_id,
            why=f"entry or file were changed ({type(error).__name__})",
            remedy="read it at its source, and look into `tuneloop audit verify`",
        ) from error


def _encrypt(cipher: AESGCM, text: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + bytes(cipher.encrypt(nonce, text, bound))


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    return bytes(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound))


def _vault_key() -> tuple[AESGCM, str]:
    """The vault's key and its fingerprint; made once where no setting gives it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    settings = Settings()
    given, path = settings.vault_key.get_secret_value(), settings.root / "keys" / "vault.key"
    if not given:
        with claim(settings.root / "locks" / "vault-key.lock", "key of the vault"):
            if not path.is_file():
                write_atomically(path, secrets.token_hex(_KEY_BYTES), mode=0o600)
        given = path.read_text(encoding="utf-8").strip()
    key = _parsed_key(given)
    return AESGCM(key), digest_bytes(b"tuneloop vault " + key)[:16]


def _parsed_key(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text)
        if len(key) == _KEY_BYTES:
            return key
    raise EnvironmentUnusable("the key of the vault cannot be used", where="TUNELOOP_VAULT_KEY or HOME/keys/vault.key",
                              why=f"it is not {2 * _KEY_BYTES} hex digits",
                              remedy="give the key that the vault was made with")  # fmt: skip


def _folder() -> Path:
    return Settings().root / "vault"


def _file(item: str) -> Path:
    return _folder() / item[:2] / f"{item}.sealed"


def _write(path: Path, data: bytes) -> None:
    """A new file that only its owner can read, in a folder that only its owner can enter."""
    for folder in (_folder(), path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _find(row_ids: Iterable[str]) -> list[_Item]:
    with state.engine().connect() as connection:
        rows = [
            row._mapping
            for part in state.batches(row_ids)
            for row in connection.execute(sa.select(_ITEMS).where(_ITEMS.c.row_id.in_(part)))
        ]
    return [_Item.model_validate({**row, **{n: _utc(row[n]) for n in ("kept_at", "expires_at")}}) for row in rows]


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _add_subjects(connection: sa.Connection, originals: Sequence[Original]) -> None:
    wanted = {(subject, original.row_id) for original in originals for subject in original.subjects}
    for part in state.batches(o.row_id for o in originals):
        known = connection.execute(sa.select(_SUBJECTS).where(_SUBJECTS.c.row_id.in_(part)))
        wanted -= {(row.subject, row.row_id) for row in known}
    if wanted:
        lines = [{"subject": subject, "row_id": row_id} for subject, row_id in sorted(wanted)]
        connection.execute(sa.insert(_SUBJECTS), lines)


def _forget(row_ids: Sequence[str]) -> None:
    """Keys first, then files: whatever is left of a killed attempt cannot be read."""
    files = [item.item for item in _find(row_ids)]
    with state.engine().begin() as connection:
        _delete(connection, row_ids)
        for part in state.batches(row_ids):
            connection.execute(sa.delete(_SUBJECTS).where(_SUBJECTS.c.row_id.in_(part)))
    _unlink(files)


def _delete(connection: sa.Connection, row_ids: Iterable[str]) -> None:
    for part in state.batches(row_ids):
        connection.execute(sa.delete(_ITEMS).where(_ITEMS.c.row_id.in_(part)))


def _unlink(items: Iterable[str]) -> None:
    for item in items:
        _file(item).unlink(missing_ok=True)


def _sweep() -> None:
    """Remove files that no entry names."""
    with state.engine().connect() as connection:
        known = set(connection.scalars(sa.select(_ITEMS.c.item)))
    for path in _folder().glob("*/*.sealed"):
        if path.stem not in known and time.time() - path.stat().st_mtime > _ORPHAN_SECONDS:
            path.unlink(missing_ok=True)
