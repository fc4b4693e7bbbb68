"""Runs the trainer process to its end, again from the last checkpoint if it was killed, and explains what went wrong.

This is the loop that repairs; a retry decorator could not tell a killed trainer from data it will never accept.
"""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapters.processes import run_worker
from tasks.adapters.store import write_atomically
from tasks.contracts import Record
from tasks.errors import EnvironmentUnusable, TrainingFailed, TuneloopError, UsageError
from tasks.train.plan import Job
from tasks.train.worker import RESULT, STOPPED, Result

MAX_RESTARTS = 2
_KINDS = {kind.code: kind for kind in (TrainingFailed, UsageError, EnvironmentUnusable)}
OnEvent = Callable[[dict[str, Any]], None]


class Ending(Record):
    """How a trainer process ended."""

    code: int
    seconds: float
    error: dict[str, str] | None = None


def train_in_process(job: Job, *, home: Path, log_file: Path, on_event: OnEvent) -> Result:
    """The result of a training; whatever an earlier attempt left in the job's folder is used.

    Raises:
        TrainingFailed: with what happened, why and what to do.
    """
    request = job.work.parent / f"{job.work.name}.job.json"
    write_atomically(request, job.model_dump_json())
    restarts = 0
    try:
        while (ending := _run_once(request, job, home, log_file, on_event)).code != 0:
            failure = classify(ending, job.config.timeout_minutes * 60, log_file)
            if failure is not None or restarts == MAX_RESTARTS:
                raise failure or _gave_up(ending, log_file)
            restarts += 1
            on_event({"event": "restart", "attempt": restarts, "signal": -ending.code})
    finally:
        request.unlink(missing_ok=True)
    return Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))


def _run_once(request: Path, job: Job, home: Path, log_file: Path, on_event: OnEvent) -> Ending:
    errors: list[dict[str, str]] = []
    began = time.monotonic()
    code = run_worker(
        "tasks.train.worker",
        [str(request)],
        home=home,
        log_file=log_file,
        on_event=functools.partial(_sort_event, errors, on_event),
        timeout_seconds=job.config.timeout_minutes * 60,
    )
    return Ending(code=code, seconds=time.monotonic() - began, error=errors[-1] if errors else None)


def _sort_event(errors: list[dict[str, str]], on_event: OnEvent, event: dict[str, Any]) -> None:
    if event["event"] == "error":
        errors.append({key: str(value) for key, value in event.items() if key != "event"})
    else:
        on_event(event)


def classify(ending: Ending, timeout_seconds: float, log_file: Path) -> TuneloopError | None:
    """What to raise for an ending that was no success; None where another attempt makes sense (it was killed)."""
    if ending.error:
        kind = _KINDS.get(ending.error["code"], TrainingFailed)
        return kind(**{key: ending.error.get(key, "") for key in ("what", "where", "why", "remedy")})
    if ending.code == STOPPED and ending.seconds >= timeout_seconds:
        return TrainingFailed(
            "training took longer than it may",
            where="train.timeout_minutes",
            why=f"it was stopped after {ending.seconds / 60:.1f} minutes",
            remedy="raise train.timeout_minutes, or lower train.epochs or train.max_rows; the same command goes on "
            "from the last checkpoint if only the timeout was too short for this machine",
        )
    if ending.code == STOPPED:
        return TrainingFailed(
            "training was stopped",
            why="the trainer was asked to end (SIGTERM)",
            remedy="repeat the command: it goes on from the checkpoint that was written",
        )
    if ending.code == -signal.SIGKILL:
        return None
    how = f"signal {signal.Signals(-ending.code).name}" if ending.code < 0 else f"exit code {ending.code}"
    return TrainingFailed(
        "the trainer ended unexpectedly",
        where=str(log_file),
        why=how,
        remedy="read the end of the log; the same command goes on from the last checkpoint",
    )


def _gave_up(ending: Ending, log_file: Path) -> TrainingFailed:
    return TrainingFailed(
        f"the trainer was killed {MAX_RESTARTS + 1} times",
        where=str(log_file),
        why=f"signal {signal.Signals(-ending.code).name}; the system does this when memory runs out",
        remedy="close other programs, or lower train.micro_batch_rows or checks.max_tokens; the same command goes on "
        "from the last checkpoint",
    )
