"""Temporary files for what lies elsewhere: readable by their owner only, gone when nobody uses them any more.

A file is locked as long as it is in use. The kernel releases the lock however the process ends, so that the next sync
recognises what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tasks.adapters.claim import claim
from tasks.settings import Settings


def folder() -> Path:
    return Settings().root / "work" / "spool"


@contextlib.contextmanager
def temporary_file(name: str) -> Iterator[Path]:
    """A new empty file whose name ends in `name`; removed when the block ends."""
    with _spool_claim():
        folder().mkdir(parents=True, exist_ok=True)
        path = folder() / f"{secrets.token_hex(8)}-{Path(name).name[-80:]}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def sweep() -> int:
    """Remove the files that no living process uses; how many there were."""
    removed = 0
    with _spool_claim():
        for path in sorted(folder().glob("*")):
            with path.open("rb") as stream:
                try:
                    fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink()
                removed += 1
    return removed


def _spool_claim() -> contextlib.AbstractContextManager[None]:
    """Making and sweeping exclude each other: a file is never seen between its birth and its lock."""
    return claim(Settings().root / "locks" / "spool.lock", "temporary copies of sources")
