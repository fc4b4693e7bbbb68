"""Rows for tests of the data stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.adapters.row_files import Privacy, write_output
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Message, Row, RowOrigin, Rows, ValidatedRows

PRIVACY = Privacy(entities=("EMAIL_ADDRESS", "PHONE_NUMBER"), phone_regions=("US", "GB"))


def make_row(index: int, prompt: str, answer: str = "yes", **changes: Any) -> Row:
    """A kept row with one question and one answer."""
    origin = RowOrigin(source_uri="data/x.jsonl", source_digest="ab" * 32, record_index=index, byte_offset=0, line=1)
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Row(row_id=f"{'ab' * 8}:{index:06d}", origin=origin, messages=turns, shape="chat").model_copy(update=changes)


def stored(rows: list[Row], store: Store, privacy: Privacy = PRIVACY) -> Rows:
    """Rows as the output of an earlier stage."""
    key = stage_key(1, [r.model_dump() for r in rows])
    return store.produce(
        "given", key, Rows, lambda folder: write_output(folder, store.uri("given", key), rows, privacy)
    )


def validated(rows: list[Row], store: Store, warnings: tuple[str, ...] = ()) -> ValidatedRows:
    return ValidatedRows(rows=stored(rows, store), rules=1, warnings=warnings, report_uri="store://given/none")


def open_store(folder: Path) -> Store:
    return Store(str(folder / "store"), folder)
