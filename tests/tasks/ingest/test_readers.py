from __future__ import annotations

import json
import tempfile
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import docx
import psutil
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataRefused, UsageError
from tasks.ingest.extract_process import worker as extract_process
from tasks.ingest.read import parts, read_records
from tasks.ingest.read_value import Unreadable, parse
from tasks.ingest.records import LIMITS, Part, RawRecord, ReadLimits
from tasks.ingest.text import WINDOWS_1252
from tests.tasks.ingest.malformed import pdf, word

SECTIONS = """# Book

Intro.

## One

> Where is it?
> Please.

```json
{"intent": "delivery"}
```

## Two

> No answer here

### Three

Only text.

## Four

> Broken

```json
{"intent":
```

## Chapter

## Five

```text
## no heading
```
"""


class Reader:
    """Reads contents as files, in as many parts as the limits make."""

    def __init__(self, folder: Path, limits: ReadLimits = LIMITS) -> None:
        self.path, self.limits = folder / "x", limits

    def parts(self, format: str, content: str | bytes, shape: str = "auto") -> list[Part]:
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        return parts(self.path, format, "data/x", shape, self.limits)  # type: ignore[arg-type]

    def __call__(self, format: str, content: str | bytes, shape: str = "auto") -> list[RawRecord]:
        found = self.parts(format, content, shape)
        return [r for part in found for r in read_records(self.path, format, "data/x", part, self.limits)]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def codes(records: list[RawRecord]) -> list[str | None]:
    return [r.problem and r.problem[0] for r in records]


def test_json_lines_keep_their_index_offset_and_line(read: Reader) -> None:
    records = read("jsonl", '{"a":1}\n\n{"b":\n{"ü":2}\r\n')
    assert [(r.index, r.byte_offset, r.line) for r in records] == [(0, 0, 1), (2, 9, 3), (3, 15, 4)]
    assert codes(records) == [None, "broken_json", None]
    assert records[2].value == {"ü": 2}


def test_a_line_of_wrong_bytes_is_one_broken_record(read: Reader) -> None:
    records = read("jsonl", b'{"a":"ok"}\n{"a":"\xe4"}\n{"a":"\xc3\xa4"}')
    assert codes(records) == [None, "invalid_utf8", None]
    assert records[2].byte_offset == 21


def test_hostile_json_is_a_broken_record(read: Reader) -> None:
    records = read("jsonl", "[" * 100_000 + "\n" + "1" * 5000 + '\n{"a":1}')
    assert codes(records) == ["broken_json", "broken_json", None]


def test_arrays_and_objects_with_one_list(read: Reader) -> None:
    for content in ('[{"a":1},\n {"a":"ü"}, {"a":3}]', '{"meta":{"n":1},"rows":[{"a":1},\n {"a":"ü"}, {"a":3}]}'):
        records = read("json", content)
        assert [r.value for r in records] == [{"a": 1}, {"a": "ü"}, {"a": 3}]
        assert all(content.encode()[r.byte_offset :].startswith(b'{"a"') for r in records)
        assert [r.line for r in records] == [1, 2, 2]


def test_a_broken_element_costs_no_other_one(read: Reader) -> None:
    content = '[{"a":1}, {"a":, {"a":3},\n{"a":"no quote}, {"a":5} {"a":6}]'
    records = read("json", content)
    assert [r.value for r in records if not r.problem] == [{"a": 1}, {"a": 3}, {"a": 5}, {"a": 6}]
    assert codes(records) == [None, "broken_json", None, "broken_json", None, "broken_json", None]
    assert [content[r.byte_offset :][: r.byte_length] for r in records] == [r.raw for r in records]
    assert [r.line for r in records] == [1, 1, 1, 2, 2, 2, 2]


def test_an_object_inside_a_broken_element_is_no_row(read: Reader) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    broken = json.dumps(good).replace('"a"', "a", 1)
    for rows in ([json.dumps(good), broken, json.dumps(good)], [broken, json.dumps(good)]):
        records = read("json", f"[{','.join(rows)}]")
        assert [r.value for r in records if not r.problem] == [good] * rows.count(json.dumps(good))
        assert codes(records).count("broken_json") == 1


def test_a_list_that_is_cut_off_or_followed_by_text_says_so(read: Reader) -> None:
    for content in (
        '[{"a":1}',
        '[{"a":1},',
        '[{"a":1}, {"a"',
        '{"rows":[{"a":1}',
        '[{"a":1}] x',
        '{"rows":[{"a":1}], "n"',
    ):
        records = read("json", content)
        assert records[0].value == {"a": 1}
        assert codes(records) == [None, "broken_json"], content
        assert records[1].index >= 1


def test_nothing_that_json_cannot_say_is_read(read: Reader) -> None:
    lines = ['{"a":NaN}', '{"a":-Infinity}', '{"a":1e999}', '{"a":1,"a":2}', '{"a":{"b" : 1, "b" :2}}', '{"a":"\\":"}',
             '{"a\\\\":1,"a\\\\":2,"c":":x"}', '{"a":12345678901234567890123}', "[" * 300 + "]" * 300]  # fmt: skip
    records = read("jsonl", "\n".join(lines))
    assert codes(records) == ["broken_json", "broken_json", "broken_json", "duplicate_keys", "duplicate_keys", None,
                              "duplicate_keys", None, "broken_json"]  # fmt: skip
    assert records[7].value == {"a": 12345678901234567890123}
    assert codes(read("json", f"[{','.join(lines[3:8])}]")) == codes(records)[3:8]


def test_a_json_file_of_lines_is_read_as_lines(read: Reader) -> None:
    assert [r.value for r in read("json", '{"a":1}\n{"a":2}')] == [{"a": 1}, {"a": 2}]


def test_one_object_is_one_record(read: Reader) -> None:
    (record,) = read("json", '{"messages":[{"role":"user","content":"x"}]}')
    assert isinstance(record.value, dict)


def test_two_lists_are_ambiguous(read: Reader) -> None:
    with pytest.raises(UsageError, match="more than one list") as error:
        read("json", '{"a":[{"x":1}],"b":[{"x":1}]}')
    assert "a, b" in error.value.why


@pytest.mark.parametrize("content", ["{", "hello", '{"a":1} x'])
def test_no_json_is_refused(read: Reader, content: str) -> None:
    with pytest.raises(DataRefused, match="not"):
        read("json", content)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_every_delimiter(read: Reader, delimiter: str) -> None:
    lines = [delimiter.join(["text", "label"]), delimiter.join(['"a\nb"', "x"]), delimiter.join(["ü", "y"])]
    records = read("csv", "\n".join(lines))
    assert [r.value for r in records] == [{"text": "a\nb", "label": "x"}, {"text": "ü", "label": "y"}]
    assert [(r.index, r.line) for r in records] == [(0, 2), (1, 4)]


def test_broken_table_rows(read: Reader) -> None:
    records = read("csv", b'a,b\n1,2\n1\n1,2,3\n\xe4,2\n"x,1\n3,4\n')
    assert codes(records) == [
        None, "missing_field", "broken_csv", "invalid_utf8", "broken_csv", None,
    ]  # fmt: skip
    assert records[-1].value == {"a": "3", "b": "4"}
    assert [r.index for r in records] == list(range(6))


def test_old_line_ends_and_unicode_separators_in_tables(read: Reader) -> None:
    assert [r.value for r in read("csv", "a,b\r1,x\u2028y\r2,z")] == [
        {"a": "1", "b": "x\u2028y"}, {"a": "2", "b": "z"},
    ]  # fmt: skip


def test_a_header_alone_and_equal_columns_are_refused(read: Reader) -> None:
    with pytest.raises(DataRefused, match="no rows"):
        read("csv", "a,b\n")
    with pytest.raises(UsageError, match="same name"):
        read("csv", "a,a\n1,2\n")


def test_sections(read: Reader) -> None:
    assert read.parts("markdown", SECTIONS)[0].shape == "sections"
    records = read("markdown", SECTIONS)
    assert codes(records) == [None, "no_answer", "no_answer", "broken_json", "no_answer"]
    assert records[0].value == {"prompt": "Where is it?\nPlease.", "completion": '{"intent": "delivery"}'}
    assert [SECTIONS.splitlines()[r.line - 1] for r in records][:2] == ["## One", "## Two"]
    assert [SECTIONS[r.byte_offset :][: r.byte_length] for r in records] == [r.raw for r in records]


def test_an_answer_of_several_lines_becomes_one(read: Reader) -> None:
    (record,) = read("markdown", '## A\n> q\n```json\n{\n  "a": 1\n}\n```\n')
    assert record.value == {"prompt": "q", "completion": '{"a":1}'}


def test_plain_markdown_is_a_document(read: Reader) -> None:
    assert read.parts("markdown", "# Title\n\n> quote\n")[0].shape == "document"
    (record,) = read("markdown", "# Title\n")
    assert record.value == {"text": "# Title"}


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_encodings_with_and_without_byte_order_mark(read: Reader, encoding: str, format: str) -> None:
    content = '{"a":"ü"}\n{"a":2}' if format == "jsonl" else 'text,label\nü,2\n"x\ny",z\n'
    data = content.encode(encoding)
    records = read(format, data)
    assert codes(records) == [None, None]
    assert records[0].value == ({"a": "ü"} if format == "jsonl" else {"text": "ü", "label": "2"})
    plain = encoding if encoding[-2:] in ("le", "be") else {"utf-8-sig": "utf-8"}.get(encoding, f"{encoding}-le")
    assert [data[r.byte_offset :][: r.byte_length].decode(plain) for r in records] == [r.raw for r in records]


def test_damaged_utf16_costs_one_record(read: Reader) -> None:
    data = "\n".join(['{"a":1}', '{"a":"x"}', '{"a":3}']).encode("utf-16").replace(b"x\0", b"\0\xd8")
    assert codes(read("jsonl", data)) == [None, "invalid_utf8", None]
    assert codes(read("jsonl", data[:-1])) == [None, "invalid_utf8", "invalid_utf8"]


def test_windows_1252_is_named_with_its_repair(read: Reader) -> None:
    content = "text,label\nGrüße,a\nplain,b\n"
    records = read("csv", content.encode("cp1252"))
    assert codes(records) == ["invalid_utf8", None]
    assert records[0].repair == WINDOWS_1252
    assert read("csv", content.encode())[0].repair == ""


def test_a_record_over_the_limit_is_not_held(tmp_path: Path) -> None:
    read = Reader(tmp_path, ReadLimits(record_bytes=20_000))
    good, long = '{"a":"b"}', json.dumps({"a": '"{[\\' * 20_000})
    for format, content in (
        ("jsonl", f"{good}\n{long}\n{good}\n"),
        ("json", f"[{good},\n{long},\n{good}]"),
        ("json", f'{{"x":{long},"rows":[{good},{long},{good}]}}'),
        ("csv", f"a,b\n1,2\n{'x' * 30_000},2\n3,4\n"),
        ("csv", 'a,b\n1,2\n"' + "x\n" * 20_000 + "3,4\n"),
        ("txt", "x" * 30_000),
    ):
        records = read(format, content)
        large = next(r for r in records if r.problem)
        assert large.problem is not None
        assert large.problem[0] in ("too_large", "broken_csv")
        assert len(large.raw) <= 20_000
        assert format == "txt" or [codes(records)[0], codes(records)[-1]] == [None, None]


@pytest.mark.parametrize(
    "data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"\x89PNG\r\n\x1a\n\0\0\0", bytes(range(256)), b"\xff" * 50]
)
def test_empty_and_binary_files_are_refused(read: Reader, data: bytes) -> None:
    with pytest.raises(DataRefused) as error:
        read("jsonl", data)
    assert error.value.exit_code == 20
    assert error.value.where == "data/x"
    assert error.value.why
    assert error.value.remedy


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=8), st.integers(), st.none())), min_size=1)
)
def test_json_lines_and_arrays_are_read_alike(rows: list[dict[str, object]]) -> None:
    lines = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    with tempfile.TemporaryDirectory() as folder:
        read = Reader(Path(folder))
        assert [r.value for r in read("jsonl", lines)] == rows
        assert [r.value for r in read("json", json.dumps(rows, ensure_ascii=False))] == rows


ROWS = st.lists(st.sampled_from(['{"a":1}', '{"a":"ü\\n"}', '{"a":', '"', "", "[1]", '{"b":"x}', "\r", '{"a":"\xff']))


@given(
    ROWS,
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from(["jsonl", "json", "csv"]),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_parts_hold_the_same_records_as_the_whole(
    rows: list[str], part_bytes: int, part_records: int, format: str, encoding: str
) -> None:
    content = {"jsonl": "\n".join(rows), "json": f"[{','.join(rows)}]", "csv": "a,b\n" + "\n".join(rows)}[format]
    with tempfile.TemporaryDirectory() as folder:
        try:
            whole = Reader(Path(folder))(format, content.encode(encoding))
        except DataRefused:
            return
        small = Reader(Path(folder), ReadLimits(part_bytes=part_bytes, part_records=part_records))
        assert small(format, content.encode(encoding)) == whole
        assert [r.index for r in whole] == sorted({r.index for r in whole})


CELLS = st.sampled_from(['"', '""', ',"', '",', "x", '","', "\n", "\n", '\nx","y', "\r\n", "\r", "word " * 9])


@given(st.lists(CELLS, min_size=20, max_size=300).map("".join), st.integers(70, 400))
@settings(deadline=None)
def test_looking_ahead_for_the_end_of_a_field_reads_the_same_rows(table: str, limit: int) -> None:
    """In UTF-16 nothing is looked ahead: lines are gone through one by one."""
    if not table.strip('"\r\n, '):
        return
    with tempfile.TemporaryDirectory() as folder:
        fast = Reader(Path(folder), ReadLimits(record_bytes=limit))("csv", f"a,b\n{table}".encode())
        plain = Reader(Path(folder), ReadLimits(record_bytes=2 * limit))("csv", f"a,b\n{table}".encode("utf-16-le"))
    assert [_seen(record, limit) for record in fast] == [_seen(record, limit) for record in plain]


def _seen(record: RawRecord, limit: int) -> tuple[object, ...]:
    return record.index, record.line, record.raw[:limit], record.value, codes([record])


@given(st.binary(max_size=300))
def test_readers_never_fail_on_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for format in ("jsonl", "json", "csv", "markdown", "txt"):
            try:
                Reader(Path(folder))(format, data)
            except (DataRefused, UsageError):
                continue


def test_a_list_of_json_in_a_file_of_lines(read: Reader) -> None:
    assert [r.value for r in read("jsonl", '[{"a":1},\n{"a":2}\n]')] == [{"a": 1}, {"a": 2}]
    assert codes(read("jsonl", "[1]\n[2]\n")) == [None, None]


JSON_TEXTS = st.recursive(
    st.sampled_from(
        ['"x"', '"a:b"', '"\\\\":"', '":"', "1", "1.5", "12345678901234567890123", "1e999", "NaN", "null", '"ü"']
    ),
    lambda below: st.one_of(
        st.lists(below, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"a\\\\"', '"c" ']), below), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}:{value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(JSON_TEXTS)
def test_the_fast_decoder_decides_as_the_strict_one(text: str) -> None:
    def strict(data: str) -> object:
        def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
            if len(dict(found)) < len(found):
                raise ValueError
            return dict(found)

        value = json.loads(data, object_pairs_hook=pairs, parse_constant=lambda _: 1 / 0)
        return 1 / 0 if "1e999" in data else value

    try:
        expected = strict(text)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(Unreadable):
            parse(text.encode())
    else:
        assert parse(text.encode()) == expected


def test_parquet(read: Reader) -> None:
    table = pyarrow.table({
        "text": ["a", "ü"] * 3, "at": pyarrow.array([datetime(2026, 1, 2, 3)] * 6, pyarrow.timestamp("ns")),
        "turns": [[{"role": "user", "content": None}]] * 6, "amount": [Decimal("1.50")] * 6, "picture": [b"\xff"] * 6,
    })  # fmt: skip
    sink = BytesIO()
    pyarrow.parquet.write_table(table, sink, row_group_size=4)
    assert [(p.first_index, p.row_group) for p in read.parts("parquet", sink.getvalue())] == [(0, 0), (4, 1)]
    records = read("parquet", sink.getvalue())
    assert [r.index for r in records] == list(range(6))
    assert records[1].value == {
        "text": "ü", "at": "2026-01-02T03:00:00", "turns": [{"role": "user", "content": None}], "amount": "1.50",
        "picture": b"\xff",
    }  # fmt: skip
    damaged = bytearray(sink.getvalue())
    damaged[20:60] = b"\0" * 40
    broken = read("parquet", bytes(damaged))
    assert [r.value for r in broken if not r.problem] == [r.value for r in records[4:]]
    assert broken[0].problem is not None
    assert broken[0].problem[0] == "damaged"
    with pytest.raises(DataRefused, match="not a Parquet file"):
        read("parquet", sink.getvalue()[:-9])


def test_parquet_text_that_is_not_utf8_and_values_that_repeat_for_ever(read: Reader) -> None:
    offsets = pyarrow.array([0, 1, 2, 3], pyarrow.int32()).buffers()[1]
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 3, [None, offsets, pyarrow.py_buffer(b"a\xffc")])
    sink = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), sink)
    assert codes(read("parquet", sink.getvalue())) == [None, "invalid_utf8", None]
    same = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 5000, pyarrow.int32()), pyarrow.array(["x" * 100_000])
    )
    sink = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": same}), sink)
    limits = ReadLimits(record_bytes=50_000)
    assert set(codes(Reader(read.path.parent, limits)("parquet", sink.getvalue()))) == {"too_large"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pyarrow.timestamp("us"), 2**62),
        (pyarrow.timestamp("us"), -(2**62)),
        (pyarrow.timestamp("s", "UTC"), 2**50),
        (pyarrow.timestamp("ms", "Europe/Berlin"), 253402300799000),
        (pyarrow.timestamp("us", "Foo/Bar"), 1),
        (pyarrow.date32(), 2**30),
        (pyarrow.date64(), 86_400_000 << 25),
        (pyarrow.duration("s"), 2**60),
        (pyarrow.list_(pyarrow.date32()), [2**30]),
    ],
    ids=str,
)
def test_a_time_in_a_parquet_file_that_no_calendar_has_costs_its_row(
    read: Reader, kind: pyarrow.DataType, value: object
) -> None:
    times = pyarrow.array([None] * 300 + [value, None], kind)
    sink = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"t{i}" for i in range(302)], "at": times}), sink)
    records = read("parquet", sink.getvalue())
    assert [r.index for r in records] == list(range(302))
    assert codes(records) == [None] * 300 + ["unreadable_value", None]
    assert records[301].value == {"text": "t301", "at": None}
    assert records[300].repair


def test_a_large_row_of_a_parquet_file_with_such_a_time_is_the_same(read: Reader) -> None:
    texts = pyarrow.array(["x" * (6 << 20)] * 3)
    times = pyarrow.array([None, 2**62, None], pyarrow.timestamp("us"))
    sink = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "at": times}), sink)
    assert codes(read("parquet", sink.getvalue())) == [None, "unreadable_value", None]


PAGE = """<html><head><title>T</title></head><body><nav><a href=x>menu</a></nav><article><h1>Returns</h1>
<p>You can return every product within thirty days of its delivery, if the box is complete and nothing was used.</p>
<h2>How</h2><p>Write to the support desk with your order number, and we send you a label for the parcel in a day.</p>
</article><footer>imprint</footer></body></html>"""


def test_web_pages_pdfs_and_word_documents_become_markdown(read: Reader) -> None:
    (page,) = read("html", PAGE)
    assert "# Returns" in page.raw
    assert "## How" in page.raw
    assert "menu" not in page.raw
    (paper,) = read("pdf", pdf(b"Hello World"))
    assert paper.value == {"text": "Hello World"}
    (letter,) = read("docx", word())
    assert letter.raw.startswith("# Returns\n\nWithin thirty days.\n\n> Where is it?\n\n| cell |")
    assert letter.byte_length == len(word())
    assert [read.parts(f, c)[0].shape for f, c in (("html", PAGE), ("docx", word()))] == ["document", "document"]


def test_sections_in_a_word_document(read: Reader) -> None:
    document, sink = docx.Document(), BytesIO()
    document.add_heading("One", 2)
    document.add_paragraph("Where is it?", style="Quote")
    document.add_paragraph('```json\n{"intent": "x"}\n```')
    document.save(sink)
    assert read.parts("docx", sink.getvalue())[0].shape == "sections"
    (record,) = read("docx", sink.getvalue())
    assert record.value == {"prompt": "Where is it?", "completion": '{"intent": "x"}'}


def test_documents_without_text_say_what_to_do(read: Reader) -> None:
    (scan,) = read("pdf", pdf(b""))
    assert scan.problem is not None
    assert scan.problem[0] == "no_text"
    assert "OCR" in scan.repair
    (cut,) = read("docx", word()[:3000])
    assert codes([cut]) == ["damaged"]
    with pytest.raises(DataRefused, match="empty"):
        read("pdf", b"")


def test_an_extracting_process_that_dies_costs_one_document(read: Reader) -> None:
    read("pdf", pdf(b"one"))
    extracting = next(p for p in psutil.Process().children() if "tasks.ingest.extract_worker" in p.cmdline())
    extracting.kill()
    extracting.wait()
    assert codes(read("pdf", pdf(b"two"))) == [None]
    after = next(p for p in psutil.Process().children() if "tasks.ingest.extract_worker" in p.cmdline())
    after.suspend()
    assert extract_process.ask(read.path, "pdf", 1000, seconds=0.1).code == "too_slow"
    assert codes(read("pdf", pdf(b"three"))) == [None]


def test_a_shape_that_a_format_cannot_have_is_refused(read: Reader) -> None:
    for format, shape in (("pdf", "sections"), ("txt", "chat"), ("csv", "document"), ("docx", "alpaca")):
        with pytest.raises(UsageError, match="shape"):
            read(format, pdf(b"x"), shape)


def test_a_first_level_heading_with_a_question_or_an_answer_is_a_record(read: Reader) -> None:
    section = '> Where is it?\n\n```json\n{"intent": "delivery"}\n```\n'
    records = read("md", f"# Title\n\nIntro.\n\n# One\n\n{section}\n# Two\n\n> no answer\n\n## Three\n\n{section}")
    assert codes(records) == [None, "no_answer", None]
    assert [r.line for r in records] == [5, 13, 17]
    assert codes(read("md", section + "\n# Title\n")) == [None]


@pytest.mark.parametrize("mark", ["sep=;", "\ufeffsep=;", "Sep=;", '"sep=;"'])
def test_the_separator_that_excel_names_above_the_header(read: Reader, mark: str) -> None:
    content = f'{mark}\r\ntext;label\r\n"a; b, c";x\r\nd, e, f;y\r\n'
    records = read("csv", content)
    assert [r.value for r in records] == [{"text": "a; b, c", "label": "x"}, {"text": "d, e, f", "label": "y"}]
    assert [r.line for r in records] == [3, 4]
    assert [r.value for r in read("csv", "sep=^\ntext^label\na^x\n")] == [{"text": "a", "label": "x"}]
    assert [r.value for r in read("csv", "sep=\t\ntext\tlabel\na\tx\n")] == [{"text": "a", "label": "x"}]
    with pytest.raises(DataRefused, match="no header"):
        read("csv", f"{mark}\r\n")
