"""One start of the trainer process, and the evidence it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tasks.adapters.memory_kills import oom_kills
from tasks.adapters.processes import run_worker
from tasks.adapters.store import write_atomically
from tasks.train.failures import Evidence, Failure
from tasks.train.plan import Job

OnEvent = Callable[[dict[str, Any]], None]
_TAIL_BYTES, _TAIL_LINES = 20_000, 60


class Launch(Protocol):
    """Starts the trainer somewhere, passes on its events and says how it ended."""

    def __call__(self, job: Job, seconds: float, on_event: OnEvent) -> Evidence:
        """Run the job for at most so many seconds."""
        ...


class LocalLaunch:
    """The trainer as a child process on this machine.

    Args:
        home: where the child is remembered, so that a later command can end what a killed one left.
        log_file: what it prints is added there.
    """

    def __init__(self, home: Path, log_file: Path) -> None:
        self.home, self.log_file = home, log_file

    def __call__(self, job: Job, seconds: float, on_event: OnEvent) -> Evidence:
        request = job.work.parent / f"{job.work.name}.job.json"
        write_atomically(request, job.model_dump_json())
        said: list[Failure] = []
        kills, began, start = oom_kills(), time.monotonic(), _size(self.log_file)
        try:
            code = run_worker(
                "tasks.train.worker",
                [str(request)],
                home=self.home,
                log_file=self.log_file,
                on_event=lambda event: said.append(as_failure(event)) if is_failure(event) else on_event(event),
                timeout_seconds=seconds,
            )
        finally:
            request.unlink(missing_ok=True)
        return Evidence(
            exit_code=code,
            seconds=time.monotonic() - began,
            timeout_seconds=seconds,
            said=tuple(said),
            oom_kills=oom_kills() - kills,
            log_tail=_tail(self.log_file, start),
            log=str(self.log_file),
        )


def is_failure(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "error")


def as_failure(event: dict[str, Any]) -> Failure:
    """The failure that a trainer process tells of."""
    return Failure(
        code=event["code"],
        text=event["what"],
        remedy=event.get("remedy", ""),
        where=event.get("where", ""),
        why=event.get("why", ""),
        step=event.get("step"),
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _tail(file: Path, start: int) -> tuple[str, ...]:
    """Last lines that this attempt wrote: those of earlier ones tell of other failures."""
    if not file.is_file():
        return ()
    with file.open("rb") as stream:
        stream.seek(max(start, _size(file) - _TAIL_BYTES))
        return tuple(stream.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])


class Watch:
    """Reads along what a trainer says, and passes it on."""

    def __init__(self, on_event: OnEvent) -> None:
        self.on_event = on_event
        self.began_step, self.step, self.steps = 0, 0, 0
        self.recomputes = False
        self.price_per_hour = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "resumed":
            self.began_step = self.step = int(event["step"])
        elif kind == "progress":
            self.step, self.steps = int(event["step"]), int(event["total"])
        elif kind == "decisions":
            self.recomputes = str(event["decisions"].get("activation_checkpointing", "")).startswith("on")
        elif kind == "estimate":
            self.price_per_hour = event.get("price_per_hour") or 0.0
        self.on_event(event)
