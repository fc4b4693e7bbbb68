from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.validate.completeness import is_cut, is_unfinished


@pytest.mark.parametrize(
    ("answer", "cut"),
    [
        ('{"intent": "billing", "reply": "We will', True),
        ('{"a": [1, 2, {"b": 3}', True),
        ('[{"a": 1}, {"a"', True),
        ('{"intent": "billing"}', False),
        ("{name}, your order is on its way", False),
        ("[1] See the handbook", False),
        ("{not json but closed}", False),
        ("Use this:\n```python\nprint(1)", True),
        ("Use this:\n```python\nprint(1)\n```\nDone.", False),
        ("a fence in a line ``` is none", False),
        ("", False),
    ],
)
def test_what_is_surely_cut(answer: str, cut: bool) -> None:
    assert is_cut(answer) is cut


@pytest.mark.parametrize(
    ("answer", "unfinished"),
    [
        ("We checked your invoice today. The amount is right and we will send the", True),
        ("We checked your invoice today. The amount is correct but the date was wro", True),
        ("Please bring your passport, a photo,", True),
        ("We checked your invoice today. The amount is right.", False),
        ("billing", False),
        ("very urgent", False),
        ("please send me the invoice again thank you", False),
        ("You need three things. These are the things:\n- a passport\n- a photo\n- a form of your own choice", False),
        ("See the handbook. You can read all about it at https://example.org/handbook", False),
        ("Call us. The line is open every day from 9 to 17", False),
        ("今日は天気がいいです。明日は雨が降るでしょう。", False),
        ("", False),
    ],
)  # fmt: skip
def test_what_looks_unfinished(answer: str, unfinished: bool) -> None:
    assert is_unfinished(answer) is unfinished


@given(st.text(alphabet='"\\\\{}[]a\n', max_size=14))
def test_what_is_open_is_what_strings_leave_open(text: str) -> None:
    """The same as taking out every whole string and looking at what is left, which takes long for many quotes."""
    whole = '{"a": ' + text
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", whole, flags=re.DOTALL)
    opened = bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]") or '"' in bare
    try:
        json.loads(whole)
    except ValueError:
        assert is_cut(whole) is opened
    else:
        assert not is_cut(whole)


def test_many_quotes_in_a_cut_answer_cost_their_length() -> None:
    start = time.process_time()
    assert is_cut('{"reply": "' + '\\"' * 60_000)
    assert time.process_time() - start < 1
