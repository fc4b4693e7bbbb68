from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from tasks.adapters import audit, erasures, vault
from tasks.adapters.pseudonym_key import pseudonym_key
from tasks.adapters.row_files import all_rows, open_output
from tasks.contracts import Row, Rows
from tasks.errors import DataRefused
from tasks.ingest.config import DataConfig, SourceConfig
from tasks.ingest.stage import REPORT, read_sources, report_of
from tasks.privacy.config import PrivacyConfig
from tasks.privacy.subjects import subjects_of
from tasks.settings import Settings
from tests.tasks.data_rows import open_store

pytestmark = pytest.mark.usefixtures("home")


def line(prompt: str, **more: object) -> str:
    return json.dumps({"prompt": prompt, "completion": "b", **more}) + "\n"


def lines(count: int, start: int = 0) -> str:
    return "".join(line(f"question {start + i}") for i in range(count))


def ingest(folder: Path, *sources: SourceConfig, privacy: PrivacyConfig | None = None) -> Rows:
    data = DataConfig(sources=sources or (SourceConfig(path="data"),), privacy=privacy or PrivacyConfig())
    return read_sources(data, folder, open_store(Settings().root))


def rows(folder: Path, made: Rows) -> list[Row]:
    return list(all_rows(open_store(Settings().root), made.uri))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_neither_names_nor_workers_change_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [lines(2500, 3000 * n) for n in range(5)]
    digests = set()
    for number, workers in enumerate(("1", "2", "2")):
        home, folder = tmp_path / f"home{number}", tmp_path / f"data{number}"
        folder.mkdir()
        for name, content in enumerate(contents if number < 2 else reversed(contents)):
            (folder / f"{name}.jsonl").write_text(content)
        monkeypatch.setenv("TUNELOOP_HOME", str(home))
        monkeypatch.setenv("TUNELOOP_WORKERS", workers)
        monkeypatch.setenv("TUNELOOP_PSEUDONYM_KEY", "k" * 32)
        store = open_store(home)
        made = read_sources(DataConfig(sources=(SourceConfig(path=str(folder)),)), tmp_path, store)
        digests.add(made.digest)
        found = [r.origin.source_digest for r in all_rows(store, made.uri)]
        assert found == sorted(found)
        assert len(found) == 12500
    assert len(digests) == 1


def test_a_new_file_costs_its_own_reading(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(lines(3))
    first = ingest(tmp_path)
    (data / "b.jsonl").write_text(lines(3, 10))
    store = open_store(Settings().root)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "home" / "store" / "stages" / "document").rglob("*.jsonl")}
    second = ingest(tmp_path)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "home" / "store" / "stages" / "document").rglob("*.jsonl")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert second.counts.rows_in == 6
    (data / "b.jsonl").unlink()
    assert ingest(tmp_path) == first
    assert open_output(store, first.uri).shards[0].uri in {s.uri for s in open_output(store, second.uri).shards}


def test_members_of_archives_are_sources_of_their_own(tmp_path: Path, data: Path) -> None:
    with zipfile.ZipFile(data / "pack.zip", "w") as archive:
        archive.writestr("in/x.jsonl", lines(2))
        archive.writestr("in/y.csv", "question,answer\nq,a\n")
        archive.writestr("../out.jsonl", lines(1, 50))
        archive.writestr("readme.bin", b"\x00")
    with tarfile.open(data / "pack.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("x.jsonl")
        info.size = len(lines(2))
        archive.addfile(info, io.BytesIO(lines(2).encode()))
    made = ingest(tmp_path)
    found = rows(tmp_path, made)
    kept = [r for r in found if r.outcome == "kept"]
    assert {r.origin.member for r in kept} <= {"in/x.jsonl", "in/y.csv", "pack.tar!/x.jsonl"}
    assert len({r.row_id for r in found}) == len(found)
    assert all(r.origin.container_digest not in ("", r.origin.source_digest) for r in kept)
    assert not (tmp_path / "out.jsonl").exists()
    passed = json.loads((open_store(Settings().root).path(made.uri) / REPORT).read_text())["passed_over"]
    assert any("readme.bin" in text for text in passed)
    assert any("the same content as" in text for text in passed)
    assert sum(r.prompt[0].content in ("question 0", "question 1") for r in kept) == 2


def test_a_broken_file_of_a_folder_is_one_row_in_quarantine(tmp_path: Path, data: Path) -> None:
    (data / "good.jsonl").write_text(lines(2))
    (data / "empty.jsonl").write_bytes(b"")
    (data / "photo.jsonl").write_bytes(bytes(range(256)) * 8)
    (data / "cut.zip").write_bytes(b"PK\x03\x04 and nothing else")
    made = ingest(tmp_path)
    broken = [r for r in rows(tmp_path, made) if r.outcome == "quarantined"]
    assert {r.origin.source_uri for r in broken} == {"data/empty.jsonl", "data/photo.jsonl", "data/cut.zip"}
    assert all(r.reason and r.repair for r in broken)
    assert made.counts.kept == 2
    with pytest.raises(DataRefused, match="empty"):
        ingest(tmp_path, SourceConfig(path="data/empty.jsonl"))


def test_a_source_can_have_rules_of_its_own(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(line("write to jo@example.com"))
    (data / "b.jsonl").write_text(line("write to ann@example.com please"))
    own = PrivacyConfig(actions={"EMAIL_ADDRESS": "report"})
    made = ingest(tmp_path, SourceConfig(path="data/a.jsonl", privacy=own), SourceConfig(path="data/b.jsonl"))
    by_source = {r.origin.source_uri: r for r in rows(tmp_path, made)}
    kept = by_source["data/a.jsonl"]
    assert "jo@example.com" in kept.messages[0].content
    assert (kept.reported, kept.redactions) == ({"EMAIL_ADDRESS": 1}, {})
    assert by_source["data/b.jsonl"].messages[0].content == "write to <EMAIL_ADDRESS> please"
    output = open_output(open_store(Settings().root), made.uri)
    assert sorted(output.privacy_of(s).actions == {"EMAIL_ADDRESS": "report"} for s in output.shards) == [False, True]


def test_a_row_with_what_drops_it_is_quarantined_without_its_text(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(line("my card is 4111 1111 1111 1111") + line("nothing of that kind"))
    made = ingest(tmp_path, privacy=PrivacyConfig(actions={"CREDIT_CARD": "drop"}))
    dropped, kept = rows(tmp_path, made)
    assert (dropped.outcome, dropped.messages) == ("quarantined", ())
    assert dropped.reason.startswith("personal_data: holds CREDIT_CARD")
    assert kept.outcome == "kept"


def test_the_same_value_is_the_same_subject_and_pseudonym_in_every_file(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(line("I am jo@example.com") + line("nobody"))
    (data / "b.jsonl").write_text(line("ask JO@example.com", author="jo@example.com"))
    made = ingest(tmp_path, privacy=PrivacyConfig(actions={"EMAIL_ADDRESS": "pseudonymise"}))
    found = [r for r in rows(tmp_path, made) if r.subjects]
    assert len(found) == 2
    assert len({r.subjects for r in found}) == 1
    assert len({r.messages[0].content.split()[-1] for r in found}) == 1


def test_tool_calls_are_cleaned_and_kept(tmp_path: Path, data: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"mail": "jo@example.com"}'}}
    turns = [
        {"role": "user", "content": "where is my parcel"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sent to jo@example.com"},
        {"role": "assistant", "content": "It is on its way."},
    ]
    (data / "a.jsonl").write_text(
        json.dumps({"messages": turns, "tools": [{"type": "function", "function": {"name": "find"}}]})
    )
    (row,) = rows(tmp_path, ingest(tmp_path))
    assert row.outcome == "kept", row.reason
    assert json.loads(row.messages[1].tool_calls[0].arguments) == {"mail": "<EMAIL_ADDRESS>"}
    assert row.messages[2].content == "sent to <EMAIL_ADDRESS>"
    assert "find" in row.tools


def test_ids_of_calls_are_cleaned_and_still_belong_together(tmp_path: Path, data: Path) -> None:
    def ask(identity: str) -> dict[str, object]:
        return {"id": identity, "type": "function", "function": {"name": "find", "arguments": "{}"}}

    ids = ["anna@example.com", "bob@example.com", "call_0123456789"]
    turns = [
        {"role": "user", "content": "where is my parcel"},
        {"role": "assistant", "content": None, "tool_calls": [ask(i) for i in ids]},
        *({"role": "tool", "tool_call_id": i, "content": "on its way"} for i in ids),
        {"role": "assistant", "content": "It is on its way."},
    ]
    (data / "a.jsonl").write_text(json.dumps({"messages": turns}))
    (row,) = rows(tmp_path, ingest(tmp_path))
    found = [m.tool_call_id for m in row.messages[2:5]]
    assert found == [c.id for c in row.messages[1].tool_calls]
    assert found == ["<EMAIL_ADDRESS>", "<EMAIL_ADDRESS>-b", "call_0123456789"]
    assert row.redactions == {"EMAIL_ADDRESS": 4}
    assert len(row.subjects) == 2


def test_the_mapping_is_shown(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text('{"question": "q", "answer": "a", "stars": 4}')
    (report,) = report_of(open_store(Settings().root), ingest(tmp_path))
    assert "question" in report.columns
    assert "stars" in report.columns


def test_nothing_is_left_in_the_work_folder(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(lines(2))
    ingest(tmp_path)
    assert [p for p in (tmp_path / "home" / "work").rglob("*") if p.is_file()] == []


def test_the_vault_keeps_what_rows_do_not_show_and_only_when_it_is_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = line("write to jo@example.com") + "{broken\n" + line("nothing personal")
    (data / "a.jsonl").write_text(text)
    off = rows(tmp_path, ingest(tmp_path))
    assert vault.kept(row_ids=[r.row_id for r in off]) == set()
    monkeypatch.setenv("TUNELOOP_HOME", str(tmp_path / "with-vault"))
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    found = rows(tmp_path, ingest(tmp_path))
    personal, broken, plain = found
    assert vault.kept(row_ids=[r.row_id for r in found]) == {personal.row_id, broken.row_id}
    assert vault.read(personal.row_id, "a test").decode() == line("write to jo@example.com").strip()
    assert vault.kept(subjects=personal.subjects) == {personal.row_id}
    assert plain.outcome == "kept"


def test_a_person_who_was_erased_does_not_come_back(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(line("write to jo@example.com") + line("x", author="4711") + line("nobody"))
    first = rows(tmp_path, ingest(tmp_path))
    named = erasures.keyed_metadata("author", "4711", pseudonym_key())
    erasures.begin([erasures.mark(k) for k in (*first[0].subjects, named)], "ann", "asked", "{}")
    mail, author, kept = rows(tmp_path, ingest(tmp_path))
    for gone in (mail, author):
        assert (gone.outcome, gone.messages, gone.metadata, gone.subjects) == ("quarantined", (), {}, ())
        assert gone.reason.startswith("erased: ")
    assert kept == first[2]


def test_what_a_sync_changes_is_in_the_audit_log_once(tmp_path: Path, data: Path) -> None:
    (data / "a.jsonl").write_text(lines(1))
    for _ in range(2):
        ingest(tmp_path)
    (data / "b.jsonl").write_text(lines(1, 5))
    (data / "a.jsonl").unlink()
    ingest(tmp_path)
    found = [json.loads(e.details) if isinstance(e.details, str) else e.details for e in audit.entries()]
    assert [(d["added"], d["removed"]) for d in found] == [(1, 0), (1, 1)]


def test_the_vault_finds_a_person_in_all_of_an_original(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    anna = subjects_of("anna@example.com", PrivacyConfig().phone_regions, pseudonym_key())
    phone = "call me at +32 471 23 45 67"
    hidden = line(f"q2 {phone}", note="ask\n\tanna@example.com").replace("@", "\\u0040")
    broken = '{"prompt": "q3", "completion": "' + "x " * 3000 + "anna@example.com\n"
    more = [line(f"question {n} {phone}", note="-") for n in range(8)]
    (data / "a.jsonl").write_text("".join((line(f"q1 {phone}", note="anna@example.com"), hidden, broken, *more)))
    found = rows(tmp_path, ingest(tmp_path))
    assert not any(set(row.subjects) & set(anna) for row in found)
    assert vault.kept(subjects=anna) == {row.row_id for row in found[:3]}
    assert vault.kept(subjects=found[0].subjects) >= {row.row_id for row in found if row.outcome == "kept"}


def test_an_original_that_holds_an_erased_person_is_not_kept_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELOOP_VAULT_DAYS", "30")
    anna = subjects_of("anna@example.com", PrivacyConfig().phone_regions, pseudonym_key())
    erasures.begin([erasures.mark(subject) for subject in anna], "me", "a test", "{}")
    phone = "call me at +32 471 23 45 67"
    (data / "a.jsonl").write_text(line(f"q1 {phone}", note="anna@example.com") + line(f"q2 {phone}", note="-"))
    first, second = rows(tmp_path, ingest(tmp_path))
    assert [first.outcome, second.outcome] == ["kept", "kept"]
    assert vault.kept(row_ids=[first.row_id, second.row_id]) == {second.row_id}
