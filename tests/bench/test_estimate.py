"""What bench.estimate says beside its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.estimate import chance_within
from bench.estimate_run import SHORT, base_of, examples_of, vocabulary_of


def chance(seconds: list[float], share: float = 0.05) -> float:
    return chance_within(seconds, [1.0] * len(seconds), share)


def test_the_limit_is_that_of_the_noise() -> None:
    assert chance([]) == 0
    assert chance([2.0] * 60) == 1
    assert chance([1.0, 9.0] * 20, share=0.025) == 0  # one step of 1 or of 9, the mean is 5
    assert chance([9.0, 10.0, 11.0, 30.0] * 20, share=1.0) == 1  # whoever measures all of it knows
    few, many = (chance([1.0, 2.0, 3.0] * 100, share) for share in (0.02, 0.2))
    assert few == pytest.approx(0.54, abs=0.05)  # 393 of the 729 sums of six draws are 11, 12 or 13
    assert few < many


def test_steps_of_other_sizes_are_no_noise() -> None:
    assert chance([1.0, 9.0] * 20, share=0.025) == 0
    assert chance_within([1.0, 9.0] * 20, [2e9, 18e9] * 20, share=0.025) == 1


def test_random_rows_are_ones_that_the_model_knows(tmp_path: Path) -> None:
    most = vocabulary_of(base_of(tmp_path, short=True))
    rows = examples_of(20, SHORT, False, most, seed=1)
    assert all(token < most for row in rows for token in row.input_ids)
