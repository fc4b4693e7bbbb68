"""When a loss counts as gone wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.contracts import LossPoint
from tasks.errors import TrainingFailed
from tasks.train.explosion import check_gradient, check_loss


def check(*losses: float) -> None:
    for number in range(len(losses)):
        check_loss(curve(losses[:number]), losses[number])


def curve(losses: Sequence[float]) -> list[LossPoint]:
    return [LossPoint(step=i + 1, loss=loss, learning_rate=1e-3, tokens=i) for i, loss in enumerate(losses)]


def test_a_usual_course_goes_on() -> None:
    check(2.5, 3.0, 2.1, 1.4, 0.2, 0.9, 0.1)
    check(0.69, 0.6, 0.1, 0.9, 0.02, 1.2, 0.01)
    check(25.0, 20.0, 30.0, 4.0)
    check(0.0, 0.4, -0.2, 0.3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number(value: float) -> None:
    with pytest.raises(TrainingFailed, match="no longer a number") as caught:
        check(2.0, value)
    assert (caught.value.code, caught.value.where) == ("TL-TRAIN-NAN", "step 2")


def test_a_single_step_far_above_the_start() -> None:
    with pytest.raises(TrainingFailed) as caught:
        check(2.0, 1.9, 7.5)
    assert (caught.value.code, caught.value.where) == ("TL-TRAIN-SPIKE", "step 3")
    assert "7.50" in caught.value.why


def test_a_loss_that_does_not_come_back() -> None:
    check(2.0, *[3.6] * 7)
    check(2.0, *[3.6] * 7, 1.9, *[3.6] * 7)
    with pytest.raises(TrainingFailed) as caught:
        check(2.0, *[3.6] * 8)
    assert caught.value.code == "TL-TRAIN-SPIKE"


def test_a_gradient_without_a_length_stops_before_it_spoils_the_weights() -> None:
    check_gradient(1e30, 1)
    with pytest.raises(TrainingFailed, match="no longer a number") as caught:
        check_gradient(float("inf"), 7)
    assert (caught.value.code, caught.value.where) == ("TL-TRAIN-NAN", "step 7")
