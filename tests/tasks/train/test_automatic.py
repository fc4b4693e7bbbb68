"""Automatic values follow their published rules, in the right direction, and say why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.automatic import AUTOMATIC, Known, rate_share

SFT: dict[str, Any] = {"adapter": "lora", "method": "sft"}


def worked(name: str, rows: int | None = 1000, parameters: int | None = 135_000_000, **values: Any) -> Any:
    found = AUTOMATIC[name].work_out(Known(rows, parameters, SFT | values))
    assert found is not None
    value, reason = found
    assert reason
    return value


@pytest.mark.parametrize(
    ("parameters", "rate"), [(135e6, 2e-3), (0.5e9, 5e-4), (1.7e9, 3e-4), (7.6e9, 2e-4), (70e9, 1e-4)]
)
def test_smaller_models_have_higher_rates(parameters: float, rate: float) -> None:
    assert worked("learning_rate", parameters=int(parameters)) == rate


def test_adapters_learn_at_ten_times_the_full_rate() -> None:
    assert worked("learning_rate") == pytest.approx(10 * worked("learning_rate", adapter="full"))
    assert rate_share("lora", "sft") == (1, "")


def test_preferences_are_learned_at_their_own_rates() -> None:
    assert worked("learning_rate", parameters=7_000_000_000, method="dpo") == 5e-6
    assert worked("learning_rate", parameters=7_000_000_000, method="dpo", adapter="full") == 5e-7
    assert worked("epochs", method="ipo") == 1


@pytest.mark.parametrize(("rows", "rank"), [(50, 8), (1_000, 16), (20_000, 32), (1_000_000, 64)])
def test_more_rows_more_rank(rows: int, rank: int) -> None:
    assert worked("rank", rows=rows) == rank


def test_alpha_is_twice_the_rank_or_one_number() -> None:
    assert worked("alpha", rank=24) == 48
    assert worked("alpha", rank=64, rslora=True) == worked("alpha", rank=8, rslora=True) == 8


@pytest.mark.parametrize(("rows", "epochs"), [(1, 25), (10, 10), (34, 3), (1_000, 3), (10_000, 2), (100_000, 1)])
def test_passes_by_data_size(rows: int, epochs: float) -> None:
    assert worked("epochs", rows=rows) == epochs


def test_passes_count_the_rows_that_are_trained_on() -> None:
    assert worked("epochs", rows=100_000, max_rows=1000) == 3
    assert Known(1000, None, {"validation_share": 0.1}).trained_rows == 900


@pytest.mark.parametrize(("rows", "batch"), [(100, 8), (4_000, 8), (8_000, 16), (16_000, 32), (10**6, 64)])
def test_batches_grow_with_the_data(rows: int, batch: int) -> None:
    assert worked("batch_rows", rows=rows) == batch


@given(st.integers(1, 4096), st.integers(10**6, 10**12))
def test_micro_batches_divide_the_batch(batch: int, parameters: int) -> None:
    micro = worked("micro_batch_rows", parameters=parameters, batch_rows=batch)
    assert batch % micro == 0
    assert micro <= 16


def test_large_models_have_small_micro_batches() -> None:
    sizes = [worked("micro_batch_rows", parameters=int(p), batch_rows=16) for p in (135e6, 1.7e9, 7e9, 30e9, 70e9)]
    assert sizes == [16, 8, 4, 2, 1]


def test_about_ten_looks() -> None:
    assert worked("eval_steps", rows=1600, batch_rows=16, epochs=2.0) == 20
    assert worked("eval_steps", rows=4, batch_rows=16, epochs=1.0) == 1


def test_looks_count_the_steps_that_there_are() -> None:
    values = SFT | {"batch_rows": 16, "epochs": 2.0}
    looks = {method: AUTOMATIC["eval_steps"].work_out(Known(1600, None, values | {"method": method}))
             for method in ("dpo", "kto")}  # fmt: skip
    assert {method: found[0] for method, found in looks.items() if found} == {"dpo": 20, "kto": 40}


def test_rows_may_be_as_long_as_the_model_reads() -> None:
    assert worked("sequence_tokens") is None


@pytest.mark.parametrize("name", sorted(set(AUTOMATIC) - {"sequence_tokens", "alpha"}))
def test_a_missing_fact_gives_no_value(name: str) -> None:
    assert AUTOMATIC[name].work_out(Known(None, None, SFT)) is None
    assert AUTOMATIC[name].words


@given(st.integers(1, 10**8), st.integers(10**5, 10**13))
def test_the_same_facts_give_the_same_values(rows: int, parameters: int) -> None:
    for name in ("rank", "learning_rate", "epochs", "batch_rows"):
        assert worked(name, rows, parameters) == worked(name, rows, parameters)
