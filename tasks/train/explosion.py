"""Whether a loss has gone wrong: it is no number, or so far above its start that it does not come back. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.contracts import LossPoint
from tasks.errors import TrainingFailed
from tasks.train.failures import NAN, SPIKE, failure

# Against the loss of the first step, where nothing was learned: a single step above the first limit, or this many in a
# row above the second. Batches differ, and preference losses begin near 0.7, so both leave room.
_SINGLE = (3.0, 1.0)
_LASTING, _STEPS = (1.5, 0.5), 8


def check_loss(earlier: Sequence[LossPoint], loss: float) -> None:
    """Let a training go on only with a loss that it can learn from.

    Args:
        earlier: the curve so far.
        loss: of the step that is to be done.

    Raises:
        TrainingFailed: TL-TRAIN-NAN or TL-TRAIN-SPIKE.
    """
    where = f"step {len(earlier) + 1}"
    if not math.isfinite(loss):
        _stop(NAN, where, f"it became {loss}")
    losses = [*(point.loss for point in earlier), loss]
    if len(earlier) and loss > _limit(losses[0], _SINGLE):
        _stop(SPIKE, where, f"it is {loss:.2f} and began at {losses[0]:.2f}")
    if len(earlier) >= _STEPS and min(losses[-_STEPS:]) > _limit(losses[0], _LASTING):
        _stop(
            SPIKE,
            where,
            f"{_STEPS} steps in a row are above {_limit(losses[0], _LASTING):.2f}; it began at {losses[0]:.2f}",
        )


def check_gradient(norm: float, step: int) -> None:
    """Let a step be taken only with a gradient of finite length: one that is not would spoil every weight.

    Args:
        step: number of the step that is under way, from 1.

    Raises:
        TrainingFailed: TL-TRAIN-NAN.
    """
    if not math.isfinite(norm):
        _stop(NAN, f"step {step}", f"the length of the gradient became {norm}")


def _limit(start: float, rule: tuple[float, float]) -> float:
    times, more = rule
    return times * abs(start) + more


def _stop(code: str, where: str, why: str) -> None:
    found = failure(code, where=where, why=why)
    raise TrainingFailed(found.text, where=where, why=why, remedy=found.remedy, code=code)
