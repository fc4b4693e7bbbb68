"""What to do after an attempt that failed: try again, with what change and after what time, or stop. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tasks.contracts import Record
from tasks.train.amendments import Amendment
from tasks.train.failures import COST, STOPPED, TIMEOUT, Failure, failure

_HOUR = 3600.0


class Limits(Record):
    """How far repairs may go."""

    max_attempts: int = Field(5, ge=1, description="Starts in a row without a new checkpoint.")
    timeout_seconds: float = Field(86400.0, gt=0, description="Over all attempts and waits.")
    max_cost: float | None = Field(None, gt=0, description="Over all attempts; None: no limit.")
    price_per_hour: float = Field(0.0, ge=0, description="Of the machines that train; 0: they cost nothing.")

    def seconds_left(self, spent: float) -> float:
        """Seconds that another attempt may take: until time or money runs out."""
        left = self.timeout_seconds - spent
        if self.max_cost is not None and self.price_per_hour > 0:
            left = min(left, self.max_cost / self.price_per_hour * _HOUR - spent)
        return left

    def told(self, price_per_hour: float) -> Limits:
        """The limits with the price that the trainer told, once it has: it knows best which devices it uses."""
        return self.model_copy(update={"price_per_hour": price_per_hour}) if price_per_hour else self

    def cost(self, seconds: float) -> float:
        """What so many seconds of training cost."""
        return seconds / _HOUR * self.price_per_hour


class Attempt(Record):
    """One start of the trainer and how it ended."""

    code: str = Field(description="Of its failure.")
    exit_code: int = Field(description="Negative: the signal that ended it.")
    seconds: float = Field(0.0, description="With the wait before it.")
    began_step: int = Field(0, description="Optimiser steps that were done when it began.")
    reached_step: int = Field(0, description="Optimiser steps that were done when it ended.")
    steps: int = Field(0, ge=0, description="Optimiser steps of the whole training; 0: not known.")
    checkpoints: tuple[int, ...] = Field((), description="Steps of the checkpoints that are there afterwards.")
    batch_rows: int = Field(1, ge=1)
    micro_batch_rows: int = Field(1, ge=1, description="As it was in this attempt, after earlier repairs.")
    activation_checkpointing: bool = False
    amendments: tuple[Amendment, ...] = Field((), description="That held in this attempt.")

    @property
    def newest(self) -> int:
        """Step that another attempt would go on from."""
        return max(self.checkpoints, default=0)


class Plan(Record):
    """Another attempt."""

    change: str = Field(description="What is different, in words.")
    amendments: tuple[Amendment, ...] = Field((), description="New ones, beside those that hold already.")
    go_back_to: int | None = Field(None, description="Step from which newer checkpoints are dropped; None: the newest.")
    wait_seconds: float = Field(0.0, ge=0)


class Stop(Record):
    """No other attempt."""

    failure: Failure
    reason: str = Field(description="Why there is none.")


def next_attempt(found: Failure, attempt: Attempt, history: Sequence[Attempt], limits: Limits) -> Plan | Stop:
    """What follows a failure.

    Args:
        found: what went wrong.
        attempt: the start that failed.
        history: earlier starts of this training by the same command, oldest first.
    """
    from tasks.train.remedies import remedy_for

    started = [*history, attempt]
    if found.code in (TIMEOUT, STOPPED):
        return _no_more(found, limits, sum(a.seconds for a in started))
    planned = remedy_for(found, attempt, history)
    if isinstance(planned, Stop):
        return planned
    spent = sum(a.seconds for a in started) + planned.wait_seconds
    if limits.seconds_left(spent) <= 0:
        return _no_more(found, limits, spent)
    fruitless = _without_checkpoint(started)
    if fruitless >= limits.max_attempts:
        text = f"it was started {fruitless} times in a row without a new checkpoint"
        return Stop(failure=_told(found, text), reason=f"train.max_attempts is {limits.max_attempts}")
    return planned


def _without_checkpoint(attempts: Sequence[Attempt]) -> int:
    """How many starts in a row, the last one included, left no checkpoint that is newer than all before."""
    best, count = 0, 0
    for attempt in attempts:
        count = 0 if attempt.newest > best else count + 1
        best = max(best, attempt.newest)
    return count


def _no_more(found: Failure, limits: Limits, spent: float) -> Stop:
    if found.code == STOPPED:
        return Stop(failure=found, reason="somebody asked it to end")
    if limits.max_cost is not None and limits.cost(spent) >= limits.max_cost:
        why = f"{limits.cost(spent):.2f} of {limits.max_cost:.2f} were spent"
        return Stop(failure=failure(COST, where="train.max_cost", why=why, step=found.step), reason=why)
    if found.code == TIMEOUT:
        return Stop(failure=found, reason="its time is over")
    why = f"{spent / 60:.1f} of {limits.timeout_seconds / 60:.1f} minutes were spent; the last failure: {found.text}"
    return Stop(failure=failure(TIMEOUT, where="train.timeout_minutes", why=why, step=found.step), reason=why)


def _told(found: Failure, more: str) -> Failure:
    return found.model_copy(update={"why": f"{found.why}; {more}" if found.why else more})
