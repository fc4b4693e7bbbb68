"""Events of a training: numbered records in one append-only log for each training.

An event is known by its training, its writer and its number. A log keeps each of them once, however often it arrives,
so that whoever sends may send again; numbers that are missing are visible.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tasks.contracts import Record

RUN_PATTERN = r"^[0-9a-f]{16,64}$"
Stage = Literal["loading", "training", "recovering", "finalizing"]
Scalar = str | int | float | bool | None


class RunEvent(Record):
    """One thing that happened in a training."""

    run: str = Field(pattern=RUN_PATTERN, description="Key of the training.")
    writer: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="Who numbers: the flow, or a trainer elsewhere.")
    seq: int = Field(ge=1, description="Number of this writer's event, from 1 without gaps.")
    at: datetime = Field(description="UTC.")
    kind: str = Field(
        pattern=r"^[a-z-]{1,30}$", description="begin, progress, checkpoint, resumed, repair, warning, ..."
    )
    stage: Stage = "loading"
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens: int | None = Field(None, description="Tokens seen so far, padding excluded.")
    tokens_per_second: float | None = None
    mfu: float | None = Field(None, description="Share of the machine's arithmetic rate; None: not known.")
    memory_mb: float | None = None
    eta_seconds: float | None = None
    seconds: float = Field(0.0, ge=0, description="Since the training began, earlier attempts of this run included.")
    cost: float | None = Field(None, description="So far; None without a price.")
    interruptions: int = Field(0, ge=0)
    repairs: int = Field(0, ge=0)
    text: str = ""
    details: dict[str, Scalar] = Field(default_factory=dict, description="What only this kind of event says.")

    def line(self) -> str:
        """The event as one line of a log; what is not known is left out."""
        return self.model_dump_json(exclude_none=True, exclude_defaults=True)  # a loss that is no number: null


class EventLog:
    """The log of one training. Several processes may append to it.

    Args:
        file: a file of JSON lines; made on the first append.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: set[tuple[str, int]] = set()
        self._read_to = 0

    @classmethod
    def of(cls, home: Path, run: str) -> EventLog:
        """The log of a training in a home."""
        return cls(home / "logs" / "events" / f"{run}.jsonl")

    def append(self, events: Iterable[RunEvent]) -> int:
        """Write the events that are not there yet; how many these were."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._catch_up()
            new = {(e.writer, e.seq): e for e in events if (e.writer, e.seq) not in self._known}
            text = "".join(event.line() + "\n" for event in new.values())
            if self._ends_in_the_middle():
                text = "\n" + text
            stream.write(text.encode())
            stream.flush()
            self._read_to = os.fstat(stream.fileno()).st_size
        self._known |= new.keys()
        return len(new)

    def read(self) -> list[RunEvent]:
        """All events, in the order in which they arrived."""
        return [event for event, _ in _events(self.file, 0)]

    def last(self, writer: str) -> int:
        """The highest number of a writer; 0 where there is none."""
        self._catch_up()
        return max((seq for name, seq in self._known if name == writer), default=0)

    def gaps(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Writer → first and last number of each stretch that is missing below its highest number."""
        self._catch_up()
        writers = sorted({name for name, _ in self._known})
        found = {name: _missing(sorted(seq for other, seq in self._known if other == name)) for name in writers}
        return {name: missing for name, missing in found.items() if missing}

    def _catch_up(self) -> None:
        """Take in what was written since the last look."""
        if self.file.is_file() and self.file.stat().st_size < self._read_to:
            self._known, self._read_to = set(), 0
        for event, end in _events(self.file, self._read_to):
            self._known.add((event.writer, event.seq))
            self._read_to = end

    def _ends_in_the_middle(self) -> bool:
        """Whether the last line was cut off, by a power cut for example."""
        if self.file.stat().st_size == 0:
            return False
        with self.file.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) != b"\n"


def _events(file: Path, start: int) -> Iterator[tuple[RunEvent, int]]:
    """Events from a byte position on, each with the position behind it. A line that was cut off is none."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        stream.seek(start)
        for line in stream:
            start += len(line)
            event = _parsed(line)
            if event is not None and line.endswith(b"\n"):
                yield event, start


def _parsed(line: bytes) -> RunEvent | None:
    try:
        return RunEvent.model_validate_json(line)
    except ValidationError:
        return None


def _missing(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    before = [0, *numbers]
    return tuple((low + 1, high - 1) for low, high in zip(before, numbers, strict=False) if high - low > 1)


def parsed_events(body: bytes) -> tuple[RunEvent, ...]:
    """Events as they travel: a JSON list.

    Raises:
        ValueError: it is none.
    """
    values: Any = json.loads(body)
    if not isinstance(values, list) or not values:
        raise ValueError("a JSON list of events is needed")
    return tuple(RunEvent.model_validate(value) for value in values)
