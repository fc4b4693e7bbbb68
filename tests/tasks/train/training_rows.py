"""Jobs on the tiny model: real rows, a real base model, a real trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.adapters.base_models import resolve
from tasks.contracts import Message, Row, RowOrigin
from tasks.train.plan import Job
from tasks.train.recipe import Recipe


def make_row(index: int, prompt: str, answer: str) -> Row:
    origin = RowOrigin(
        source_uri="rows.jsonl", source_digest="d" * 64, record_index=index, byte_offset=0, line=index + 1
    )
    messages = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Row(row_id=f"dddddddddddddddd:{index}", origin=origin, messages=messages, split="train")


def make_rows(count: int) -> list[Row]:
    return [make_row(i, f"Where is bike {i}? " * (i % 4 + 1), "We will ring. " * (i % 3 + 1)) for i in range(count)]


def write_rows(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return path


def make_job(folder: Path, model: Path, rows: int = 12, **config: Any) -> Job:
    """A job of `rows` rows in batches of 4 (micro-batches of 2), a checkpoint every second step."""
    chosen = {"batch_rows": 4, "micro_batch_rows": 2, "epochs": 2.0, "rank": 4, "alpha": 8, "checkpoint_steps": 2}
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return Job(
        base=resolve(str(model)),
        rows=write_rows(folder / "train.jsonl", make_rows(rows)),
        dataset_digest="e" * 64,
        config=Recipe.model_validate(chosen | config),
        work=work,
        key="f" * 64,
    )
