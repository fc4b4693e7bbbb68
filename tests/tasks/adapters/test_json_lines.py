from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.adapters.json_lines import read_records
from tasks.contracts import Record


class Line(Record):
    text: str


@pytest.mark.parametrize("sign", ["\u0085", "\u2028", "\u2029", "\x0b", "\x1c", "\r", "\n"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, sign: str) -> None:
    lines = [Line(text=f"a{sign}b"), Line(text="c")]
    path = tmp_path / "lines.jsonl"
    path.write_bytes("".join(line.model_dump_json() + "\n\n" for line in lines).encode())
    assert read_records(path, Line) == lines


def test_a_line_that_is_no_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"word": "b"}\n')
    with pytest.raises(ValidationError):
        read_records(path, Line)
