from __future__ import annotations

import pytest

from tasks.contracts import Message, ToolCall
from tasks.privacy.leftovers import leftovers
from tasks.privacy.redact import Redactor
from tests.tasks.data_rows import make_row

REDACTOR = Redactor(("EMAIL_ADDRESS", "IP_ADDRESS"), ("US",), {"IP_ADDRESS": "report"}, b"k" * 32)
CALL = Message(
    role="assistant", content="", tool_calls=(ToolCall(name="send", arguments='{"to": "a@b.com", "n": 4155552671}'),)
)


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": (Message(role="user", content="write to a@b.com"),)},
        {"messages": (CALL,)},
        {"messages": (Message(role="tool", content="", name="a@b.com"),)},
        {"messages": (Message(role="tool", content="", tool_call_id="a@b.com"),)},
        {
            "messages": (
                Message(role="assistant", content="", tool_calls=(ToolCall(id="a@b.com", name="f", arguments=""),)),
            )
        },
        {"rejected": "a@b.com"},
        {"tools": '[{"description": "ask a@b.com"}]'},
        {"metadata": {"author": "a@b.com"}},
        {"metadata": {"a@b.com": "author"}},
        {"raw_excerpt": "a@b.com", "outcome": "quarantined"},
        {"repair": "ask a@b.com"},
    ],
)
def test_personal_data_is_found_in_every_text_of_a_row(changes: dict[str, object]) -> None:
    assert leftovers(make_row(0, "x", **changes), REDACTOR) == ["EMAIL_ADDRESS"]


def test_what_is_only_reported_may_stay() -> None:
    assert leftovers(make_row(0, "from 10.1.2.3"), REDACTOR) == []
