"""Content that several sources hold counts once, and what cannot be read is never taken for a copy."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.row_files import all_rows
from tasks.contracts import Row, Rows
from tasks.errors import UsageError
from tasks.ingest.config import DataConfig, SourceConfig
from tasks.ingest.stage import REPORT, read_sources, report_of
from tasks.privacy.config import PrivacyConfig
from tasks.settings import Settings
from tests.tasks.data_rows import open_store

pytestmark = pytest.mark.usefixtures("home")
GOOD = "".join(json.dumps({"prompt": f"question {i}", "completion": "b"}) + "\n" for i in range(3))


def ingest(folder: Path, *sources: SourceConfig) -> Rows:
    return read_sources(DataConfig(sources=sources), folder, open_store(Settings().root))


def rows_of(made: Rows) -> list[Row]:
    return list(all_rows(open_store(Settings().root), made.uri))


def passed_over(made: Rows) -> list[str]:
    report = json.loads((open_store(Settings().root).path(made.uri) / REPORT).read_text())
    return list(report["passed_over"])


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def pack(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.jsonl", text)


def test_every_member_that_cannot_be_read_is_a_row_of_its_own(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link(archive, "link.jsonl", "/etc/passwd")
        add(archive, "a.jsonl", GOOD.encode())
        link(archive, "link.jsonl", "/etc/shadow")
        add(archive, "bad.pdf", b"not a pdf")
        add(archive, "bad2.pdf", b"not a pdf either")
    made = ingest(tmp_path, SourceConfig(path="x.tar"))
    broken = [r for r in rows_of(made) if r.outcome == "quarantined"]
    assert sorted(r.origin.member for r in broken) == ["bad.pdf", "bad2.pdf", "link.jsonl", "link.jsonl"]
    assert len({r.row_id for r in broken}) == 4
    assert (made.counts.rows_in, made.counts.kept, made.counts.quarantined) == (7, 3, 4)
    assert passed_over(made) == []
    assert len(report_of(open_store(Settings().root), made)) == 5


def test_unreadable_members_are_listed_in_the_order_of_the_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.jsonl", GOOD.encode())
        for number in range(12):
            link(archive, f"{number:02d}.jsonl", "/etc/passwd")
    broken = [r for r in rows_of(ingest(tmp_path, SourceConfig(path="x.tar"))) if r.outcome == "quarantined"]
    assert [r.origin.member for r in broken] == [f"{number:02d}.jsonl" for number in range(12)]
    assert [r.row_id for r in broken] == sorted(r.row_id for r in broken)


def test_equal_members_of_sources_with_equal_settings_count_once(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(GOOD)
    pack(tmp_path / "more.zip", copy=GOOD, again=GOOD)
    made = ingest(tmp_path, *(SourceConfig(path=p, split="train") for p in ("train.jsonl", "more.zip")))
    assert made.counts.rows_in == 3
    assert sum("the same content as" in text for text in passed_over(made)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"split": "test"},
        {"shape": "prompt_completion"},
        {"columns": {"prompt": "prompt", "completion": "completion"}},
        {"privacy": PrivacyConfig(entities=())},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("first", ["train.jsonl", "train.zip"])
def test_equal_content_in_an_archive_with_other_settings_is_refused(
    tmp_path: Path, first: str, settings: dict[str, Any]
) -> None:
    (tmp_path / "train.jsonl").write_text(GOOD)
    pack(tmp_path / "train.zip", train=GOOD, more=GOOD.replace("question", "more"))
    pack(tmp_path / "heldout.zip", heldout=GOOD)
    with pytest.raises(UsageError, match="two sources hold the same content with different settings") as error:
        ingest(tmp_path, SourceConfig(path=first), SourceConfig(path="heldout.zip", **settings))
    assert "heldout.zip!/heldout.jsonl" in error.value.where
    assert first in error.value.where
    assert error.value.remedy


def test_unreadable_members_of_two_archives_do_not_contradict_each_other(tmp_path: Path) -> None:
    for name, target in (("a.tar", "/etc/passwd"), ("b.tar", "/etc/shadow")):
        with tarfile.open(tmp_path / name, "w") as archive:
            add(archive, "x.jsonl", GOOD.replace("question", name).encode())
            link(archive, "link.jsonl", target)
    made = ingest(tmp_path, SourceConfig(path="a.tar"), SourceConfig(path="b.tar", split="test"))
    assert made.counts.quarantined == 2
