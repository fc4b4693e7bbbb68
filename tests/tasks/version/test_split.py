from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Row
from tasks.errors import DataRefused, UsageError
from tasks.version.config import SplitConfig
from tasks.version.split import assign, entities, keyed_share, merge_leaks, permute_answers, refuse_empty
from tests.tasks.data_rows import make_row

ROWS = [make_row(i, f"a question about subject number {i}") for i in range(400)]
LONG = "the bike makes a strange noise whenever I turn left at the lights near the station"


def held(rows: list[Row], config: SplitConfig, ledger: set[str] | None = None) -> list[str]:
    return [i for i, s in assign(rows, config, ledger or set()).splits.items() if s == "test"]


def test_share_key_and_stability() -> None:
    found = held(ROWS, SplitConfig())
    assert 0.12 < len(found) / len(ROWS) < 0.28
    assert held(list(reversed(ROWS)), SplitConfig())[::-1] == found
    assert set(held(ROWS[:200], SplitConfig())) == set(found) & {r.row_id for r in ROWS[:200]}
    assert held(ROWS, SplitConfig(key="other")) != found
    assert len(held(ROWS, SplitConfig(test_share=0.5))) > len(found)


def test_a_declared_test_source_holds_out_nothing_else() -> None:
    rows = [*ROWS[:5], ROWS[5].model_copy(update={"declared_split": "test"})]
    assert held(rows, SplitConfig(test_share=0.9)) == [ROWS[5].row_id]


def test_a_row_in_the_ledger_is_never_trained_on() -> None:
    declared = ROWS[1].model_copy(update={"declared_split": "train"})
    rows = [ROWS[0], declared, ROWS[2].model_copy(update={"declared_split": "test"})]
    ledger = {e for row in rows[:2] for e in entities(row, None)}
    made = assign(rows, SplitConfig(), ledger)
    assert set(made.splits.values()) == {"test"}
    assert "2 rows are held out" in made.deviations[0]


def test_groups_stay_together() -> None:
    rows = [r.model_copy(update={"metadata": {"conversation_id": str(i // 4)}}) for i, r in enumerate(ROWS)]
    splits = assign(rows, SplitConfig(group_by="conversation_id"), set()).splits
    for start in range(0, 400, 4):
        assert len({splits[r.row_id] for r in rows[start : start + 4]}) == 1
    declared = [rows[0].model_copy(update={"declared_split": "test"}), *rows[1:8]]
    made = assign(declared, SplitConfig(group_by="conversation_id"), set())
    assert [made.splits[r.row_id] for r in declared] == ["test"] * 4 + ["train"] * 4
    assert "share a group" in made.deviations[0]


def test_unknown_group_names_what_there_is() -> None:
    with pytest.raises(UsageError, match="thread") as error:
        assign([make_row(0, "a", metadata={"agent": "x"})], SplitConfig(group_by="thread"), set())
    assert "agent" in error.value.why


@given(st.sets(st.integers(0, 60)), st.sampled_from([None, "g"]), st.booleans())
def test_a_second_run_with_its_own_ledger_changes_nothing(copies: set[int], group: str | None, declared: bool) -> None:
    rows = [make_row(i, f"subject {i % 40}", metadata={"g": str(i % 7)} if i % 3 else {"h": "x"}) for i in range(61)]
    rows = [
        r.model_copy(update={"declared_split": "test"}) if declared and i in copies else r for i, r in enumerate(rows)
    ]
    config = SplitConfig(group_by=group)
    first = assign(rows, config, set())
    ledger = {e for r in rows if first.splits[r.row_id] == "test" for e in entities(r, group)}
    assert assign(rows, config, ledger) == first


def test_leaks_yield_to_the_most_similar_held_out_row() -> None:
    rows = [make_row(0, LONG), make_row(1, LONG + "!!"), make_row(2, LONG + "!"), make_row(3, "another thing")]
    splits = dict.fromkeys([r.row_id for r in rows], "train") | {rows[1].row_id: "test", rows[2].row_id: "test"}
    made = merge_leaks(rows, splits, 0.8)  # type: ignore[arg-type]
    assert [r.outcome for r in made] == ["merged", "kept", "kept", "kept"]
    assert made[0].yields_to == rows[2].row_id
    assert made[0].reason.startswith("leak: ")
    assert (
        merge_leaks(
            [make_row(0, LONG), make_row(1, LONG[:-9])],
            {make_row(0, "").row_id: "train", make_row(1, "").row_id: "test"},
            1.0,
        )[0].outcome
        == "kept"
    )


def test_permuted_answers_are_the_same_answers() -> None:
    rows = [make_row(i, f"q {i}", f"a {i}") for i in range(50)]
    made = permute_answers(rows, 1)
    assert sorted(r.answer for r in made) == sorted(r.answer for r in rows)
    assert [r.prompt for r in made] == [r.prompt for r in rows]
    assert sum(a.answer == b.answer for a, b in zip(rows, made, strict=True)) < 10
    assert permute_answers(rows, 1) == made != permute_answers(rows, 2)
    assert made[0].steps == ("answers_permuted_1",)


@pytest.mark.parametrize(("train", "test"), [(0, 5), (5, 0)])
def test_an_empty_split_is_refused(train: int, test: int) -> None:
    refuse_empty(1, 1)
    with pytest.raises(DataRefused, match="no row is") as error:
        refuse_empty(train, test)
    assert error.value.remedy


@given(st.text(), st.text())
def test_keyed_share_is_a_share(key: str, unit: str) -> None:
    assert 0 <= keyed_share(key.encode("utf-8", "replace").decode(), unit.encode("utf-8", "replace").decode()) < 1
