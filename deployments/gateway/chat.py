"""From a request to an answer: checks that need the model, the job, and the two forms of the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from deployments.gateway.errors import ApiError
from deployments.gateway.generation import Done, Generation, Item, Job
from deployments.gateway.models import Loaded
from deployments.gateway.schemas import ChatRequest, chunk, completion, usage, usage_chunk
from tasks.adapters import request_log
from tasks.adapters.request_log import LoggedRequest
from tasks.contracts import Message
from tasks.errors import TuneloopError
from tasks.train.failure_report import safe_traceback

DEFAULT_MAX_TOKENS = 512
log = logging.getLogger("tuneloop.gateway")


@dataclass(frozen=True)
class Prepared:
    """A request that was checked against the model that will answer it."""

    loaded: Loaded
    request: ChatRequest
    prompt_tokens: int
    max_new_tokens: int
    head: dict[str, Any]

    def counts(self, done: Done) -> dict[str, int]:
        return usage(self.prompt_tokens, done.finished.completion_tokens)


def prepare(request: ChatRequest, loaded: Loaded) -> Prepared:
    """Count the prompt and fit the answer's length into the context. Runs in a worker thread.

    Raises:
        ApiError: 400, the conversation does not fit, or the model's template refuses it.
    """
    try:
        prompt_tokens = loaded.count_prompt(request.turns)
    except TuneloopError as error:
        raise ApiError(400, f"{error.what}: {error.why}", "invalid_messages", param="messages") from error
    room = loaded.context_tokens - prompt_tokens
    if room < (request.limit or 1):
        asked = f"{request.limit} tokens for the answer" if request.limit else "an answer"
        message = (
            f"This model's context is {loaded.context_tokens} tokens. The messages take {prompt_tokens}, "
            f"which leaves no room for {asked}."
        )
        raise ApiError(400, message, "context_length_exceeded", param="messages")
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": loaded.model_id,
        "system_fingerprint": f"fp_{loaded.served.adapter_digest[:12]}",
    }
    return Prepared(loaded, request, prompt_tokens, request.limit or min(room, DEFAULT_MAX_TOKENS), head)


class Conversation:
    """One running answer: its pieces arrive from the generating thread."""

    def __init__(self, prepared: Prepared, generation: Generation, *, logged: bool) -> None:
        self.prepared = prepared
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        request = prepared.request
        self._job = Job(
            prepared.loaded,
            request.turns,
            prepared.max_new_tokens,
            request.heat,
            request.top_p if request.top_p is not None else 1.0,
            request.seed,
            request.stops,
            emit=self._emit,
            on_done=lambda done: write_log(prepared, done) if logged else None,
        )
        generation.submit(self._job)

    def _emit(self, item: Item) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def cancel(self) -> None:
        """Nobody waits any more: the generating thread stops at the next token."""
        self._job.cancelled.set()

    async def whole(self, connection: Request) -> dict[str, Any]:
        """The answer in one piece."""
        watch = asyncio.create_task(self._watch(connection))
        try:
            while not isinstance(item := await self._items.get(), Done):
                if isinstance(item, ApiError):
                    raise item
        finally:
            watch.cancel()
        prepared = self.prepared
        return completion(prepared.head, item.text, item.finished.reason, prepared.counts(item))

    async def _watch(self, connection: Request) -> None:
        while not await connection.is_disconnected():
            await asyncio.sleep(0.5)
        self.cancel()
        self._items.put_nowait(ApiError(499, "The client closed the connection.", "client_closed"))

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        head = self.prepared.head
        try:
            yield _event(chunk(head, {"role": "assistant", "content": ""}))
            while not isinstance(item := await self._items.get(), Done):
                if isinstance(item, ApiError):
                    yield _event(item.body())
                    return
                yield _event(chunk(head, {"content": item}))
            yield _event(chunk(head, {}, item.finished.reason))
            options = self.prepared.request.stream_options
            if options is not None and options.include_usage:
                yield _event(usage_chunk(head, self.prepared.counts(item)))
            yield "data: [DONE]\n\n"
        finally:
            self.cancel()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def write_log(prepared: Prepared, done: Done) -> None:
    """Log an answer without personal data. A log that cannot be written does not take the answer away."""
    request, served = prepared.request, prepared.loaded.served
    try:
        clean = prepared.loaded.redactor.clean
        agent = clean(request.metadata.agent if request.metadata else "")
        answer, turns = clean(done.text), [(turn.role, clean(turn.content)) for turn in request.turns]
        subjects = {subject for text in (agent, answer, *(text for _, text in turns)) for subject in text.subjects}
        logged = LoggedRequest(
            id=prepared.head["id"],
            at=datetime.now(UTC),
            model=served.name,
            version=served.version,
            agent=agent.text,
            user=request_log.user_hash(request.user or ""),
            prompt=tuple(Message(role=role, content=text.text) for role, text in turns),
            answer=answer.text,
            prompt_tokens=prepared.prompt_tokens,
            completion_tokens=done.finished.completion_tokens,
            milliseconds=done.milliseconds,
        )
        request_log.append(logged, subjects, prepared.loaded.key_fingerprint)
    except Exception as error:
        # The answer was given already: what fails here must not end its stream. The error's text could hold the answer.
        log.error("answer %s was not written to the request log\n%s", prepared.head["id"], safe_traceback(error))
