from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tasks.errors import DataRefused, UsageError
from tests.tasks.adapters.sources.syncing import killed_when, records, start_sync, synced
from tests.tasks.adapters.sources.web_server import Asked, Reply, WebServer, as_json, web_server

PAGE = 10


class Tickets:
    """A paged API over a list of records that tests change."""

    def __init__(self, count: int) -> None:
        self.records: list[dict[str, Any]] = [{"id": n, "question": f"q{n}", "answer": f"a{n}"} for n in range(count)]
        self.failures: list[Reply] = []
        self.gate: threading.Event | None = None
        self.gated_page = 0

    def __call__(self, asked: Asked) -> Reply:
        if self.failures:
            return self.failures.pop(0)
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
        number = int(parameters.get("page") or parameters.get("cursor") or 1)
        if self.gate and number == self.gated_page:
            self.gate.wait(30)
        some = self.records[(number - 1) * PAGE : number * PAGE]
        more = number * PAGE < len(self.records)
        way = {"next": f"/tickets?page={number + 1}" if more else None, "cursor": number + 1 if more else None}
        link = {"Link": f'</tickets?page={number + 1}>; rel="next"'} if more else {}
        reply = as_json({"data": {"items": some}, **way}, **link)
        etag = f'"{hash(reply.body)}"'
        if asked.headers.get("If-None-Match") == etag:
            return Reply(304, b"", {"ETag": etag})
        return Reply(200, reply.body, {**reply.headers, "ETag": etag})


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Every test has a register of its own."""


def source(server: WebServer, **http: Any) -> dict[str, Any]:
    http = {"items": "data.items", "allow_private": True, "retries": 3, **http}
    return {"path": f"{server.url}/tickets", "key": "id", "http": http}


@pytest.mark.parametrize(
    "way",
    [
        {"next_page": "next"}, {"next_page": "cursor", "cursor_parameter": "cursor"},
        {"link_header": True}, {"page_parameter": "page"},
    ],
    ids=lambda way: next(iter(way)),
)  # fmt: skip
def test_every_way_to_the_next_page_gives_the_same_document(tmp_path: Path, way: dict[str, Any]) -> None:
    tickets = Tickets(25)
    with web_server(tickets) as server:
        found = synced(tmp_path, source(server, **way))
        again = records(found.documents[0])
    assert sorted(again, key=lambda r: r["id"]) == tickets.records
    assert found.documents[0].name.endswith(".jsonl")


@pytest.mark.acceptance
def test_syncing_twice_counts_what_changed(tmp_path: Path) -> None:
    tickets = Tickets(25)
    with web_server(tickets) as server:
        uri = f"{server.url}/tickets"
        tickets.failures = [Reply(500), Reply(503, b"", {"Retry-After": "0"})]
        first = synced(tmp_path, source(server, next_page="next"))
        assert first.changes.records[uri].model_dump() == {"added": 25, "changed": 0, "removed": 0, "unchanged": 0}
        second = synced(tmp_path, source(server, next_page="next"))
        assert second.changes.unchanged == (uri,)
        assert second.changes.records[uri].unchanged == 25
        assert second.documents[0].digest == first.documents[0].digest
        del tickets.records[3]
        tickets.records[0]["answer"] = "other"
        tickets.records += [{"id": 100 + n} for n in range(4)]
        third = synced(tmp_path, source(server, next_page="next"))
        assert third.changes.changed == (uri,)
        assert third.changes.records[uri].model_dump() == {"added": 4, "changed": 1, "removed": 1, "unchanged": 23}


def test_counted_pages_with_etags_are_not_read_again(tmp_path: Path) -> None:
    tickets = Tickets(25)
    with web_server(tickets) as server:
        synced(tmp_path, source(server, page_parameter="page"))
        asked = len(server.asked)
        found = synced(tmp_path, source(server, page_parameter="page"))
        assert found.read == ()
        assert all("If-None-Match" in one.headers for one in server.asked[asked:])
        assert len(records(found.documents[0])) == 25  # fetched again, because somebody reads it
        tickets.records[24]["answer"] = "other"
        assert len(synced(tmp_path, source(server, page_parameter="page")).changes.changed) == 1


def test_the_temporary_file_lives_as_long_as_the_block(tmp_path: Path, home: Path) -> None:
    from tasks.adapters.sources.copies import local_copy
    from tasks.adapters.sources.sync import sync
    from tests.tasks.adapters.sources.syncing import as_spec

    with web_server(Tickets(25)) as server:
        with sync([as_spec(source(server, next_page="next"))], tmp_path) as found:
            asked = len(server.asked)
            with local_copy(found.documents[0]) as path:
                assert path.stat().st_mode & 0o777 == 0o600
                assert len(path.read_bytes().splitlines()) == 25
            assert len(server.asked) == asked
        assert not path.exists()
        assert len(records(found.documents[0])) == 25
    assert not list((home / "work" / "spool").iterdir())


@pytest.mark.acceptance
def test_a_killed_sync_changes_nothing_and_leaves_no_copy_behind(tmp_path: Path, home: Path) -> None:
    tickets = Tickets(45)
    with web_server(tickets) as server:
        uri = f"{server.url}/tickets"
        synced(tmp_path, source(server, next_page="next"))
        tickets.records.append({"id": 99})
        tickets.gate, tickets.gated_page = threading.Event(), 4
        begin = len(server.asked)
        child = start_sync(tmp_path, [source(server, next_page="next")])
        killed_when(child, lambda: len(server.asked) - begin == 4)
        tickets.gate.set()
        assert list((home / "work" / "spool").iterdir())
        found = synced(tmp_path, source(server, next_page="next"))
        assert found.changes.records[uri].model_dump() == {"added": 1, "changed": 0, "removed": 0, "unchanged": 45}
        assert synced(tmp_path, source(server, next_page="next")).changes.unchanged == (uri,)
    assert not list((home / "work" / "spool").iterdir())


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (as_json({"data": {}}), "holds no list"),
        (as_json({"data": {"items": [1, 2]}}), "holds no list"),
        (as_json([]), "holds no list"),
        (Reply(200, b'{"data": {"items": [{"id": NaN}]}}'), "no JSON"),
        (Reply(200, b"<html>secret</html>"), "no JSON"),
        (Reply(200, b"[" * 100_000), "no JSON"),
        (as_json({"data": {"items": [{"id": 1}]}, "next": "/tickets"}), "do not end"),
    ],
)
def test_answers_that_are_no_pages_are_refused(tmp_path: Path, reply: Reply, words: str) -> None:
    with web_server(lambda _asked: reply) as server, pytest.raises(DataRefused, match=words) as error:
        synced(tmp_path, source(server, next_page="next"))
    assert "secret" not in str(error.value)


def test_more_pages_than_allowed_are_an_error(tmp_path: Path) -> None:
    with web_server(Tickets(45)) as server, pytest.raises(DataRefused, match="do not end"):
        synced(tmp_path, source(server, next_page="next", max_pages=3))


def test_a_cursor_needs_its_parameter(tmp_path: Path) -> None:
    with web_server(Tickets(25)) as server, pytest.raises(UsageError, match="no address") as error:
        synced(tmp_path, source(server, next_page="cursor"))
    assert "cursor_parameter" in error.value.remedy


def test_a_next_page_on_a_forbidden_address_is_not_asked(tmp_path: Path) -> None:
    page = {"data": {"items": [{"id": 1}]}, "next": "http://169.254.169.254/latest"}
    with web_server(lambda _asked: as_json(page)) as server, pytest.raises(UsageError, match="may not be asked"):
        synced(tmp_path, source(server, next_page="next"))


def test_records_without_a_key_keep_the_order_of_the_source(tmp_path: Path) -> None:
    with web_server(lambda _asked: as_json([{"b": 1}, {"a": 2}])) as server:
        one = {"path": f"{server.url}/list", "http": {"items": ".", "allow_private": True}}
        found = synced(tmp_path, one)
        assert records(found.documents[0]) == [{"b": 1}, {"a": 2}]
        assert found.changes.records == {}
        assert json.dumps(found.model_dump(mode="json"))
