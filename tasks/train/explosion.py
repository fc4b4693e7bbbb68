"""Whether a loss has gone wrong: it is no number, or so far above its start that it does not come back. Pure.

Rows of similar length share a batch, and a short label begins with several times the loss of a long text. So a step is
compared with steps whose answers are about as long as its own; what goes wrong for good shows in each of the kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.contracts import LossPoint
from tasks.errors import TrainingFailed
from tasks.train.failures import NAN, SPIKE, failure
from tasks.train.plan import MicroBatches

# Against the loss of the first step, where nothing was learned, or of the first one of its kind where that was higher:
# a single step above the first limit, or this many of a kind in a row above the second. Batches differ, and preference
# losses begin near 0.7, so both leave room.
_SINGLE = (3.0, 1.0)
_LASTING, _STEPS = (1.5, 0.5), 8


def kinds_of(steps: Sequence[MicroBatches], units: Sequence[int]) -> list[int]:
    """The kind of each planned step, by the mean length of its answers: fourfold lengths are another kind.

    Args:
        units: for each example, how many learned tokens it has (or what else its method counts).
    """
    return [_kind([units[row] for micro in step for row in micro]) for step in steps]


def _kind(units: Sequence[int]) -> int:
    return (sum(units) // max(1, len(units))).bit_length() // 2


def check_loss(earlier: Sequence[LossPoint], loss: float, kinds: Sequence[int]) -> None:
    """Let a training go on only with a loss that it can learn from.

    Args:
        earlier: the curve so far.
        loss: of the step that is to be done.
        kinds: of all planned steps.

    Raises:
        TrainingFailed: TL-TRAIN-NAN or TL-TRAIN-SPIKE.
    """
    where = f"step {len(earlier) + 1}"
    if not math.isfinite(loss):
        _stop(NAN, where, f"it became {loss}")
    own = kinds[len(earlier)]
    alike = [point.loss for point, kind in zip(earlier, kinds, strict=False) if kind == own]
    if not alike:  # how high it may be, the next ones of its kind show
        return
    start = max(earlier[0].loss, alike[0], key=abs)
    if loss > _limit(start, _SINGLE):
        _stop(SPIKE, where, f"it is {loss:.2f}, and steps with answers of such a length began at {start:.2f} or less")
    if len(alike) >= _STEPS and min(*alike[1 - _STEPS :], loss) > _limit(start, _LASTING):
        above = f"{_STEPS} steps with answers of such a length in a row are above {_limit(start, _LASTING):.2f}"
        _stop(SPIKE, where, f"{above}; they began at {start:.2f} or less")


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
