from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DataRefused, UsageError
from tasks.ingest.document import has_sections, read_document, read_sections
from tasks.ingest.read_json import read_json, read_jsonl
from tasks.ingest.read_table import read_table
from tasks.ingest.text import Text, decode

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


def text_of(content: str | bytes) -> Text:
    return decode(content.encode() if isinstance(content, str) else content, "x")


def test_json_lines_keep_their_index_offset_and_line() -> None:
    records = list(read_jsonl(text_of('{"a":1}\n\n{"b":\n{"ü":2}\r\n')))
    assert [(r.index, r.byte_offset, r.line) for r in records] == [(0, 0, 1), (2, 9, 3), (3, 15, 4)]
    assert [r.problem and r.problem[0] for r in records] == [None, "broken_json", None]
    assert records[2].value == {"ü": 2}


def test_a_line_of_wrong_bytes_is_one_broken_record() -> None:
    records = list(read_jsonl(text_of(b'{"a":"ok"}\n{"a":"\xe4"}\n{"a":"\xc3\xa4"}')))
    assert [r.problem and r.problem[0] for r in records] == [None, "invalid_utf8", None]
    assert records[2].byte_offset == 21


def test_hostile_json_is_a_broken_record() -> None:
    records = list(read_jsonl(text_of("[" * 100_000 + "\n" + "1" * 5000 + '\n{"a":1}')))
    assert [r.problem and r.problem[0] for r in records] == ["broken_json", "broken_json", None]


def test_arrays_and_objects_with_one_list() -> None:
    for content in ('[{"a":1},\n {"a":"ü"}, {"a":3}]', '{"meta":{"n":1},"rows":[{"a":1},\n {"a":"ü"}, {"a":3}]}'):
        records = read_json(text_of(content), "x")
        assert [r.value for r in records] == [{"a": 1}, {"a": "ü"}, {"a": 3}]
        assert all(content.encode()[r.byte_offset :].startswith(b'{"a"') for r in records)
        assert [r.line for r in records] == [1, 2, 2]


def test_what_follows_a_broken_element_is_one_record() -> None:
    records = read_json(text_of('[{"a":1}, {"a":, {"a":3}]'), "x")
    assert [r.problem and r.problem[0] for r in records] == [None, "broken_json"]
    assert [r.problem for r in read_json(text_of('[{"a":1}'), "x")][1] is not None


def test_a_json_file_of_lines_is_read_as_lines() -> None:
    assert [r.value for r in read_json(text_of('{"a":1}\n{"a":2}'), "x")] == [{"a": 1}, {"a": 2}]


def test_one_object_is_one_record() -> None:
    (record,) = read_json(text_of('{"messages":[{"role":"user","content":"x"}]}'), "x")
    assert isinstance(record.value, dict)


def test_two_lists_are_ambiguous() -> None:
    with pytest.raises(UsageError, match="more than one list") as error:
        read_json(text_of('{"a":[{"x":1}],"b":[{"x":1}]}'), "x")
    assert "a, b" in error.value.why


@pytest.mark.parametrize("content", ["{", "hello", '{"a":1} x'])
def test_no_json_is_refused(content: str) -> None:
    with pytest.raises(DataRefused, match="not"):
        read_json(text_of(content), "x")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_every_delimiter(delimiter: str) -> None:
    lines = [delimiter.join(["text", "label"]), delimiter.join(['"a\nb"', "x"]), delimiter.join(["ü", "y"])]
    records = read_table(text_of("\n".join(lines)), "x")
    assert [r.value for r in records] == [{"text": "a\nb", "label": "x"}, {"text": "ü", "label": "y"}]
    assert [(r.index, r.line) for r in records] == [(0, 2), (1, 4)]


def test_broken_table_rows() -> None:
    records = read_table(text_of(b'a,b\n1,2\n1\n1,2,3\n\xe4,2\n"x,1\n3,4\n'), "x")
    assert [r.problem and r.problem[0] for r in records] == [
        None, "missing_field", "broken_csv", "invalid_utf8", "broken_csv", None,
    ]  # fmt: skip
    assert records[-1].value == {"a": "3", "b": "4"}
    assert [r.index for r in records] == list(range(6))


def test_old_line_ends_and_unicode_separators_in_tables() -> None:
    assert [r.value for r in read_table(text_of("a,b\r1,x\u2028y\r2,z"), "x")] == [
        {"a": "1", "b": "x\u2028y"}, {"a": "2", "b": "z"},
    ]  # fmt: skip


def test_a_header_alone_and_equal_columns_are_refused() -> None:
    with pytest.raises(DataRefused, match="no rows"):
        read_table(text_of("a,b\n"), "x")
    with pytest.raises(UsageError, match="same name"):
        read_table(text_of("a,a\n1,2\n"), "x")


def test_sections() -> None:
    assert has_sections(text_of(SECTIONS))
    records = list(read_sections(text_of(SECTIONS)))
    assert [r.problem and r.problem[0] for r in records] == [None, "no_answer", "no_answer", "broken_json", "no_answer"]
    assert records[0].value == {"prompt": "Where is it?\nPlease.", "completion": '{"intent": "delivery"}'}
    assert [SECTIONS.splitlines()[r.line - 1] for r in records][:2] == ["## One", "## Two"]


def test_an_answer_of_several_lines_becomes_one() -> None:
    text = text_of('## A\n> q\n```json\n{\n  "a": 1\n}\n```\n')
    assert next(read_sections(text)).value == {"prompt": "q", "completion": '{"a":1}'}


def test_plain_markdown_is_a_document() -> None:
    assert not has_sections(text_of("# Title\n\n> quote\n"))
    (record,) = read_document(text_of("# Title\n"))
    assert record.value == {"text": "# Title"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(encoding: str) -> None:
    data = '{"a":"ü"}\n{"a":2}'.encode(encoding)
    records = list(read_jsonl(decode(data, "x")))
    assert [r.value for r in records] == [{"a": "ü"}, {"a": 2}]
    width = {"utf-8-sig": 1, "utf-16": 2, "utf-32": 4}[encoding]
    assert data[records[1].byte_offset :][:width].replace(b"\0", b"") == b"{"


@pytest.mark.parametrize(
    "data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"\x89PNG\r\n\x1a\n\0\0\0", bytes(range(256)), b"\xff" * 50]
)
def test_empty_and_binary_files_are_refused(data: bytes) -> None:
    with pytest.raises(DataRefused) as error:
        decode(data, "data/x.jsonl")
    assert error.value.exit_code == 20
    assert error.value.where == "data/x.jsonl"
    assert error.value.why
    assert error.value.remedy


@given(st.lists(st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=8), st.integers(), st.none()))))
def test_json_lines_and_arrays_are_read_alike(rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    lines = "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    if "\ufeff" in lines[:1]:
        return
    array = json.dumps(rows, ensure_ascii=False)
    assert [r.value for r in read_jsonl(text_of(lines))] == rows
    assert [r.value for r in read_json(text_of(array), "x")] == rows


@given(st.binary(max_size=300))
def test_readers_never_fail_on_bytes(data: bytes) -> None:
    try:
        text = decode(data, "x")
    except DataRefused:
        return
    list(read_jsonl(text))
    list(read_sections(text))
    for read in (read_json, read_table):
        try:
            read(text, "x")
        except (DataRefused, UsageError):
            continue
