from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.row_files import merged
from tasks.adapters.store import Store
from tasks.contracts import Row
from tasks.errors import UsageError
from tasks.version.content import ALL, row_digest
from tasks.version.trace import source_name, trace, where
from tests.tasks.version.versions import prompt, some_row, some_rows, versioned


def packed(index: int, **changes: object) -> Row:
    row = some_row(index, prompt(index + 500), source="cd")
    origin = row.origin.model_copy(
        update={"source_uri": "data/all.zip", "member": "a/x.jsonl", "container_digest": "99" * 32, "byte_length": 7}
    )
    return row.model_copy(update={"origin": origin, **changes})


def rows() -> list[Row]:
    yielded = merged(some_row(70, "gone"), "ab" * 8 + ":000001", "near_duplicate", "nearly the same")
    return [*some_rows(20), yielded.model_copy(update={"split": None}), packed(1), packed(2, split="test")]


def test_the_way_of_a_row(home: Path) -> None:
    made, store = versioned(rows()), Store.open()
    found = trace("cd" * 8 + ":000002", store)
    assert (found.address, found.split, found.outcome) == (made.address, "test", "kept")
    assert source_name(found.origin) == "data/all.zip!/a/x.jsonl"
    assert found.digest == row_digest(packed(2))
    gone = trace("ab" * 8 + ":000070", store)
    assert (gone.outcome, gone.yields_to, gone.split) == ("merged", "ab" * 8 + ":000001", None)


def test_by_a_beginning_or_by_content(home: Path) -> None:
    versioned(rows())
    store = Store.open()
    assert trace("AB" * 8 + ":00007", store).row_id == "ab" * 8 + ":000070"
    assert trace(row_digest(packed(1)), store).row_id == "cd" * 8 + ":000001"
    assert trace(row_digest(packed(1))[:20], store).row_id == "cd" * 8 + ":000001"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("ab", "more than one row"), ("00", "no such row"), ("0" * 64, "no such row"), ("row 5", "neither")],
)
def test_what_names_no_row(home: Path, wanted: str, words: str) -> None:
    versioned(rows())
    with pytest.raises(UsageError, match=words):
        trace(wanted, Store.open())


def test_the_newest_version_that_has_the_row_or_the_one_that_is_named(home: Path) -> None:
    first, second = versioned(rows()), versioned(rows()[:20])
    third = versioned(some_rows(3), project="other")
    store = Store.open()
    assert trace("ab" * 8 + ":000019", store).address == second.address
    assert trace("cd" * 8 + ":000001", store).address == first.address
    assert trace("ab" * 8 + ":000001", store, first.address).address == first.address
    with pytest.raises(UsageError, match="no such row"):
        trace("cd" * 8 + ":000001", store, third.address)


def test_versions_without_rows_are_passed_over(home: Path) -> None:
    first, second = versioned(rows()), versioned(rows()[:20])
    (Store.open().path(second.uri) / ALL).unlink()
    assert trace("ab" * 8 + ":000001", Store.open()).address == first.address


@pytest.mark.parametrize(
    "source", ["data/all.zip", "all.zip", "a/x.jsonl", "data/all.zip!/a/x.jsonl", "cdcdcdcd", "99" * 32]
)
def test_where_a_source_is(home: Path, source: str) -> None:
    made = versioned(rows())
    (found,) = where(source, Store.open())
    assert (found.address, found.source, found.digest) == (made.address, "data/all.zip!/a/x.jsonl", "cd" * 32)
    assert (found.rows, found.kept, found.train, found.test, found.merged) == (2, 2, 1, 1, 0)
    assert found.row_ids == ("cd" * 8 + ":000001", "cd" * 8 + ":000002")


def test_where_in_several_versions_and_none(home: Path) -> None:
    first, second = versioned(rows()), versioned(rows()[:20])
    store = Store.open()
    found = where("ab.jsonl", store)
    assert [(f.address, f.rows, f.merged) for f in found] == [(second.address, 20, 0), (first.address, 21, 1)]
    assert where("b.jsonl", store) == where("nothing", store) == []
    assert [f.address for f in where("ab.jsonl", store, first.address)] == [first.address]
    assert len(where("renamed.jsonl", store, digests=["cd" * 32])) == 1
