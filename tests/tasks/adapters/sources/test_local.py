from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.adapters.sources.connectors import SUFFIXES
from tasks.adapters.sources.local import LocalFiles, version_of
from tasks.adapters.sources.spec import SourceSpec
from tasks.errors import EnvironmentUnusable, UsageError
from tests.tasks.adapters.sources.syncing import synced


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jsonl", "b.csv", "sub/c.md", "picture.png", ".hidden.csv"):
        (folder / name).write_text(name)
    return tmp_path


def listed(base: Path, path: str) -> list[str]:
    return [item.uri for item in LocalFiles(SourceSpec(path=path), base, SUFFIXES).listing().items]


def test_folders_files_and_globs(data: Path) -> None:
    assert listed(data, "data") == ["data/a.jsonl", "data/b.csv", "data/sub/c.md"]
    assert listed(data, "data/**/*.md") == ["data/sub/c.md"]
    assert listed(data, str(data / "data/a.jsonl")) == ["data/a.jsonl"]
    assert listed(data / "data" / "sub", str(data / "data/a.jsonl")) == [f"{data}/data/a.jsonl"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(data: Path) -> None:
    (data / "data" / "[a].csv").write_text("x")
    assert listed(data, "data/[a].csv") == ["data/[a].csv"]


def test_what_is_passed_over_is_named(data: Path) -> None:
    passed_over = LocalFiles(SourceSpec(path="data"), data, SUFFIXES).listing().passed_over
    assert passed_over == ("data/.hidden.csv: hidden", "data/picture.png: unknown extension")


@pytest.mark.parametrize(
    ("path", "words"),
    [("none.csv", "does not exist"), ("data/picture.png", "cannot be read"), ("data/*.tsv", "no file")],
)
def test_wrong_paths_are_usage_errors(home: Path, data: Path, path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        synced(data, path)
    assert error.value.where == path
    assert error.value.remedy


def test_links_do_not_lead_out_of_a_folder(home: Path, data: Path) -> None:
    (data / "secret.csv").write_text("x")
    (data / "data" / "link.csv").symlink_to(data / "secret.csv")
    (data / "data" / "up").symlink_to(data)
    found = synced(data, "data")
    assert not [document for document in found.documents if "secret" in document.address]
    assert "data/link.csv: a link that leads out of the folder" in found.passed_over


def test_a_change_with_an_old_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one")
    before, times = version_of(path), path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert version_of(path) != before


def test_writes_right_after_the_fingerprint_get_another_version(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    files = LocalFiles(SourceSpec(path="a.csv"), tmp_path, SUFFIXES)
    for number in range(20):
        path.write_text(f"{number:03}")
        found = files.fingerprint(files.listing().items[0], None)
        path.write_text(f"{number + 500:03}")
        assert version_of(path) != found.token


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("listed")
    (tmp_path / "secret").write_text("secret")
    files = LocalFiles(SourceSpec(path="a.csv"), tmp_path, SUFFIXES)
    item = files.listing().items[0]
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(EnvironmentUnusable, match="changed"):
        files.fingerprint(item, None)
