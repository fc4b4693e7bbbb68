"""Brings a training to its end: starts the trainer, finds out why it failed, repairs what is safe, starts again.

A retry decorator could not tell a killed trainer from data it will never accept. What was changed is kept beside the
checkpoints before it takes effect, said to whoever listens, and part of the result.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tasks import progress
from tasks.train.amendments import amended_micro_batch
from tasks.train.attempts import Launch, OnEvent, Watch
from tasks.train.checkpoints import Checkpoints
from tasks.train.engines.where import launch_for
from tasks.train.failures import Evidence, Failure, classify
from tasks.train.finished import TAKEN, finished
from tasks.train.next_attempt import Attempt, Limits, Plan, Stop, next_attempt
from tasks.train.plan import Job
from tasks.train.repair_log import RepairLog, read_log, write_log
from tasks.train.worker import RESULT, Result

log = logging.getLogger("tuneloop.train")
_POLL_SECONDS = 0.2


def train_in_process(job: Job, *, home: Path, log_file: Path, on_event: OnEvent, price_per_hour: float = 0.0) -> Result:
    """The result of a training, on this machine or where TUNELOOP_TRAINER says.

    Whatever an earlier attempt left in the job's folder is used.

    Raises:
        TuneloopError: TrainingFailed or another kind, with the code of the failure, what happened and what to do.
    """
    return supervise(job, launch_for(home, log_file), on_event, limits_of(job, price_per_hour))


def limits_of(job: Job, price_per_hour: float = 0.0) -> Limits:
    """How far repairs of this job may go."""
    return Limits(
        max_attempts=job.config.max_attempts,
        timeout_seconds=job.config.timeout_minutes * 60,
        max_cost=job.config.max_cost,
        price_per_hour=price_per_hour,
    )


def supervise(job: Job, launch: Launch, on_event: OnEvent, limits: Limits) -> Result:
    """As `train_in_process`, wherever `launch` starts the trainer."""
    if (result := _taken(job, on_event)) is not None:
        return _settled(job, result)
    repairs = read_log(job.work / "checkpoints")
    history: list[Attempt] = []
    while True:
        amended = job.model_copy(update={"amendments": repairs.amendments})
        watch = Watch(on_event, limits, sum(attempt.seconds for attempt in history))
        evidence = launch(amended, watch.seconds_left(), watch)
        result = _read_result(job) if evidence.exit_code == 0 else _taken(job, on_event)
        if result is not None:
            return _settled(job, result)
        failure = classify(evidence.model_copy(update={"step": watch.step}))
        attempt = _attempt(amended, evidence, failure, watch)
        limits = limits.told(watch.price_per_hour)
        decided = next_attempt(failure, attempt, history, limits)
        _tell(on_event, failure, decided, len(history) + 1)
        _count(job, failure, decided)
        if isinstance(decided, Stop):
            _settle(job, repaired=False)
            raise decided.failure.as_error()
        history.append(attempt.model_copy(update={"seconds": attempt.seconds + decided.wait_seconds}))
        repairs = _carry_out(job, repairs, failure, decided, on_event)


def _read_result(job: Job) -> Result:
    return Result.model_validate_json((job.work / RESULT).read_text(encoding="utf-8"))


def _taken(job: Job, on_event: OnEvent) -> Result | None:
    """The result that an attempt left although it did not end well after it; what it still had to do is done."""
    result = finished(job)
    if result is not None:
        on_event({"event": "note", "text": TAKEN})
        Checkpoints(job.work / "checkpoints", "", lambda _: None).remove_here()
    return result


def _settled(job: Job, result: Result) -> Result:
    """The result; what was repaired on the way to it is open no more."""
    if result.repairs:
        _settle(job, repaired=True)
    return result


def _attempt(job: Job, evidence: Evidence, failure: Failure, watch: Watch) -> Attempt:
    folders = (job.work / "checkpoints").glob("step-*")
    return Attempt(
        code=failure.code,
        exit_code=evidence.exit_code,
        seconds=evidence.seconds,
        began_step=watch.began_step,
        reached_step=watch.step,
        steps=watch.steps,
        checkpoints=tuple(sorted(int(folder.name.removeprefix("step-")) for folder in folders)),
        batch_rows=job.config.batch_rows,
        micro_batch_rows=amended_micro_batch(job.config.micro_batch_rows, job.amendments),
        activation_checkpointing=watch.recomputes,
        amendments=job.amendments,
    )


def _carry_out(job: Job, repairs: RepairLog, failure: Failure, plan: Plan, on_event: OnEvent) -> RepairLog:
    """Write the repair down, go back where it says so, wait. In this order: what is written can be done again."""
    changed = repairs.after(failure, plan)
    write_log(job.work / "checkpoints", changed)
    if plan.go_back_to is not None:
        kept = Checkpoints(job.work / "checkpoints", job.mirror, lambda text: on_event({"event": "note", "text": text}))
        kept.forget_after(plan.go_back_to)
    _wait(plan.wait_seconds)
    return changed


def _wait(seconds: float) -> None:
    """Sleep, but end at once when somebody asked the run to end."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress.stop_if_interrupted()
        time.sleep(min(_POLL_SECONDS, left))


def _tell(on_event: OnEvent, failure: Failure, decided: Plan | Stop, attempt: int) -> None:
    on_event({"event": "failure", **failure.model_dump()})
    if isinstance(decided, Plan):
        said = {"code": failure.code, "step": failure.step, "change": decided.change}
        on_event({"event": "repair", **said, "wait_seconds": decided.wait_seconds})
        on_event({"event": "restart", "attempt": attempt, "code": failure.code})


def _count(job: Job, failure: Failure, decided: Plan | Stop) -> None:
    """Note the failure for the statistics of errors. A database that fails must not end a training."""
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.failure_log import note
    from tasks.errors import TuneloopError

    change = decided.change if isinstance(decided, Plan) else decided.reason
    try:
        note(failure.code, job.key, step=failure.step, change=change)
    except (SQLAlchemyError, TuneloopError, OSError) as error:
        log.warning("the failure was not counted in the statistics of errors (%s)", type(error).__name__)


def _settle(job: Job, *, repaired: bool) -> None:
    """Note how it ended for the failures of this training that are open."""
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.failure_log import settle
    from tasks.errors import TuneloopError

    try:
        settle(job.key, repaired=repaired)
    except (SQLAlchemyError, TuneloopError, OSError) as error:
        log.warning("the statistics of errors could not be brought up to date (%s)", type(error).__name__)
