"""Claims: at most one process works on a thing at a time; the others wait and say for whom."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_SECONDS = 0.2
log = logging.getLogger("tuneloop.claim")


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


def _acquire(descriptor: int, lock: Path, what: str) -> None:
    told = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
