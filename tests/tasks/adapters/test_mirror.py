"""A second copy of folders: whole or not there, and fetched whole."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from tasks.adapters.mirror import Mirror


@pytest.fixture
def mirror() -> Mirror:
    fsspec.filesystem("memory").store.clear()
    return Mirror("memory://copies", "_DONE")


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_folder_comes_back(tmp_path: Path, mirror: Mirror) -> None:
    assert mirror.names() == []
    mirror.put(folder(tmp_path / "step-2", a="1", _DONE="x"))
    mirror.put(folder(tmp_path / "step-1", a="0", _DONE="x"))
    assert mirror.names() == ["step-1", "step-2"]
    found = mirror.get("step-2", folder(tmp_path / "there" / "step-2", old="gone"))
    assert {path.name: path.read_text() for path in found.iterdir()} == {"a": "1", "_DONE": "x"}
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["step-2"]


def test_a_folder_without_its_marker_is_not_there(tmp_path: Path, mirror: Mirror) -> None:
    mirror.put(folder(tmp_path / "step-2", a="1"))
    assert mirror.names() == []
    mirror.remove("step-2")
    mirror.remove("step-2")


def test_what_was_there_is_replaced(tmp_path: Path, mirror: Mirror) -> None:
    mirror.put(folder(tmp_path / "one" / "s", a="1", b="1", _DONE="x"))
    mirror.put(folder(tmp_path / "two" / "s", a="2", _DONE="x"))
    assert {p.name for p in mirror.get("s", tmp_path / "s").iterdir()} == {"a", "_DONE"}


def test_files_beside_the_folders(tmp_path: Path, mirror: Mirror) -> None:
    here = folder(tmp_path / "here", note="old", large="x" * 100_000)
    mirror.put_files(here)
    (here / "note").write_text("new")
    (here / "large").write_text("y" * 100_000)
    mirror.put_files(here)
    assert mirror.read_file("note") == b"new", "small notes are always sent"
    assert mirror.read_file("large")[:1] == b"x", "a large file of the same size is not"
    assert mirror.read_file("none") == b""
    there = folder(tmp_path / "there", note="own")
    mirror.get_files(there)
    assert (there / "note").read_text() == "own", "what is here already stays"
    assert (there / "large").stat().st_size == 100_000
    mirror.remove_all()
    assert mirror.read_file("note") == b""
