"""One start of the trainer: how long it gets to end in order."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.processes import LONGEST_GRACE_SECONDS, TERM_GRACE_SECONDS
from tasks.train import attempts
from tasks.train.attempts import LocalLaunch, Pace
from tests.tasks.train.training_rows import make_job


def paced(*events: tuple[float, str]) -> Pace:
    """What is known after events at these seconds."""
    now = [0.0]
    pace = Pace(lambda: now[0])
    for at, kind in events:
        now[0] = at
        pace({"event": kind})
    return pace


def test_a_trainer_gets_the_time_that_its_steps_take(caplog: pytest.LogCaptureFixture) -> None:
    assert paced().time_to_end() == TERM_GRACE_SECONDS
    assert paced((5, "estimate"), (6, "progress"), (7, "progress")).time_to_end() == TERM_GRACE_SECONDS
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "tuneloop.train"):
        slow = paced((100, "estimate"), (140, "progress"), (150, "checkpoint"), (151, "note"), (170, "progress"))
    assert (slow.longest_step, slow.last_save) == (40, 10)
    assert slow.time_to_end() == 3 * 40 + 10
    assert "up to 40 s" in caplog.text
    assert "after 130 s it is killed" in caplog.text
    assert paced((0, "progress"), (3000, "progress")).time_to_end() == LONGEST_GRACE_SECONDS


def test_the_launch_hands_it_on(home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real trainer that is interrupted at its second step: the time comes from its own events."""
    given: list[float] = []
    run = attempts.run_worker

    def watched(*arguments: Any, time_to_end: Any, **named: Any) -> int:
        return run(*arguments, time_to_end=lambda: given.append(time_to_end()) or given[-1], **named)

    monkeypatch.setattr(attempts, "run_worker", watched)
    monkeypatch.setattr(attempts, "_STEPS_TO_END", 1e6)

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            raise KeyboardInterrupt

    job = make_job(tmp_path, tiny_model, epochs=500.0, checkpoint_steps=100_000)
    with pytest.raises(KeyboardInterrupt):
        LocalLaunch(home, home / "train.log")(job, 60, interrupt)
    assert given == [LONGEST_GRACE_SECONDS]
    assert list((job.work / "checkpoints").glob("step-*"))
