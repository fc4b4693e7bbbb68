"""Claims: at most one process works on a thing at a time; the others wait and say for whom.

What many processes use at a time, and one now and then needs for itself alone, is shared (`share`, `alone`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_SECONDS = 0.2
log = logging.getLogger("tuneloop.claim")
_shared: dict[Path, int] = {}  # one at most: a process has one home
_sharing = threading.Lock()


@contextlib.contextmanager
def claim(lock: Path, what: str) -> Iterator[None]:
    """Hold an advisory lock on `lock` while the block runs.

    The kernel releases it when the process ends, however it ends. A second claimant logs once who holds it, then
    waits without limit: it joins the work instead of repeating it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as stream:
        _acquire(stream.fileno(), lock, what)
        try:
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "what": what, "since": time.strftime("%H:%M:%S")}))
            stream.flush()
            yield
        finally:
            stream.truncate(0)
            fcntl.flock(stream.fileno(), fcntl.LOCK_UN)


def share(lock: Path, what: str) -> int:
    """Be one of the users of a thing until this process ends, however it ends; waits while one has it alone.

    Returns the descriptor of the lock.
    """
    with _sharing:
        if lock not in _shared:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            _acquire(descriptor, lock, what, fcntl.LOCK_SH)
            while _shared:
                os.close(_shared.popitem()[1])
            _shared[lock] = descriptor
        return _shared[lock]


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[bool]:
    """Whether no other process shares the lock; if so, none can begin to before the block ends."""
    descriptor, free = share(lock, what), True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        _acquire(descriptor, lock, what, fcntl.LOCK_SH)


def _acquire(descriptor: int, lock: Path, what: str, mode: int = fcntl.LOCK_EX) -> None:
    told = False
    while True:
        try:
            return fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                log.warning("%s is being worked on by %s; joining it and waiting", what, holder(lock))
                told = True
            time.sleep(_POLL_SECONDS)


def holder(lock: Path) -> str:
    """Who holds a lock, in words."""
    try:
        who = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {who['pid']} (since {who['since']})"
