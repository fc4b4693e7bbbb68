"""Events of a training over HTTP, signed: a trainer on another machine reports to the gateway's /api/v1/events.

The signature is HMAC-SHA256 over version, time, nonce and body: the scheme of well-known webhooks, with a nonce so that
the same request cannot be sent twice. What is sent again is signed again; the log keeps each event once.
The trainer never waits for it: events go into an outbox on its disk, a thread of its own sends them, and what could not
be sent is sent later, by the next start of the trainer if need be.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.adapters.store import write_atomically
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.settings import Settings

PATH = "/api/v1/events"
TIME, NONCE, SIGNATURE = "X-Tuneloop-Time", "X-Tuneloop-Nonce", "X-Tuneloop-Signature"
MAX_BODY_BYTES = 1 << 20
MAX_AGE_SECONDS = 300.0
_VERSION = "v1"
_BATCH_BYTES = 256 << 10
_PATIENCE_SECONDS = 60.0
_TIMEOUT_SECONDS = 10.0
_KEY_BYTES = 32


class Refused(NamedTuple):
    """Why a request was not taken."""

    status: int
    code: str
    why: str


def signed(key: str, body: bytes, *, now: float | None = None) -> dict[str, str]:
    """Headers that prove who sent a body, and when."""
    at, nonce = f"{time.time() if now is None else now:.3f}", secrets.token_hex(16)
    return {TIME: at, NONCE: nonce, SIGNATURE: _signature(key, at, nonce, body)}


def _signature(key: str, at: str, nonce: str, body: bytes) -> str:
    message = b".".join((_VERSION.encode(), at.encode(), nonce.encode(), body))
    return f"{_VERSION}=" + hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


class Doorkeeper:
    """Decides whether a signed request is taken; remembers the nonces of the time in which a request is young enough.

    After a restart a request of the last minutes could be taken once more: the log then keeps its events once anyway.
    """

    def __init__(self, key: str, clock: Callable[[], float] = time.time) -> None:
        self._key, self._clock = key, clock
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def refusal(self, headers: Mapping[str, str], body: bytes) -> Refused | None:
        """Why a request is refused, or None. Nothing of it is remembered before its signature is known to be right."""
        at, nonce, given = (headers.get(name, "") for name in (TIME, NONCE, SIGNATURE))
        if not hmac.compare_digest(_signature(self._key, at, nonce, body).encode(), given.encode()):
            return Refused(401, "wrong_signature", "The signature is missing or does not belong to this body and time.")
        now = self._clock()
        if abs(now - float(at)) > MAX_AGE_SECONDS:
            return Refused(401, "wrong_time", f"The request is not of the last {MAX_AGE_SECONDS:.0f} seconds.")
        with self._lock:
            self._seen = {n: t for n, t in self._seen.items() if t >= now - 2 * MAX_AGE_SECONDS}
            if nonce in self._seen:
                return Refused(409, "replayed", "This very request came before: sign it again to send it again.")
            self._seen[nonce] = now
        return None


def events_key(*, make: bool = False) -> str:
    """The key that sender and receiver share: the setting, else HOME/keys/events.key.

    Args:
        make: write a new key where there is none; for the receiver, whose file the sender's machine is given.

    Raises:
        EnvironmentUnusable: there is none.
    """
    settings = Settings()
    file = settings.root / "keys" / "events.key"
    if given := settings.events_key.get_secret_value():
        return given
    if not file.is_file() and make:
        write_atomically(file, secrets.token_hex(_KEY_BYTES) + "\n", mode=0o600)
    if not file.is_file():
        raise EnvironmentUnusable(
            "events cannot be signed",
            where=str(file),
            why="there is no key",
            remedy="set TUNELOOP_EVENTS_KEY to the key of the receiver (HOME/keys/events.key on its machine)",
        )
    return file.read_text(encoding="utf-8").strip()


class Outbox:
    """Events that are to be sent, in a file; how many of them arrived, in another.

    Args:
        folder: of the training; what is left in it from an earlier start is sent first.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events, self._mark = folder / "events.jsonl", folder / "sent.json"
        name = folder / "writer"
        if not name.is_file():
            write_atomically(name, f"trainer-{secrets.token_hex(4)}")
        self.writer = name.read_text(encoding="utf-8")
        lines = self._events.read_bytes().splitlines(keepends=True) if self._events.is_file() else []
        if lines and not lines[-1].endswith(b"\n"):  # cut off: its number is given to the next event
            self._events.write_bytes(b"".join(lines[:-1]))
            lines.pop()
        self.sent = json.loads(self._mark.read_text(encoding="utf-8")) if self._mark.is_file() else 0
        self._waiting = lines[self.sent :]

    @property
    def written(self) -> int:
        return self.sent + len(self._waiting)

    def put(self, line: str) -> None:
        """Keep an event as the last one."""
        data = line.encode() + b"\n"
        with self._events.open("ab") as stream:
            stream.write(data)
        self._waiting.append(data)

    def due(self) -> list[bytes]:
        """The next events that have not arrived, as many as one request takes."""
        size, chosen = 0, list[bytes]()
        for line in tuple(self._waiting):
            size += len(line)
            if chosen and size > _BATCH_BYTES:
                break
            chosen.append(line)
        return chosen

    def arrived(self, count: int) -> None:
        del self._waiting[:count]
        self.sent += count
        write_atomically(self._mark, json.dumps(self.sent))


class EventSender:
    """Sends what is put into an outbox, in a thread of its own.

    Args:
        url: of the receiver, e.g. https://gateway.internal:8800.
        say: called with a sentence when the receiver cannot be reached, and when it is back.
        first_pause: seconds after the first failure; doubled after each, up to a minute.
    """

    def __init__(
        self, url: str, key: str, outbox: Outbox, say: Callable[[str], None], *, first_pause: float = 1.0
    ) -> None:  # fmt: skip
        if not url.startswith(("http://", "https://")):
            raise UsageError("the receiver of events has no HTTP address", where="TUNELOOP_EVENTS_URL",
                             remedy="e.g. https://gateway.internal:8800")  # fmt: skip
        self._url, self._key, self.outbox, self._say = url.rstrip("/") + PATH, key, outbox, say
        self._first_pause, self._failures = first_pause, 0
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()
        self._wake.set()

    def put(self, line: str) -> None:
        """Have an event sent. Returns at once."""
        self.outbox.put(line)
        self._wake.set()

    def close(self, seconds: float = 5.0) -> bool:
        """Send what is left for at most so long; whether everything arrived."""
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)
        return not self.outbox.due()

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            while True:
                self._wake.wait()
                self._wake.clear()
                while lines := self.outbox.due():
                    if not self._send(client, lines) and self._pause():
                        return
                if self._closing.is_set():
                    return

    def _send(self, client: Any, lines: list[bytes]) -> bool:
        import httpx

        body = b"[" + b",".join(line.rstrip() for line in lines) + b"]"
        headers = {"Content-Type": "application/json", **signed(self._key, body)}
        try:
            answer = client.post(self._url, content=body, headers=headers)
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            self._failed(f"it answers {error.response.status_code}")
            return False
        except httpx.HTTPError as error:
            self._failed(type(error).__name__)
            return False
        self.outbox.arrived(len(lines))
        if self._failures:
            self._say(f"the receiver of events answers again; {self.outbox.sent} events have arrived")
        self._failures = 0
        return True

    def _failed(self, why: str) -> None:
        if not self._failures:
            self._say(f"events cannot be sent ({why}): training goes on, they are kept and sent later")
        self._failures += 1

    def _pause(self) -> bool:
        """Wait before the next attempt; True where the trainer is ending and there will be none."""
        return self._closing.wait(min(_PATIENCE_SECONDS, self._first_pause * 2 ** min(self._failures - 1, 8)))
