from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.row_files import all_rows
from tasks.contracts import Row, Rows
from tasks.digest import digest_bytes
from tasks.errors import DataRefused, TuneloopError, UsageError
from tasks.ingest.config import DataConfig, SourceConfig
from tasks.ingest.stage import read_sources, report_of
from tasks.privacy.config import PrivacyConfig
from tests.tasks.data_rows import open_store

pytestmark = pytest.mark.usefixtures("home")
GOOD = '{"prompt":"a","completion":"b"}\n'


def read(
    folder: Path, *files: tuple[str, str | bytes], privacy: PrivacyConfig | None = None, **settings: Any
) -> list[Row]:
    return list(all_rows(open_store(folder / "home"), reference(folder, *files, privacy=privacy, **settings).uri))


def reference(
    folder: Path, *files: tuple[str, str | bytes], privacy: PrivacyConfig | None = None, **settings: Any
) -> Rows:
    for name, content in files:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    sources = tuple(SourceConfig(path=name, **settings) for name, _ in files)
    data = DataConfig(sources=sources, privacy=privacy or PrivacyConfig())
    return read_sources(data, folder, open_store(folder / "home"))


def test_rows_of_every_shape(tmp_path: Path) -> None:
    chat = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        ]
    }
    rows = read(
        tmp_path,
        ("chat.jsonl", json.dumps(chat)),
        (
            "share.json",
            json.dumps([{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]),
        ),
        ("alpaca.json", json.dumps({"data": [{"instruction": "q", "input": "more", "output": "a"}]})),
        ("labels.csv", "text;label\nq;a\n"),
        ("book.md", "## X\n> q\n```json\n{}\n```\n"),
    )
    by_shape = {r.shape: r for r in rows}
    assert sorted(by_shape) == ["alpaca", "chat", "classification", "sections", "sharegpt"]
    assert all(r.outcome == "kept" for r in rows)
    assert by_shape["chat"].messages[0].role == "system"
    assert by_shape["alpaca"].messages[0].content == "q\n\nmore"
    assert {r.shape: r.answer for r in rows} == {**dict.fromkeys(by_shape, "a"), "sections": "{}"}


def test_row_ids_and_origins_come_from_the_bytes(tmp_path: Path) -> None:
    content = GOOD + "broken\n" + GOOD.replace("a", "c")
    rows = read(tmp_path, ("x.jsonl", content))
    assert [r.row_id for r in rows] == [f"{digest_bytes(content.encode())[:16]}:{i:06d}" for i in range(3)]
    assert [(r.origin.source_uri, r.origin.line) for r in rows] == [("x.jsonl", 1), ("x.jsonl", 2), ("x.jsonl", 3)]
    assert content.encode()[rows[2].origin.byte_offset :].startswith(b'{"prompt":"c"')


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"completion": "b"}, "missing_field"),
        ({"prompt": "a", "completion": None}, "missing_field"),
        ({"prompt": " ", "completion": "b"}, "empty"),
        ({"prompt": "a", "completion": {"x": 1}}, "not_text"),
        ({"prompt": "\ud800", "completion": "b"}, "invalid_utf8"),
        ([1], "not_an_object"),
        ("text", "not_an_object"),
    ],
)
def test_broken_records_are_quarantined(tmp_path: Path, record: object, code: str) -> None:
    rows = read(tmp_path, ("x.jsonl", GOOD * 2 + json.dumps(record)))
    assert [r.outcome for r in rows] == ["kept", "kept", "quarantined"]
    assert rows[2].reason.startswith(f"{code}: ")
    assert rows[2].messages == ()
    assert rows[2].raw_excerpt


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([], "empty"),
        ("text", "not_text"),
        ([1], "not_an_object"),
        ([{"content": "x"}], "missing_field"),
        ([{"role": "narrator", "content": "x"}], "unknown_role"),
        ([{"role": "user", "content": "x"}], "no_answer"),
    ],
)
def test_broken_conversations_are_quarantined(tmp_path: Path, turns: object, code: str) -> None:
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    rows = read(tmp_path, ("x.jsonl", f"{json.dumps(good)}\n{json.dumps({'messages': turns})}"))
    assert rows[1].reason.startswith(f"{code}: ")


def test_personal_data_is_replaced_everywhere_before_writing(tmp_path: Path) -> None:
    row = {"prompt": "I am a@b.com", "completion": "hi", "author": "c@d.com", "metadata": {"e@f.com": "g@h.com"}}
    broken = '{"prompt":"i\\u0040j.com", "phone": 4155552671'
    rows = read(tmp_path, ("x.jsonl", f"{json.dumps(row)}\n{broken}\n" + '{"phone": 4155552671}'))
    written = b"".join(p.read_bytes() for p in (tmp_path / "home").rglob("*") if p.is_file())
    for value in ("a@b.com", "c@d.com", "e@f.com", "g@h.com", "j.com", "4155552671"):
        assert value.encode() not in written
    assert rows[0].redactions == {"EMAIL_ADDRESS": 4}
    assert rows[0].steps == ("redact",)
    assert rows[0].metadata["author"] == "<EMAIL_ADDRESS>"


def test_a_table_without_header_does_not_spill_its_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, ("x.csv", "anna@b.com,hello there\nbob@b.com,good morning\n"))
    assert "anna" not in str(error.value)


def test_entities_and_regions_have_an_effect(tmp_path: Path) -> None:
    content = '{"prompt":"a@b.com 0471 23 45 67","completion":"b"}'
    only_mail = PrivacyConfig(entities=("EMAIL_ADDRESS",))
    phones = PrivacyConfig(phone_regions=("BE",))
    assert (
        read(tmp_path, ("x.jsonl", content), privacy=only_mail)[0].messages[0].content
        == "<EMAIL_ADDRESS> 0471 23 45 67"
    )
    assert (
        read(tmp_path, ("x.jsonl", content), privacy=phones)[0].messages[0].content == "<EMAIL_ADDRESS> <PHONE_NUMBER>"
    )


def test_declared_split_and_metadata(tmp_path: Path) -> None:
    record = {"prompt": "a", "completion": "b", "rating": 4, "thread_id": "t", "lang": "en", "x": "y"}
    (row,) = read(tmp_path, ("x.jsonl", json.dumps(record)), split="test", columns={"kind": "x"})
    assert row.declared_split == "test"
    assert row.metadata == {"rating": "4", "conversation_id": "t", "language": "en", "kind": "y"}


def test_equal_files_are_read_once(tmp_path: Path) -> None:
    made = reference(tmp_path, ("x.jsonl", GOOD), ("y.jsonl", GOOD))
    assert made.counts.rows_in == 1
    sources = (SourceConfig(path="x.jsonl"), SourceConfig(path="y.jsonl", split="test"))
    with pytest.raises(UsageError, match="same content"):
        read_sources(DataConfig(sources=sources), tmp_path, open_store(tmp_path / "home"))


def test_moving_the_data_reads_nothing_again(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    made = []
    for name in ("one", "two"):
        (tmp_path / name / "x.jsonl").write_text(GOOD)
        data = DataConfig(sources=(SourceConfig(path=str(tmp_path / name / "x.jsonl")),))
        made.append(read_sources(data, tmp_path, open_store(tmp_path / "home")))
    assert made[0] == made[1]


def test_the_report_says_what_each_file_was_taken_for(tmp_path: Path) -> None:
    made = reference(tmp_path, ("x.jsonl", GOOD + "broken"))
    (report,) = report_of(open_store(tmp_path / "home"), made)
    assert (report.shape, report.rows, report.kept, report.quarantined) == ("prompt_completion", 2, 1, 1)
    assert "prompt" in report.why


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("x.jsonl", b"", 20),
        ("x.jsonl", bytes(range(256)) * 4, 20),
        ("x.jsonl", b"no json\nat all", 20),
        ("x.txt", b"just a note", 20),
        ("x.json", b"{broken", 20),
        ("x.csv", b"a,b,c\n1,2,3", 2),
        ("x.pdf", b"%PDF", 20),
        ("x.exe", b"MZ", 2),
    ],
)
def test_unusable_files_are_coded_errors(tmp_path: Path, name: str, content: bytes, code: int) -> None:
    with pytest.raises(TuneloopError) as error:
        read(tmp_path, (name, content))
    assert error.value.exit_code == code
    assert name in error.value.where
    assert error.value.remedy


@pytest.mark.parametrize(
    ("name", "settings"),
    [("x.txt", {"shape": "chat"}), ("x.jsonl", {"shape": "sections"}), ("x.md", {"columns": {"prompt": "a"}})],
)
def test_settings_that_do_not_fit_a_format_are_refused(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"shape|columns"):
        read(tmp_path, (name, GOOD), **settings)


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="no row") as error:
        read(tmp_path, ("x.txt", "a note"))
    assert "no_answer" in error.value.why


@pytest.mark.parametrize("bad", ["# a line of a log", '"a text"'], ids=["unreadable", "no-object"])
def test_records_behind_many_bad_ones_are_read(tmp_path: Path, bad: str) -> None:
    made = reference(tmp_path, ("x.jsonl", f"{bad}\n" * 1000 + GOOD * 2))
    assert (made.counts.kept, made.counts.quarantined) == (2, 1000)
    (report,) = report_of(open_store(tmp_path / "home"), made)
    assert report.shape == "prompt_completion"


def test_a_header_that_is_no_text_is_refused_with_the_encoding_it_looks_like(tmp_path: Path) -> None:
    table = "texte,catégorie\nwhere is my card,card\nhow do I pay,payment\n".encode("cp1252")
    with pytest.raises(DataRefused, match="header of the table cannot be read") as error:
        read(tmp_path, ("x.csv", table))
    assert error.value.where == "x.csv"
    assert "Windows-1252" in error.value.remedy
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "x.csv").write_bytes(table)
    (folder / "good.jsonl").write_text(GOOD)
    data = DataConfig(sources=(SourceConfig(path="data"),))
    made = read_sources(data, tmp_path, open_store(tmp_path / "home"))
    assert (made.counts.kept, made.counts.quarantined) == (1, 1)


@pytest.mark.parametrize("good", [GOOD, ""])
def test_a_field_whose_name_is_no_text_costs_its_row(tmp_path: Path, good: str) -> None:
    bad = '{"prompt":"c","completion":"d","\\ud800":1}\n'
    first = '{"prompt":"e","completion":"f"}\n'
    rows = read(tmp_path, ("x.jsonl", bad + good + first))
    assert [r.outcome for r in rows] == ["quarantined", *["kept"] * (1 + bool(good))]
    assert rows[0].reason.startswith("invalid_utf8: the name of a field")
