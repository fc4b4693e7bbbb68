from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.contracts import Message, Row, ToolCall
from tasks.validate.config import ChecksConfig
from tasks.validate.measures import FAMILIES, MEASURES, family, has_role_order, measure
from tasks.validate.score import WEIGHTS, marks, quality
from tests.tasks.data_rows import make_row

CHECKS = ChecksConfig()


def measured(row: Row, checks: ChecksConfig = CHECKS) -> Any:
    return measure([row], checks, lambda messages, _: sum(len(m.content.split()) for m in messages))[0]


def talk(*turns: tuple[str, str], **changes: Any) -> Row:
    messages = tuple(Message(role=role, content=text) for role, text in turns)  # type: ignore[arg-type]
    return make_row(0, "", messages=messages, **changes)


def test_one_line_for_each_row() -> None:
    numbers = measure([make_row(i, f"question {i}") for i in range(3)], CHECKS, lambda *_: 12)
    assert numbers.dtype == MEASURES
    assert numbers["record"].tolist() == [0, 1, 2]
    assert numbers["tokens"].tolist() == [12, 12, 12]
    assert numbers.itemsize <= 150


def test_lengths_do_not_count_outer_blanks() -> None:
    line = measured(make_row(0, "  ab ", " xyz\n"))
    assert (line["prompt_chars"], line["answer_chars"]) == (2, 3)


def test_a_template_that_refuses_the_row() -> None:
    line = measure([make_row(0, "a b c")], CHECKS, lambda *_: None)[0]
    assert not line["template_ok"]
    assert line["tokens"] == 0


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("one two three four five", 0.0),
        ("one two three one two three", 1 / 4),
        ("yes yes yes yes yes yes", 3 / 4),
        ("One, two. THREE! one-two three", 1 / 4),
        ("yes", 0.0),
    ],
)
def test_repeated_word_triples(answer: str, share: float) -> None:
    assert measured(make_row(0, "q", answer))["repeated_share"] == pytest.approx(share)


def test_placeholders_damage_and_variety() -> None:
    line = measured(make_row(0, "my mail is <EMAIL_ADDRESS>", "caf\u00c3\u00a9 caf\ufffd ok ok"))
    assert line["encoding_damage"] == 2
    assert line["placeholder_share"] == pytest.approx(1 / 9)
    assert 0.5 < line["distinct_words_share"] < 1


@pytest.mark.parametrize(
    ("roles", "right"),
    [
        ("ua", True), ("sua", True), ("uaua", True), ("u", False), ("uu", False), ("au", False), ("uas", False),
        ("ucta", True), ("ucttcta", True), ("ut", False), ("uct", False), ("uc", False),
    ],
)  # fmt: skip
def test_the_order_of_turns(roles: str, right: bool) -> None:
    names = {"s": "system", "u": "user", "a": "assistant", "c": "assistant", "t": "tool"}
    calls = {"c": (ToolCall(id="1", name="f", arguments="{}"),)}
    messages = [Message(role=names[r], content="x", tool_calls=calls.get(r, ())) for r in roles]  # type: ignore[arg-type]
    assert has_role_order(make_row(0, "", messages=tuple(messages))) is right


@pytest.mark.parametrize(
    ("arguments", "answers", "tools", "fine", "defined"),
    [
        ('{"a": 1}', "1", "", True, True),
        ("[1]", "1", "", False, True),
        ("{", "1", "", False, True),
        ("{}", "2", "", False, True),
        ("{}", "1", '[{"type": "function", "function": {"name": "f"}}]', True, True),
        ("{}", "1", '[{"name": "g"}]', True, False),
        ("{}", "1", "no json", True, False),
    ],
)
def test_tool_calls(arguments: str, answers: str, tools: str, fine: bool, defined: bool) -> None:
    call = ToolCall(id="1", name="f", arguments=arguments)
    messages = (
        Message(role="user", content="q"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="r", tool_call_id=answers),
        Message(role="assistant", content="a"),
    )
    line = measured(make_row(0, "", messages=messages, tools=tools))
    assert (line["tools_ok"], line["tools_defined"]) == (fine, defined)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (make_row(0, "q"), "chat"),
        (make_row(0, "q", shape="prompt_completion"), "pair"),
        (make_row(0, "q", shape="classification"), "pair"),
        (talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), shape="sharegpt"), "chat"),
        (make_row(0, "q", shape="prompt_completion", rejected="no"), "preference"),
        (make_row(0, "q", shape="sections"), "document"),
    ],
)
def test_families(row: Row, name: str) -> None:
    assert family(row) == name
    assert FAMILIES[measured(row)["family"]] == name


def test_pairs_that_do_not_differ() -> None:
    assert not measured(make_row(0, "q", "Same", rejected="same "))["pair_differs"]
    assert measured(make_row(0, "q", "one", rejected="two"))["pair_differs"]
    assert measured(make_row(0, "q", "x" * 30, rejected="two"))["length_ratio"] == 10


def test_an_answer_that_is_the_question() -> None:
    assert not measured(make_row(0, "Where is it?", "where is it?"))["answer_is_new"]
    assert measured(make_row(0, "Where is it?", "Here."))["answer_is_new"]


def test_equal_texts_have_equal_hashes() -> None:
    lines = [measured(make_row(0, "Q", a)) for a in ("Yes", "yes", "no")]
    assert lines[0]["answer_hash"] == lines[1]["answer_hash"] != lines[2]["answer_hash"]


def test_languages_are_judged_where_they_are_configured() -> None:
    german = make_row(0, "Wo ist mein Fahrrad? Es sollte um neun hier sein.", "Es kommt heute noch.")
    assert measured(german)["language"] == b"de"
    assert measured(german)["language_ok"]
    assert not measured(german, ChecksConfig(languages=("en",)))["language_ok"]
    assert measured(german, ChecksConfig(languages=("en", "de")))["language_ok"]
    assert measured(make_row(0, "Fahrrad", "ja"), ChecksConfig(languages=("en",)))["language_ok"]
    many = measure([german] * 20, CHECKS, lambda *_: 1)
    assert (many["language"] != b"").sum() == 2


def test_the_score_is_the_weighted_sum_of_the_documented_marks() -> None:
    assert sum(WEIGHTS.values()) == 100
    good = measured(make_row(0, "Where is my bicycle, please?", "It left our shop and is on its way to you now. "
                             "You will see our courier before noon, he rings twice."))  # fmt: skip
    assert good["quality"] == 100
    empty = np.zeros(1, MEASURES)
    empty["encoding_damage"], empty["repeated_share"], empty["toxicity"], empty["placeholder_share"] = 1, 1, 1, 1
    assert quality(empty)[0] == 0
    assert set(marks(empty)) == set(WEIGHTS)


@pytest.mark.parametrize(
    ("column", "value", "mark"),
    [
        ("repeated_share", 0.25, "repetition"), ("cut_answer", True, "completeness"),
        ("unfinished_answer", True, "completeness"), ("distinct_words_share", 0.1, "variety"), ("tokens", 5, "length"),
        ("placeholder_share", 0.3, "placeholders"), ("encoding_damage", 1, "encoding"), ("toxicity", 0.05, "toxicity"),
        ("language_ok", False, "language"),
    ],
)  # fmt: skip
def test_each_mark_lowers_the_score(column: str, value: float, mark: str) -> None:
    line = measure([make_row(0, "Where is my bicycle, please?", "It is on its way to you.")], CHECKS, lambda *_: 30)
    before, marks_before = int(quality(line)[0]), marks(line)
    line[column] = value
    assert quality(line)[0] < before
    changed = {name for name, values in marks(line).items() if values[0] != marks_before[name][0]}
    assert changed == {mark}


def test_labels_are_short_answers() -> None:
    assert measured(make_row(0, "q", "billing"))["label_chars"] == 7
    assert measured(make_row(0, "q", "we will look into it today"))["label_chars"] == 0
    assert measured(make_row(0, "q", "x" * 70, shape="classification"))["label_chars"] == 70
