"""The gateway of one version as a child process on a free port of this machine, to be asked before it is promoted."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tasks.adapters import api_keys
from tasks.adapters.processes import EVENT_PREFIX, end, remember
from tasks.contracts import Message, Record
from tasks.errors import ReleaseFailed
from tasks.settings import Settings

_MODULE = "deployments.gateway"
_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 120.0


class Reply(Record):
    """What came back over HTTP; status 0 where nothing did."""

    status: int
    body: str


class CandidateServer:
    """A running server that answers for one version."""

    def __init__(self, url: str, key: str, model_id: str) -> None:
        self.model_id = model_id
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_ANSWER_SECONDS)

    def ask(self, messages: Sequence[Message], max_tokens: int = 64) -> Reply:
        """Send one conversation to /v1/chat/completions."""
        turns = [message.model_dump(exclude_defaults=True) for message in messages]
        body = {"model": self.model_id, "messages": turns, "max_tokens": max_tokens, "temperature": 0}
        try:
            response = self._http.post("/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            return Reply(status=0, body=json.dumps({"error": {"code": type(error).__name__}}))
        return Reply(status=response.status_code, body=response.text)

    def health(self) -> dict[str, Any]:
        """What /health says; empty while nothing answers."""
        try:
            return dict(self._http.get("/health", timeout=5).json())
        except (httpx.HTTPError, ValueError):
            return {}

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def candidate_server(model: str, version: int, startup_seconds: float) -> Iterator[CandidateServer]:
    """Start the server of a version, wait until it is healthy, end it after the block.

    Raises:
        ReleaseFailed: it did not come up in time, or ended by itself.
    """
    root = Settings().root
    key_file = root / "keys" / f"release-{model}-{version}-{os.getpid()}.key"
    key = api_keys.ensure_key_file(key_file, label="release")
    arguments = ["--model", model, "--version", str(version), "--port", "0", "--key-file", str(key_file)]
    log_file = root / "logs" / f"release-{model}-{version}.log"
    try:
        with _child([*arguments, "--no-request-log", "--die-with-parent"], log_file) as process:
            server = _ready(process, key, f"{model}@{version}", startup_seconds, log_file)
            with contextlib.closing(server):
                yield server
    finally:
        api_keys.revoke(key)
        key_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _child(arguments: list[str], log_file: Path) -> Iterator[subprocess.Popen[str]]:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        note = remember(Settings().root, process.pid, _MODULE)
        try:
            yield process
        finally:
            end(process.pid)
            process.wait()
            note.unlink(missing_ok=True)


def _ready(
    process: subprocess.Popen[str], key: str, model_id: str, startup_seconds: float, log_file: Path
) -> CandidateServer:
    deadline = time.monotonic() + startup_seconds
    server = CandidateServer(_address(process, deadline, log_file), key, model_id)
    while time.monotonic() < deadline and process.poll() is None:
        health = server.health()
        if health.get("status") == "serving":
            return server
        if health.get("status") == "failed":
            raise _not_up(str(health.get("error", "it could not load the model")), log_file)
        time.sleep(_POLL_SECONDS)
    raise _not_up(_ending(process, startup_seconds), log_file)


def _address(process: subprocess.Popen[str], deadline: float, log_file: Path) -> str:
    """The address the child announces; a thread goes on reading its output, so that it never blocks."""
    announced: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(EVENT_PREFIX):
                announced.put(json.loads(line.removeprefix(EVENT_PREFIX)).get("url"))
        announced.put(None)

    threading.Thread(target=read, daemon=True, name="candidate-output").start()
    try:
        url = announced.get(timeout=max(0.1, deadline - time.monotonic()))
    except queue.Empty:
        url = None
    if url is None:
        raise _not_up(_ending(process, 0.0), log_file)
    return url


def _ending(process: subprocess.Popen[str], startup_seconds: float) -> str:
    code = process.poll()
    if code is not None:
        return f"its server ended with exit code {code}"
    return f"its server was not ready after {startup_seconds:.0f} s" if startup_seconds else "its server did not start"


def _not_up(why: str, log_file: Path) -> ReleaseFailed:
    return ReleaseFailed(
        "the candidate could not be started",
        where=str(log_file),
        why=why,
        remedy="read the log, then repeat the command: the previous model goes on serving",
    )
