"""The generating thread and its queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from deployments.gateway.chat import prepare, write_log
from deployments.gateway.errors import ApiError
from deployments.gateway.generation import Done, Generation, Item, Job
from deployments.gateway.models import Loaded
from deployments.gateway.schemas import ChatRequest
from tasks.adapters import state
from tasks.contracts import BaseModelRef, Message, ServedModel
from tasks.inference.streaming import Finished
from tasks.privacy.redact import Redactor

BASE = BaseModelRef(name="b", path="/nowhere", digest="d", tokenizer_digest="t", parameters=1)
SERVED = ServedModel(
    name="m",
    version=1,
    adapter_path="/nowhere",
    adapter_digest="a",
    base=BASE,
    quantization="none",
    dataset="ds://m/main@1.0.0",
    dataset_uri="store://version/x",
)


SECRET = "the card 4111 1111 1111 1111"


class Held:
    """An engine that says one word, then waits until it is let go; it fails where it is asked to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def stream(self, messages: Sequence[Message], *_: Any) -> Generator[str, None, Finished]:
        if messages[0].content == "fail":
            raise RuntimeError(f"broken by {SECRET}")
        yield "one"
        self.go.wait(10)
        yield " two"
        return Finished("stop", 3, 2)


@pytest.fixture
def engine() -> Held:
    return Held()


@pytest.fixture
def generation() -> Iterator[Generation]:
    made = Generation(length=2)
    made.start()
    yield made
    made.stop()


def job(
    engine: Held, text: str = "x", on_done: Callable[[Done], None] = lambda done: None
) -> tuple[Job, queue.Queue[Item]]:
    items: queue.Queue[Item] = queue.Queue()
    loaded = Loaded(SERVED, engine, len, Redactor(()), 100, 0)
    turns = (Message(role="user", content=text),)
    return Job(loaded, turns, 5, 0.0, 1.0, None, (), items.put, on_done), items


def test_pieces_then_the_whole(engine: Held, generation: Generation) -> None:
    engine.go.set()
    logged = list[Done]()
    asked, items = job(engine, on_done=logged.append)
    generation.submit(asked)
    assert [items.get(timeout=5), items.get(timeout=5)] == ["one", " two"]
    done = items.get(timeout=5)
    assert isinstance(done, Done)
    assert (done.text, done.finished.reason) == ("one two", "stop")
    assert logged == [done]


def test_a_full_queue_refuses(engine: Held, generation: Generation) -> None:
    first, items = job(engine)
    generation.submit(first)
    assert items.get(timeout=5) == "one"
    for _ in range(2):
        generation.submit(job(engine)[0])
    with pytest.raises(ApiError) as full:
        generation.submit(job(engine)[0])
    assert (full.value.status, full.value.code, full.value.headers) == (503, "overloaded", {"Retry-After": "2"})
    engine.go.set()


def test_a_broken_answer_is_an_error_and_the_next_one_works(
    engine: Held, generation: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    engine.go.set()
    broken, errors = job(engine, "fail")
    generation.submit(broken)
    error = errors.get(timeout=5)
    assert isinstance(error, ApiError)
    assert error.status == 500
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text
    working, items = job(engine)
    generation.submit(working)
    assert items.get(timeout=5) == "one"


def test_what_nobody_waits_for_is_not_made_but_what_was_made_is_logged(engine: Held, generation: Generation) -> None:
    logged, never = list[Done](), list[Done]()
    first, items = job(engine, on_done=logged.append)
    second, _ = job(engine, on_done=never.append)
    generation.submit(first)
    assert items.get(timeout=5) == "one"
    generation.submit(second)
    second.cancelled.set()
    first.cancelled.set()
    engine.go.set()
    while not isinstance(done := items.get(timeout=5), Done):
        continue
    assert done.finished.completion_tokens <= 2
    assert logged == [done]
    assert never == []


def test_an_answer_that_cannot_be_logged_does_not_stand_in_the_gateways_log(
    registry_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": SECRET}]})
    loaded = Loaded(SERVED, Held(), len, Redactor(()), 100, 0)
    with state.engine().begin() as connection:
        connection.execute(sa.text("DROP TABLE requests"))
    write_log(prepare(request, loaded), Done(f"{SECRET} is yours", Finished("stop", 0, 5), 7))
    assert "was not written to the request log" in caplog.text
    assert "OperationalError" in caplog.text
    assert SECRET not in caplog.text
    with state.engine().connect() as connection, pytest.raises(sa.exc.OperationalError) as missing:
        connection.execute(sa.text("SELECT * FROM requests WHERE id = :id"), {"id": SECRET})
    assert SECRET not in str(missing.value)
