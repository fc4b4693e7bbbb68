"""The secret that pseudonyms and subject hashes are made with: a setting, or a file of this home.

Whoever has it can test whether a known person is in the data, so it is readable by its owner only and never written
elsewhere; runs record its fingerprint. With another key the same person gets another pseudonym.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
from pathlib import Path

from tasks.errors import EnvironmentUnusable, UsageError
from tasks.settings import Settings

_BYTES = 32
_LEAST_CHARACTERS = 32
_ROUNDS = 100_000
_SALT = b"tuneloop pseudonym key"
_HEX = 16


def pseudonym_key() -> bytes:
    """The key of TUNELOOP_PSEUDONYM_KEY, else of HOME/keys/pseudonym.key, which is made on the first call.

    Raises:
        UsageError: the setting is too short to be a key.
        EnvironmentUnusable: the file cannot be read or made, or holds no key.
    """
    settings = Settings()
    given = settings.pseudonym_key.get_secret_value()
    if given:
        if len(given) < _LEAST_CHARACTERS:
            raise UsageError(
                "the pseudonym key is too short",
                where="TUNELOOP_PSEUDONYM_KEY",
                why=f"it has {len(given)} characters, at least {_LEAST_CHARACTERS} are needed",
                remedy='python -c "import secrets; print(secrets.token_hex(32))" makes one',
            )
        return given.encode()
    return _of_file(settings.root / "keys" / "pseudonym.key")


@functools.lru_cache(maxsize=8)
def fingerprint(key: bytes) -> str:
    """A name for the key from which it cannot be computed; slow on purpose, for keys that people chose."""
    return hashlib.pbkdf2_hmac("sha256", key, _SALT, _ROUNDS).hex()[:_HEX]


def _of_file(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise _unusable(path, "it does not hold a key") from error
    if len(key) != _BYTES:
        raise _unusable(path, "it does not hold a key")
    return key


def _make(path: Path) -> None:
    """Written aside and linked, so that of two processes the first one's key stays and none reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_bytes(_BYTES).hex())
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()


def _unusable(path: Path, why: str) -> EnvironmentUnusable:
    return EnvironmentUnusable(
        "the pseudonym key cannot be used",
        where=str(path),
        why=why,
        remedy="correct the file or its permissions; a new key makes other pseudonyms and finds no earlier subject",
    )
