"""One start of the trainer process, and the evidence it leaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tasks.adapters.memory_kills import oom_kills
from tasks.adapters.processes import LONGEST_GRACE_SECONDS, TERM_GRACE_SECONDS, run_worker
from tasks.adapters.store import write_atomically
from tasks.train.failures import Evidence, Failure
from tasks.train.next_attempt import Limits
from tasks.train.plan import Job

log = logging.getLogger("tuneloop.train")
OnEvent = Callable[[dict[str, Any]], None]
_TAIL_BYTES, _TAIL_LINES = 20_000, 60
_STEPS_TO_END = 3.0  # steps are not equally long, and a machine that is shared gets slower


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
        pace = Pace()

        def hear(event: dict[str, Any]) -> None:
            pace(event)
            said.append(as_failure(event)) if is_failure(event) else on_event(event)

        kills, began, start = oom_kills(), time.monotonic(), _size(self.log_file)
        try:
            code = run_worker(
                "tasks.train.worker",
                [str(request)],
                home=self.home,
                log_file=self.log_file,
                on_event=hear,
                timeout_seconds=seconds,
                time_to_end=pace.time_to_end,
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


def seconds_for(on_event: OnEvent, seconds: float) -> float:
    """Time that an attempt has: as it was given, less where the trainer has told since what its machine costs."""
    return min(seconds, on_event.seconds_left()) if isinstance(on_event, Watch) else seconds


class Pace:
    """How long a trainer needs to end in order: it finishes what it is in the middle of and writes a checkpoint.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None
        self.longest_step, self.last_save = 0.0, 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        kind, now = event["event"], self._clock()
        if kind not in ("estimate", "progress", "checkpoint"):
            return
        if self._last is not None and kind == "progress":  # looks at validation are part of a step
            self.longest_step = max(self.longest_step, now - self._last)
        elif self._last is not None and kind == "checkpoint":
            self.last_save = now - self._last
        self._last = now

    def time_to_end(self) -> float:
        """Seconds for it, between the usual ones and a limit; said where it is more than the usual ones."""
        needed = _STEPS_TO_END * self.longest_step + self.last_save
        seconds = min(max(TERM_GRACE_SECONDS, needed), LONGEST_GRACE_SECONDS)
        if seconds > TERM_GRACE_SECONDS:
            log.warning("the trainer ends after its step (up to %.0f s) with a checkpoint; after %.0f s it is killed",
                        self.longest_step, seconds)  # fmt: skip
        return seconds


class Watch:
    """Reads along what a trainer says, and passes it on.

    Args:
        limits: those of the training; their price may be one that only this trainer tells.
        spent: seconds that earlier attempts took.
    """

    def __init__(self, on_event: OnEvent, limits: Limits, spent: float = 0.0) -> None:
        self.on_event, self.limits, self.spent = on_event, limits, spent
        self.began_step, self.step, self.steps = 0, 0, 0
        self.recomputes = False
        self.price_per_hour = 0.0

    def seconds_left(self) -> float:
        """Seconds that this attempt may take from its beginning on, as far as is known by now."""
        return self.limits.told(self.price_per_hour).seconds_left(self.spent)

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
