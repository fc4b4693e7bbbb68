from __future__ import annotations

from tasks.contracts import Row
from tasks.process.duplicates import merge_exact, merge_near, quarantine_contradictions
from tests.tasks.data_rows import make_row

LONG = "the bike makes a strange noise whenever I turn left at the lights near the station"


def codes(rows: list[Row]) -> list[str]:
    return [row.reason.split(":")[0] for row in rows]


def test_all_contradicting_rows_are_quarantined() -> None:
    rows = quarantine_contradictions([make_row(0, "A b?", "x"), make_row(1, "a  B?", "y"), make_row(2, "c", "x")])
    assert [r.outcome for r in rows] == ["quarantined", "quarantined", "kept"]
    assert codes(rows)[:2] == ["contradicting_answers"] * 2


def test_contradictions_are_judged_within_one_declaration() -> None:
    rows = quarantine_contradictions([make_row(0, "a", "x"), make_row(1, "a", "y", declared_split="test")])
    assert [r.outcome for r in rows] == ["kept", "kept"]


def test_exact_duplicates_yield_to_the_first() -> None:
    rows = merge_exact([make_row(0, "a b"), make_row(1, "A  b"), make_row(2, "a b", "no")])
    assert [r.outcome for r in rows] == ["kept", "merged", "kept"]
    assert rows[1].yields_to == rows[0].row_id
    assert codes(rows)[1] == "exact_duplicate"


def test_a_held_out_row_is_preferred_and_the_copy_is_a_leak() -> None:
    rows = merge_exact([make_row(0, "a"), make_row(1, "a", declared_split="test")])
    assert [r.outcome for r in rows] == ["merged", "kept"]
    assert codes(rows)[0] == "leak"
    assert rows[0].yields_to == rows[1].row_id


def test_near_duplicates_need_the_same_answer() -> None:
    rows = merge_near([make_row(0, LONG), make_row(1, LONG + "!"), make_row(2, LONG + "?", "no")], 0.8, 5)
    assert [r.outcome for r in rows] == ["kept", "merged", "kept"]
    assert rows[1].yields_to == rows[0].row_id
    assert "near_duplicate" in rows[1].reason


def test_threshold_and_shingle_length_have_an_effect() -> None:
    rows = [make_row(0, LONG), make_row(1, LONG.replace("left", "right"))]
    assert [r.outcome for r in merge_near(rows, 0.99, 5)] == ["kept", "kept"]
    assert [r.outcome for r in merge_near(rows, 0.7, 5)] == ["kept", "merged"]
    assert [r.outcome for r in merge_near(rows, 0.85, 2)] != [r.outcome for r in merge_near(rows, 0.85, 12)]


def test_chains_do_not_collapse() -> None:
    texts = [LONG, LONG + " today", LONG + " today again"]
    merged = merge_near([make_row(i, t) for i, t in enumerate(texts)], 0.88, 5)
    assert [r.outcome for r in merged] == ["kept", "merged", "kept"]


def test_other_system_text_is_another_row() -> None:
    system = make_row(1, LONG).model_copy(update={"messages": (
        make_row(9, "x").messages[0].model_copy(update={"role": "system"}), *make_row(1, LONG).messages)})  # fmt: skip
    assert [r.outcome for r in merge_near([make_row(0, LONG), system], 0.8, 5)] == ["kept", "kept"]
