"""The store in an object store: what a killed upload left, and two machines that make the same output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters.store import MARKER, TOMBSTONE, Store
from tasks.contracts import Record

URI = "store://version/k"
WHOLE = [MARKER, "manifest.json", "rows/000000.jsonl"]


class Note(Record):
    text: str


def make(folder: Path) -> Note:
    (folder / "rows").mkdir()
    (folder / "rows" / "000000.jsonl").write_text("a row\n")
    (folder / "manifest.json").write_text("{}")
    return Note(text="whole")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URI of a bucket of an S3 server in this process."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "reader")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="outputs")
        yield "s3://outputs"
    server.stop()


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> Store:
    return Store(f"{bucket}/{tmp_path.name}", tmp_path / "here")


def left_behind(store: Store, name: str, text: str) -> None:
    """An object as another process put it: nothing that this one has listed knows of it."""
    import boto3

    bucket, prefix = store.base.split("/", 1)
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/stages/version/k/{name}", Body=text.encode())


def assert_whole(store: Store) -> None:
    assert store.files(URI) == WHOLE
    assert store.verify(URI) == []


@pytest.mark.parametrize("name", ["manifest.json", "rows/000000.jsonl", "k/manifest.json", "rows/000001.jsonl"])
def test_what_a_killed_upload_left_is_replaced(store: Store, name: str) -> None:
    assert list(store.outputs()) == []
    left_behind(store, name, "a part")
    assert store.produce("version", "k", Note, make).text == "whole"
    assert_whole(store)


def test_an_output_without_files_replaces_what_was_left(store: Store) -> None:
    left_behind(store, "manifest.json", "a part")
    store.produce("version", "k", Note, lambda folder: Note(text="bare"))
    assert store.files(URI) == [MARKER]


def test_an_output_of_an_older_layout_is_replaced(store: Store) -> None:
    left_behind(store, MARKER, '{"layout": 0, "record": {"text": "old"}, "files": {}}')
    left_behind(store, "old.json", "{}")
    assert store.produce("version", "k", Note, make).text == "whole"
    assert_whole(store)


def test_an_erased_output_is_made_again(store: Store) -> None:
    store.produce("version", "k", Note, make)
    store.entomb(URI, ["manifest.json"], "erasure-1")
    assert store.files(URI) == [TOMBSTONE, "manifest.json"]
    store.produce("version", "k", Note, make)
    assert_whole(store)


def test_what_another_machine_finished_meanwhile_stays(store: Store, tmp_path: Path) -> None:
    other = Store(str(store.fs.unstrip_protocol(store.base)), tmp_path / "there")

    def slower(folder: Path) -> Note:
        other.produce("version", "k", Note, make)
        (folder / "mine.json").write_text("{}")
        return Note(text="late")

    assert store.produce("version", "k", Note, slower).text == "whole"
    assert_whole(store)
    assert not (store.root / "work" / "version" / "k").exists()


def test_a_copy_that_was_killed_is_made_again(store: Store) -> None:
    store.produce("version", "k", Note, make)
    copy, get = store.path(URI), store.fs.get
    (copy / MARKER).unlink()

    def killed(found: list[str], wanted: list[str]) -> None:
        get(found[:1], wanted[:1])
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.fs, "get", killed)
        with pytest.raises(KeyboardInterrupt):
            store.path(URI)
    assert [path.name for path in copy.iterdir()] == ["manifest.json"]
    assert store.verify(URI) == []


def test_a_folder_of_an_output_is_copied_with_the_output(store: Store) -> None:
    store.produce("version", "k", Note, make)
    assert [path.name for path in store.path(f"{URI}/rows").iterdir()] == ["000000.jsonl"]
    assert store.path(f"{URI}/rows").parent == store.path(URI)
