from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import UsageError
from tasks.ingest.config import SourceConfig
from tasks.ingest.sources import find_files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jsonl", "b.csv", "sub/c.md", "picture.png", ".hidden.csv"):
        (folder / name).write_text("x")
    return tmp_path


def shown(base: Path, *paths: str, **settings: str) -> list[str]:
    return [f.shown for f in find_files([SourceConfig(path=p, **settings) for p in paths], base).files]  # type: ignore[arg-type]


def test_folders_files_and_globs(data: Path) -> None:
    assert shown(data, "data") == ["data/a.jsonl", "data/b.csv", "data/sub/c.md"]
    assert shown(data, "data/**/*.md") == ["data/sub/c.md"]
    assert shown(data, "data/a.jsonl", "data") == ["data/a.jsonl", "data/b.csv", "data/sub/c.md"]


def test_what_is_passed_over_is_named(data: Path) -> None:
    ignored = find_files([SourceConfig(path="data")], data).ignored
    assert ignored == ("data/.hidden.csv: hidden", "data/picture.png: unknown extension")


@pytest.mark.parametrize(
    ("path", "words"),
    [("none.csv", "does not exist"), ("data/picture.png", "cannot be read"), ("data/*.tsv", "no file")],
)
def test_wrong_paths_are_usage_errors(data: Path, path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        shown(data, path)
    assert error.value.exit_code == 2
    assert error.value.where == path
    assert error.value.remedy


def test_links_do_not_lead_out_of_a_folder(data: Path) -> None:
    (data / "secret.csv").write_text("x")
    (data / "data" / "link.csv").symlink_to(data / "secret.csv")
    (data / "data" / "up").symlink_to(data)
    found = find_files([SourceConfig(path="data")], data)
    assert "secret.csv" not in " ".join(f.path.name for f in found.files)
    assert "data/link.csv: a link that leads out of the folder" in found.ignored


def test_a_file_named_itself_wins_over_its_folder(data: Path) -> None:
    sources = [SourceConfig(path="data"), SourceConfig(path="data/b.csv", split="test")]
    splits = {f.shown: f.config.split for f in find_files(sources, data).files}
    assert splits == {"data/a.jsonl": "auto", "data/b.csv": "test", "data/sub/c.md": "auto"}


def test_contradicting_settings_are_refused(data: Path) -> None:
    sources = [SourceConfig(path="data/b.csv", split="train"), SourceConfig(path="data/b.csv", split="test")]
    with pytest.raises(UsageError, match="two sources"):
        find_files(sources, data)
