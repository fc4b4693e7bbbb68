from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Row
from tasks.errors import DataRefused, UsageError
from tasks.version.config import SplitConfig
from tasks.version.split import (
    Membership,
    assign,
    check_names,
    compact,
    entities,
    joined_keys,
    keyed_hash,
    refuse_empty,
    split_keys,
)
from tests.tasks.data_rows import make_row

ROWS = [make_row(i, f"a question about subject number {i}") for i in range(400)]


def membership(rows: list[Row], config: SplitConfig, ledger: set[str] | None = None) -> Membership:
    """Membership of rows that lie in three shards."""
    third = len(rows) // 3
    cuts = pairwise([0, third, 2 * third, len(rows)])
    keys = joined_keys([split_keys(((0, row) for row in rows[a:b]), config) for a, b in cuts])
    check_names(keys, {name for row in rows for name in row.metadata}, config)
    return assign(keys, config, compact(ledger or set()))


def held(rows: list[Row], config: SplitConfig, ledger: set[str] | None = None) -> list[str]:
    return [r.row_id for r, is_held in zip(rows, membership(rows, config, ledger).held, strict=True) if is_held]


def declared(row: Row, split: str) -> Row:
    return row.model_copy(update={"declared_split": split})


def test_key_and_stability() -> None:
    found = held(ROWS, SplitConfig())
    assert held(list(reversed(ROWS)), SplitConfig())[::-1] == found
    assert set(held(ROWS[:200], SplitConfig())) == set(found) & {r.row_id for r in ROWS[:200]}
    assert held(ROWS, SplitConfig(key="other")) != found
    assert set(found) < set(held(ROWS, SplitConfig(test_share=0.5)))


@pytest.mark.parametrize("share", [0.2, 0.1, 0.05, 0.33])
def test_shares(share: float) -> None:
    rows = [make_row(i, f"subject {i}") for i in range(4000)]
    assert len(held(rows, SplitConfig(test_share=share))) / 4000 == pytest.approx(share, abs=0.02)


def test_only_kept_rows_have_a_place() -> None:
    rows = [ROWS[0], ROWS[1].model_copy(update={"outcome": "merged"}), ROWS[2]]
    keys = split_keys(enumerate(rows), SplitConfig())
    assert keys.place.tolist() == [0, 2]
    assert keys.offset.tolist() == [0, 2]
    assert keys.row_id.tolist() == [rows[0].row_id.encode(), rows[2].row_id.encode()]
    assert not len(membership([], SplitConfig()).held)


def test_documents_without_a_prompt_are_units_of_their_own() -> None:
    rows = [make_row(i, "", f"document {i}") for i in range(200)]
    assert 10 < len(held(rows, SplitConfig())) < 80


def test_a_declared_test_source_holds_out_nothing_else() -> None:
    rows = [*ROWS[:5], declared(ROWS[5], "test")]
    assert held(rows, SplitConfig(test_share=0.9)) == [ROWS[5].row_id]


def test_a_split_that_a_row_has_already_counts_as_declared() -> None:
    rows = [r.model_copy(update={"split": "test" if i == 3 else "train"}) for i, r in enumerate(ROWS[:9])]
    assert held(rows, SplitConfig(test_share=0.9)) == [ROWS[3].row_id]


def test_a_row_in_the_ledger_is_never_trained_on() -> None:
    rows = [ROWS[0], declared(ROWS[1], "train"), declared(ROWS[2], "test")]
    ledger = {e for row in rows[:2] for e in entities(row, None)}
    made = membership(rows, SplitConfig(), ledger)
    assert made.held.all()
    assert made.moved.tolist() == [0, 1]
    assert "2 rows are held out" in made.deviations[0]


def test_groups_stay_together() -> None:
    rows = [r.model_copy(update={"metadata": {"conversation_id": str(i // 4)}}) for i, r in enumerate(ROWS)]
    config = SplitConfig(group_by="conversation_id")
    whole = membership(rows, config).held.reshape(-1, 4)
    assert (whole.all(axis=1) == whole.any(axis=1)).all()
    assert 0 < whole.sum() < 400
    made = membership([declared(rows[0], "test"), *rows[1:8]], config)
    assert made.held.tolist() == [True] * 4 + [False] * 4
    assert "share a group" in made.deviations[0]


def labelled(counts: dict[str, int], where: str) -> list[Row]:
    rows = []
    for label, count in counts.items():
        for _ in range(count):
            answers = {"answer": label, "answer.intent": json.dumps({"intent": label, "reply": f"no. {len(rows)}"})}
            rows.append(make_row(len(rows), f"q {len(rows)}", answers.get(where, "y"), metadata={"agent": label}))
    return rows


@pytest.mark.parametrize("where", ["answer", "answer.intent", "agent"])
def test_strata_are_held_out_in_equal_shares(where: str) -> None:
    counts = {"many": 1000, "some": 105, "few": 7, "two": 2, "one": 1}
    rows = labelled(counts, where)
    found = Counter(rows[int(i.split(":")[1])].metadata["agent"] for i in held(rows, SplitConfig(stratify_by=where)))
    assert found == {"many": 200, "some": 21, "few": 1, "two": 1}
    small = held(rows, SplitConfig(stratify_by=where, test_share=0.05))
    assert set(small) < set(held(rows, SplitConfig(stratify_by=where)))
    assert len(held(rows, SplitConfig(stratify_by=where, test_share=0.99))) == 990 + 104 + 6 + 1


def test_strata_and_groups() -> None:
    rows = [
        r.model_copy(update={"metadata": {"g": str(i // 8), "s": "ab"[i >= 200]}}) for i, r in enumerate(ROWS)
    ]  # fmt: skip
    made = membership(rows, SplitConfig(stratify_by="s", group_by="g")).held
    assert made[:200].sum() == made[200:].sum() == 40
    assert {int(g.sum()) for g in made.reshape(-1, 8)} == {0, 8}


def test_given_splits_win_over_strata_and_say_so() -> None:
    rows = labelled({"a": 10, "b": 10}, "agent")
    made = membership([declared(rows[0], "test"), *rows[1:]], SplitConfig(stratify_by="agent"))
    assert made.held.sum() == 1
    assert "stratify_by has no effect" in made.deviations[0]


@pytest.mark.parametrize("field", ["group_by", "stratify_by"])
def test_an_unknown_name_tells_what_there_is(field: str) -> None:
    with pytest.raises(UsageError, match="thread") as error:
        membership([make_row(0, "a", metadata={"agent": "x"})], SplitConfig.model_validate({field: "thread"}))
    assert "agent" in error.value.why
    assert error.value.where == f"split.{field}"


@given(st.sets(st.integers(0, 60)), st.sampled_from([None, "g"]), st.sampled_from([None, "h", "answer"]), st.booleans())
def test_a_second_run_with_its_own_ledger_changes_nothing(
    copies: set[int], group: str | None, strata: str | None, given_split: bool
) -> None:
    rows = [
        make_row(i, f"subject {i % 40}", "yn"[i % 2], metadata={"g": str(i % 7)} if i % 3 else {"h": "xyz"[i % 9 // 3]})
        for i in range(61)
    ]
    rows = [declared(r, "test") if given_split and i in copies else r for i, r in enumerate(rows)]
    config = SplitConfig(group_by=group, stratify_by=strata)
    first = membership(rows, config)
    ledger = {e for r, is_held in zip(rows, first.held, strict=True) if is_held for e in entities(r, group)}
    second = membership(rows, config, ledger)
    assert second.held.tolist() == first.held.tolist()
    assert second.deviations == first.deviations
    assert not len(second.moved)


@given(st.integers(1, 90), st.sampled_from([None, "s"]), st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_what_was_held_out_once_stays_held_out(cut: int, strata: str | None, before: float, after: float) -> None:
    rows = [make_row(i, f"subject {i}", metadata={"s": str(i % 3)}) for i in range(91)]
    first = held(rows[:cut], SplitConfig(stratify_by=strata, test_share=before))
    ledger = {e for row in rows if row.row_id in first for e in entities(row, None)}
    assert set(first) <= set(held(rows, SplitConfig(stratify_by=strata, test_share=after), ledger))


@pytest.mark.parametrize(("train", "test"), [(0, 5), (5, 0)])
def test_an_empty_split_is_refused(train: int, test: int) -> None:
    refuse_empty(1, 1)
    with pytest.raises(DataRefused, match="no row is") as error:
        refuse_empty(train, test)
    assert error.value.remedy


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8")))
def test_keyed_hash_has_64_bits(key: str, unit: str) -> None:
    assert 0 <= keyed_hash(key, unit) < 2**64
