"""The store: marker last, one maker per key, nothing torn."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tasks.adapters.store import MARKER, Store, stage_key, write_atomically
from tasks.contracts import Message, Record
from tasks.errors import EnvironmentUnusable


class Note(Record):
    text: str


def make_note(text: str):
    def make(folder: Path) -> Note:
        (folder / "note.txt").write_text(text)
        return Note(text=text)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), tmp_path)


def test_an_output_is_made_once(store: Store) -> None:
    assert store.produce("s", "k", Note, make_note("first")).text == "first"
    assert store.produce("s", "k", Note, make_note("second")).text == "first"
    assert (store.path(store.uri("s", "k")) / "note.txt").read_text() == "first"


def test_without_marker_an_output_does_not_exist(store: Store) -> None:
    store.produce("s", "k", Note, make_note("first"))
    (store.path(store.uri("s", "k")) / MARKER).unlink()
    assert store.find("s", "k", Note) is None
    assert store.produce("s", "k", Note, make_note("second")).text == "second"


def test_a_failed_attempt_leaves_nothing_behind(store: Store) -> None:
    def fail(folder: Path) -> Note:
        (folder / "half").write_text("x")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        store.produce("s", "k", Note, fail)
    record = store.produce("s", "k", Note, make_note("ok"))
    assert record.text == "ok"
    assert not (store.path(store.uri("s", "k")) / "half").exists()


def test_a_resumable_attempt_finds_its_work_folder(store: Store) -> None:
    def interrupted(folder: Path) -> Note:
        (folder / "checkpoint").write_text("5")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.produce("s", "k", Note, interrupted, resumable=True)

    def resumed(folder: Path) -> Note:
        return Note(text=(folder / "checkpoint").read_text())

    assert store.produce("s", "k", Note, resumed, resumable=True).text == "5"


def test_changed_files_are_named(store: Store) -> None:
    store.produce("s", "k", Note, make_note("first"))
    assert store.verify(store.uri("s", "k")) == []
    (store.path(store.uri("s", "k")) / "note.txt").write_text("tampered")
    assert store.verify(store.uri("s", "k")) == ["note.txt"]


def test_a_record_of_another_layout_counts_as_absent(store: Store) -> None:
    store.produce("s", "k", Note, make_note("first"))
    assert store.find("s", "k", Message) is None


def test_a_store_behind_another_file_system(tmp_path: Path) -> None:
    store = Store("memory://bucket/prefix", tmp_path)
    store.produce("s", "k", Note, make_note("far"))
    again = Store("memory://bucket/prefix", tmp_path / "other")
    assert again.produce("s", "k", Note, make_note("never")).text == "far"
    assert (again.path(again.uri("s", "k")) / "note.txt").read_text() == "far"


def test_a_full_disk_is_a_coded_error(store: Store) -> None:
    def full(folder: Path) -> Note:
        raise OSError(28, "No space left on device", str(folder))

    with pytest.raises(EnvironmentUnusable) as caught:
        store.produce("s", "k", Note, full)
    assert caught.value.exit_code == 50
    assert "finished stages are kept" in caught.value.remedy


def slow_make(folder: Path) -> Note:
    time.sleep(0.5)
    (folder / f"made-by-{os.getpid()}").write_text("")
    return Note(text=str(os.getpid()))


def produce_in_child(root: str, results) -> None:
    store = Store(f"{root}/store", Path(root))
    results.put(store.produce("s", "k", Note, slow_make).text)


def test_two_at_once_join(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=produce_in_child, args=(str(tmp_path), results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = {results.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(seen) == 1


def test_a_killed_holder_frees_the_claim(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from tasks.adapters.claim import claim
        with claim(Path({str(tmp_path / "x.lock")!r}), "it"):
            print("held", flush=True)
            time.sleep(60)
    """)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert holder.stdout.readline() == b"held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    from tasks.adapters.claim import claim

    with claim(tmp_path / "x.lock", "it"):
        pass


def test_stage_keys_depend_on_revision_inputs_and_configuration() -> None:
    keys = {
        stage_key(1, "a", Note(text="x")),
        stage_key(2, "a", Note(text="x")),
        stage_key(1, "b", Note(text="x")),
        stage_key(1, "a", Note(text="y")),
    }
    assert len(keys) == 4


def test_atomic_writes_replace_and_keep_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    write_atomically(path, "one", mode=0o600)
    write_atomically(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key"]
