"""One answer at a time, in a thread of its own, behind a short queue: on one CPU two at once are slower."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from deployments.gateway.errors import ApiError
from deployments.gateway.models import Loaded
from tasks.contracts import Message
from tasks.inference.streaming import Finished
from tasks.train.failure_report import safe_traceback

QUEUE_LENGTH = 16
log = logging.getLogger("tuneloop.gateway")


@dataclass(frozen=True)
class Done:
    """The end of an answer."""

    text: str
    finished: Finished
    milliseconds: int


Item = str | Done | ApiError
OnDone = Callable[[Done], None]


@dataclass
class Job:
    """One answer to be made.

    Attributes:
        emit: gets every piece, then `Done` or an error; called in the generating thread.
        on_done: called before `Done` is emitted, also for an answer that the client did not wait for.
    """

    loaded: Loaded
    messages: tuple[Message, ...]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    emit: Callable[[Item], None]
    on_done: OnDone
    cancelled: threading.Event = field(default_factory=threading.Event)


class Generation:
    """The generating thread and its queue."""

    def __init__(self, length: int = QUEUE_LENGTH) -> None:
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=length)
        self._thread = threading.Thread(target=self._work, daemon=True, name="generation")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the answer in progress end; what waits is dropped with the process."""
        with_room = not self._jobs.full()
        if with_room:
            self._jobs.put_nowait(None)
            self._thread.join(timeout=5)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            ApiError: 503, the queue is full.
        """
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            message = "The gateway is busy: too many requests are waiting."
            raise ApiError(503, message, "overloaded", retry_after_seconds=2) from None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.cancelled.is_set():
                continue
            try:
                done = answer(job)
                job.on_done(done)
                job.emit(done)
            except Exception as error:
                # One broken answer must not end the thread that makes all answers; its text could hold what was asked.
                log.error("an answer of %s failed\n%s", job.loaded.model_id, safe_traceback(error))
                job.emit(ApiError(500, "The answer failed; the gateway's log has the details.", "internal_error"))


def answer(job: Job) -> Done:
    """Make one answer, piece by piece, until it ends or nobody waits for it any more."""
    began, pieces = time.monotonic(), list[str]()
    stream = job.loaded.engine.stream(job.messages, job.max_new_tokens, job.temperature, job.top_p, job.seed, job.stop)
    finished = _drain(stream, job, pieces)
    return Done("".join(pieces), finished, round((time.monotonic() - began) * 1000))


def _drain(stream: Generator[str, None, Finished], job: Job, pieces: list[str]) -> Finished:
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            result: Finished = end.value
            return result
        pieces.append(piece)
        job.emit(piece)
        if job.cancelled.is_set():
            stream.close()
            return Finished("stop", 0, len(pieces))
