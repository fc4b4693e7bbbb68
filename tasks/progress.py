"""What a running stage says about itself, for whoever listens in the same process (terminal, Prefect, MLflow)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import Field

from tasks.contracts import Record


class Progress(Record):
    """One thing a stage says."""

    stage: str
    state: Literal["started", "running", "finished", "failed"]
    text: str = ""
    done: int = Field(0, ge=0)
    total: int = Field(0, ge=0, description="0 where the end is not known.")
    loss: float | None = None
    eta_seconds: float | None = None
    seconds: float = Field(0.0, description="Wall seconds since the stage started.")
    remark: bool = Field(False, description="Something people should be able to read afterwards, not only see pass by.")


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []
_interrupted = threading.Event()


def interrupt() -> None:
    """Remember that somebody asked this run to end.

    A KeyboardInterrupt that Python raises inside a finalizer or a callback of a library is swallowed there; so it is
    noted as well, and raised again at the next place where a run can stop.
    """
    _interrupted.set()


def clear_interrupt() -> None:
    """Forget it, before a run starts and after it has ended."""
    _interrupted.clear()


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if somebody asked this run to end."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def publish(progress: Progress) -> None:
    """Hand a progress record to every listener of this process."""
    for listener in tuple(_listeners):
        listener(progress)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called for every progress record while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Publish start and end of a stage, with its wall seconds."""
    stop_if_interrupted()
    began = time.monotonic()
    publish(Progress(stage=name, state="started"))
    state: Literal["finished", "failed"] = "failed"
    try:
        yield
        state = "finished"
    finally:
        publish(Progress(stage=name, state=state, seconds=time.monotonic() - began))
