"""From one record to one row, and what of a person stays in it."""

from __future__ import annotations

import json

import pytest

from tasks.ingest.records import RawRecord
from tasks.ingest.rows import Place, make_row
from tasks.ingest.shape import ShapeDecision
from tasks.privacy.redact import Redactor

KEY = b"k" * 32
REDACTOR = Redactor(("EMAIL_ADDRESS", "PHONE_NUMBER"), ("GB", "DE"), {}, KEY)
PAIR = ShapeDecision("prompt_completion", ("x",), {"prompt": "prompt", "completion": "completion"})
ANNA = REDACTOR.clean("anna@example.com").subjects


def excerpt_of(raw: str) -> tuple[str, tuple[str, ...]]:
    record = RawRecord(0, 0, 1, raw, problem=("broken_record", "is cut off"))
    row = make_row(record, Place(source_uri="x.jsonl", source_digest="ab" * 32), PAIR, REDACTOR)
    return row.raw_excerpt, row.subjects


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Contact:\nanna@example.com", "Contact:\n<EMAIL_ADDRESS>"),
        ("to\tanna@example.com, a \\ and \u00e9", "to\t<EMAIL_ADDRESS>, a \\ and \u00e9"),
    ],
)
def test_a_person_behind_an_escape_of_a_broken_record_is_known(said: str, shown: str) -> None:
    raw = json.dumps({"prompt": said})
    assert excerpt_of(raw[:-1]) == (f'{{"prompt": "{shown}"', ANNA)


def test_an_area_code_behind_an_escape_of_a_broken_record_is_replaced() -> None:
    assert excerpt_of(json.dumps({"prompt": "Call:\n0171 1234567"}))[0] == '{"prompt": "Call:\n<PHONE_NUMBER>"}'


def test_a_broken_line_that_is_no_json_keeps_its_backslashes() -> None:
    assert excerpt_of("C:\\new,anna\\u0040example.com") == ("C:\\new,<EMAIL_ADDRESS>", ANNA)


def test_a_card_number_of_a_call_becomes_a_string() -> None:
    arguments = '{"card": 4111111111111111, "amount": 4155552671}'
    call = {"type": "function", "function": {"name": "pay", "arguments": arguments}}
    turns = [{"role": "user", "content": "pay"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    decision = ShapeDecision("chat", ("x",), {"messages": "messages"})
    redactor = Redactor(("CREDIT_CARD",), ("GB",), {"CREDIT_CARD": "mask"})
    record = RawRecord(0, 0, 1, "", {"messages": turns})
    row = make_row(record, Place(source_uri="x.jsonl", source_digest="ab" * 32), decision, redactor)
    assert row.messages[1].tool_calls[0].arguments == '{"card": "***1111", "amount": 4155552671}'
    assert row.redactions == {"CREDIT_CARD": 1}
