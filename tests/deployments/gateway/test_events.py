"""Events over real HTTP: a trainer on another machine, the gateway's route, and what can go wrong between them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from deployments.gateway.errors import handle_errors
from deployments.gateway.events import add_events
from tasks.adapters.run_events import EventLog
from tasks.adapters.run_events_http import (
    MAX_BODY_BYTES,
    PATH,
    SIGNATURE,
    Doorkeeper,
    EventSender,
    Outbox,
    events_key,
    signed,
)
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.train.events import Recorder

RUN = "b" * 64


@contextmanager
def receiver(home: Path, port: int = 0) -> Iterator[str]:
    """The route in a real server, in a thread."""
    app = FastAPI()
    handle_errors(app)
    add_events(app, home)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    with receiver(home) as address:
        yield address


def line(seq: int, **more: Any) -> dict[str, Any]:
    return {"run": RUN, "writer": "trainer-1", "seq": seq, "at": "2026-11-21T12:00:00Z", "kind": "progress", **more}


def post(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(url + PATH, content=body, headers=headers, trust_env=False)


def send(url: str, *events: dict[str, Any]) -> httpx.Response:
    body = json.dumps(events).encode()
    return post(url, body, signed(events_key(), body))


def test_duplicates_and_gaps(url: str, home: Path) -> None:
    assert send(url, line(1), line(3)).json() == {
        "received": 2,
        "new": 2,
        "missing": {RUN: {"trainer-1": [[2, 2]]}},
    }
    assert send(url, line(1), line(2), line(3)).json() == {"received": 3, "new": 1, "missing": {RUN: {}}}
    assert [e.seq for e in EventLog.of(home, RUN).read()] == [1, 3, 2]


def test_only_what_is_signed_young_and_new_is_taken(url: str, home: Path) -> None:
    body = json.dumps([line(1)]).encode()
    right = signed(events_key(), body)
    refused = {
        "nothing": post(url, body, {}),
        "another key": post(url, body, signed("0" * 64, body)),
        "another body": post(url, body.replace(b'"seq": 1', b'"seq": 9'), right),
        "too old": post(url, body, signed(events_key(), body, now=time.time() - 600)),
        "from the future": post(url, body, signed(events_key(), body, now=time.time() + 600)),
        "a letter off": post(url, body, {**right, SIGNATURE: right[SIGNATURE][:-1] + "z"}),
    }
    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 401)
    assert not EventLog.of(home, RUN).file.exists()
    assert post(url, body, right).status_code == 200
    assert post(url, body, right).json()["error"]["code"] == "replayed"
    assert post(url, body, right).status_code == 409
    assert len(EventLog.of(home, RUN).read()) == 1


def test_limits_and_forms(url: str) -> None:
    large = b"[" + b" " * MAX_BODY_BYTES + b"]"
    assert post(url, large, signed(events_key(), large)).status_code == 413
    strange = json.dumps([line(1) | {"run": "../../../etc/passwd"}]).encode()
    answer = post(url, strange, signed(events_key(), strange))
    assert answer.json()["error"]["code"] == "invalid_events"
    assert "passwd" not in answer.text


def test_the_key_is_private_and_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentUnusable, match="cannot be signed"):
        events_key()
    key = events_key(make=True)
    assert (home / "keys" / "events.key").stat().st_mode & 0o777 == 0o600
    assert events_key() == key
    monkeypatch.setenv("TUNELOOP_EVENTS_KEY", "given")
    assert events_key() == "given"


def test_nonces_are_forgotten_when_their_time_is_over() -> None:
    now = [1000.0]
    doorkeeper = Doorkeeper("key", clock=lambda: now[0])
    first = signed("key", b"x", now=1000.0)
    assert doorkeeper.refusal(first, b"x") is None
    now[0] = 1700.0
    again = doorkeeper.refusal(first, b"x")
    assert again is not None
    assert again.code == "wrong_time"
    assert doorkeeper.refusal(signed("key", b"x", now=1700.0), b"x") is None
    assert len(doorkeeper._seen) == 1


def trainer(url: str, folder: Path, said: list[str]) -> tuple[EventSender, Recorder]:
    outbox = Outbox(folder)
    sender = EventSender(url, events_key(make=True), outbox, said.append, first_pause=0.05)
    return sender, Recorder(RUN, outbox.writer, lambda event: sender.put(event.line()), last=outbox.written)


def progress(step: int) -> dict[str, Any]:
    return {"event": "progress", "step": step, "total": 9, "loss": 1.0 / step}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_receiver_that_is_down_holds_nothing_up(home: Path, tmp_path: Path) -> None:
    with receiver(home) as url:
        port = int(url.rpartition(":")[2])
    said: list[str] = []
    sender, record = trainer(url, tmp_path / "outbox", said)
    for step in range(1, 6):
        record(progress(step))
    assert not sender.close(0.3)
    assert len(said) == 1
    assert "kept and sent later" in said[0]
    sender, record = trainer(url, tmp_path / "outbox", said)  # the next start of the trainer
    record(progress(6))
    wait_until(lambda: len(said) == 2)
    with receiver(home, port):
        wait_until(lambda: not sender.outbox.due())
        record(progress(7))
        assert sender.close(10)
    log = EventLog.of(home, RUN)
    assert [(e.seq, e.step) for e in log.read()] == [(n, n) for n in range(1, 8)]
    assert log.gaps() == {}
    assert any("answers again" in text for text in said)


def test_what_arrived_without_an_answer_is_kept_once(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with receiver(home) as url:
        sender, record = trainer(url, tmp_path / "outbox", said)
        record(progress(1))
        assert sender.close(10)
        (tmp_path / "outbox" / "sent.json").write_text("0")  # the answer was lost
        sender, record = trainer(url, tmp_path / "outbox", said)
        record(progress(2))
        assert sender.close(10)
    assert [e.seq for e in EventLog.of(home, RUN).read()] == [1, 2]


def test_a_number_that_was_cut_off_is_given_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put("one")
    outbox.put("two")
    (tmp_path / "events.jsonl").write_bytes(b"one\ntw")
    again = Outbox(tmp_path)
    assert again.writer == outbox.writer
    assert again.written == 1
    assert again.due() == [b"one\n"]


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no HTTP address"):
        EventSender("gateway:8800", "key", Outbox(tmp_path), print)
