from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.sources.copies import local_copy
from tasks.errors import EnvironmentUnusable
from tests.tasks.adapters.sources.syncing import synced


@pytest.fixture
def document_file(tmp_path: Path, home: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("one")
    return path


def test_a_local_file_is_read_where_it_lies(document_file: Path) -> None:
    document = synced(document_file.parent, "a.txt").documents[0]
    with local_copy(document) as path:
        assert path == document_file


def test_a_file_that_changed_after_the_sync_is_refused(document_file: Path) -> None:
    document = synced(document_file.parent, "a.txt").documents[0]
    document_file.write_text("two")
    with pytest.raises(EnvironmentUnusable, match="changed while it was read") as error, local_copy(document):
        raise AssertionError("the block must not run")
    assert error.value.remedy == "run again"


def test_a_file_that_changes_while_it_is_read_is_noticed(document_file: Path) -> None:
    document = synced(document_file.parent, "a.txt").documents[0]
    with pytest.raises(EnvironmentUnusable, match="changed while it was read"), local_copy(document) as path:
        path.write_text("two")


def test_a_file_that_is_gone_is_refused(document_file: Path) -> None:
    document = synced(document_file.parent, "a.txt").documents[0]
    document_file.unlink()
    with pytest.raises(EnvironmentUnusable, match="changed"), local_copy(document):
        pass


def test_an_error_of_the_block_is_not_covered(document_file: Path) -> None:
    document = synced(document_file.parent, "a.txt").documents[0]
    with pytest.raises(UnicodeDecodeError), local_copy(document) as path:
        read_after_a_change(path)


def read_after_a_change(path: Path) -> str:
    path.write_bytes(b"\xff")
    return path.read_text("utf-8")
