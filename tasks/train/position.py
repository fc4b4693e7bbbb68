"""Where a training stands: what a checkpoint says beside its tensors, and what must agree before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.contracts import Digest, LossPoint, Record, ValidationPoint
from tasks.digest import digest_of
from tasks.train.plan import MicroBatches

if TYPE_CHECKING:
    from torch import Tensor


class Position(Record):
    """Where a training stands."""

    key: Digest = Field(description="Identity of the training the checkpoint belongs to.")
    step: int = Field(ge=0, description="Optimiser steps done; with the plan, the sampler's position.")
    tokens: int = Field(ge=0, description="Tokens seen, padding excluded.")
    seconds: float = Field(ge=0, description="Wall seconds of training so far.")
    curve: tuple[LossPoint, ...]
    validation: tuple[ValidationPoint, ...] = Field((), description="Looks at validation so far.")
    plan: Digest = Field("", description="Over the rows of every step.")
    dataset: Digest = Field("", description="Dataset that is trained on.")
    recipe: Digest = Field("", description="Over every value of the configuration.")
    processes: int = Field(1, ge=1, description="Processes that trained together.")
    learning_rate: float = Field(0.0, description="State of the schedule, which is a function of the step: its value.")
    scaler: str = Field("none: bf16 needs no gradient scaling", description="State of the gradient scaler.")
    tensors: dict[str, str] = Field(default_factory=dict, description="Learned tensor → type and shape.")
    starts: int = Field(1, ge=1, description="Times the training was started, up to this checkpoint.")
    said: tuple[str, ...] = Field((), description="What interrupted the training so far and how it went on.")


def objection(position: Position, plan: Digest, tensors: Mapping[str, str]) -> str:
    """Why a training with this plan and these learned tensors cannot go on from a position; empty where it can."""
    if position.plan != plan:
        return "it was written for another order of the rows"
    if position.tensors != tensors:
        return "the learned tensors have other names, types or shapes"
    return ""


def plan_digest(steps: Iterable[MicroBatches]) -> Digest:
    """Over the rows of every step, however a step is cut into micro-batches: that may change to save memory."""
    return digest_of([sorted(row for micro in step for row in micro) for step in steps])


def layout(parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Type and shape of each learned tensor."""
    return {name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in parameters.items()}
