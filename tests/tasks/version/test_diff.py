from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.row_files import merged, quarantined
from tasks.adapters.store import Store
from tasks.contracts import Message, Row
from tasks.version.diff import diff, word_diff
from tests.tasks.version.versions import prompt, some_row, some_rows, versioned


def compare(old: list[Row], new: list[Row], limit: int | None = None):  # type: ignore[no-untyped-def]
    one, two = versioned(old), versioned(new)
    return diff(one.address, two.address, Store.open(), limit)


def test_equal_versions(home: Path) -> None:
    found = compare(some_rows(20), some_rows(20))
    assert found.totals == {"added": 0, "removed": 0, "changed": 0, "moved": 0, "same": 20}
    assert not found.policy_changed


def test_added_removed_and_moved(home: Path) -> None:
    old, new = some_rows(20), some_rows(21)[1:]
    new[3] = new[3].model_copy(update={"split": "test"})
    found = compare(old, new)
    assert [r.row_id for r in found.added] == [new[-1].row_id]
    assert [r.row_id for r in found.removed] == [old[0].row_id]
    assert [(m.row_id, m.old_split, m.new_split) for m in found.moved] == [(new[3].row_id, "train", "test")]
    assert found.totals == {"added": 1, "removed": 1, "changed": 0, "moved": 1, "same": 18}
    assert found.added[0].excerpt == prompt(20)
    assert found.added[0].source == "data/ab.jsonl"


def test_what_became_of_a_row_is_said(home: Path) -> None:
    old = some_rows(10)
    gone = (
        merged(old[1], old[2].row_id, "near_duplicate", "nearly the same"),
        quarantined(old[2], "too_long", "5000 tokens"),
    )
    new = [*(row.model_copy(update={"split": None}) for row in gone), *old[3:], old[0]]
    found = compare(old, new)
    assert {r.why for r in found.removed} == {"near_duplicate: nearly the same", "too_long: 5000 tokens"}
    back = diff("ds://proj/main@1.1.0", "ds://proj/main@1.0.0", Store.open())
    assert {r.why for r in back.added} == {r.why for r in found.removed}


def test_a_changed_answer_of_one_question(home: Path) -> None:
    old = some_rows(10)
    new = [*old[:9], some_row(3, prompt(9), "no, not today", source="cd", split="train")]
    (changed,) = compare(old, new).changed
    assert (changed.by, changed.old_row_id, changed.new_row_id) == ("prompt", old[9].row_id, new[9].row_id)
    assert [(p.part, p.words) for p in changed.parts] == [("2 assistant", (("-", "yes"), ("+", "no, not today")))]


def test_a_changed_record_of_a_source_that_was_edited(home: Path) -> None:
    old = some_rows(10)
    origin = old[4].origin.model_copy(update={"source_digest": "ef" * 32})
    text = prompt(4).rsplit(" ", 1)[0] + " otherwise"
    turns = (Message(role="user", content=text), Message(role="assistant", content="yes"))
    edit = old[4].model_copy(update={"origin": origin, "row_id": "ef" * 8 + ":000004", "messages": turns})
    (changed,) = compare(old, [*old[:4], *old[5:], edit]).changed
    assert changed.by == "record"
    assert [p.part for p in changed.parts] == ["1 user"]
    assert changed.parts[0].words[-1] == ("+", "otherwise")


def test_another_record_at_the_same_place_is_not_a_change(home: Path) -> None:
    old = some_rows(10)
    origin = old[4].origin.model_copy(update={"source_digest": "ef" * 32})
    other = some_row(4, prompt(99), "entirely different").model_copy(
        update={"origin": origin, "row_id": "ef" * 8 + ":000004"}
    )
    found = compare(old, [*old[:4], *old[5:], other])
    assert (found.totals["changed"], found.totals["added"], found.totals["removed"]) == (0, 1, 1)


def test_the_same_row_with_other_text(home: Path) -> None:
    old = some_rows(10)
    masked = (Message(role="user", content="entirely masked"), Message(role="assistant", content="yes"))
    (changed,) = compare(old, [*old[:9], old[9].model_copy(update={"messages": masked})]).changed
    assert changed.by == "row"


def test_rejected_answers_and_tools_are_content(home: Path) -> None:
    old = some_rows(5)
    found = compare(
        old, [old[0].model_copy(update={"rejected": "bad"}), old[1].model_copy(update={"tools": "[]"}), *old[2:]]
    )
    assert sorted(p.part for c in found.changed for p in c.parts) == ["rejected", "tools"]


def test_equal_rows_are_counted_one_by_one(home: Path) -> None:
    row = some_row(0, "the same")
    twice = [row, some_row(1, "the same"), some_row(2, "another", split="test")]
    assert compare(twice, [twice[0], twice[2]]).totals["removed"] == 1
    assert diff("ds://proj/main@1.1.0", "ds://proj/main@1.0.0", Store.open()).totals["added"] == 1


def test_limits_shorten_the_lists_not_the_totals(home: Path) -> None:
    found = compare(some_rows(20), some_rows(20, first=100), limit=3)
    assert (len(found.added), len(found.removed)) == (3, 3)
    assert (found.totals["added"], found.totals["removed"]) == (20, 20)


def test_distributions_side_by_side(home: Path) -> None:
    found = compare(some_rows(20), some_rows(30, redactions={"EMAIL_ADDRESS": 2}))
    assert found.old.numbers.splits == {"train": 16, "test": 4}
    assert found.new.numbers.redactions == {"EMAIL_ADDRESS": 60}
    assert found.new.labels == {"": {"yes": 24}}


words = st.text(alphabet="ab \n,é", max_size=40)


@given(words, words)
def test_a_word_diff_holds_both_texts(old: str, new: str) -> None:
    made = word_diff(old, new)
    assert "".join(text for sign, text in made if sign != "+") == old
    assert "".join(text for sign, text in made if sign != "-") == new


@pytest.mark.parametrize("size", [3000])
def test_very_long_texts_are_not_compared_word_by_word(size: int) -> None:
    assert [sign for sign, _ in word_diff("a " * size, "b " * size)] == ["-", "+"]
