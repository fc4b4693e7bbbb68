from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa

from tasks.adapters import state, tables
from tasks.adapters.sources.connectors import identity
from tasks.adapters.sources.register import history
from tasks.errors import EnvironmentUnusable, UsageError
from tests.tasks.adapters.sources.syncing import as_spec, content, killed_when, records, start_sync, synced

BUCKET = "corpus"
SECRET = "wJalrXUtnFEMIK7MDENG"


@dataclass
class Store:
    """A moto server behind a gate that counts which objects were read, and can hold one back."""

    port: int = 0
    reads: list[str] = field(default_factory=list)
    held: str = ""
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def client(self) -> Any:
        keys = {"aws_access_key_id": "reader", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", **keys)

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def options(self) -> str:
        """What the environment variable of the source holds."""
        return json.dumps({"key": "reader", "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{self.port}"})


def gated(app: Callable[..., Iterable[bytes]], store: Store) -> Callable[..., Iterable[bytes]]:
    def middle(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].removeprefix(f"/{BUCKET}/")
        listing = "list-type" in environ.get("QUERY_STRING", "")
        if environ["REQUEST_METHOD"] == "GET" and not listing and path:
            store.reads.append(path)
            if path == store.held:
                store.gate.wait(30)
        return app(environ, start)

    return middle


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store = Store()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store.port = probe.getsockname()[1]
    app = gated(DomainDispatcherApplication(create_backend_app), store)
    running = make_server("127.0.0.1", store.port, app, threaded=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield store
    running.shutdown()


@pytest.fixture
def store(server: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("TUNELOOP_SECRET_S3", server.options())
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.client.create_bucket(Bucket=BUCKET)
    server.reads.clear()
    server.held = ""
    server.gate.clear()
    yield server
    server.gate.set()
    for found in server.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        server.client.delete_object(Bucket=BUCKET, Key=found["Key"])


def source(path: str = "data", **fields: Any) -> dict[str, Any]:
    return {"path": f"s3://{BUCKET}/{path}", "credentials": "TUNELOOP_SECRET_S3", **fields}


def fill(store: Store, count: int = 6) -> None:
    for number in range(count):
        store.put(f"data/part-{number}.jsonl", b'{"n": %d}\n' % number * 100)


@pytest.mark.acceptance
def test_syncing_twice_reads_every_object_once(store: Store, tmp_path: Path) -> None:
    fill(store)
    first = synced(tmp_path, source())
    assert sorted(store.reads) == [f"data/part-{n}.jsonl" for n in range(6)]
    assert first.changes.added == tuple(f"s3://{BUCKET}/data/part-{n}.jsonl" for n in range(6))
    assert SECRET not in first.model_dump_json()
    store.reads.clear()
    second = synced(tmp_path, source())
    assert (store.reads, second.read) == ([], ())
    assert second.changes.unchanged == first.changes.added
    assert second.documents == first.documents
    store.put("data/part-1.jsonl", b"other")
    store.put("data/part-9.jsonl", b"new")
    store.client.delete_object(Bucket=BUCKET, Key="data/part-2.jsonl")
    third = synced(tmp_path, source())
    assert sorted(store.reads) == ["data/part-1.jsonl", "data/part-9.jsonl"]
    names = [
        [uri[-12:-6] for uri in some] for some in (third.changes.changed, third.changes.added, third.changes.removed)
    ]
    assert names == [["part-1"], ["part-9"], ["part-2"]]


@pytest.mark.acceptance
def test_a_killed_sync_goes_on_where_it_stood(store: Store, tmp_path: Path) -> None:
    fill(store, 30)
    store.held = "data/part-7.jsonl"  # what comes before it in the order of names is fingerprinted
    table = tables.source_documents

    def noted() -> int:
        with state.engine().connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    killed_when(start_sync(tmp_path, [source()]), lambda: noted() > 0 and store.held in store.reads)
    store.gate.set()
    time.sleep(0.2)  # requests that were under way when the process died
    before = noted()
    assert 0 < before < 30
    store.reads.clear()
    found = synced(tmp_path, source())
    assert len(store.reads) == len(set(store.reads)) == len(found.read) == 30 - before
    assert len(history(identity(as_spec(source()), tmp_path))) == 30
    store.reads.clear()
    assert synced(tmp_path, source()).read == ()
    assert store.reads == []


def test_a_copy_lives_as_long_as_the_block(store: Store, tmp_path: Path, home: Path) -> None:
    fill(store, 1)
    document = synced(tmp_path, source()).documents[0]
    assert content(document) == b'{"n": 0}\n' * 100
    assert not list((home / "work" / "spool").iterdir())
    store.put("data/part-0.jsonl", b"other")
    with pytest.raises(EnvironmentUnusable, match="changed while it was read"):
        content(document)


def test_objects_prefixes_and_patterns(store: Store, tmp_path: Path) -> None:
    for key in ("data/a.csv", "data/sub/b.csv", "data/c.png", "data/.hidden/d.csv", "database/e.csv"):
        store.put(key, key.encode())

    def uris(path: str) -> list[str]:
        return sorted(
            document.uri.removeprefix(f"s3://{BUCKET}/") for document in synced(tmp_path, source(path)).documents
        )

    assert uris("data") == uris("data/") == ["data/a.csv", "data/sub/b.csv"]
    assert uris("data/a.csv") == ["data/a.csv"]
    assert uris("data/**/*.csv") == ["data/a.csv", "data/sub/b.csv"]
    assert uris("*/e.csv") == ["database/e.csv"]
    assert sorted(synced(tmp_path, source()).passed_over) == [
        f"s3://{BUCKET}/data/.hidden/d.csv: hidden",
        f"s3://{BUCKET}/data/c.png: unknown extension",
    ]


@pytest.mark.parametrize("path", ["none", "data/none.csv", "data/c.png", "data/*.tsv"])
def test_what_is_not_there_is_a_usage_error(store: Store, tmp_path: Path, path: str) -> None:
    store.put("data/c.png", b"x")
    with pytest.raises(UsageError):
        synced(tmp_path, source(path))


def test_a_bucket_that_is_not_there_is_a_coded_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        synced(tmp_path, {"path": "s3://none-such/data", "credentials": "TUNELOOP_SECRET_S3"})


def test_a_store_that_does_not_answer_is_a_coded_error(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "key": "a",
        "secret": SECRET,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"total_max_attempts": 1}},
    }
    monkeypatch.setenv("TUNELOOP_SECRET_S3", json.dumps(options))
    with pytest.raises(EnvironmentUnusable) as error:
        synced(tmp_path, source())
    assert SECRET not in str(error.value)


def test_a_log_in_a_bucket_is_filtered(store: Store, tmp_path: Path) -> None:
    lines = [{"question": f"q{n}", "answer": f"a{n}", "rating": n} for n in range(5)]
    store.put("logs/a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    found = synced(tmp_path, source("logs", log={"min_rating": 3}))
    assert [record["rating"] for record in records(found.documents[0])] == [3, 4]
    store.reads.clear()
    assert synced(tmp_path, source("logs", log={"min_rating": 3})).read == ()
    assert store.reads == []


@pytest.mark.parametrize("text", ["not json", "[1]", '"text"'])
def test_a_secret_that_is_no_object_is_said_without_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TUNELOOP_SECRET_S3", text)
    with pytest.raises(UsageError, match="no JSON object") as error:
        synced(tmp_path, source())
    assert text not in str(error.value)
