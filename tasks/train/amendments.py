"""Changes to a training under way that keep its result meaningful: what a repair did, written into the job.

An amendment holds from a step on, so that a later start from any checkpoint computes the same as the one before. The
rows of a step never change: a smaller micro-batch is the same step in more pieces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasks.contracts import Record

if TYPE_CHECKING:
    from tasks.train.plan import Decisions

MicroBatches = tuple[tuple[int, ...], ...]


class Amendment(Record):
    """One change that a repair made."""

    from_step: int = Field(ge=0, description="Optimiser steps done when it takes effect.")
    micro_batch_rows: int | None = Field(None, ge=1, description="Most rows of one forward pass from then on.")
    activation_checkpointing: Literal["on"] | None = Field(None, description="Compute activations again.")
    learning_rate_factor: float | None = Field(None, gt=0, description="What the learning rate is multiplied with.")
    code: str = Field(description="The failure it answers, e.g. TL-TRAIN-OOM-GPU.")
    reason: str = Field(description="What was changed and why, in words.")


def amended_steps(steps: Sequence[MicroBatches], amendments: Sequence[Amendment]) -> list[MicroBatches]:
    """The plan with micro-batches no larger than the amendments allow; rows and their order stay as they were."""
    return [_cut(step, _most_rows(amendments, number)) for number, step in enumerate(steps)]


def _most_rows(amendments: Sequence[Amendment], step: int) -> int | None:
    limits = [a.micro_batch_rows for a in amendments if a.micro_batch_rows and a.from_step <= step]
    return min(limits) if limits else None


def amended_micro_batch(rows: int, amendments: Sequence[Amendment]) -> int:
    """Most rows of one forward pass after every repair."""
    return min([rows, *(a.micro_batch_rows for a in amendments if a.micro_batch_rows)])


def _cut(step: MicroBatches, rows: int | None) -> MicroBatches:
    if rows is None:
        return step
    return tuple(micro[at : at + rows] for micro in step for at in range(0, len(micro), rows))


def rate_factor(amendments: Sequence[Amendment], step: int) -> float:
    """What the learning rate of a step (from 0) is multiplied with; factors of several repairs multiply."""
    factors = (a.learning_rate_factor for a in amendments if a.learning_rate_factor and a.from_step <= step)
    return math.prod(factors)


def amended_decisions(decisions: Decisions, amendments: Sequence[Amendment]) -> Decisions:
    """The decisions of a run after its repairs: activations are computed again where one of them asked for it."""
    asked = [a for a in amendments if a.activation_checkpointing]
    if not asked:
        return decisions
    changed = decisions.activation_checkpointing.model_copy(
        update={"value": "on", "reason": f"repair after {asked[-1].code}"}
    )
    return decisions.model_copy(update={"activation_checkpointing": changed})
