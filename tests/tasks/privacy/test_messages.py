from __future__ import annotations

import pytest

from tasks.contracts import Message, ToolCall
from tasks.privacy.messages import cleaned_messages, message_texts
from tasks.privacy.redact import Redactor

REDACTOR = Redactor(phone_regions=("US", "GB", "DE", "FR", "BE", "AT", "NL", "IN"))


def clean(text: str) -> str:
    return REDACTOR.clean(text).text


def talk(*ids: str) -> tuple[Message, ...]:
    """A turn that makes calls with these ids, and the answer to each."""
    calls = tuple(ToolCall(id=i, name="find", arguments="{}") for i in ids)
    answers = (Message(role="tool", content=f"answer {n}", tool_call_id=i) for n, i in enumerate(ids))
    return (Message(role="assistant", content="", tool_calls=calls), *answers)


def ids_of(messages: tuple[Message, ...]) -> list[str]:
    """Ids of the calls; the answers name the same ones, in the same order."""
    calls, answers = [c.id for c in messages[0].tool_calls], [m.tool_call_id for m in messages[1:]]
    assert calls == answers
    return calls


def test_every_text_of_a_message_is_cleaned() -> None:
    value = "anna@example.com"
    for role in ("system", "user", "assistant", "tool"):
        call = ToolCall(id=value, name=value, arguments=f'{{"to": "{value}"}}')
        message = Message(role=role, content=value, name=value, tool_call_id=value, tool_calls=(call,))
        (cleaned,) = cleaned_messages([message], clean)
        assert value not in cleaned.model_dump_json()
        assert len([t for t in message_texts([message]) if value in t]) == 6
        assert cleaned.role == role


def test_an_answer_still_names_its_call() -> None:
    assert ids_of(cleaned_messages(talk("anna@example.com"), clean)) == ["<EMAIL_ADDRESS>"]


def test_different_ids_stay_different() -> None:
    given = talk("anna@example.com", "<EMAIL_ADDRESS>", "bob@example.com", "<EMAIL_ADDRESS>-b", "anna@example.com")
    found = ids_of(cleaned_messages(given, clean))
    assert found == [
        "<EMAIL_ADDRESS>-c",
        "<EMAIL_ADDRESS>",
        "<EMAIL_ADDRESS>-d",
        "<EMAIL_ADDRESS>-b",
        "<EMAIL_ADDRESS>-c",
    ]
    assert cleaned_messages(cleaned_messages(given, clean), clean) == cleaned_messages(given, clean)
    assert all(not REDACTOR.find(i) for i in found)


@pytest.mark.parametrize(
    "identity",
    ["call_0123456789", "call_62136355", "call_abc123XYZ", "chatcmpl-tool-3f2b8c1d9e7a4b6c8d0e1f2a3b4c5d6e", "1", "c1",
     "toolu_01A09q90qw90lq917835lq9", "d8f1c2b3-4a5e-4f6a-9b7c-8d9e0f1a2b3c"],
)  # fmt: skip
def test_ids_that_programs_make_stay_as_they_are(identity: str) -> None:
    given = talk(identity)
    assert cleaned_messages(given, clean) == given


def test_every_occurrence_of_an_id_is_counted() -> None:
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return clean(text)

    cleaned_messages(talk("anna@example.com"), note)
    assert found.count("anna@example.com") == 2


def test_messages_without_personal_data_are_the_same_objects() -> None:
    plain = Message(role="user", content="where is my bike")
    assert cleaned_messages([plain], clean)[0] is plain
