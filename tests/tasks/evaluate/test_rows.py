from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import DataRefused
from tasks.evaluate.rows import prompt_text, read_split, sample
from tests.tasks.evaluate.answer_rows import row, tickets, write_dataset


def test_rows_come_in_an_order_of_content_not_of_files(tmp_path: Path) -> None:
    rows = tickets(20)
    write_dataset(tmp_path / "a", rows, rows)
    write_dataset(tmp_path / "b", rows[::-1], rows[::-1])
    assert read_split(tmp_path / "a", "train") == read_split(tmp_path / "b", "train")


def test_no_rows_is_a_refusal(tmp_path: Path) -> None:
    write_dataset(tmp_path, tickets(3), [])
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataRefused, match="no test rows"):
            read_split(folder, "test")


def test_samples_are_seeded_and_keep_the_order() -> None:
    rows = tickets(30)
    some = sample(rows, 10, 1)
    assert len(some) == 10
    assert some == sample(rows, 10, 1) != sample(rows, 10, 2)
    assert list(some) == [r for r in rows if r in some]
    assert sample(rows, None, 1) == sample(rows, 30, 1) == tuple(rows)


def test_prompt_text_holds_all_turns_but_the_system_message() -> None:
    multi = row("and now?", "yes", earlier=[("system", "be brief"), ("user", "hello"), ("assistant", "hi")])
    assert prompt_text(multi) == "hello\nhi\nand now?"


def test_a_row_with_other_separators_of_lines_is_one_row(tmp_path: Path) -> None:
    rows = [row("one\u0085two", "three\u2028four\u2029five", 1)]
    write_dataset(tmp_path, rows, rows)
    assert read_split(tmp_path, "test") == tuple(rows)
