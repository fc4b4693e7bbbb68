"""When a loss counts as gone wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.contracts import LossPoint
from tasks.errors import TrainingFailed
from tasks.train.explosion import check_gradient, check_loss, kinds_of

LONG, SHORT = 3, 1


def check(*losses: float, kinds: Sequence[int] = ()) -> None:
    for number in range(len(losses)):
        check_loss(curve(losses[:number]), losses[number], kinds or [0] * len(losses))


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


def test_a_step_has_the_kind_of_its_answers() -> None:
    steps = [((0, 1), (2,)), ((3, 4),), ((3, 0),)]
    long, short, mixed = kinds_of(steps, [100, 120, 90, 3, 4])
    assert (long, short, mixed) == (LONG, SHORT, LONG)
    assert kinds_of(steps, [1] * 5) == [0] * 3  # pairs and prompts count as one each


def test_short_labels_beside_long_texts_are_no_explosion() -> None:
    check(1.0, 4.2, 4.1, 0.9, 3.8, 1.1, 4.5, kinds=[LONG, *[SHORT] * 2, LONG, SHORT, LONG, SHORT])
    check(1.0, *[4.2] * 20, kinds=[LONG, *[SHORT] * 20])
    check(4.2, 0.2, 1.5, 0.8, kinds=[SHORT, LONG, LONG, LONG])  # learned before its kind was first seen


def test_an_explosion_shows_in_the_kinds_that_began_before_it() -> None:
    for kinds, where in (([LONG, SHORT, LONG], "step 3"), ([LONG, SHORT, SHORT, LONG], "step 4")):
        with pytest.raises(TrainingFailed) as caught:
            check(1.0, *[9.0] * (len(kinds) - 1), kinds=kinds)
        assert (caught.value.code, caught.value.where) == ("TL-TRAIN-SPIKE", where)
    with pytest.raises(TrainingFailed, match="above") as caught:
        check(2.0, 3.0, *[4.0, 3.6] * 8, kinds=[LONG, SHORT] * 9)
    assert caught.value.where == "step 17"


def test_a_gradient_without_a_length_stops_before_it_spoils_the_weights() -> None:
    check_gradient(1e30, 1)
    with pytest.raises(TrainingFailed, match="no longer a number") as caught:
        check_gradient(float("inf"), 7)
    assert (caught.value.code, caught.value.where) == ("TL-TRAIN-NAN", "step 7")
