"""`tuneloop data quarantine`: what people see of refused rows, and what comes of their decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.commands.quarantine import app
from tasks.adapters import audit, row_decisions
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.adapters.row_files import Privacy
from tasks.adapters.store import Store
from tasks.contracts import Row
from tasks.errors import UsageError
from tasks.privacy.subjects import subjects_of
from tasks.validate.config import ChecksConfig
from tasks.validate.stage import Verdict, judge_rows
from tests.tasks.data_rows import make_row, rows_of, stored

LONG = "It left our shop this morning and is on its way to you now."
CHECKS = ChecksConfig(min_tokens=30, min_rows=1, warn_rows=1)
PRIVACY = Privacy(entities=("EMAIL_ADDRESS", "PHONE_NUMBER"), phone_regions=("US",))
ROWS = [
    *(make_row(i, f"Where is the bicycle number {i}?", f"{LONG} {i}") for i in range(5)),
    make_row(10, "x", "y"),
    make_row(11, "x", "z"),
    make_row(12, "", messages=(), raw_excerpt="{broken", outcome="quarantined", reason="broken_record: no JSON",
             repair="close the brace"),
    make_row(13, "Who is it?", "a person", outcome="quarantined", reason="personal_data: a person is in it"),
]  # fmt: skip


def invoke(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row_id(index: int) -> str:
    return f"{'ab' * 8}:{index:06d}"


@pytest.fixture
def judged(registry_home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNELOOP_WORKERS", "1")
    monkeypatch.setenv("TUNELOOP_ACTOR", "ada")

    def judge(rows: list[Row] = ROWS) -> Verdict:
        store = Store.open()
        return judge_rows(stored(rows, store, PRIVACY), CHECKS, "t", tiny_model, store)

    judge()
    return judge


def kept(verdict: Verdict) -> dict[str, Row]:
    return {row.row_id: row for row in rows_of(verdict.validated.rows, Store.open()) if row.outcome == "kept"}


def test_list_counts_and_shows_rows(judged: Any) -> None:
    found = invoke("list")
    assert found["reasons"] == {"too_short": 2, "broken_record": 1, "personal_data": 1}
    assert [r["row_id"] for r in found["rows"]] == [row_id(i) for i in (10, 11, 12, 13)]
    assert found["rows"][0]["repair"]
    assert [r["code"] for r in invoke("list", "--rule", "broken_record")["rows"]] == ["broken_record"]
    assert len(invoke("list", "--limit", "1")["rows"]) == 1
    text = CliRunner().invoke(app, ["list"], catch_exceptions=False).stdout
    assert "too_short" in text


def test_show_gives_reason_text_repair_and_place(judged: Any) -> None:
    found = invoke("show", row_id(12))
    assert (found["code"], found["text"], found["repair"]) == ("broken_record", "{broken", "close the brace")
    assert found["source_uri"] == "data/x.jsonl"
    assert found["decisions"] == []
    text = CliRunner().invoke(app, ["show", row_id(10)], catch_exceptions=False).stdout
    assert "user: x" in text
    assert "line 1, byte 0" in text


@pytest.mark.parametrize(
    ("row", "why"), [("ab", "more than one"), ("ffff", "not in quarantine"), (row_id(1), "not in")]
)
def test_rows_that_are_not_there(judged: Any, row: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        CliRunner().invoke(app, ["show", row], catch_exceptions=False)


def test_an_accepted_row_is_in_the_next_run(judged: Any) -> None:
    made = invoke("accept", row_id(10), "--reason", "short answers are fine, says jo@example.org")
    assert made["rule"] == "too_short"
    assert row_id(10) in kept(judged())
    assert row_id(11) not in kept(judged())
    (decision,) = row_decisions.history()
    assert (decision.actor, decision.reason) == ("ada", "short answers are fine, says <EMAIL_ADDRESS>")
    newest = list(audit.entries())[-1]
    assert (newest.action, newest.object, newest.actor) == ("quarantine.accept", row_id(10), "ada")
    assert "jo@" not in newest.reason


def test_a_repaired_row_is_in_the_next_run(judged: Any, tmp_path: Path) -> None:
    invoke(
        "repair",
        row_id(12),
        "--set-prompt",
        "Where is the bicycle of jo@example.org?",
        "--set-answer",
        LONG,
        "--reason",
        "r",
    )
    correction = tmp_path / "row.json"
    correction.write_text(json.dumps({"messages": [{"role": "user", "content": "Where is the bicycle I ordered?"},
                                                   {"role": "assistant", "content": LONG}]}))  # fmt: skip
    invoke("repair", row_id(11), "--file", str(correction), "--reason", "r")
    invoke("repair", row_id(10), "--set-answer", LONG, "--reason", "r")
    rows = kept(judged())
    assert rows[row_id(12)].messages[0].content == "Where is the bicycle of <EMAIL_ADDRESS>?"
    assert rows[row_id(11)].answer == LONG
    assert [m.content for m in rows[row_id(10)].messages] == ["x", LONG]
    assert "jo@example.org" not in str(row_decisions.history())


def correction(folder: Path, value: str) -> str:
    """A file with a value in every text that a turn can have."""
    call = {"id": value, "name": value, "arguments": json.dumps({"to": value})}
    turns = [
        {"role": "user", "content": f"Where is the bicycle of {value}?", "name": value},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": value, "name": value, "tool_call_id": value},
        {"role": "assistant", "content": LONG},
    ]
    path = folder / "row.json"
    path.write_text(json.dumps({"messages": turns}))
    return str(path)


def test_no_text_of_a_correction_is_kept_as_typed(judged: Any, tmp_path: Path) -> None:
    invoke("repair", row_id(10), "--file", correction(tmp_path, "jo@example.org"), "--reason", "r")
    (decision,) = row_decisions.history()
    assert "jo@example.org" not in decision.model_dump_json()
    assert decision.messages[1].tool_calls[0].id == decision.messages[2].tool_call_id
    typed = subjects_of("jo@example.org", ("US",), pseudonym_key())
    assert decision.subjects == typed
    rows = {row.row_id: row for row in rows_of(judged().validated.rows, Store.open())}
    assert rows[row_id(10)].subjects == typed


def test_what_is_typed_is_cleaned_by_the_rules_of_the_source(registry_home: Path, tiny_model: Path) -> None:
    store, none = Store.open(), PRIVACY.model_copy(update={"entities": ()})
    rows = [make_row(i, "x", "y") for i in range(2)]
    given = stored(rows, store, none, shards=2, own={1: PRIVACY})
    judge_rows(given, CHECKS.model_copy(update={"max_quarantined_share": 1.0}), "t", tiny_model, store)
    for row in rows:
        answer = ("--set-answer", "ask jo@example.org", "--reason", "says jo@example.org")
        invoke("repair", row.row_id, *answer)
    lenient, strict = row_decisions.history()
    assert (lenient.messages[-1].content, lenient.reason) == ("ask jo@example.org", "says jo@example.org")
    assert (strict.messages[-1].content, strict.reason) == ("ask <EMAIL_ADDRESS>", "says <EMAIL_ADDRESS>")
    invoke("withdraw", rows[1].row_id, "--reason", "says jo@example.org")
    assert row_decisions.history()[-1].reason == "says <EMAIL_ADDRESS>"


def test_a_withdrawn_decision_ends(judged: Any) -> None:
    before = judged()
    invoke("accept", row_id(10), "--reason", "r")
    assert judged() != before
    invoke("withdraw", row_id(10), "--reason", "a mistake")
    assert judged() == before
    with pytest.raises(UsageError, match="nothing is decided"):
        CliRunner().invoke(app, ["withdraw", row_id(10), "--reason", "r"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("accept", row_id(12), "--reason", "r"), "could be read"),
        (("accept", row_id(13), "--reason", "r"), "cannot be accepted"),
        (("accept", row_id(10), "--reason", " "), "needs a reason"),
        (("repair", row_id(10), "--reason", "r"), "what is to be corrected"),
        (("repair", row_id(10), "--reason", "r", "--file", "missing.json"), "cannot be read"),
        (("repair", row_id(12), "--reason", "r", "--set-answer", "x"), "still lack"),
    ],
)
def test_decisions_that_cannot_be_taken(judged: Any, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert row_decisions.history() == []


def test_a_home_without_data(registry_home: Path) -> None:
    with pytest.raises(UsageError, match="no data was validated"):
        CliRunner().invoke(app, ["list"], catch_exceptions=False)


def test_brackets_in_a_reason_are_shown_as_they_are(judged: Any) -> None:
    judged([*ROWS[:5], make_row(20, "", messages=(), raw_excerpt="x", outcome="quarantined",
                                reason="broken_record: [bold]no[/] [/x] JSON", repair="see [1]")])  # fmt: skip
    text = CliRunner().invoke(app, ["list"], catch_exceptions=False).stdout
    assert "[bold]no[/]" in "".join(text.split())
    assert "[/x]" in text
