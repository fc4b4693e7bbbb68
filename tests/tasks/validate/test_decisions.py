from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters import row_decisions
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.adapters.row_decisions import Decision, Overlay
from tasks.adapters.row_files import Privacy, open_output
from tasks.adapters.store import Store
from tasks.contracts import Message, Row, ToolCall
from tasks.errors import DataRefused
from tasks.privacy.subjects import subjects_of
from tasks.validate.config import ChecksConfig
from tasks.validate.decisions import decided, overlays_at_hand, redactor_for
from tasks.validate.stage import judge_rows
from tests.tasks.data_rows import PRIVACY, make_row, open_store, rows_of, stored

CHECKS = ChecksConfig(min_tokens=30, max_tokens=400, min_rows=1, warn_rows=1, max_quarantined_share=1.0)
LONG = "It left our shop this morning and is on its way to you now."
REDACTOR = redactor_for(PRIVACY)
SHORT = make_row(104, "x", "y")
CONTRADICTING = make_row(105, "Where is the bicycle that I ordered?", LONG, outcome="quarantined",
                         reason="contradicting_answers: two answers", repair="decide")  # fmt: skip


def talk(prompt: str, answer: str) -> tuple[Message, ...]:
    return Message(role="user", content=prompt), Message(role="assistant", content=answer)


def decide(row: Row, action: Any, **values: Any) -> None:
    made = Decision(row_id=row.row_id, action=action, reason="r", actor="me", at=datetime.now(UTC), **values)
    row_decisions.record(made)


@pytest.fixture
def store(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TUNELOOP_WORKERS", "1")
    return open_store(registry_home)


def after(rows: list[Row], store: Store, model: Path) -> tuple[str, list[Row]]:
    made = judge_rows(stored(rows, store), CHECKS, "t", model, store).validated
    return made.rows.uri, rows_of(made.rows, store)


def test_an_accepted_row_is_taken_in_spite_of_the_rule(store: Store, tiny_model: Path) -> None:
    others = [make_row(i, f"Where is the bicycle number {i}?", f"{LONG} {i}") for i in range(3)]
    rows = [*others, SHORT, CONTRADICTING]
    before, judged = after(rows, store, tiny_model)
    assert [r.outcome for r in judged[3:]] == ["quarantined"] * 2
    decide(SHORT, "accept", rule="too_short")
    decide(CONTRADICTING, "accept", rule="contradicting_answers")
    now, judged = after(rows, store, tiny_model)
    assert now != before
    assert [(r.outcome, r.reason) for r in judged[3:]] == [("kept", "")] * 2
    assert judged[4].steps == ("accepted:contradicting_answers",)
    assert judged[4].quality is not None
    decide(SHORT, "withdraw")
    decide(CONTRADICTING, "withdraw")
    assert after(rows, store, tiny_model)[0] == before


def test_only_the_accepted_rule_is_left_out(store: Store, tiny_model: Path) -> None:
    row = make_row(104, "x", "caf\ufffd")
    decide(row, "accept", rule="encoding_damage")
    assert after([row, CONTRADICTING], store, tiny_model)[1][0].reason.startswith("too_short")


def test_a_repaired_row_is_judged_again_and_freed_of_personal_data(store: Store, tiny_model: Path) -> None:
    unread = make_row(7, "", messages=(), raw_excerpt="{broken", outcome="quarantined", reason="broken_record: no JSON")
    decide(unread, "repair", messages=talk("Where is the bicycle that I ordered?", f"{LONG} Write to jo@example.org."))
    decide(SHORT, "repair", messages=talk("a", "b"))
    _, (repaired, short) = after([unread, SHORT], store, tiny_model)
    assert repaired.outcome == "kept"
    assert repaired.answer == f"{LONG} Write to <EMAIL_ADDRESS>."
    assert repaired.redactions == {"EMAIL_ADDRESS": 1}
    assert repaired.raw_excerpt == ""
    assert repaired.steps[-1].startswith("repaired:")
    assert short.reason.startswith("too_short")
    assert short.steps[-1].startswith("repaired:")


def calling(value: str) -> tuple[Message, ...]:
    """A conversation with a value in every text that a turn can have."""
    call = ToolCall(id=value, name=value, arguments=json.dumps({"to": value}))
    return (
        Message(role="user", content=f"write to {value}", name=value),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content=value, name=value, tool_call_id=value),
        Message(role="assistant", content=f"{LONG} {value}"),
    )


def test_every_text_of_a_repaired_row_is_freed_of_personal_data() -> None:
    repaired = decided(SHORT, Overlay(row_id=SHORT.row_id, messages=calling("jo@example.org")), REDACTOR)
    assert "jo@example.org" not in repaired.model_dump_json()
    assert repaired.messages[1].tool_calls[0].id == repaired.messages[2].tool_call_id
    assert repaired.redactions == {"EMAIL_ADDRESS": 9}


def test_what_a_repair_leaves_of_personal_data_stops_the_stage() -> None:
    row = SHORT.model_copy(update={"metadata": {"author": "jo@example.org"}})
    with pytest.raises(DataRefused, match="after a repair") as refused:
        decided(row, Overlay(row_id=row.row_id, messages=talk("a", "b")), REDACTOR)
    assert f"{row.row_id} (EMAIL_ADDRESS)" in str(refused.value)
    assert "jo@" not in str(refused.value)


def test_each_source_has_its_own_rules_in_repairs_too(store: Store, tiny_model: Path) -> None:
    none, strict = PRIVACY.model_copy(update={"entities": ()}), PRIVACY
    rows = [make_row(i, f"Where is the bicycle number {i}?", f"{LONG} {i}") for i in range(2)]
    given = stored(rows, store, none, shards=2, own={1: strict})
    for row in rows:
        decide(row, "repair", messages=talk("Where is the bicycle of jo@example.org?", LONG))
    made = judge_rows(given, CHECKS, "t", tiny_model, store).validated
    found = [row.messages[0].content for row in rows_of(made.rows, store)]
    assert found == ["Where is the bicycle of jo@example.org?", "Where is the bicycle of <EMAIL_ADDRESS>?"]
    output = open_output(store, made.rows.uri)
    assert [shard.privacy for shard in output.shards] == [None, strict]


def test_a_repaired_row_is_a_row_of_everybody_who_was_named(store: Store, tiny_model: Path) -> None:
    key = pseudonym_key()
    privacy = PRIVACY.model_copy(update={"key_fingerprint": fingerprint(key)})
    row = make_row(104, "x", "y", subjects=("there before",))
    decide(row, "repair", messages=talk("Where is the bicycle of jo@example.org?", LONG), subjects=("typed",))
    made = judge_rows(stored([row], store, privacy), CHECKS, "t", tiny_model, store).validated
    (jo,) = subjects_of("jo@example.org", PRIVACY.phone_regions, key)
    assert set(rows_of(made.rows, store)[0].subjects) == {"there before", "typed", jo}


def test_decisions_about_other_rows_change_nothing(store: Store, tiny_model: Path) -> None:
    rows = [CONTRADICTING, make_row(1, "Where is the bicycle number 1?", LONG)]
    before, _ = after(rows, store, tiny_model)
    decide(make_row(999, "other"), "accept", rule="too_short")
    assert overlays_at_hand(stored(rows, store), store) == ()
    assert after(rows, store, tiny_model)[0] == before


def test_merged_rows_stay_merged() -> None:
    row = make_row(1, "q", outcome="merged", reason="leak: x", yields_to="y")
    overlay = Overlay(row_id=row.row_id, accepted=("leak",), messages=talk("a", "b"))
    assert decided(row, overlay, REDACTOR) == row


def test_rows_that_were_dropped_for_their_person_are_never_accepted() -> None:
    row = make_row(1, "q", outcome="quarantined", reason="personal_data: x")
    assert decided(row, Overlay(row_id=row.row_id, accepted=("personal_data",)), REDACTOR) == row


def test_what_people_type_needs_no_key_for_pseudonyms() -> None:
    actions = {"EMAIL_ADDRESS": "pseudonymise", "PHONE_NUMBER": "report"}
    redactor = redactor_for(Privacy(entities=("EMAIL_ADDRESS", "PHONE_NUMBER"), phone_regions=("US",), actions=actions))
    text, _ = redactor.redact("jo@example.org or +1 650 253 0000")
    assert text == "<EMAIL_ADDRESS> or +1 650 253 0000"
