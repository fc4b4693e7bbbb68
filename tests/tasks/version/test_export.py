from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.store import Store
from tasks.contracts import Message, Row, ToolCall
from tasks.errors import UsageError
from tasks.version.export import Exported, Format, export
from tests.tasks.version.versions import prompt, some_row, some_rows, versioned

TOOLS = json.dumps([{"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}])
CALL = ToolCall(id="call_1", name="find_order", arguments='{"number": 12}')
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content='Where is order 12?\nAnd "13"?'),
    Message(role="assistant", content="", tool_calls=(CALL,)),
    Message(role="tool", content='{"state": "sent"}', tool_call_id="call_1", name="find_order"),
    Message(role="assistant", content="It is on its way: é 日本 😀."),
    Message(role="user", content="Thanks"),
    Message(role="assistant", content="You are welcome."),
)


def plain() -> list[Row]:
    system = (Message(role="system", content="Be brief."), *some_row(40, prompt(40)).messages)
    return [*some_rows(12), some_row(40, prompt(40), messages=system)]


def pairs() -> list[Row]:
    return [some_row(50 + n, prompt(50 + n), "good", rejected="bad", split="test" if n else "train") for n in range(2)]


def with_tools() -> list[Row]:
    return [some_row(60, "", messages=CONVERSATION, tools=TOOLS)]


def write(rows: list[Row], target: Path, form: Format, **options: Any) -> list[Exported]:
    return export(versioned(rows).address, target, form, Store.open(), **options)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("form", ["openai", "sharegpt", "alpaca", "parquet"])
def test_files_and_counts(home: Path, tmp_path: Path, form: Format) -> None:
    files = write([*plain(), *pairs()], tmp_path / "out", form)
    end = "parquet" if form == "parquet" else "jsonl"
    found = {Path(f.path).name: (f.rows, f.preference) for f in files}
    assert found == {
        f"train.{end}": (10, False), f"test.{end}": (3, False),
        f"train.preference.{end}": (1, True), f"test.preference.{end}": (1, True),
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(found)


def test_openai_chat(home: Path, tmp_path: Path) -> None:
    write([*plain(), *pairs(), *with_tools()], tmp_path, "openai")
    called = lines(tmp_path / "train.jsonl")[-1]
    assert called["tools"] == json.loads(TOOLS)
    assert called["messages"][2]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "find_order", "arguments": '{"number": 12}'}}
    ]
    assert called["messages"][3] == {
        "role": "tool", "content": '{"state": "sent"}', "tool_call_id": "call_1", "name": "find_order",
    }  # fmt: skip
    (pair,) = lines(tmp_path / "train.preference.jsonl")
    assert pair["preferred_output"] == [{"role": "assistant", "content": "good"}]
    assert pair["non_preferred_output"] == [{"role": "assistant", "content": "bad"}]


def test_alpaca_is_for_one_question_and_one_answer(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 of 14 rows do not fit") as error:
        write([*plain(), *with_tools()], tmp_path / "out", "alpaca")
    assert "000060" in error.value.why
    assert not (tmp_path / "out").exists()
    write(plain(), tmp_path / "out", "alpaca")
    assert lines(tmp_path / "out" / "train.jsonl")[-1] == {
        "instruction": prompt(40), "input": "", "output": "yes", "system": "Be brief.",
    }  # fmt: skip


def test_files_that_are_there_are_kept_unless_forced(home: Path, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine too")
    with pytest.raises(UsageError, match="already") as error:
        write(plain(), tmp_path, "openai")
    assert error.value.why == "test.jsonl"
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {"test.jsonl", "notes.txt"}
    write(plain(), tmp_path, "openai", force=True)
    assert len(lines(tmp_path / "test.jsonl")) == 3
    assert (tmp_path / "notes.txt").read_text() == "mine too"
    with pytest.raises(UsageError, match="not a folder"):
        write(plain(), tmp_path / "notes.txt", "openai")


def read_back(path: Path) -> list[Row]:
    """What our own readers make of an exported file."""
    from tasks.ingest.formats import format_of
    from tasks.ingest.read import parts, read_records
    from tasks.ingest.rows import Place, make_row
    from tasks.ingest.shape import detect
    from tasks.privacy.redact import Redactor

    form = format_of(path.name, b"") or ""
    records = [r for part in parts(path, form) for r in read_records(path, form, path.name, part)]
    decision = detect([r.value for r in records], "auto", {}, path.name)
    place = Place(source_uri=path.name, source_digest="0" * 64)
    return [make_row(record, place, decision, Redactor((), ())) for record in records]


def content(rows: list[Row]) -> list[object]:
    parsed = [json.loads(row.tools) if row.tools else None for row in rows]
    return sorted(([r.messages, r.rejected, tools] for r, tools in zip(rows, parsed, strict=True)), key=str)


@pytest.mark.parametrize(
    ("form", "made"),
    [
        ("openai", [*plain(), *pairs(), *with_tools()]),
        ("sharegpt", [*plain(), *pairs()]),
        ("alpaca", [*plain(), *pairs()]),
        ("parquet", [*plain(), *pairs(), *with_tools()]),
    ],
)
def test_our_own_readers_take_it_back(home: Path, tmp_path: Path, form: Format, made: list[Row]) -> None:
    files = write(made, tmp_path, form)
    back = [row for file in files for row in read_back(Path(file.path))]
    assert [row.reason for row in back if row.outcome != "kept"] == []
    assert content(back) == content(made)


def test_tools_survive_sharegpt_but_for_the_names_of_calls(home: Path, tmp_path: Path) -> None:
    """ShareGPT has no ids of calls: what is said, called and answered comes back, the ids do not."""
    write([*plain(), *with_tools()], tmp_path, "sharegpt")
    (back,) = [row for row in read_back(tmp_path / "train.jsonl") if row.tools]
    assert json.loads(back.tools) == json.loads(TOOLS)
    assert [(m.role, m.content) for m in back.messages] == [(m.role, m.content) for m in CONVERSATION]
    (call,) = [call for m in back.messages for call in m.tool_calls]
    assert (call.name, json.loads(call.arguments)) == ("find_order", {"number": 12})


def test_calls_that_stand_beside_each_other_stay_one_turn_of_sharegpt(home: Path, tmp_path: Path) -> None:
    calls = (ToolCall(name="find_order", arguments='{"number":12}'), ToolCall(name="find_order", arguments="no json"))
    turns = (*CONVERSATION[:2], Message(role="assistant", content="", tool_calls=calls), *CONVERSATION[3:])
    write([*plain(), some_row(60, "", messages=turns, tools=TOOLS)], tmp_path, "sharegpt")
    (back,) = [row for row in read_back(tmp_path / "train.jsonl") if row.tools]
    assert [(m.role, m.content) for m in back.messages] == [(m.role, m.content) for m in turns]
    assert back.messages[2].tool_calls == calls


def test_tools_of_openai_pairs_come_back(home: Path, tmp_path: Path) -> None:
    pair = some_row(50, prompt(50), "good", rejected="bad", tools=TOOLS)
    write([*plain(), pair], tmp_path, "openai")
    (back,) = read_back(tmp_path / "train.preference.jsonl")
    assert json.loads(back.tools) == json.loads(TOOLS)
    assert (back.messages, back.rejected) == (pair.messages, "bad")
