"""A person who is named only in the text of requests: asked through the gateway, erased by the command."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from deployments.commands.erase import add_to
from tasks.adapters import request_log
from tests.deployments.gateway.conftest import Running
from tests.tiny_release import NAME

ANNA, PHONE, BOB = "anna.lind@example.com", "+44 20 7946 0958", "bob@example.com"
app = typer.Typer()
app.callback()(lambda: None)
add_to(app)


def ask(serving: Running, text: str, **options: Any) -> str:
    """Id of the answer."""
    messages: Any = [{"role": "user", "content": text}]
    return serving.client().chat.completions.create(model=NAME, messages=messages, max_tokens=3, **options).id


def erase(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["erase", *options, "--reason", "a letter", "--json"])
    assert done.exit_code == 0, done.exception
    return dict(json.loads(done.stdout))


def ids() -> set[str]:
    return {request.id for request in request_log.recent(NAME, 1)}


def holding(home: Path, *texts: str) -> list[str]:
    wanted = [text.encode() for text in texts]
    files = (path for path in home.rglob("*") if path.is_file())
    return [path.name for path in files if any(text in path.read_bytes() for text in wanted)]


def test_requests_that_name_a_person_only_in_their_text_are_erased(serving: Running) -> None:
    mine = {
        ask(serving, f"the copper kettle of {ANNA.upper()} is late", user="desk 4"),
        ask(serving, f"call 020 7946 0958 about the copper kettle, or write to {BOB}"),
    }
    other = ask(serving, f"what does {BOB} want of the velvet curtain")
    named = ("--subject", ANNA, "--subject", PHONE)
    plan = erase(*named, "--dry-run")
    assert (set(plan["requests"]), plan["other_requests"], plan["row_ids"]) == (mine, {}, [])
    assert holding(serving.home, "copper kettle")
    done = erase(*named, "--yes")
    assert (done["found"], done["requests"]) == (True, 2)
    assert not mine & ids()
    assert other in ids()
    assert holding(serving.home, "copper kettle", ANNA, ANNA.upper(), PHONE) == []
    with sqlite3.connect(serving.home / "state.db") as database:
        assert {row[0] for row in database.execute("select request from request_subjects")} == {other}
    assert erase(*named, "--yes")["found"] is False
    assert erase("--subject", BOB, "--yes")["requests"] == 1
    assert holding(serving.home, "velvet curtain") == []


def test_what_is_asked_about_a_person_later_is_found_by_a_later_erasure(serving: Running) -> None:
    for text in ("first", "second"):
        asked = ask(serving, f"{text}: write to {ANNA}", stream=False)
        assert erase("--subject", ANNA, "--yes")["requests"] == 1
        assert asked not in ids()


def test_requests_of_an_older_gateway_are_said_not_to_be_searched(serving: Running) -> None:
    asked = ask(serving, f"write to {ANNA}")
    with sqlite3.connect(serving.home / "state.db") as database:
        database.execute("update requests set key_fingerprint = ''")
        database.execute("delete from request_subjects")
    shown = CliRunner().invoke(app, ["erase", "--subject", ANNA, "--reason", "x", "--dry-run"])
    assert "requests logged without a pseudonym key" in shown.stderr
    assert erase("--subject", ANNA, "--dry-run")["other_requests"] == {"": len(ids())}
    assert asked in ids()
