"""Where a person is found in the store, and where not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.adapters import request_log, row_decisions
from tasks.adapters.pseudonym_key import fingerprint, pseudonym_key
from tasks.adapters.request_log import LoggedRequest, user_hash
from tasks.adapters.row_decisions import Decision
from tasks.adapters.store import Store
from tasks.contracts import Message, Row
from tasks.erase.find import find
from tasks.erase.plan import make_plan
from tasks.erase.search import Search, metadata_query
from tasks.evaluate.rows import messages_digest
from tests.tasks.erase.person_home import ANNA, Home, annas_rows, subjects
from tests.tasks.version.versions import some_row, some_rows, versioned


def name_of(row: Row) -> str:
    return messages_digest(row.messages)


def test_every_output_with_the_person_is_found_and_no_other(person: Home) -> None:
    found = find(Store.open(), Search(subjects=subjects(ANNA)), name_of)
    versions = {person.first.uri, person.second.uri}
    assert found.uris - versions == {
        "store://answers/base",
        "store://evaluate/report",
        "store://ingest/all",
        "store://ingest/list",
        "store://process/all",
        "store://quarantine/all",
        "store://validate/docs",
    }
    assert set(found.hits) == {row.row_id for row in annas_rows()}
    counts = {output.uri: output for output in found.outputs}[person.first.uri]
    assert (counts.rows, counts.train, counts.test, counts.merged, counts.quarantined) == (4, 1, 1, 1, 1)


def test_the_plan_says_what_is_touched(person: Home) -> None:
    key = fingerprint(pseudonym_key())
    plan = make_plan(Store.open(), Search(subjects=subjects(ANNA), users=(user_hash(ANNA),)), name_of, key)
    assert [version.address for version in plan.versions] == ["ds://proj/main@1.0.0", "ds://proj/main@1.1.0"]
    assert [(model.name, model.version) for model in plan.models] == [("proj", 1)]
    assert plan.adapters == ("store://train/refused",)
    assert plan.work == ("work/process/cut-short", "work/train/mine")
    assert plan.pages == ("runs/proj-1.html",)
    assert plan.requests == ("chatcmpl-1",)
    assert plan.vault == ("cd" * 8 + ":000100",)
    assert plan.decisions == 1
    assert plan.sources == {"cd" * 32: 4}
    assert plan.other_keys == {"another key": 1}
    assert person.subject not in plan.model_dump_json()


def test_a_repair_that_names_the_person_is_found_before_any_run_takes_it(person: Home) -> None:
    search = Search(subjects=subjects("carl@example.com"))
    turns = (Message(role="user", content="ask <EMAIL_ADDRESS>"),)
    decision = Decision(row_id="ab" * 8 + ":000003", action="repair", messages=turns, subjects=search.subjects,
                        reason="x", actor="y", at=datetime.now(UTC))  # fmt: skip
    assert make_plan(Store.open(), search, name_of, "k").is_empty
    row_decisions.record(decision)
    plan = make_plan(Store.open(), search, name_of, "k")
    assert (plan.decisions, plan.row_ids, plan.is_empty) == (1, (), False)


def test_a_stranger_is_found_nowhere(person: Home) -> None:
    search = Search(subjects=subjects("nobody@example.com"), users=(user_hash("nobody"),))
    plan = make_plan(Store.open(), search, name_of, "k")
    assert plan.is_empty
    assert not plan.models


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("author=4711", ("author", "4711")),
        ("customer_id = x", None),
        (" customer_id=a=b ", ("customer_id", "a=b")),
        ("anna@example.com", None),
        ("+32 471 23 45 67", None),
    ],
)
def test_metadata_is_told_from_identifiers(query: str, expected: tuple[str, str] | None) -> None:
    assert metadata_query(query) == expected


def test_metadata_is_searched_by_name_and_whole_value() -> None:
    search = Search(metadata=(("author", "4711"),))
    mine, longer, elsewhere = (
        some_row(1, "x", metadata=metadata) for metadata in ({"author": "4711"}, {"author": "47112"}, {"agent": "4711"})
    )
    assert [search.matches(row) for row in (mine, longer, elsewhere)] == [True, False, False]
    assert search.needles[0] in mine.model_dump_json().encode()


def test_a_row_of_a_request_log_is_found_by_the_tag_of_its_user_and_leads_to_the_request(person: Home) -> None:
    row = some_row(600, "asked through the gateway", metadata={"user": user_hash("ann-7"), "request": "chatcmpl-2"})
    versioned([*some_rows(5), row], project="logs")
    plan = make_plan(Store.open(), Search(users=(user_hash("ann-7"),)), name_of, "k")
    assert plan.row_ids == (row.row_id,)
    assert plan.requests == ("chatcmpl-2",)


def test_a_request_that_names_the_person_leads_to_the_rows_that_were_made_of_it(person: Home) -> None:
    """Such a row holds the placeholder only: it was redacted before it was logged."""
    asked = LoggedRequest(id="chatcmpl-9", at=datetime.now(UTC), model="m", version=1, answer="yes",
                          prompt=(Message(role="user", content="write to <EMAIL_ADDRESS>"),), prompt_tokens=1,
                          completion_tokens=1, milliseconds=1)  # fmt: skip
    request_log.append(asked, subjects("dora@example.com"), "k")
    row = some_row(600, "write to <EMAIL_ADDRESS>", metadata={"request": "chatcmpl-9"})
    versioned([*some_rows(5), row], project="logs")
    plan = make_plan(Store.open(), Search(subjects=subjects("dora@example.com")), name_of, "k")
    assert (plan.row_ids, plan.requests) == ((row.row_id,), ("chatcmpl-9",))
    assert plan.other_requests == {"": 2}
