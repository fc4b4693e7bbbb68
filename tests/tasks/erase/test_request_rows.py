"""Rows that were made of logged conversations: from reading them to the erasure of who asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.adapters import request_log
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.adapters.request_log import LoggedRequest, user_hash
from tasks.adapters.row_files import all_rows
from tasks.adapters.store import Store
from tasks.contracts import Message, Row
from tasks.erase.carry_out import Hands, carry_out, marks, opened
from tasks.erase.plan import make_plan
from tasks.erase.search import Search
from tasks.evaluate.rows import messages_digest
from tasks.ingest.config import DataConfig
from tasks.ingest.stage import read_sources
from tests.tasks.erase.person_home import subjects

pytestmark = pytest.mark.usefixtures("home")
LOG = {"path": "requests://desk", "key": "request"}
FILE = {"path": "log.jsonl", "log": {"user_field": "client"}}


def name_of(row: Row) -> str:
    return messages_digest(row.messages)


def asked(number: int, user: str, prompt: str = "where is my kettle", *named: str) -> None:
    turns = (Message(role="user", content=f"{prompt} {number}"),)
    logged = LoggedRequest(id=f"chatcmpl-{number:032x}", at=datetime(2026, 1, number, tzinfo=UTC), model="desk",
                           version=1, user=user_hash(user), prompt=turns, answer="on its way", prompt_tokens=1,
                           completion_tokens=1, milliseconds=1)  # fmt: skip
    request_log.append(logged, [key for one in named for key in subjects(one)], fingerprint(pseudonym_key()))


def rows(base: Path, *sources: object) -> list[Row]:
    made = read_sources(DataConfig.model_validate({"sources": sources}), base, Store.open())
    return list(all_rows(Store.open(), made.uri))


def erase(search: Search) -> tuple[str, ...]:
    """Erase whom is searched for; the ids of the rows that were found."""
    key = fingerprint(pseudonym_key())
    begun = opened(marks(search, pseudonym_key()), "x", "asked", lambda: make_plan(Store.open(), search, name_of, key))
    assert begun
    _, plan, done = carry_out(begun, search, Hands(lambda *_: "", name_of, len), Store.open())
    assert done.searched_again
    return plan.row_ids


def test_rows_of_the_request_log_know_their_request_and_their_user(tmp_path: Path) -> None:
    asked(1, "ann-7")
    (row,) = rows(tmp_path, LOG)
    assert row.metadata["user"] == user_hash("ann-7")
    assert row.metadata["request"] == f"chatcmpl-{1:032x}"


def test_a_user_of_the_gateway_is_erased_from_rows_and_log(tmp_path: Path) -> None:
    asked(1, "ann-7")
    asked(2, "bob-8")
    mine, others = rows(tmp_path, LOG)
    assert erase(Search(users=(user_hash("ann-7"),))) == (mine.row_id,)
    assert [row.metadata["user"] for row in rows(tmp_path, LOG)] == [others.metadata["user"]]


def test_a_person_named_in_a_logged_request_is_erased_from_rows_and_log(tmp_path: Path) -> None:
    asked(1, "", "write to <EMAIL_ADDRESS>", "dora@example.com")
    asked(2, "bob-8")
    mine, others = rows(tmp_path, LOG)
    assert erase(Search(subjects=subjects("dora@example.com"))) == (mine.row_id,)
    assert [row.messages for row in rows(tmp_path, LOG)] == [others.messages]


def test_a_user_of_a_log_file_is_erased_and_not_taken_in_again(tmp_path: Path) -> None:
    lines = [{"question": f"q{n}", "answer": "a", "client": f"client-{n}"} for n in range(3)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    before = rows(tmp_path, FILE)
    assert [row.metadata["user"] for row in before] == [user_hash(f"client-{n}") for n in range(3)]
    assert erase(Search(users=(user_hash("client-1"),))) == (before[1].row_id,)
    after = rows(tmp_path, FILE)
    assert [row.outcome for row in after] == ["kept", "quarantined", "kept"]
    assert after[1].reason.startswith("erased")
    assert not after[1].metadata
