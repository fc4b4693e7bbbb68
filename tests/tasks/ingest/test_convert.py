from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.errors import UsageError
from tasks.ingest.convert import Converted, NotARow, converted, metadata_of
from tasks.ingest.shape import describe_mapping, detect

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
B = {"role": "assistant", "content": "b"}


def made(*values: dict[str, Any], shape: Any = "auto", **columns: str) -> Converted:
    """The first record, read as all of them together are decided to be read."""
    return converted(values[0], detect(values, shape, columns, "x.jsonl"))


def texts(row: Converted) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in row.messages]


PAIR = [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"question": "q", "response_j": "a", "response_k": "b", "qid": 7},
        {"prompt": "q", "chosen_response": "a", "rejected_response": "b"},
        {"prompt": [Q], "chosen": [A], "rejected": [B]},
        {"chosen": [Q, A], "rejected": [Q, B]},
        {"prompt": "q", "prompt_id": "x", "chosen": [Q, A], "rejected": [Q, B], "messages": [Q, A], "score": 8.0},
        {"messages": [Q], "chosen": A, "rejected": B},
        {"input": {"messages": [Q], "tools": []}, "preferred_output": [A], "non_preferred_output": [B]},
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"},
         "rejected": {"from": "gpt", "value": "b"}},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"question": "q", "response_a": "b", "response_b": "a", "better": "b"},
        {"question": "q", "answer_0": "b", "answer_1": "a", "winner": 1},
        {"prompt": "q", "response_0": "b", "response_1": "a", "better_response_id": 1.0},
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "model_a"},
        {"prompt": "q", "completion_a": "b", "completion_b": "a", "preferred": "completion_b"},
    ],
)  # fmt: skip
def test_spellings_of_preference_pairs(value: dict[str, Any]) -> None:
    row = made(value)
    assert (texts(row), row.rejected) == (PAIR, "b")


def test_what_a_number_means_is_seen_in_the_sample_or_asked_for() -> None:
    row = {"question": "q", "response_a": "a", "response_b": "b"}
    assert made({**row, "better": 1}, {**row, "better": 2}).rejected == "b"
    assert made({**row, "better": 1}, {**row, "better": 0}).rejected == "a"
    with pytest.raises(UsageError, match="not clear which answer"):
        made({**row, "better": 1})


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "no_preference"),
        ({"chosen": [Q, A], "rejected": [{**Q, "content": "other"}, B]}, "no_preference"),
        ({"question": "q", "response_a": "a", "response_b": "b", "better": "tie"}, "no_preference"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "missing_field"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "empty"),
        ({"chosen": "a", "rejected": "b"}, "missing_field"),
        ({"chosen": [Q], "rejected": [Q, B]}, "no_answer"),
    ],
)
def test_pairs_without_a_preference(value: dict[str, Any], code: str) -> None:
    with pytest.raises(NotARow) as error:
        made(value)
    assert error.value.code == code


def test_a_preference_does_not_hide_another_shape() -> None:
    both = {"prompt": "q", "completion": "c", "chosen": "a", "rejected": "b"}
    with pytest.raises(UsageError, match="more than one shape"):
        made(both)
    assert made(both, shape="preference").rejected == "b"
    assert made(both, shape="prompt_completion").rejected == ""
    named = made({"q": "q", "good": "a", "bad": "b"}, prompt="q", chosen="good", rejected="bad")
    assert (texts(named), named.rejected) == (PAIR, "b")


def test_tools_of_openai_chat() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"x":1}'}}
    turns = [Q, {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "c1", "content": "5"}, A]  # fmt: skip
    row = made({"messages": turns, "tools": [{"type": "function", "function": {"name": "find"}}]})
    assert texts(row) == [("user", "q"), ("assistant", ""), ("tool", "5"), ("assistant", "a")]
    assert row.messages[1].tool_calls[0].model_dump() == {"id": "c1", "name": "find", "arguments": '{"x":1}'}
    assert row.messages[2].tool_call_id == "c1"
    assert json.loads(row.tools) == [{"type": "function", "function": {"name": "find"}}]


def test_functions_of_the_older_form_and_of_sharegpt() -> None:
    old = [Q, {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
           {"role": "function", "name": "find", "content": "5"}, A]  # fmt: skip
    row = made({"messages": old, "functions": [{"name": "find"}]})
    assert row.messages[1].tool_calls[0].name == "find"
    assert (row.messages[2].role, row.messages[2].name) == ("tool", "find")
    assert json.loads(row.tools) == [{"type": "function", "function": {"name": "find"}}]
    share = [{"from": "human", "value": "q"}, {"from": "function_call", "value": '{"name":"find","arguments":{"x":1}}'},
             {"from": "observation", "value": "5"}, {"from": "gpt", "value": "a"}]  # fmt: skip
    row = made({"conversations": share, "tools": '[{"name":"find"}]', "system": "s"})
    assert [m.role for m in row.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert row.messages[2].tool_calls[0].arguments == '{"x":1}'


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ({"from": "function_call", "value": "no json"}, "broken_json"),
        ({"from": "function_call", "value": '{"arguments":{}}'}, "missing_field"),
        ({"from": "someone", "value": "x"}, "unknown_role"),
        ({"from": "gpt", "value": None}, "missing_field"),
    ],
)
def test_broken_turns(turn: dict[str, Any], code: str) -> None:
    with pytest.raises(NotARow) as error:
        made({"conversations": [{"from": "human", "value": "q"}, turn, {"from": "gpt", "value": "a"}]})
    assert error.value.code == code
    with pytest.raises(NotARow, match="definitions of the tools"):
        made({"messages": [Q, A], "tools": "no json"})


@pytest.mark.parametrize(
    "value",
    [
        {"data": ["q", "a"]}, {"conversation": {"messages": [Q, A]}}, {"conversation": [Q, A]}, {"dialog": ["q", "a"]},
        {"messages": json.dumps([Q, A])},
        {"turns": [{"speaker": "customer", "text": "q"}, {"speaker": "bot", "text": "a"}]},
        {"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [Q, A]}, {"instruction": "q", "output": "a"}, {"instruction": "q", "response": "a"},
    ],
)  # fmt: skip
def test_other_places_of_a_conversation(value: dict[str, Any]) -> None:
    assert texts(made(value)) == PAIR


def test_alpaca_with_system_and_history() -> None:
    row = made({"instruction": "i", "input": "x", "output": "o", "system": "s", "history": [["h", "r"]]})
    assert texts(row) == [("system", "s"), ("user", "h"), ("assistant", "r"), ("user", "i\n\nx"), ("assistant", "o")]


def test_the_mapping_is_shown_for_people() -> None:
    decision = detect([{"question": "q", "answer": "a", "stars": 5}], "auto", {}, "x")
    assert describe_mapping(decision) == "prompt ← question, completion ← answer; metadata: rating ← stars"
    assert describe_mapping(detect([{"messages": [Q, A]}], "auto", {}, "x")) == "messages ← messages"
    assert metadata_of({"question": "q", "answer": "a", "stars": 5}, decision) == {"rating": "5"}
    named = detect([{"talk": [Q, A], "other": 1}], "auto", {"messages": "talk"}, "x")
    assert describe_mapping(named) == "messages ← talk"
