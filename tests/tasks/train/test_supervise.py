"""The trainer as a process: killed, stopped, refused, too slow."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import TrainingFailed, UsageError
from tasks.train import supervise
from tasks.train.plan import Job
from tasks.train.supervise import Ending, classify, train_in_process
from tasks.train.worker import STOPPED, Result
from tests.tasks.train.training_rows import make_job, make_row, write_rows

LOG = Path("train.log")


def children() -> list[int]:
    import psutil

    return [p.pid for p in psutil.Process().children() if "tasks.train.worker" in " ".join(p.cmdline())]


def train(job: Job, home: Path, on_event: Any) -> Result:
    return train_in_process(job, home=home, log_file=home / "train.log", on_event=on_event)


def test_a_killed_trainer_goes_on_from_its_checkpoint(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    events: list[dict[str, Any]] = []

    def kill_once(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "checkpoint" and not any(e["event"] == "restart" for e in events):
            os.kill(children()[0], signal.SIGKILL)

    result = train(job, home, kill_once)
    kinds = [e["event"] for e in events]
    assert result.interruptions == 1
    assert kinds.count("restart") == 1
    assert next(e["step"] for e in events if e["event"] == "resumed") >= 2
    assert [p.step for p in result.curve] == [1, 2, 3, 4, 5, 6]
    assert not children()
    assert not list((home / "processes").iterdir())


def test_what_a_trainer_refuses_arrives_as_it_was_raised(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model)
    write_rows(job.rows, [make_row(3, "Where?", "")])
    with pytest.raises(TrainingFailed, match="nothing to learn") as caught:
        train(job, home, lambda _: None)
    assert caught.value.where == "row dddddddddddddddd:3"
    assert caught.value.remedy


def test_too_little_time(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, epochs=20_000.0, timeout_minutes=0.05)
    with pytest.raises(TrainingFailed, match="longer than it may"):
        train(job, home, lambda _: None)


def ending(code: int, seconds: float = 1.0, error: dict[str, str] | None = None) -> Ending:
    return Ending(code=code, seconds=seconds, error=error)


def test_only_a_killed_trainer_is_started_again() -> None:
    assert classify(ending(-signal.SIGKILL), 60, LOG) is None
    for other in (ending(1), ending(-signal.SIGSEGV), ending(STOPPED), ending(STOPPED, 61)):
        assert isinstance(classify(other, 60, LOG), TrainingFailed)


def test_reasons_and_remedies() -> None:
    crash = classify(ending(-signal.SIGSEGV), 60, LOG)
    assert crash is not None
    assert (crash.why, crash.where) == ("signal SIGSEGV", "train.log")
    stopped, slow = classify(ending(STOPPED), 60, LOG), classify(ending(STOPPED, 90), 60, LOG)
    assert stopped is not None
    assert slow is not None
    assert "repeat the command" in stopped.remedy
    assert slow.where == "train.timeout_minutes"
    error = {"code": "TL-USAGE", "what": "w", "where": "x", "why": "y", "remedy": "z"}
    coded = classify(ending(2, error=error), 60, LOG)
    assert isinstance(coded, UsageError)
    assert (coded.what, coded.where, coded.why, coded.remedy) == ("w", "x", "y", "z")


def test_a_trainer_that_is_always_killed_is_given_up(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "MAX_RESTARTS", 0)

    def kill_always(event: dict[str, Any]) -> None:
        if event["event"] == "decisions":
            os.kill(children()[0], signal.SIGKILL)

    with pytest.raises(TrainingFailed, match="killed 1 times") as caught:
        train(make_job(tmp_path, tiny_model), home, kill_always)
    assert "SIGKILL" in caught.value.why
