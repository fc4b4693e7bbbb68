"""The log of a training's events: each once, gaps visible, whole after a power cut."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.adapters.run_events import EventLog, RunEvent, parsed_events

RUN = "a" * 64
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def event(seq: int, writer: str = "flow", **more: object) -> RunEvent:
    return RunEvent.model_validate({"run": RUN, "writer": writer, "seq": seq, "at": AT, "kind": "progress", **more})


def numbers(log: EventLog) -> list[int]:
    return [e.seq for e in log.read()]


def test_each_event_is_kept_once(tmp_path: Path) -> None:
    log = EventLog.of(tmp_path, RUN)
    assert log.append([event(1), event(2, loss=0.5), event(2, loss=0.5)]) == 2
    assert EventLog.of(tmp_path, RUN).append([event(2), event(3)]) == 1
    assert log.append([event(3), event(1, writer="trainer-1")]) == 1  # what another process wrote is known too
    assert numbers(log) == [1, 2, 3, 1]
    assert log.last("flow") == 3
    assert log.last("nobody") == 0


def test_gaps_are_visible_until_they_are_filled(tmp_path: Path) -> None:
    log = EventLog.of(tmp_path, RUN)
    log.append([event(2), event(3), event(7), event(1, writer="trainer-1")])
    assert log.gaps() == {"flow": ((1, 1), (4, 6))}
    log.append([event(n) for n in (1, 4, 5, 6)])
    assert log.gaps() == {}


def test_a_line_that_was_cut_off_counts_as_missing(tmp_path: Path) -> None:
    log = EventLog.of(tmp_path, RUN)
    log.append([event(n) for n in (1, 2, 3)])
    whole = log.file.read_bytes()
    log.file.write_bytes(whole[:-5])
    again = EventLog.of(tmp_path, RUN)
    assert again.append([event(4)]) == 1
    assert again.gaps() == {"flow": ((3, 3),)}
    assert again.append([event(3)]) == 1
    assert numbers(EventLog.of(tmp_path, RUN)) == [1, 2, 4, 3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["flow", "trainer-1"]), st.integers(1, 9)), min_size=1), st.integers(0, 99))
def test_any_order_and_repetition_gives_the_same_events(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, int]], seed: int
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    again = sent + random.Random(seed).sample(sent, len(sent))
    for writer, seq in again:
        log.append([event(seq, writer)])
    kept = [(e.writer, e.seq) for e in log.read()]
    assert len(kept) == len(set(kept))
    assert set(kept) == set(sent)


@pytest.mark.parametrize("wrong", [{"run": "../../etc"}, {"seq": 0}, {"writer": "a b"}, {"surprise": 1}])
def test_what_is_no_event_is_refused(wrong: dict[str, object]) -> None:
    values = {"run": RUN, "writer": "flow", "seq": 1, "at": AT, "kind": "progress"} | wrong
    with pytest.raises(ValidationError):
        RunEvent.model_validate(values)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nonsense", b'[{"run": 1}]'])
def test_a_body_that_is_no_list_of_events(body: bytes) -> None:
    with pytest.raises(ValueError):
        parsed_events(body)


def test_a_loss_that_is_no_number_travels_as_none() -> None:
    (back,) = parsed_events(b"[" + event(1, loss=float("nan")).line().encode() + b"]")
    assert back.loss is None
