"""Preference pairs for tests: a rule that a tiny model can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.contracts import Row
from tasks.train.plan import Job
from tests.tasks.train.training_rows import make_job, make_row, write_rows

GOOD, BAD = "We will ring the courier now.", "My bike was meant to be here."


def make_pair(index: int) -> Row:
    """The answer about the courier is the better one; lengths differ from row to row."""
    row = make_row(index, f"Where is bike {index}? " * (index % 3 + 1), f"{GOOD} " * (index % 2 + 1))
    return row.model_copy(update={"rejected": f"{BAD} " * (index % 3 + 1), "shape": "preference"})


def make_pairs(count: int) -> list[Row]:
    return [make_pair(index) for index in range(count)]


def make_uneven_pairs() -> list[Row]:
    """A long prompt with short answers, a short one with long answers: long with long is longer than either row."""
    long_prompt = make_row(0, "Where is bike 0? " * 12, GOOD).model_copy(update={"rejected": BAD})
    long_answers = make_row(1, "Where?", f"{GOOD} " * 12).model_copy(update={"rejected": f"{BAD} " * 12})
    return [row.model_copy(update={"shape": "preference"}) for row in (long_prompt, long_answers)]


def make_preference_job(folder: Path, model: Path, rows: int = 12, **config: Any) -> Job:
    """A DPO job on pairs; as `make_job` in everything else."""
    chosen: dict[str, Any] = {"method": "dpo", "learning_rate": 5e-3}
    job = make_job(folder, model, **chosen | config)
    write_rows(job.rows, make_pairs(rows))
    return job
