"""A version's rows in the forms that other tools read: OpenAI chat, ShareGPT, Alpaca, Parquet.

Every form is one that our own readers take back to the same messages, but for what ShareGPT cannot say: ids of calls,
and text and calls in one turn, which come back as two turns. Preference pairs lie in files of their own: a
file has one shape. CSV is not offered, since it cannot hold a conversation without loss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from tasks.adapters import audit
from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import Message, Record, Row, Split
from tasks.errors import UsageError
from tasks.version.catalog import find, rows_path

Format = Literal["openai", "sharegpt", "alpaca", "parquet"]
_SPLITS: tuple[Split, ...] = get_args(Split)
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
_BATCH_ROWS = 1024
_SHOWN = 5


class Exported(Record):
    """One file that was written."""

    path: str
    split: Split
    preference: bool
    rows: int


def export(address: str, target: Path, form: Format, store: Store, *, force: bool = False) -> list[Exported]:
    """Write the kept rows of a version into `target`; all files are complete before the first gets its name.

    Raises:
        UsageError: a file is there already and `force` is not set, or rows do not fit the form.
    """
    entry = find(address)
    rows = rows_path(entry, store)
    counts, unfit = _survey(rows, form)
    if unfit:
        raise UsageError(
            f"{len(unfit)} of {sum(counts.values())} rows do not fit the form {form}", where=address,
            why=f"Alpaca holds one question and one answer; more turns or tools have {', '.join(unfit[:_SHOWN])}",
            remedy="use --format openai or sharegpt",
        )  # fmt: skip
    names = {key: target / _name(*key, form) for key in counts}
    _refuse_existing(target, list(names.values()), force)
    target.mkdir(parents=True, exist_ok=True)
    temporary = {key: path.with_name(f".{path.name}.{os.getpid()}") for key, path in names.items()}
    try:
        for (split, preference), path in temporary.items():
            chosen = _of(rows, split, preference)
            _write_parquet(path, chosen, preference) if form == "parquet" else _write_lines(path, chosen, form)
        for key, path in temporary.items():
            path.replace(names[key])
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    audit.record("dataset.exported", entry.address, details={"form": form, "rows": sum(counts.values())})
    return [Exported(path=str(p), split=k[0], preference=k[1], rows=counts[k]) for k, p in names.items()]


def _survey(rows: Path, form: Format) -> tuple[dict[tuple[Split, bool], int], list[str]]:
    """Rows of each file to write, and the ids of rows that do not fit the form."""
    counts: dict[tuple[Split, bool], int] = dict.fromkeys(((split, False) for split in _SPLITS), 0)
    unfit = []
    for row in iter_rows(rows):
        if row.split is None:
            continue
        key = row.split, bool(row.rejected)
        counts[key] = counts.get(key, 0) + 1
        if form == "alpaca" and not _is_single_turn(row):
            unfit.append(row.row_id)
    return {key: count for key, count in sorted(counts.items()) if count}, unfit


def _is_single_turn(row: Row) -> bool:
    turns = [m for m in row.messages if m.role != "system"]
    plain = not row.tools and not any(m.tool_calls for m in turns)
    first = row.messages[: len(row.messages) - 2]
    return plain and [m.role for m in turns] == ["user", "assistant"] and all(m.role == "system" for m in first)


def _name(split: Split, preference: bool, form: Format) -> str:
    return f"{split}{'.preference' if preference else ''}.{'parquet' if form == 'parquet' else 'jsonl'}"


def _refuse_existing(target: Path, files: list[Path], force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError("the target is not a folder", where=str(target), remedy="give another one")
    there = [path.name for path in files if path.exists()]
    if there and not force:
        raise UsageError("the target holds these files already", where=str(target), why=", ".join(there),
                         remedy="give another folder, or --force to replace them")  # fmt: skip


def _of(rows: Path, split: Split, preference: bool) -> Iterator[Row]:
    return (row for row in iter_rows(rows) if row.split == split and bool(row.rejected) == preference)


def _write_lines(path: Path, rows: Iterator[Row], form: Format) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(exported(row, form), ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def exported(row: Row, form: Format) -> dict[str, Any]:
    """One row in one of the forms."""
    made: Mapping[Format, Callable[[Row], dict[str, Any]]] = {
        "openai": _openai, "sharegpt": _sharegpt, "alpaca": _alpaca, "parquet": _table_row,
    }  # fmt: skip
    return made[form](row)


def _openai(row: Row) -> dict[str, Any]:
    """The chat form; pairs as in OpenAI's preference fine-tuning."""
    tools = {"tools": json.loads(row.tools)} if row.tools else {}
    if not row.rejected:
        return {"messages": [_turn(m) for m in row.messages], **tools}
    rejected = row.messages[-1].model_copy(update={"content": row.rejected, "tool_calls": ()})
    return {
        "input": {"messages": [_turn(m) for m in row.prompt], **tools},
        "preferred_output": [_turn(row.messages[-1])],
        "non_preferred_output": [_turn(rejected)],
    }


def _turn(message: Message) -> dict[str, Any]:
    calls = [
        {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
        for c in message.tool_calls
    ]
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    named = {"tool_calls": calls, "tool_call_id": message.tool_call_id, "name": message.name}
    return turn | {name: value for name, value in named.items() if value}


def _sharegpt(row: Row) -> dict[str, Any]:
    tools = {"tools": row.tools} if row.tools else {}
    if not row.rejected:
        return {"conversations": [turn for m in row.messages for turn in _spoken(m)], **tools}
    return {
        "conversations": [turn for m in row.prompt for turn in _spoken(m)],
        "chosen": {"from": "gpt", "value": row.answer},
        "rejected": {"from": "gpt", "value": row.rejected},
        **tools,
    }


def _spoken(message: Message) -> Iterator[dict[str, Any]]:
    """The turns of one message: one for what is said, and one for its calls of tools, which are a list if several."""
    if message.content or not message.tool_calls:
        yield {"from": _SPEAKERS[message.role], "value": message.content}
    calls = [{"name": c.name, "arguments": _arguments(c.arguments)} for c in message.tool_calls]
    if calls:
        value = json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False)
        yield {"from": "function_call", "value": value}


def _arguments(text: str) -> object:
    """The arguments of a call as an object; what a model wrote that is none stays the text that it is."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _alpaca(row: Row) -> dict[str, Any]:
    system = "\n\n".join(m.content for m in row.messages if m.role == "system")
    question = row.prompt[-1].content
    answer = {"chosen": row.answer, "rejected": row.rejected} if row.rejected else {"output": row.answer}
    return {"instruction": question, "input": "", **answer, **({"system": system} if system else {})}


def _table_row(row: Row) -> dict[str, Any]:
    """The chat form as columns; pairs as conversations, as TRL reads them."""
    made: dict[str, Any] = {"row_id": row.row_id, "tools": row.tools or None}
    if not row.rejected:
        return made | {"messages": [_turn(m) for m in row.messages]}
    rejected = row.messages[-1].model_copy(update={"content": row.rejected, "tool_calls": ()})
    turns = {"prompt": row.prompt, "chosen": row.messages[-1:], "rejected": [rejected]}
    return made | {name: [_turn(m) for m in messages] for name, messages in turns.items()}


def _write_parquet(path: Path, rows: Iterator[Row], preference: bool) -> None:
    """Nested columns; `tools` is JSON text, since its fields differ from row to row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    call = pa.struct({"id": text, "type": text, "function": pa.struct({"name": text, "arguments": text})})
    turn = {"role": text, "content": text, "tool_calls": pa.list_(call), "tool_call_id": text, "name": text}
    names = ("prompt", "chosen", "rejected") if preference else ("messages",)
    turns = {name: pa.list_(pa.struct(turn)) for name in names}
    schema = pa.schema({**turns, "tools": text, "row_id": text})
    with pq.ParquetWriter(path, schema) as writer:
        while batch := [_table_row(row) for row in islice(rows, _BATCH_ROWS)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))
