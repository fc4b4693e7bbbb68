"""Numbered events of a training: stages, counts, cost, warnings; locally and to a receiver elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.run_events import EventLog, RunEvent
from tasks.errors import TrainingFailed
from tasks.train.events import Recorder, in_words, local_recorder
from tasks.train.live import LiveTraining, ending, in_short

RUN = "c" * 64


def progress(step: int, **more: Any) -> dict[str, Any]:
    return {"event": "progress", "step": step, "total": 9, "loss": 1.0, "eta_seconds": 1.0, **more}


def recorded(*raw: dict[str, Any]) -> list[RunEvent]:
    kept: list[RunEvent] = []
    record = Recorder(RUN, "flow", kept.append)
    for each in raw:
        record(each)
    return kept


def test_stages_and_counts_of_a_training_with_a_repair() -> None:
    kept = recorded(
        {"event": "begin", "training": RUN},
        {"event": "decisions", "decisions": {"compile": "off: short"}},
        progress(1),
        {"event": "failure", "code": "TL-TRAIN-OOM", "text": "out of memory"},
        {"event": "repair", "code": "TL-TRAIN-OOM", "change": "micro-batch 8 → 4", "step": 1},
        {"event": "restart", "attempt": 1, "code": "TL-TRAIN-OOM"},
        {"event": "resumed", "step": 1, "checkpoint": "step-1"},
        progress(2),
        {"event": "finished"},
    )
    assert [e.seq for e in kept] == list(range(1, 10))
    stages = ["loading", "loading", "training", *["recovering"] * 3, "training", "training", "finalizing"]
    assert [e.stage for e in kept] == stages
    assert (kept[-1].interruptions, kept[-1].repairs) == (1, 1)
    assert kept[1].details == {"decisions.compile": "off: short"}
    assert kept[4].text == "repaired after TL-TRAIN-OOM: micro-batch 8 → 4"
    assert kept[5].text == "started again, attempt 1, after TL-TRAIN-OOM"
    assert kept[6].details == {"checkpoint": "step-1"}


def test_cost_and_the_warning_that_the_estimate_does_not_hold() -> None:
    begin = {"event": "begin", "training": RUN, "estimate_seconds": 100.0, "price_per_hour": 36.0}
    steps = [progress(step, eta_seconds=130.0) for step in range(1, 6)]
    kept = recorded(begin, *steps)
    warnings = [e for e in kept if e.kind == "warning"]
    assert len(warnings) == 1
    assert warnings[0].seq == 5  # after the first three steps, which say little
    assert "30 % more than was estimated" in warnings[0].text
    assert "to cost 1.30" in warnings[0].text
    assert all(e.cost is not None for e in kept)
    assert not [e for e in recorded(begin, *[progress(s, eta_seconds=110.0) for s in range(1, 6)]) if e.text]
    assert recorded(progress(1))[0].cost is None


def test_a_later_run_goes_on_with_numbers_time_and_counts(tmp_path: Path) -> None:
    first = local_recorder(EventLog.of(tmp_path, RUN), RUN, lambda _: None)
    first({"event": "begin", "training": RUN})
    first(progress(1))
    seen: list[RunEvent] = []
    second = local_recorder(EventLog.of(tmp_path, RUN), RUN, seen.append)
    second({"event": "begin", "training": RUN})
    assert [e.seq for e in EventLog.of(tmp_path, RUN).read()] == [1, 2, 3]
    assert seen[0].interruptions == 1
    assert seen[0].seconds >= EventLog.of(tmp_path, RUN).read()[1].seconds
    second({"event": "finished"})
    third = local_recorder(EventLog.of(tmp_path, RUN), RUN, seen.append)
    third({"event": "begin", "training": RUN})
    assert seen[-1].interruptions == 1


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (None, "finished", ""),
        (TrainingFailed("no memory", code="TL-TRAIN-OOM"), "failed", "no memory"),
        (ValueError("a row says my blue lantern"), "failed", ""),
        (KeyboardInterrupt(), "interrupted", "ended by a person"),
    ],
)
def test_how_a_training_ended_without_a_word_of_its_rows(error: BaseException | None, kind: str, text: str) -> None:
    raw = ending(error)
    assert (raw["event"], raw.get("text", "")) == (kind, text)
    assert "lantern" not in str(raw)


def test_a_training_that_fails_leaves_its_log(home: Path) -> None:
    began: list[str] = []

    def train() -> None:
        with LiveTraining(home, "", began.append) as live:
            live({"event": "begin", "training": RUN, "dataset": "ds://p/main@1.0.0"})
            live(progress(1))
            raise TrainingFailed("it does not fit", code="TL-TRAIN-OOM")

    with pytest.raises(TrainingFailed):
        train()
    assert began == [RUN]
    told = EventLog.of(home, RUN).read()
    assert [e.kind for e in told] == ["begin", "progress", "failed"]
    assert told[-1].details["code"] == "TL-TRAIN-OOM"


def test_progress_in_short() -> None:
    more = {"tokens_per_second": 488.0, "validation_loss": 0.4123, "mfu": 0.414, "memory_mb": 1900.0}
    (event,) = recorded(progress(3, **more))
    assert in_short(event) == "488 tokens/s, validation 0.412, MFU 41%, 1.9 GB"
    assert in_words({"event": "progress"}) == ""
