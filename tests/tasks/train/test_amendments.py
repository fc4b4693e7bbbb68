"""What a repair changes, and what it must not change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.amendments import Amendment, amended_micro_batch, amended_steps, rate_factor
from tasks.train.plan import plan_steps
from tasks.train.position import plan_digest
from tasks.train.recipe import Recipe


def smaller(rows: int, step: int = 0) -> Amendment:
    return Amendment(from_step=step, micro_batch_rows=rows, code="TL-TRAIN-OOM-HOST", reason="r")


def slower(factor: float, step: int) -> Amendment:
    return Amendment(from_step=step, learning_rate_factor=factor, code="TL-TRAIN-NAN", reason="r")


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=50),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 8),
)
def test_smaller_micro_batches_keep_every_row_in_its_place(
    lengths: list[int], micro: int, times: int, rows: int, start: int
) -> None:
    steps = plan_steps(lengths, Recipe(micro_batch_rows=micro, batch_rows=micro * times, epochs=2.0))
    found = amended_steps(steps, (smaller(rows, start),))
    assert [[row for part in step for row in part] for step in found] == [
        [row for part in step for row in part] for step in steps
    ]
    assert found[:start] == steps[:start]
    assert all(len(part) <= rows for step in found[start:] for part in step)
    assert plan_digest(found) == plan_digest(steps)


def test_the_smallest_micro_batch_counts() -> None:
    steps = [((0, 1, 2, 3),), ((4, 5, 6, 7),)]
    found = amended_steps(steps, (smaller(1, 1), smaller(2)))
    assert found == [((0, 1), (2, 3)), ((4,), (5,), (6,), (7,))]
    assert amended_steps(steps, ()) == steps
    assert amended_micro_batch(16, (smaller(1, 1), smaller(2), slower(0.5, 4))) == 1
    assert amended_micro_batch(16, (slower(0.5, 4),)) == 16


def test_factors_multiply_from_their_steps_on() -> None:
    amendments = (slower(0.5, 4), slower(0.1, 0), smaller(2))
    assert rate_factor((), 3) == 1
    assert rate_factor(amendments, 3) == pytest.approx(0.1)
    assert rate_factor(amendments, 4) == pytest.approx(0.05)
