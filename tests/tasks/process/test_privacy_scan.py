from __future__ import annotations

import pytest

from tasks.contracts import Message, ToolCall
from tasks.errors import DataRefused
from tasks.privacy.leftovers import leftovers
from tasks.privacy.redact import Redactor
from tasks.process.privacy_scan import redact_again, refuse_personal_data
from tests.tasks.data_rows import make_row

REDACTOR = Redactor(("EMAIL_ADDRESS", "IP_ADDRESS"), ("US",), {"IP_ADDRESS": "report"}, b"k" * 32)
CALL = Message(
    role="assistant", content="", tool_calls=(ToolCall(name="send", arguments='{"to": "a@b.com", "n": 4155552671}'),)
)


def test_findings_stop_the_stage_without_naming_values() -> None:
    refuse_personal_data([])
    row = make_row(0, "write to a@b.com")
    with pytest.raises(DataRefused) as refused:
        refuse_personal_data([(row.row_id, entity) for entity in leftovers(row, REDACTOR)])
    assert f"{row.row_id} (EMAIL_ADDRESS)" in str(refused.value)
    assert "a@b.com" not in str(refused.value)


def test_rows_that_did_not_change_are_not_touched() -> None:
    row = make_row(0, "a@b.com")
    assert redact_again(row, row, REDACTOR) is row


def test_what_normalising_brings_to_light_is_replaced_and_counted() -> None:
    before = make_row(0, "x", redactions={"EMAIL_ADDRESS": 1}, subjects=("00",), steps=("redact",))
    call = CALL.model_copy(update={"content": "see c@d.com"})
    after = before.model_copy(update={"messages": (call,), "rejected": "e@f.com"})
    row = redact_again(before, after, REDACTOR)
    assert row.messages[0].content == "see <EMAIL_ADDRESS>"
    assert row.messages[0].tool_calls[0].arguments == '{"to": "<EMAIL_ADDRESS>", "n": 4155552671}'
    assert row.rejected == "<EMAIL_ADDRESS>"
    assert row.redactions == {"EMAIL_ADDRESS": 4}
    assert len(row.subjects) == 4
    assert row.steps == ("redact", "redact_after_normalising")
    assert leftovers(row, REDACTOR) == []


def test_ids_of_calls_are_replaced_too_and_still_belong_together() -> None:
    calls = (ToolCall(id="a@b.com", name="f", arguments="{}"), ToolCall(id="c@d.com", name="f", arguments="{}"))
    answers = (Message(role="tool", content="x", tool_call_id=call.id) for call in calls)
    after = make_row(0, "y", messages=(Message(role="assistant", content="", tool_calls=calls), *answers))
    row = redact_again(make_row(0, "x"), after, REDACTOR)
    assert [m.tool_call_id for m in row.messages[1:]] == [call.id for call in row.messages[0].tool_calls]
    assert [call.id for call in row.messages[0].tool_calls] == ["<EMAIL_ADDRESS>", "<EMAIL_ADDRESS>-b"]
    assert leftovers(row, REDACTOR) == []


def test_rows_with_an_entity_to_drop_go_to_quarantine() -> None:
    redactor = Redactor(("EMAIL_ADDRESS",), ("US",), {"EMAIL_ADDRESS": "drop"})
    row = redact_again(make_row(0, "x"), make_row(0, "a@b.com"), redactor)
    assert row.outcome == "quarantined"
    assert row.reason.startswith("personal_data: ")
    assert "a@b.com" not in row.model_dump_json()
