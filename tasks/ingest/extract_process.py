"""Asks another process for the text of a file, so that a crash or an endless loop in a C library costs one document."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from tasks.errors import EnvironmentUnusable
from tasks.ingest.extract_result import NOT_INSTALLED, Extracted

_MEMORY_BYTES = 640 << 20  # address space: the libraries take a third of it
_START_SECONDS = 60.0  # interpreter and libraries, on a busy machine
_SECONDS = 10.0
_SECONDS_PER_MB = 4.0
_AGAIN = "open it in another program and save it again, or take it out of the sources"
_CRASHED = Extracted(code="damaged", words="the library that reads it crashed on it", repair=_AGAIN)


class _Worker:
    """One extracting process, started when it is needed and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner, self._lock, self._fresh = os.getpid(), threading.Lock(), True

    def ask(self, path: Path, format: str, max_bytes: int, seconds: float) -> Extracted:
        with self._lock:
            process = self._running()
            request = json.dumps({"format": format, "path": str(path.resolve()), "max_bytes": max_bytes})
            try:
                answer = self._exchange(
                    process, request.encode() + b"\n", seconds + (_START_SECONDS if self._fresh else 0)
                )
            except (BrokenPipeError, EOFError):
                self.stop()
                return _CRASHED
            if answer is None:
                self.stop()
                return Extracted(code="too_slow", words=f"was not read within {seconds:.0f} seconds", repair=_AGAIN)
            self._fresh = False
            return Extracted(*json.loads(answer))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            command = [sys.executable, "-m", "tasks.ingest.extract_worker", str(_MEMORY_BYTES)]
            root = str(Path(__file__).resolve().parents[2])
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            self._owner, self._fresh = os.getpid(), True
        return self._process

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes | None:
        """The line that answers a request; None where it does not come in time."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        answer = bytearray()
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            if not ready:
                return None
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                raise EOFError
            answer += piece
        return bytes(answer)

    def stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


worker = _Worker()
atexit.register(worker.stop)


def extract(path: Path, format: str, max_bytes: int) -> Extracted:
    """Text of a file, or why there is none.

    Args:
        format: html, pdf or docx.
        max_bytes: the most text that is wanted.

    Raises:
        EnvironmentUnusable: the library for this format is not installed.
    """
    seconds = _SECONDS + _SECONDS_PER_MB * path.stat().st_size / (1 << 20)
    found = worker.ask(path, format, max_bytes, seconds)
    if found.code == NOT_INSTALLED:
        raise EnvironmentUnusable(
            f"{format} files cannot be read on this machine",
            where=path.name,
            why=found.words,
            remedy="install Tuneloop again with all its dependencies",
        )
    return found
