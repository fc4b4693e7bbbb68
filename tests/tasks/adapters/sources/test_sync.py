from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.adapters import state, tables
from tasks.adapters.sources.connectors import identity
from tasks.adapters.sources.register import history
from tasks.adapters.sources.spec import SourceSpec
from tasks.digest import digest_bytes
from tasks.errors import UsageError
from tests.tasks.adapters.sources.syncing import content, killed_when, start_sync, synced


@pytest.fixture
def data(tmp_path: Path, home: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(f"content of {name}")
    return tmp_path


def changes_of(base: Path, path: str) -> list[str]:
    source = identity(SourceSpec(path=path), base)
    return [f"{change} {Path(address).name}" for address, change in history(source)]


def test_documents_come_in_the_order_of_their_digests(data: Path) -> None:
    documents = synced(data, "data").documents
    assert [d.digest for d in documents] == sorted(digest_bytes(f.read_bytes()) for f in (data / "data").iterdir())
    assert {d.uri: d.name for d in documents} == {f"data/{n}": n for n in ("a.txt", "b.txt", "c.txt")}
    assert all(d.size == len(content(pickle.loads(pickle.dumps(d)))) for d in documents)


def test_a_second_sync_reads_nothing_and_records_nothing(data: Path) -> None:
    first = synced(data, "data")
    second = synced(data, "data")
    assert sorted(first.read) == sorted(first.changes.added) == ["data/a.txt", "data/b.txt", "data/c.txt"]
    assert second.read == ()
    assert sorted(second.changes.unchanged) == sorted(first.read)
    assert second.documents == first.documents
    assert changes_of(data, "data") == ["added a.txt", "added b.txt", "added c.txt"]


def test_changes_and_deletions_upstream_are_recorded_once(data: Path) -> None:
    synced(data, "data")
    (data / "data" / "a.txt").write_text("new")
    (data / "data" / "b.txt").unlink()
    (data / "data" / "d.txt").write_text("d")
    found = synced(data, "data")
    assert found.changes.changed == ("data/a.txt",)
    assert found.changes.removed == ("data/b.txt",)
    assert found.changes.added == ("data/d.txt",)
    assert found.changes.unchanged == ("data/c.txt",)
    assert sorted(found.read) == ["data/a.txt", "data/d.txt"]
    synced(data, "data")
    assert changes_of(data, "data")[3:] == ["changed a.txt", "added d.txt", "removed b.txt"]


def test_a_file_that_was_touched_is_read_again_but_not_changed(data: Path) -> None:
    synced(data, "data")
    os.utime(data / "data" / "a.txt")
    found = synced(data, "data")
    assert found.read == ("data/a.txt",)
    assert found.changes.changed == ()
    assert synced(data, "data").read == ()


def test_what_comes_back_unchanged_is_added_without_reading(data: Path) -> None:
    synced(data, "data")
    (data / "data" / "a.txt").rename(data / "aside.txt")
    assert synced(data, "data").changes.removed == ("data/a.txt",)
    (data / "aside.txt").rename(data / "data" / "a.txt")
    assert synced(data, "data").changes.added == ("data/a.txt",)
    assert changes_of(data, "data")[3:] == ["removed a.txt", "added a.txt"]


def test_a_file_named_itself_wins_over_its_folder(data: Path) -> None:
    documents = synced(data, "data", "data/b.txt").documents
    assert {d.uri: d.source for d in documents} == {"data/a.txt": 0, "data/b.txt": 1, "data/c.txt": 0}
    assert synced(data, "data", "data/b.txt").read == ()


def test_equal_content_comes_once_and_the_copy_is_named(data: Path) -> None:
    (data / "data" / "z.txt").write_text("content of a.txt")
    found = synced(data, "data")
    assert len(found.documents) == 3
    assert found.passed_over == ("data/z.txt: the same content as data/a.txt",)


@pytest.mark.parametrize("names", [("data/b.txt", "data/b.txt"), ("data/a.txt", "data/z.txt")])
def test_equal_content_with_different_settings_is_refused(data: Path, names: tuple[str, str]) -> None:
    (data / "data" / "z.txt").write_text("content of a.txt")
    test, train = SourceSpec(path=names[0]), SourceSpec(path=names[1])
    assert synced(data, test, train, settings_key=lambda _spec: "same").documents
    with pytest.raises(UsageError, match="different settings"):
        synced(data, test, train, settings_key=id)


def test_the_list_of_sources_may_be_in_any_order(data: Path) -> None:
    one, other = synced(data, "data/a.txt", "data"), synced(data, "data", "data/a.txt")
    assert [d.digest for d in one.documents] == [d.digest for d in other.documents]


def test_a_killed_sync_goes_on_where_it_stood(data: Path) -> None:
    """200 files of 1 MB and a pipe-like slow end: the child is killed once the first files are in the register."""
    for number in range(200):
        (data / "data" / f"n{number:03}.txt").write_bytes(b"%d" % number * 1_000_000)
    table = tables.source_documents

    def noted() -> int:
        with state.engine().connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    killed_when(start_sync(data, [{"path": "data"}]), lambda: noted() > 0)
    before = noted()
    assert 0 < before < 203
    found = synced(data, "data")
    assert len(found.read) == 203 - before
    assert len(found.changes.unchanged) == before
    assert sorted(changes_of(data, "data")) == sorted(f"added {f.name}" for f in (data / "data").iterdir())
    assert synced(data, "data").read == ()


def test_two_syncs_at_once_read_every_document_once(data: Path) -> None:
    results = []
    threads = [threading.Thread(target=lambda: results.append(synced(data, "data"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(found.read) for found in results) == [0, 0, 3]
    assert len(changes_of(data, "data")) == 3
