"""The process that estimates: it plans as the trainer would, although nobody has started its other processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import UsageError
from tasks.train.engines.choose import Choice
from tasks.train.estimate.process import Guess, Request, choice_of, estimate, guessed_run, take_cores_of_one
from tasks.train.objective import Micro
from tasks.train.plan import Decision
from tests.tasks.train.preference_rows import make_preference_job
from tests.tasks.train.training_rows import make_job

GUESS = Guess(rows=10, tokens=40)


def test_a_training_of_several_processes_is_estimated(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.train.estimate.calibration.gemm_flops", lambda _: 1e11)  # two measurements would differ
    one = estimate(Request(job=make_job(tmp_path / "one", tiny_model), calibrate=False))
    two = estimate(Request(job=make_job(tmp_path / "two", tiny_model, processes=2), calibrate=False))
    assert two.decisions["processes"].startswith("2: ")
    assert two.decisions["engine"].startswith("ddp: ")
    assert two.refusal == ""
    assert two.here.time_parts["steps"] == pytest.approx(one.here.time_parts["steps"] / 2, rel=0.1)


def test_what_the_trainer_would_refuse_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, tiny_model, processes=3)  # a step has two micro-batches
    with pytest.raises(UsageError, match="2 micro-batches for 3 processes"):
        choice_of(job)


def test_it_computes_with_the_cores_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: taken.append(cores))
    monkeypatch.setattr("tasks.train.estimate.process.look", lambda: WithoutGpu())
    for processes in (1, 2, 8):
        take_cores_of_one(Choice(engine=Decision(value="ddp", reason=""), processes=processes))
    assert taken == [[0, 1]]


class WithoutGpu:
    """A machine without a GPU."""

    gpus = 0


def test_kto_counts_rows_and_not_answers(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_preference_job(tmp_path, tiny_model, method="kto", epochs=1.0)
    found = estimate(Request(job=job, calibrate=False))
    assert (found.rows, found.steps) == (12, 6)  # two answers of each row, four in a step


@pytest.mark.parametrize(
    ("config", "examples", "each"),
    [
        ({}, 10, Micro((40,), 20)),
        ({"max_rows": 4, "sequence_tokens": 30}, 4, Micro((30,), 15)),
        ({"method": "dpo"}, 10, Micro((40, 40), 40)),
        ({"method": "kto"}, 20, Micro((40,), 20, (40,))),
        ({"method": "grpo", "samples_per_prompt": 3, "answer_tokens": 50}, 10, Micro((70, 70, 70), 150)),
    ],
)
def test_rows_that_nobody_has_read_yet(
    tiny_model: Path, tmp_path: Path, config: dict[str, Any], examples: int, each: Micro
) -> None:
    run = guessed_run(make_job(tmp_path, tiny_model, epochs=1.0, **config), GUESS)
    assert list(run.examples) == [each] * examples
    assert len(run.steps) == -(-examples // 4)
