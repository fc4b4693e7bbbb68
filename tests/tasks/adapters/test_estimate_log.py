"""Estimates beside what trainings took, in the state database."""

from __future__ import annotations

from pathlib import Path

from tasks.adapters.estimate_log import EstimatedTraining, note, recent
from tasks.contracts import Forecast
from tasks.train.estimate.around import known_here, note_actual
from tasks.train.recipe import Recipe
from tasks.train.worker import Result


def trained(key: str, seconds: float) -> EstimatedTraining:
    return EstimatedTraining(training=key, device="cpu X", kind="sft/lora/calibrated", estimated_seconds=10,
                             actual_seconds=seconds, estimated_bytes=10**9, actual_bytes=2 * 10**9)  # fmt: skip


def test_the_newest_are_last_and_one_training_counts_once(home: Path) -> None:
    for key, seconds in (("a", 11.0), ("b", 12.0), ("c", 13.0), ("a", 14.0)):
        note(trained(key, seconds))
    assert [one.actual_seconds for one in recent()] == [12.0, 13.0, 14.0]
    assert [one.training for one in recent(2)] == ["c", "a"]


def test_the_next_training_knows_them(home: Path) -> None:
    note(trained("a", 12.0))
    past = known_here().past[0]
    assert (past.time_ratio, past.memory_ratio) == (1.2, 2.0)


def test_only_undisturbed_trainings_are_noted(home: Path) -> None:
    estimate = Forecast(seconds=10, low_seconds=8, high_seconds=12, memory_bytes=10**9, device="cpu X", calibrated=True,
                        raw_seconds=10, raw_memory_bytes=10**9)  # fmt: skip
    result = Result(adapter_digest="", steps=1, rows_seen=1, rows_available=1, tokens=1, seconds=11, interruptions=0,
                    curve=(), decisions={}, template="", versions={}, estimate=estimate,
                    peak_memory_bytes=10**9)  # fmt: skip
    note_actual("a", Recipe(adapter="lora"), result.model_copy(update={"interruptions": 1}))
    note_actual("b", Recipe(adapter="lora"), result.model_copy(update={"estimate": None}))
    assert recent() == []
    note_actual("c", Recipe(adapter="lora"), result)
    assert [one.kind for one in recent()] == ["sft/lora/calibrated"]
