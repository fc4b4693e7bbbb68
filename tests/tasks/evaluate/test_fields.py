from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UsageError
from tasks.evaluate.fields import find_form, parse_object, read_answer
from tests.tasks.evaluate.answer_rows import ticket, tickets


def ticket_answers(count: int = 30) -> list[str]:
    return [row.answer for row in tickets(count)]


def test_json_fields_are_those_whose_values_repeat() -> None:
    form = find_form(ticket_answers())
    assert form.kind == "json"
    assert form.keys == ("intent", "team", "reply")
    assert form.fields == ("intent", "team")
    assert form.text_fields == ("reply",)
    assert form.values["intent"] == ("app", "billing", "fault")


def test_five_percent_of_other_answers_are_tolerated_and_more_are_not() -> None:
    assert find_form([*ticket_answers(38), "sorry", "{}"]).kind == "json"
    assert find_form([*ticket_answers(37), "sorry", "{}", "[]"]).kind == "text"


def test_configured_fields_win() -> None:
    form = find_form(ticket_answers(), ("reply",))
    assert form.fields == ("reply",)
    assert form.text_fields == ("intent", "team")
    assert find_form(ticket_answers(), ()).fields == ()


@pytest.mark.parametrize("answers", [ticket_answers(), ["yes", "no"] * 10])
def test_a_configured_field_that_is_not_there_is_an_error(answers: list[str]) -> None:
    with pytest.raises(UsageError, match="priority"):
        find_form(answers, ("priority",))


def test_labels_and_free_text() -> None:
    labels = find_form(["card_arrival", "lost_card "] * 10)
    assert (labels.kind, labels.fields, labels.values["answer"]) == (
        "label",
        ("answer",),
        ("card_arrival", "lost_card"),
    )
    assert find_form([f"a sentence of its own, number {i}" for i in range(40)]).kind == "text"
    assert find_form([f"sentence {i}" for i in range(40)], ("answer",)).kind == "label"
    assert find_form(["a", "b"] * 20, ()).kind == "text"


def test_reading_is_generous_about_what_stands_around_an_object_but_valid_is_strict() -> None:
    form = find_form(ticket_answers())
    text = ticket("billing", "finance", "We will see.")
    assert read_answer(text, form) == ({"intent": "billing", "team": "finance"}, "We will see.", True)
    fenced = read_answer(f"Sure {{here}}:\n```json\n{text}\n```", form)
    assert fenced.values == {"intent": "billing", "team": "finance"}
    assert not fenced.valid
    assert not read_answer('{"intent": "billing"}', form).valid
    assert read_answer("no object", form) == ({}, "", False)


def test_an_answer_that_was_cut_off_counts_with_its_finished_fields() -> None:
    form = find_form(ticket_answers())
    cut = read_answer('Sure: {"intent":"billing","team":"finance","reply":"We go on, and on, and', form)
    assert (cut.values, cut.text, cut.valid) == ({"intent": "billing", "team": "finance"}, "", False)
    assert read_answer('{"intent":"billing","team":"fin', form).values == {"intent": "billing"}
    assert read_answer('{"intent":"bil', form).values == {}
    assert read_answer("{" + "," * 100_000, form).values == {}


def test_values_that_are_not_strings_compare_as_json() -> None:
    answers = [json.dumps({"urgent": i % 2 == 0, "tags": ["a", "b"], "n": i}) for i in range(20)]
    form = find_form(answers)
    assert form.values == {"urgent": ("false", "true"), "tags": ('["a","b"]',)}
    assert read_answer('{"tags": ["a","b"], "urgent": true, "n": 1}', form).values["urgent"] == "true"


@pytest.mark.parametrize("text", ['{"a": NaN}', "[1]", "{", '{"a":' * 5000, "", "null", '{"a": ' + "9" * 5000 + "}"])
def test_what_is_no_object_is_none(text: str) -> None:
    assert parse_object(text) is None


@given(st.text(max_size=200))
def test_no_answer_breaks_the_reading(text: str) -> None:
    for answers in (ticket_answers(), ["yes", "no"] * 10, [f"text {i}" for i in range(20)]):
        reading = read_answer(text, find_form(answers))
        assert isinstance(reading.text, str)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40), st.randoms())
def test_the_form_does_not_depend_on_the_order(answers: list[str], random: object) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert find_form(shuffled) == find_form(answers)


def test_fields_with_a_single_value_prove_nothing_beside_free_text() -> None:
    answers = [json.dumps({"type": "reply", "text": f"The text of answer {i}."}) for i in range(30)]
    form = find_form(answers)
    assert (form.fields, form.text_fields, form.values) == ((), ("text",), {"type": ("reply",)})
    assert read_answer(answers[3], form) == ({}, "The text of answer 3.", True)
    assert read_answer('{"type":"reply","text":"x"}', form).text == "x"
    assert find_form(answers, ("type",)).fields == ("type",)
    beside = [json.dumps({"type": "reply", "urgent": i % 2, "text": f"Text {i}."}) for i in range(30)]
    assert find_form(beside).fields == ("type", "urgent")
    assert find_form(['{"type":"reply"}'] * 9).fields == ("type",)


def test_a_number_that_no_float_holds_is_no_json() -> None:
    form = find_form([json.dumps({"amount": i % 3, "text": f"Text {i}."}) for i in range(30)])
    for answer in ('{"amount":1e999,"text":"a"}', 'Sure: {"amount":-1e999,"text":"a"}', '{"amount":[1e999],"te'):
        assert read_answer(answer, form) == ({}, "", False)
    assert read_answer('{"amount":1e2,"text":"a"}', form).values == {"amount": "100.0"}
