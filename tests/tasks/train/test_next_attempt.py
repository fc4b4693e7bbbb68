"""What follows which failure."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.train import failures as kinds
from tasks.train.amendments import Amendment
from tasks.train.failures import Failure, failure
from tasks.train.next_attempt import Attempt, Limits, Plan, Stop, next_attempt
from tasks.train.remedies import REPAIRABLE

LIMITS = Limits(max_attempts=5, timeout_seconds=3600)


def attempt(code: str, **values: Any) -> Attempt:
    return Attempt.model_validate({"code": code, "exit_code": 1, "batch_rows": 16, "micro_batch_rows": 16} | values)


def follows(
    code: str, *history: Attempt, limits: Limits = LIMITS, step: int | None = None, **values: Any
) -> Plan | Stop:
    return next_attempt(failure(code, step=step), attempt(code, **values), history, limits)


def plan(found: Plan | Stop) -> Plan:
    assert isinstance(found, Plan), found
    return found


def stop(found: Plan | Stop) -> Failure:
    assert isinstance(found, Stop), found
    assert found.reason
    return found.failure


@pytest.mark.parametrize("code", [kinds.OOM_GPU, kinds.OOM_HOST, kinds.OOM_KILLED])
def test_too_little_memory_halves_the_micro_batch_at_the_same_effective_batch(code: str) -> None:
    first = plan(follows(code, checkpoints=(4, 6)))
    assert first.amendments == (Amendment(from_step=6, micro_batch_rows=8, code=code, reason=first.change),)
    assert "16 → 8 rows, accumulation 1 → 2: the same 16 rows a step" in first.change
    second = plan(follows(code, attempt(code), micro_batch_rows=8))
    assert second.amendments[0].micro_batch_rows == 4
    assert second.amendments[0].activation_checkpointing == "on"


def test_one_row_at_a_time_computes_activations_again_and_then_gives_up() -> None:
    found = plan(follows(kinds.OOM_GPU, micro_batch_rows=1))
    assert found.amendments[0].micro_batch_rows is None
    assert found.amendments[0].activation_checkpointing == "on"
    last = stop(follows(kinds.OOM_GPU, micro_batch_rows=1, activation_checkpointing=True))
    assert "one row at a time" in last.why


def test_an_odd_micro_batch() -> None:
    found = plan(follows(kinds.OOM_HOST, micro_batch_rows=5, batch_rows=15))
    assert found.amendments[0].micro_batch_rows == 2
    assert "accumulation 3 → 8" in found.change


@pytest.mark.parametrize("code", [kinds.NAN, kinds.SPIKE])
def test_a_loss_that_explodes_goes_back_with_a_lower_rate(code: str) -> None:
    found = plan(follows(code, step=29, reached_step=29, checkpoints=(24, 28)))
    assert found.go_back_to == 28
    assert (found.amendments[0].from_step, found.amendments[0].learning_rate_factor) == (28, 0.5)


def test_a_checkpoint_that_is_bad_itself_is_passed_over() -> None:
    assert plan(follows(kinds.NAN, step=28, checkpoints=(24, 28))).go_back_to == 24


def test_a_checkpoint_that_did_not_help_is_passed_over_and_the_start_is_the_last_resort() -> None:
    tried = (Amendment(from_step=28, learning_rate_factor=0.5, code=kinds.SPIKE, reason="r"),)
    found = plan(follows(kinds.SPIKE, step=29, checkpoints=(24, 28), amendments=tried))
    assert found.go_back_to == 24
    found = plan(follows(kinds.SPIKE, step=29, checkpoints=(28,), amendments=tried))
    assert (found.go_back_to, found.amendments[0].learning_rate_factor) == (0, 0.1)


def test_a_loss_that_explodes_early_begins_anew_with_a_tenth_of_the_rate() -> None:
    for step, steps in ((20, 0), (90, 1000)):
        found = plan(follows(kinds.SPIKE, step=step, steps=steps, checkpoints=(10,)))
        assert (found.go_back_to, found.amendments[0].learning_rate_factor) == (0, 0.1)
    assert plan(follows(kinds.SPIKE, step=101, steps=1000, checkpoints=(100,))).go_back_to == 100


def test_a_loss_that_never_was_a_number_is_no_matter_of_the_rate() -> None:
    assert "weights or the data" in stop(follows(kinds.NAN, step=0)).why
    assert plan(follows(kinds.SPIKE, step=0)).go_back_to == 0


def test_the_rate_is_not_lowered_for_ever() -> None:
    tried = tuple(Amendment(from_step=0, learning_rate_factor=0.1, code=kinds.NAN, reason="r") for _ in range(3))
    stop(follows(kinds.NAN, step=2, amendments=tried))


def test_what_waits_waits_longer_each_time_but_no_more_than_ten_minutes() -> None:
    waits, history = [], []
    for _ in range(6):
        found = plan(follows(kinds.CAPACITY, *history, limits=Limits(max_attempts=99, timeout_seconds=1e6)))
        waits.append(found.wait_seconds)
        history.append(attempt(kinds.CAPACITY))
    assert waits == [60, 180, 540, 600, 600, 600]
    assert plan(follows(kinds.NETWORK)).wait_seconds == 5
    assert plan(follows(kinds.NETWORK, attempt(kinds.NETWORK), attempt(kinds.NAN))).wait_seconds == 5


@pytest.mark.parametrize("code", [kinds.KILLED, kinds.EVICTED, kinds.NCCL])
def test_an_interruption_goes_on_at_once(code: str) -> None:
    found = plan(follows(code, checkpoints=(6,)))
    assert found.wait_seconds == 0
    assert not found.amendments
    assert "step 6" in found.change


def test_processes_that_lose_one_another_again_get_some_seconds() -> None:
    assert plan(follows(kinds.NCCL, attempt(kinds.NCCL))).wait_seconds == 10


def test_a_crash_is_tried_once_more_if_a_signal_ended_it() -> None:
    plan(follows(kinds.CRASH, exit_code=-11, reached_step=3))
    before = attempt(kinds.CRASH, exit_code=-11, reached_step=3)
    stop(follows(kinds.CRASH, before, exit_code=-11, reached_step=3))
    plan(follows(kinds.CRASH, before, exit_code=-11, reached_step=5))
    stop(follows(kinds.CRASH, exit_code=1))


def test_what_would_happen_again_is_not_tried_again() -> None:
    for code in (kinds.DATA, kinds.DISK, kinds.IMAGE, kinds.TIMEOUT, kinds.STOPPED):
        assert stop(follows(code)).code == code
        assert code not in REPAIRABLE
    other = next_attempt(Failure(code="TL-USAGE", text="w", remedy="r"), attempt("TL-USAGE"), (), LIMITS)
    assert stop(other).code == "TL-USAGE"


def test_starts_without_a_new_checkpoint_are_counted() -> None:
    limits = Limits(max_attempts=3, timeout_seconds=3600)
    idle = [attempt(kinds.KILLED, checkpoints=(4,))] * 2
    plan(follows(kinds.KILLED, *idle[:1], limits=limits, checkpoints=(4,)))
    plan(follows(kinds.KILLED, *idle, limits=limits, checkpoints=(6,)))
    last = stop(follows(kinds.KILLED, *idle, idle[0], limits=limits, checkpoints=(4,)))
    assert last.code == kinds.KILLED
    assert "3 times in a row" in last.why
    far = [attempt(kinds.EVICTED, checkpoints=(n,)) for n in range(1, 40)]
    plan(follows(kinds.EVICTED, *far, limits=limits, checkpoints=(40,)))


def test_time_counts_over_all_attempts_and_waits() -> None:
    limits = Limits(max_attempts=9, timeout_seconds=100)
    last = stop(follows(kinds.KILLED, attempt(kinds.KILLED, seconds=60), limits=limits, seconds=50))
    assert last.code == kinds.TIMEOUT
    assert stop(follows(kinds.CAPACITY, limits=limits, seconds=50)).code == kinds.TIMEOUT
    assert limits.seconds_left(60) == 40


def test_money_counts_over_all_attempts() -> None:
    limits = Limits(max_attempts=9, timeout_seconds=1e6, max_cost=2.0, price_per_hour=4.0)
    assert limits.seconds_left(0) == 1800
    last = stop(follows(kinds.KILLED, attempt(kinds.KILLED, seconds=1500), limits=limits, seconds=400))
    assert last.code == kinds.COST
    assert "2.11 of 2.00" in last.why
    assert stop(follows(kinds.TIMEOUT, limits=limits, seconds=1801)).code == kinds.COST
    assert Limits(max_cost=2.0, timeout_seconds=50).seconds_left(0) == 50


def test_the_trainers_own_price_counts_as_soon_as_it_tells_it() -> None:
    limits = Limits(timeout_seconds=1e6, max_cost=2.0, price_per_hour=32.0)
    assert limits.told(0.0) == limits
    assert limits.told(4.0).seconds_left(0) == 1800
