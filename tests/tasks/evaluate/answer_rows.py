"""Rows and data folders that the tests of the evaluation share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.contracts import DatasetVersion, Message, Row, RowCounts, RowOrigin


def row(prompt: str, answer: str, index: int = 0, *, earlier: Sequence[tuple[str, str]] = ()) -> Row:
    """A kept row; `earlier` are (role, content) turns before the prompt."""
    origin = RowOrigin(source_uri="a.jsonl", source_digest="0" * 64, record_index=index, byte_offset=0, line=index + 1)
    turns = [*earlier, ("user", prompt), ("assistant", answer)]
    messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in turns)
    return Row(row_id=f"{'0' * 16}:{index}", origin=origin, messages=messages)


def ticket(intent: str, team: str, reply: str) -> str:
    return json.dumps({"intent": intent, "team": team, "reply": reply}, separators=(",", ":"))


def tickets(count: int, start: int = 0) -> list[Row]:
    """Rows with two structured fields and a text; the message tells the intent."""
    intents = (("billing", "finance", "invoice"), ("fault", "workshop", "brake"), ("app", "digital", "unlock"))
    made = []
    for i in range(start, start + count):
        intent, team, word = intents[i % len(intents)]
        made.append(row(f"my {word} number {i} is wrong", ticket(intent, team, f"We will check {word} case {i}."), i))
    return made


def write_dataset(folder: Path, train: Sequence[Row], test: Sequence[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        text = "".join(r.model_dump_json() + "\n" for r in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def version_of(uri: str, train: Sequence[Row], test: Sequence[Row], digest: str = "d" * 64) -> DatasetVersion:
    count = len(train) + len(test)
    return DatasetVersion(
        address="ds://desk/main@1.0.0",
        version="1.0.0",
        digest=digest,
        uri=uri,
        manifest_digest="m" * 64,
        counts=RowCounts(rows_in=count, kept=count, merged=0, quarantined=0, redacted=0),
        reasons={},
        train_rows=len(train),
        test_rows=len(test),
        tokenizer_digest="t" * 64,
        new=True,
    )
