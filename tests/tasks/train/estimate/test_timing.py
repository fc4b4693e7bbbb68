"""Rates from measurements at two sizes, seconds from rates, and the correction by what earlier trainings took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.estimate.known import Past, correction
from tasks.train.estimate.timing import Looks, Measured, Rates, looks_during, rates_of, seconds_of
from tasks.train.estimate.work import flops, forward_flops
from tasks.train.objective import Micro
from tests.tasks.train.estimate.test_work import LOAD, ROWS


def at(flops_: float, seconds: float) -> Measured:
    return Measured(flops=flops_, seconds=seconds)


@given(slope=st.floats(1e-12, 1e-9), fixed=st.floats(0, 0.5))
def test_two_sizes_give_the_line_through_them(slope: float, fixed: float) -> None:
    small, typical = ([at(size, fixed + size * slope)] for size in (1e9, 4e9))
    found = rates_of(small, typical)
    assert found[0] == pytest.approx(slope, rel=1e-4, abs=1e-13)
    assert found[0] * 4e9 + found[1] == pytest.approx(fixed + 4e9 * slope, rel=1e-6)


def test_slow_passes_count_as_they_do_in_a_training() -> None:
    slope, fixed = rates_of([at(1e9, 0.4)], [at(4e9, 1.0), at(4e9, 1.0), at(4e9, 4.0)])
    assert slope * 4e9 + fixed == pytest.approx(2.0)


def test_noise_never_makes_a_negative_rate() -> None:
    assert rates_of([at(1e9, 3.0)], [at(4e9, 2.0)]) == (2.0 / 4e9, 0.0)
    assert rates_of([at(1e9, 0.1)], [at(4e9, 2.0)]) == (2.0 / 4e9, 0.0)
    assert rates_of([at(1e9, 2.0)], [at(1e9, 2.0)]) == (2e-9, 0.0)


def test_seconds_add_up_by_part() -> None:
    rates = Rates(seconds_per_flop=1e-6, micro_seconds=0.5, optimizer_seconds=0.1, saving_bytes_per_second=100)
    looks = Looks(validation=(ROWS,), looks=2, saves=3, save_bytes=50)
    found = seconds_of([[ROWS, ROWS], [ROWS]], LOAD, rates, looks)
    assert found.steps == pytest.approx(3 * (0.5 + flops(ROWS, LOAD) * 1e-6))
    assert found.optimizer == pytest.approx(2 * (0.1 + 0.006))
    assert found.validation == pytest.approx(2 * (forward_flops(ROWS, LOAD) * 1e-6 + 0.25))
    assert found.saving == 1.5
    assert found.total == pytest.approx(sum(found.model_dump().values()))


def test_the_slowest_process_decides() -> None:
    rates = Rates(seconds_per_flop=1e-6)
    short = Micro((2,), 1)
    alone = seconds_of([[ROWS, short, short]], LOAD, rates, Looks()).steps
    shared = seconds_of([[ROWS, short, short]], LOAD, rates, Looks(), processes=2).steps
    assert shared == pytest.approx((flops(ROWS, LOAD) + flops(short, LOAD)) * 1e-6)
    assert shared < alone


@pytest.mark.parametrize(("steps", "every", "looks"), [(10, 5, 2), (11, 5, 3), (3, 5, 1)])
def test_looks_at_validation(steps: int, every: int, looks: int) -> None:
    assert looks_during(steps, every) == looks


def past(ratio: float, device: str = "a", kind: str = "sft/lora/calibrated") -> Past:
    return Past(device=device, kind=kind, time_ratio=ratio, memory_ratio=1.1)


def test_no_history_corrects_nothing() -> None:
    found = correction([past(2.0, device="b"), past(2.0, kind="dpo/lora/rough")], "a", "sft/lora/calibrated")
    assert (found.time, found.memory, found.margin, found.runs) == (1.0, 1.0, None, 0)


def test_history_corrects_by_its_median_and_counts_for_more_with_every_run() -> None:
    one, ten = (correction([past(2.0)] * count, "a", "sft/lora/calibrated") for count in (1, 10))
    assert one.time == pytest.approx(2 ** (1 / 3))
    assert ten.time == pytest.approx(2 ** (10 / 12))
    assert 1 < ten.memory < 1.1
    assert one.margin is None
    assert ten.margin == 0.05  # they agree
    apart = correction([past(r) for r in (1.0, 1.1, 1.3, 1.4, 1.5)], "a", "sft/lora/calibrated")
    assert apart.margin is not None
    assert apart.margin > 0.15
