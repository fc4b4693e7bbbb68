from __future__ import annotations

import pytest

from tasks.contracts import Message
from tasks.similarity.keys import answer_key, prompt_key, prompt_text, row_keys
from tests.tasks.data_rows import make_row

REPLY = "We will book a workshop check for the noise this week."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Yes", " yes ", True),
        ("yes", "no", False),
        ('{"intent":"a","reply":"' + REPLY + '"}', '{"reply":"We are calling the courier today.","intent":"A"}', True),
        ('{"intent":"a","reply":"' + REPLY + '"}', '{"intent":"b","reply":"' + REPLY + '"}', False),
        ('{"intent":"a"}', '{"intent":"a","x":1}', False),
        ('{"intent":"a","reply":"' + REPLY + '"}', '{"intent":"a"}', False),
        ('{"reply":"' + REPLY + '"}', '{"reply":"' + REPLY + ' Sorry."}', False),
        ('{"n":1}', '{"n": 1}', True),
        ('{"n":1}', '{"n":2}', False),
        ("{broken", "{broken", True),
        ("[1]", "[2]", False),
    ],
)  # fmt: skip
def test_answers_say_the_same(one: str, other: str, same: bool) -> None:
    assert (answer_key(one) == answer_key(other)) is same


def test_system_text_counts_for_equality_and_not_for_similarity() -> None:
    system, user = Message(role="system", content="Be brief."), Message(role="user", content="Where  IS it?")
    assert prompt_text((system, user)) == prompt_text((user,)) == "where is it?"
    assert prompt_key((system, user)) != prompt_key((user,))


def test_only_rows_that_are_held_out_have_a_scope_of_their_own() -> None:
    plain, train, test = (row_keys(make_row(0, "a", declared_split=s)).scope for s in (None, "train", "test"))
    assert plain == train != test
