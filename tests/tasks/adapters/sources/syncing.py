"""Syncs in this process and in one that can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasks.adapters.sources.copies import local_copy
from tasks.adapters.sources.spec import SourceSpec
from tasks.adapters.sources.sync import Document, Sync, sync

ROOT = Path(__file__).parents[4]
_CHILD = """
import json, sys
from pathlib import Path
from tasks.adapters.sources.spec import SourceSpec
from tasks.adapters.sources.sync import sync
with sync([SourceSpec(**spec) for spec in json.loads(sys.argv[1])], Path(sys.argv[2])) as found:
    print(len(found.documents))
"""


def synced(base: Path, *sources: dict[str, Any] | SourceSpec | str, **settings: Any) -> Sync:
    with sync([as_spec(one) for one in sources], base, **settings) as found:
        return found


def as_spec(one: dict[str, Any] | SourceSpec | str) -> SourceSpec:
    if isinstance(one, SourceSpec):
        return one
    return SourceSpec(path=one) if isinstance(one, str) else SourceSpec(**one)


def content(document: Document, **settings: Any) -> bytes:
    with local_copy(document, **settings) as path:
        return path.read_bytes()


def records(document: Document, **settings: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(document, **settings).splitlines()]


def start_sync(base: Path, sources: Sequence[dict[str, Any]]) -> subprocess.Popen[bytes]:
    """A sync in a process of its own."""
    command = [sys.executable, "-c", _CHILD, json.dumps(list(sources)), str(base)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def killed_when(process: subprocess.Popen[bytes], reached: Callable[[], bool], seconds: float = 60) -> None:
    """SIGKILL the process as soon as it has reached a point."""
    end = time.monotonic() + seconds
    try:
        while not reached():
            assert process.poll() is None, "the sync ended before it could be killed"
            assert time.monotonic() < end, "the sync did not get there"
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
