"""Rows for tests of the data stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.adapters.row_files import Privacy, all_rows, finish_output, write_shard
from tasks.adapters.store import Store, stage_key
from tasks.contracts import Message, Row, RowOrigin, Rows, ValidatedRows

PRIVACY = Privacy(entities=("EMAIL_ADDRESS", "PHONE_NUMBER"), phone_regions=("US", "GB"))


def make_row(index: int, prompt: str, answer: str = "yes", **changes: Any) -> Row:
    """A kept row with one question and one answer."""
    origin = RowOrigin(source_uri="data/x.jsonl", source_digest="ab" * 32, record_index=index, byte_offset=0, line=1)
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Row(row_id=f"{'ab' * 8}:{index:06d}", origin=origin, messages=turns, shape="chat").model_copy(update=changes)


def stored(
    rows: list[Row],
    store: Store,
    privacy: Privacy = PRIVACY,
    shards: int = 1,
    own: Mapping[int, Privacy] | None = None,
) -> Rows:
    """Rows as the output of an earlier stage, in so many shards of about the same size.

    Args:
        own: number of a shard → its own rules of privacy.
    """
    rules = own or {}
    key = stage_key(
        1, shards, [r.model_dump() for r in rows], privacy, [[n, rules[n].model_dump()] for n in sorted(rules)]
    )
    uri, size = store.uri("given", key), -(-len(rows) // shards) or 1

    def make(folder: Path) -> Rows:
        pieces = [rows[start : start + size] for start in range(0, max(1, len(rows)), size)]
        written = [write_shard(folder, uri, f"{n:05d}.jsonl", piece) for n, piece in enumerate(pieces)]
        with_rules = [s.model_copy(update={"privacy": rules.get(n)}) for n, s in enumerate(written)]
        return finish_output(folder, uri, with_rules, privacy)

    return store.produce("given", key, Rows, make)


def rows_of(rows: Rows, store: Store) -> list[Row]:
    """All rows of an output."""
    return list(all_rows(store, rows.uri))


def validated(rows: list[Row], store: Store, warnings: tuple[str, ...] = ()) -> ValidatedRows:
    return ValidatedRows(rows=stored(rows, store), rules=1, warnings=warnings, report_uri="store://given/none")


def open_store(folder: Path) -> Store:
    return Store(str(folder / "store"), folder)
