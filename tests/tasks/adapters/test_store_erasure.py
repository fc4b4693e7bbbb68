"""Tombstones: what is left of an erased output, on a disk and in an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.store import MARKER, TOMBSTONE, Store
from tasks.contracts import Record
from tasks.errors import DataRefused


class Note(Record):
    text: str


def make(folder: Path) -> Note:
    (folder / "deep").mkdir()
    (folder / "deep" / "rows.jsonl").write_text("a row\n")
    (folder / "manifest.json").write_text("{}")
    return Note(text="x")


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store on disk, or in an object store that lies in memory."""
    uri = str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}"
    made = Store(uri, tmp_path / "home")
    made.produce("version", "k", Note, make)
    return made


URI = "store://version/k"


def test_what_lies_in_the_store_is_listed_and_read_in_place(store: Store) -> None:
    store.produce("ingest", "b", Note, make)
    assert list(store.outputs()) == ["store://ingest/b", URI]
    assert store.files(URI) == [MARKER, "deep/rows.jsonl", "manifest.json"]
    assert store.record(URI) == {"text": "x"}
    with store.open_file(URI, "deep/rows.jsonl") as stream:
        assert stream.read() == b"a row\n"
    assert not (store.root / "cache").exists()


def test_an_erased_output_is_absent_and_says_which_certificate(store: Store) -> None:
    store.path(URI)
    store.entomb(URI, ["manifest.json"], "erasure-1")
    assert store.files(URI) == [TOMBSTONE, "manifest.json"]
    assert list(store.outputs()) == []
    assert store.find("version", "k", Note) is None
    assert store.record(URI) == {}
    assert not list((store.root / "cache").rglob("*.jsonl"))
    with pytest.raises(DataRefused, match="erased") as caught:
        store.path(URI)
    assert "erasure-1" in caught.value.why


def test_a_copy_that_another_machine_still_has_is_not_read(store: Store) -> None:
    other = Store("memory://other", store.root)
    other.produce("version", "k", Note, make)
    copied = other.path(URI)
    kept = copied.with_name("aside")
    copied.rename(kept)
    other.entomb(URI, [], "erasure-1")
    kept.rename(copied)
    with pytest.raises(DataRefused):
        other.path(URI)
    assert not copied.exists()


def test_erasing_again_changes_nothing(store: Store) -> None:
    store.entomb(URI, ["manifest.json"], "erasure-1")
    before = store.tombstone(URI)
    store.entomb(URI, [], "erasure-2")
    assert store.tombstone(URI) == before
    assert store.files(URI) == [TOMBSTONE, "manifest.json"]


def test_an_erasure_that_was_cut_short_is_finished(store: Store) -> None:
    store.entomb(URI, ["manifest.json"], "erasure-1")
    store.fs.pipe_file(f"{store.base}/stages/version/k/deep/rows.jsonl", b"left over")
    store.entomb(URI, ["manifest.json"], "erasure-1")
    assert store.files(URI) == [TOMBSTONE, "manifest.json"]


def test_an_output_that_is_made_again_is_no_tombstone(store: Store) -> None:
    store.entomb(URI, ["manifest.json"], "erasure-1")
    store.produce("version", "k", Note, make)
    assert store.tombstone(URI) is None
    assert (store.path(URI) / "deep" / "rows.jsonl").read_text() == "a row\n"
    assert TOMBSTONE not in store.files(URI)
