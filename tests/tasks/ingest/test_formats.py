from __future__ import annotations

import pytest

from tasks.errors import DataRefused
from tasks.ingest.formats import FORMATS, PACKED, format_of


@pytest.mark.parametrize(
    ("name", "head", "format"),
    [
        ("a/b.JSONL", b'{"a":1}', "jsonl"), ("x.ndjson", b"", "jsonl"), ("x.tsv", b"a\tb", "csv"),
        ("x.parquet", b"PAR1\x15", "parquet"), ("x.htm", b"<!DOCTYPE html>", "html"), ("x.md", b"# T", "markdown"),
        ("x.pdf", b"\xef\xbb\xbf%PDF-1.7", "pdf"), ("x.docx", b"PK\x03\x04", "docx"), ("x.tar.gz", b"\x1f\x8b", "gz"),
        ("x.tgz", b"\x1f\x8b\x08", "gz"), ("x.zip", b"PK\x05\x06", "zip"), ("x.tar", b"name\0", "tar"),
        ("x.txt", b"BZh is no archive here", "txt"), ("x.exe", b"MZ", None), ("noextension", b"", None),
        (".jsonl", b"", None), ("x.csv", b"", "csv"),
    ],
)  # fmt: skip
def test_formats_by_name_and_first_bytes(name: str, head: bytes, format: str | None) -> None:
    assert format_of(name, head) == format


@pytest.mark.parametrize(
    ("name", "head", "held"),
    [
        ("rows.jsonl", b"%PDF-1.4", "PDF"), ("x.csv", b"PK\x03\x04", "ZIP"), ("x.json", b"\x1f\x8b\x08", "gzip"),
        ("x.txt", b"PAR1", "Parquet"), ("x.parquet", b'{"a":1}', "parquet"), ("x.pdf", b"PK\x03\x04", "ZIP"),
        ("x.docx", b"\xd0\xcf\x11\xe0", "old Microsoft Office"), ("x.gz", b"plain", "gz"), ("x.zip", b"Rar!\x1a\x07", "RAR"),  # noqa: E501
        ("x.jsonl", b"BZh91AY&SY", "bzip2"),
    ],
)  # fmt: skip
def test_a_name_that_lies_is_an_error_that_says_what_the_file_holds(name: str, head: bytes, held: str) -> None:
    with pytest.raises(DataRefused, match="not what its name says") as error:
        format_of(name, head)
    assert held in str(error.value)
    assert error.value.where == name
    assert error.value.remedy


def test_every_packed_format_has_an_extension() -> None:
    assert set(PACKED) <= {format_of(f"x{extension}", b"") for extension in FORMATS}
