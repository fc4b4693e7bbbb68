"""Estimates in one record: intervals, cost, other machines, hints."""

from __future__ import annotations

import pytest

from tasks.contracts import Forecast
from tasks.errors import BudgetRefused
from tasks.train.estimate.around import estimate_against_actual
from tasks.train.estimate.forecast import forecast, hints, in_short, on_kinds, refuse_too_dear, seen_by_calibration
from tasks.train.estimate.known import Correction
from tasks.train.estimate.memory import Memory
from tasks.train.estimate.prices import DEFAULT, load_prices
from tasks.train.estimate.timing import Looks, Rates, Seconds
from tests.tasks.train.estimate.test_fit import PLANNED, gpu

MEMORY = Memory(process=600, weights=300, adapter=10, gradients=10, optimizer=20, activations=100, head=30, workspace=5)
SECONDS = Seconds(steps=3000, optimizer=300, validation=200, saving=100)
TABLE = load_prices(DEFAULT)


def made(known: Correction | None = None, calibrated: bool = True, price: float | None = 2.0) -> Forecast:
    rates = Rates(seconds_per_flop=1e-12, calibrated=calibrated)
    return forecast(MEMORY, SECONDS, rates, "cpu X", price, TABLE, known or Correction(), 1e15)


def test_time_memory_cost_and_interval() -> None:
    found = made()
    assert (found.seconds, found.low_seconds, found.high_seconds) == (3600, 3060, pytest.approx(4140))
    assert found.memory_bytes == 1075
    assert found.cost == 2.0
    assert in_short(found) == "about 60.0 min (51.0 to 69.0), 0.0 GB, cost 2.00 USD"
    rough = made(calibrated=False, price=None)
    assert (rough.low_seconds, rough.high_seconds, rough.cost) == (1800, 5400, None)
    assert "roughly" in in_short(rough)


def test_history_corrects_time_memory_and_interval_and_what_it_corrected_is_kept() -> None:
    found = made(Correction(time=1.5, memory=2.0, margin=0.05, runs=7))
    assert (found.seconds, found.raw_seconds) == (5400, 3600)
    assert (found.memory_bytes, found.raw_memory_bytes) == (2150, 1075)
    assert found.high_seconds == pytest.approx(5670)
    assert found.corrected_by == 7


def test_what_the_process_held_takes_the_place_of_what_was_computed() -> None:
    seen = seen_by_calibration(MEMORY, Rates(seconds_per_flop=1, base_bytes=1310))
    assert (seen.process, seen.fixed) == (1000, 1310)
    assert seen_by_calibration(MEMORY, Rates(seconds_per_flop=1)) == MEMORY


def test_too_dear_is_refused_with_the_share_that_could_be_trained() -> None:
    refuse_too_dear(made(), None)
    refuse_too_dear(made(), 2.0)
    refuse_too_dear(made(price=None), 0.1)
    with pytest.raises(BudgetRefused) as caught:
        refuse_too_dear(made(), 0.5)
    assert caught.value.exit_code == 40
    assert "2.00 USD" in caught.value.what
    assert "25%" in caught.value.remedy


def test_every_kind_of_the_table_with_spot_and_on_demand() -> None:
    found = {kind.kind: kind for kind in on_kinds(PLANNED, TABLE, made(), Looks())}
    assert set(found) == set(TABLE.kinds)
    assert found["cpu"].on_demand == pytest.approx(0.10)
    h200, l4 = found["H200-141GB"], found["L4"]
    assert (h200.devices, h200.engine) == (1, "single")
    assert l4.devices != 1  # 7 billion weights in 16 bits with their activations are too much for 24 GB
    assert h200.spot / h200.on_demand == pytest.approx(2.80 / 4.90)
    assert h200.memory_bytes <= gpu(141).free_bytes


def test_hints_say_what_saves_how_much() -> None:
    kinds = on_kinds(PLANNED, TABLE, None, Looks())
    several = PLANNED.changed(epochs=4.0, activation_checkpointing="on")
    texts = hints(several, several.decisions(gpu(141)), kinds, Looks())
    assert any("is the cheapest" in text and "spot" in text for text in texts)
    assert any("train.epochs: 3" in text and "25%" in text for text in texts)
    assert any("activation_checkpointing: off" in text for text in texts)


def test_estimate_against_actual_in_words() -> None:
    pairs = dict(estimate_against_actual(made(), 4320, 1290))
    assert pairs["time"] == "3600 s estimated, 4320 s actual (+20%)"
    assert "(+20%)" in pairs["memory"]
    assert pairs["cost"] == "2.00 USD estimated, 2.40 actual"
    assert estimate_against_actual(None, 10, 10) == []
