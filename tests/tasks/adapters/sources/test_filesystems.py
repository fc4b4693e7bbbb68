"""SharePoint, Google Drive, GCS and Azure: the real clients against doubles of the services on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.sources.filesystems import open_filesystem
from tasks.errors import EnvironmentUnusable, UsageError
from tests.tasks.adapters.sources.bucket_doubles import AzureBlob, GoogleStorage
from tests.tasks.adapters.sources.drive_doubles import Drive, Files, Graph, service_account
from tests.tasks.adapters.sources.syncing import as_spec, content, synced
from tests.tasks.adapters.sources.web_server import web_server

CONTENT = {"faq/a.csv": b"a" * 1000, "faq/deep/b.csv": b"b" * 10, "faq/picture.png": b"p", "other.csv": b"o"}


@pytest.fixture
def graph(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    double = Graph(dict(CONTENT))
    with web_server(double) as server:
        secret = {
            "tenant_id": "t",
            "client_id": "c",
            "client_secret": "s3cret",
            "login": server.url,
            "graph": server.url,
        }
        monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", json.dumps(secret))
        yield double


@pytest.fixture
def drive(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    double = Drive(dict(CONTENT))
    with web_server(double) as server:
        monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", service_account(server.url))
        yield double


def source(path: str) -> dict[str, Any]:
    return {"path": path, "credentials": "TUNELOOP_SECRET_DRIVE"}


def syncs_twice_and_counts(files: Files, root: str, base: Path) -> None:
    first = synced(base, source(f"{root}/faq"))
    assert first.changes.added == (f"{root}/faq/a.csv", f"{root}/faq/deep/b.csv")
    assert first.passed_over == (f"{root}/faq/picture.png: unknown extension",)
    assert sorted(set(files.reads)) == ["faq/a.csv", "faq/deep/b.csv"]
    files.reads.clear()
    second = synced(base, source(f"{root}/faq"))
    assert (second.read, files.reads) == ((), [])
    assert {content(document) for document in second.documents} == {b"a" * 1000, b"b" * 10}
    files.content["faq/a.csv"] = b"new"
    files.content["faq/c.csv"] = b"c"
    del files.content["faq/deep/b.csv"]
    third = synced(base, source(f"{root}/faq"))
    assert third.changes.changed == (f"{root}/faq/a.csv",)
    assert third.changes.added == (f"{root}/faq/c.csv",)
    assert third.changes.removed == (f"{root}/faq/deep/b.csv",)


def test_sharepoint_syncs_twice_and_counts(graph: Graph, tmp_path: Path) -> None:
    syncs_twice_and_counts(graph, "sharepoint://Support/Documents", tmp_path)


def test_drive_syncs_twice_and_counts(drive: Drive, tmp_path: Path) -> None:
    syncs_twice_and_counts(drive, "gdrive://folder-1", tmp_path)


def test_google_storage_syncs_twice_and_counts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = GoogleStorage(dict(CONTENT))
    with web_server(double) as server:
        monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", json.dumps({"token": "anon", "endpoint_url": server.url}))
        syncs_twice_and_counts(double, "gs://corpus", tmp_path)


def test_azure_syncs_twice_and_counts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = AzureBlob(dict(CONTENT))
    with web_server(double) as server:
        account = f"AccountName=acct;AccountKey=aGVsbG8=;BlobEndpoint={server.url}/acct;"
        options = {"connection_string": f"DefaultEndpointsProtocol=http;{account}"}
        monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", json.dumps(options))
        syncs_twice_and_counts(double, "az://corpus", tmp_path)


@pytest.mark.parametrize("path", ["other.csv", "faq/deep/b.csv", ""])
def test_files_and_whole_drives(graph: Graph, tmp_path: Path, path: str) -> None:
    uris = [document.uri for document in synced(tmp_path, source(f"sharepoint://Support/Documents/{path}")).documents]
    expected = [path] if path else ["faq/a.csv", "faq/deep/b.csv", "other.csv"]
    assert sorted(uris) == [f"sharepoint://Support/Documents/{name}" for name in expected]


@pytest.mark.parametrize("path", ["other.csv", "faq/deep/b.csv", ""])
def test_files_and_whole_folders_of_drive(drive: Drive, tmp_path: Path, path: str) -> None:
    uris = [document.uri for document in synced(tmp_path, source(f"gdrive://folder-1/{path}")).documents]
    expected = [path] if path else ["faq/a.csv", "faq/deep/b.csv", "other.csv"]
    assert sorted(uris) == [f"gdrive://folder-1/{name}" for name in expected]


def test_patterns(graph: Graph, tmp_path: Path) -> None:
    found = synced(tmp_path, source("sharepoint://Support/Documents/faq/**/*.csv"))
    assert [uri.rpartition("/")[2] for uri in found.changes.added] == ["a.csv", "b.csv"]
    only = synced(tmp_path, source("sharepoint://Support/Documents/*/a.csv"))
    assert [uri.rpartition("/")[2] for uri in only.changes.added] == ["a.csv"]


def test_a_busy_drive_is_asked_again(graph: Graph, tmp_path: Path) -> None:
    graph.busy = 3
    assert len(synced(tmp_path, source("sharepoint://Support/Documents")).documents) == 3
    graph.busy = 1000
    with pytest.raises(EnvironmentUnusable, match="does not answer") as error:
        synced(tmp_path, source("sharepoint://Support/Documents"))
    assert "429" in error.value.why


def test_two_files_of_one_name_are_refused(drive: Drive, tmp_path: Path) -> None:
    drive.twice = "faq/a.csv"
    with pytest.raises(UsageError, match="same name"):
        synced(tmp_path, source("gdrive://folder-1/faq"))


def test_a_key_that_is_broken_is_said_without_it(drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = {**json.loads(service_account("http://127.0.0.1:9")), "private_key": "s3cret"}
    monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", json.dumps(account))
    with pytest.raises(UsageError, match="cannot be opened") as error:
        synced(tmp_path, source("gdrive://folder-1/faq"))
    assert "s3cret" not in str(error.value)


def test_a_folder_that_cannot_be_listed_removes_nothing(graph: Graph, tmp_path: Path) -> None:
    everything = source("sharepoint://Support/Documents")
    synced(tmp_path, everything)
    graph.refused = "faq/deep"
    with pytest.raises(UsageError, match="refuses access"):
        synced(tmp_path, everything)
    graph.refused = ""
    assert len(synced(tmp_path, everything).changes.unchanged) == 3


def test_a_google_document_is_passed_over_with_the_reason(drive: Drive, tmp_path: Path) -> None:
    drive.content["faq/Handbook"] = b""
    drive.native = ("faq/Handbook",)
    passed_over = synced(tmp_path, source("gdrive://folder-1/faq")).passed_over
    assert any("faq/Handbook: a Google document" in one for one in passed_over)


@pytest.mark.parametrize("url", ["sharepoint://Support/Documents/none.csv", "sharepoint://Support/Documents/none"])
def test_what_is_not_on_sharepoint_is_a_usage_error(graph: Graph, tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError):
        synced(tmp_path, source(url))


def test_what_is_not_on_drive_is_a_usage_error(drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        synced(tmp_path, source("gdrive://folder-1/none.csv"))


def test_a_drive_of_another_name_is_a_coded_error(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable) as error:
        synced(tmp_path, source("sharepoint://Support/Nowhere/a.csv"))
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("url", ["sharepoint://Support/Documents/a.csv", "gdrive://folder-1/a.csv"])
def test_a_secret_that_lacks_something_is_said(home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TUNELOOP_SECRET_DRIVE", "{}")
    with pytest.raises(UsageError, match="lacks something") as error:
        open_filesystem(as_spec(source(url)))
    assert "missing:" in error.value.why
