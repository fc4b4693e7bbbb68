from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters import request_log
from tasks.adapters.request_log import LoggedRequest, user_hash
from tasks.adapters.sources import logs as log_sources
from tasks.adapters.sources.logs import rating_of, time_of
from tasks.contracts import Message
from tasks.errors import UsageError
from tests.tasks.adapters.sources.syncing import content, records, synced

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Every test has a request log of its own."""


def log(number: int, **fields: Any) -> None:
    values = {
        "id": f"r{number}", "at": START + timedelta(days=number), "model": "desk", "version": 1,
        "agent": "web" if number % 2 else "phone", "user": user_hash("anna"),
        "prompt": (Message(role="system", content="be kind"), Message(role="user", content=f"q{number}")),
        "answer": f"a{number}", "prompt_tokens": 1, "completion_tokens": 1, "milliseconds": 1,
    }  # fmt: skip
    request_log.append(LoggedRequest(**{**values, **fields}))


def requests(base: Path, path: str = "requests://desk", **wanted: Any) -> list[dict[str, Any]]:
    return records(synced(base, {"path": path, "key": "request", "log": wanted or None}).documents[0])


def test_requests_become_conversations(tmp_path: Path) -> None:
    log(1)
    (record,) = requests(tmp_path)
    assert [turn["role"] for turn in record["messages"]] == ["system", "user", "assistant"]
    assert [turn["content"] for turn in record["messages"]] == ["be kind", "q1", "a1"]
    assert record["agent"] == "web"
    assert record["timestamp"] == "2026-01-02T00:00:00+00:00"
    assert record["user"] == user_hash("anna")
    assert record["metadata"] == {"request": "r1", "user": user_hash("anna")}
    assert "anna" not in json.dumps(record)


def test_requests_are_chosen_by_model_agent_and_time(tmp_path: Path) -> None:
    for number in range(6):
        log(number)
    log(9, model="other")
    assert len(requests(tmp_path, "requests://")) == 7
    assert len(requests(tmp_path)) == 6
    assert {r["agent"] for r in requests(tmp_path, agents=["web"])} == {"web"}
    some = requests(tmp_path, since="2026-01-03", until="2026-01-05T00:00:00+00:00")
    assert [r["request"] for r in some] == ["r2", "r3"]


def test_requests_are_counted_between_two_syncs(tmp_path: Path) -> None:
    source = {"path": "requests://desk", "key": "request"}
    log(1)
    synced(tmp_path, source)
    log(2)
    (counts,) = synced(tmp_path, source).changes.records.values()
    assert (counts.added, counts.unchanged) == (1, 1)


def test_an_empty_request_log_is_an_empty_document(tmp_path: Path) -> None:
    assert content(synced(tmp_path, "requests://none").documents[0]) == b""


def test_the_request_log_has_no_ratings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ratings"):
        requests(tmp_path, min_rating=3)


LINES: list[dict[str, Any]] = [
    {
        "question": "q0",
        "answer": "a0",
        "rating": 5,
        "agent": "web",
        "timestamp": "2026-01-01T10:00:00Z",
        "user": "anna",
    },
    {"question": "q1", "answer": "a1", "rating": 2, "agent": "web", "timestamp": "2026-01-02T10:00:00Z"},
    {"question": "q2", "answer": "a2", "rating": "up", "agent": "phone", "timestamp": 1767434400},
    {"question": "q3", "answer": "a3", "agent": "web"},
]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_text("\n".join(map(json.dumps, LINES)) + '\n\n{"cut')
    return tmp_path


def filtered(base: Path, **wanted: Any) -> list[str]:
    lines = content(synced(base, {"path": "logs", "log": wanted}).documents[0]).splitlines()
    return [json.loads(line)["question"] if line.endswith(b"}") else line.decode() for line in lines]


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({}, ["q0", "q1", "q2", "q3"]),
        ({"min_rating": 1}, ["q0", "q1", "q2"]),
        ({"min_rating": 3}, ["q0"]),
        ({"agents": ["phone"]}, ["q2"]),
        ({"since": "2026-01-02T00:00:00Z"}, ["q1", "q2"]),
        ({"until": "2026-01-02T00:00:00Z"}, ["q0"]),
        ({"min_rating": 3, "rating_field": "score"}, []),
        ({"agents": ["q3"], "agent_field": "question"}, ["q3"]),
        ({"since": "2026-01-02", "time_field": "agent"}, []),
    ],
)
def test_lines_are_chosen_by_rating_agent_and_time(logs: Path, wanted: dict[str, Any], left: list[str]) -> None:
    assert filtered(logs, **wanted) == [*left, '{"cut']  # a broken line is left to reading, which quarantines it


def test_what_is_left_out_is_counted(logs: Path) -> None:
    passed_over = synced(logs, {"path": "logs", "log": {"min_rating": 3}}).passed_over
    assert passed_over == (
        "logs: 2 conversations are rated below 3",
        "logs: 1 conversations have no rating",
    )


def test_the_tag_of_a_user_is_not_passed_on(logs: Path) -> None:
    text = content(synced(logs, {"path": "logs", "log": {}}).documents[0]).decode()
    assert "anna" not in text
    assert user_hash("anna") in text
    tags = {"path": "logs", "log": {"user_field": "agent"}}
    assert user_hash("web") in content(synced(logs, tags).documents[0]).decode()


def test_a_tag_within_the_metadata_is_not_passed_on_either(tmp_path: Path) -> None:
    lines = [
        {"question": "q0", "answer": "a0", "client": "anna", "metadata": {"client": "anna", "channel": "web"}},
        {"question": "q1", "answer": "a1", "metadata": {"client": "anna"}},
        {"question": "q2", "answer": "a2", "client": "anna", "metadata": "of anna"},
        {"question": "q3", "answer": "a3", "metadata": {"channel": "web"}},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = records(synced(tmp_path, {"path": "a.jsonl", "log": {"user_field": "client"}}).documents[0])
    tag = user_hash("anna")
    assert [record["metadata"] for record in found] == [
        {"client": tag, "channel": "web", "user": tag},
        {"client": tag, "user": tag},
        {"user": tag},
        {"channel": "web"},
    ]
    assert "anna" not in json.dumps(found)


@pytest.mark.parametrize("plain", ["logs", "logs/*.jsonl"])
@pytest.mark.parametrize("log", ["logs/a.jsonl", "logs/a*"])
def test_a_log_in_a_folder_of_files_is_read_as_a_log_alone(logs: Path, plain: str, log: str) -> None:
    (logs / "logs" / "b.jsonl").write_text('{"question": "b", "answer": "b"}')
    found = synced(logs, plain, {"path": log, "log": {"min_rating": 3}})
    assert sorted(d.uri for d in found.documents) == sorted([log, "logs/b.jsonl"])
    assert "logs/a.jsonl: another source reads it as a log" in found.passed_over
    assert all(b"anna" not in content(d) for d in found.documents)
    assert synced(logs, {"path": log, "log": {"min_rating": 3}}, plain).read == ()


@pytest.mark.parametrize("log", ["logs", "logs/a.jsonl", "absolute"])
def test_a_file_that_is_named_as_a_log_and_as_a_file_is_refused(logs: Path, log: str) -> None:
    path = str(logs / "logs" / "a.jsonl") if log == "absolute" else log
    with pytest.raises(UsageError, match="as a log and as a file") as error:
        synced(logs, {"path": path, "log": {}}, str(logs / "logs" / "a.jsonl"))
    assert error.value.where == "logs/a.jsonl"


def test_two_filters_of_one_log_are_two_sources(tmp_path: Path) -> None:
    for number in range(6):
        log(number)
    sources = [{"path": "requests://desk", "key": "request", "log": {"agents": [agent]}} for agent in ("web", "phone")]
    found = synced(tmp_path, *sources)
    assert sorted(r["request"] for d in found.documents for r in records(d)) == [f"r{n}" for n in range(6)]
    assert len(synced(tmp_path, *sources, sources[0]).documents) == 2


def test_logs_that_did_not_change_are_not_read_again(logs: Path) -> None:
    source = {"path": "logs", "log": {"min_rating": 1}}
    assert len(synced(logs, source).read) == 1
    assert synced(logs, source).read == ()
    (logs / "logs" / "b.jsonl").write_text(json.dumps({"question": "q9", "answer": "a9", "rating": 4}))
    found = synced(logs, source)
    assert len(found.changes.changed) == 1
    assert len(content(found.documents[0]).splitlines()) == 5


def test_a_log_whose_records_were_made_in_another_form_is_read_again(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(log_sources, "_FORM", 1)
        synced(logs, {"path": "logs", "log": {}})
    assert len(synced(logs, {"path": "logs", "log": {}}).read) == 1


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (4, 4),
        (4.5, 4.5),
        ("4.5", 4.5),
        (True, 1),
        ("Up", 1),
        ("down", -1),
        ("?", None),
        ("nan", None),
        (None, None),
        ([], None),
    ],
)
def test_ratings_are_numbers(value: object, number: float | None) -> None:
    assert rating_of(value) == number


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_anything_may_stand_where_a_rating_or_a_time_should(value: object) -> None:
    rating_of(value)
    assert time_of(value) is None or time_of(value).tzinfo  # type: ignore[union-attr]
