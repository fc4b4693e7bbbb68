from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.process.normalise import normalise
from tests.tasks.data_rows import make_row


@pytest.mark.parametrize(
    ("text", "clean", "step"),
    [
        ("a\r\nb\rc", "a\nb\nc", "line_ends"),
        ("a\x00b\u200bc\ufeff", "abc", "control_characters"),
        ("e\u0301", "é", "unicode_nfc"),
        ("a  \nb", "a\nb", "trailing_blanks"),
        ("  a", "a", "outer_blanks"),
    ],
)
def test_each_step_is_recorded(text: str, clean: str, step: str) -> None:
    row = normalise(make_row(0, text), "NFC")
    assert row.messages[0].content == clean
    assert row.steps == (step,)


def test_clean_row_is_the_same_object() -> None:
    row = make_row(0, "Where is\tmy bike?\n\nThanks")
    assert normalise(row, "NFC") is row


def test_form_has_an_effect() -> None:
    assert normalise(make_row(0, "ﬁn"), "NFC").messages[0].content == "ﬁn"
    assert normalise(make_row(0, "ﬁn"), "NFKC").messages[0].content == "fin"


@given(st.text(max_size=60), st.sampled_from(["NFC", "NFKC"]))
def test_normalising_twice_changes_nothing(text: str, form: str) -> None:
    once = normalise(make_row(0, text), form)  # type: ignore[arg-type]
    assert normalise(once, form).messages == once.messages  # type: ignore[arg-type]


@given(st.text(alphabet="ab \n\t\r\x00\x1f\x7f", max_size=12), st.sampled_from(["", "é"]))
def test_ascii_texts_come_to_the_same_form_as_others(text: str, other: str) -> None:
    """Plain ASCII texts take a short cut; it must not leave anything that the long way would change."""
    short, long = (normalise(make_row(0, "x" + part + "x"), "NFC").messages[0].content for part in (text, text + other))
    assert long == (short[:-1] + other + "x")


@given(st.text(alphabet="ab \n\t\u00a0\u2003", max_size=14))
def test_trailing_blanks_are_those_before_a_line_end_or_the_end(text: str) -> None:
    for whole in (f"é{text}", f"é{text}é"):
        expected = re.sub(r"[ \t\u00a0]+(?=\n|\Z)", "", whole).strip("\n").strip()
        assert normalise(make_row(0, whole), "NFC").messages[0].content == expected


def test_a_run_of_blanks_in_a_line_costs_its_length() -> None:
    text = "é" + " " * 100_000 + "x"
    start = time.process_time()
    assert normalise(make_row(0, text), "NFC").messages[0].content == text
    assert time.process_time() - start < 1
