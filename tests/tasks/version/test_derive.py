from __future__ import annotations

from pathlib import Path

import pytest

from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Row
from tasks.digest import digest_of
from tasks.errors import UsageError
from tasks.version.config import SplitConfig
from tasks.version.content import read_manifest
from tasks.version.derive import derive, without_rows
from tasks.version.stage import make_version
from tasks.version.verify import verify
from tests.tasks.data_rows import make_row, validated

ROWS = [
    *(make_row(i, digest_of(i), metadata={"customer": str(i // 2)}) for i in range(60)),
    make_row(90, "x", outcome="quarantined", reason="too_short: one word"),
]


def first(rows: list[Row] = ROWS, **split: object) -> DatasetVersion:
    store = Store.open()
    return make_version(validated(rows, store), "proj", SplitConfig.model_validate(split), "p", "t", store)


def rows_of(made: DatasetVersion) -> list[Row]:
    return list(iter_rows(Store.open().path(made.uri) / "rows.jsonl"))


def test_without_rows(home: Path) -> None:
    made, store = first(group_by="customer"), Store.open()
    gone = [rows_of(made)[3].row_id, ROWS[-1].row_id]
    clean = without_rows(made.address, gone, "asked for by the person", store)
    assert (clean.version, clean.new) == ("1.1.0", True)
    assert rows_of(clean) == [row for row in rows_of(made) if row.row_id not in gone]
    manifest = read_manifest(store.path(clean.uri))
    assert manifest.derived_from == f"{made.address} without 2 rows: asked for by the person"
    assert manifest.group_by == "customer"
    assert verify(clean.address, store) == []
    again = without_rows(made.address, gone, "asked for by the person", store)
    assert again == clean.model_copy(update={"new": False})
    with pytest.raises(UsageError, match="none of these rows"):
        without_rows(clean.address, gone, "x", store)
    assert not list((home / "work" / "derived").iterdir())


def test_the_ledger_is_obeyed(home: Path) -> None:
    made, store = first(test_share=0.2), Store.open()
    first(test_share=0.6)
    trained = [row for row in rows_of(made) if row.split == "train"]
    clean = without_rows(made.address, [trained[0].row_id], "x", store)
    assert clean.train_rows < made.train_rows - 1
    assert "held out by an earlier version" in clean.warnings[-1]


def test_derived_rows_keep_their_split_and_are_checked_when_asked(home: Path) -> None:
    store = Store.open()
    question = "please tell me why the green lamp of my charger blinks twice before it goes out again"
    rows = [
        *(row.model_copy(update={"split": "train"}) for row in ROWS[:20]),
        make_row(70, question, split="test"),
        make_row(71, question.replace("green", "red"), split="train"),
    ]

    def made(split: SplitConfig | None, name: str) -> DatasetVersion:
        return derive(store, "proj", name, iter(rows), policy="p", tokenizer="t", split=split,
                      parents={"ds://proj/main@1.0.0": "all rows"}, warnings=("read me",))  # fmt: skip

    plain, checked = made(None, "plain"), made(SplitConfig(), "checked")
    assert (plain.train_rows, plain.test_rows, plain.reasons) == (21, 1, {})
    assert (checked.train_rows, checked.test_rows, checked.reasons) == (20, 1, {"leak": 1})
    assert plain.warnings == ("read me",)
    assert read_manifest(store.path(plain.uri)).parents == {"ds://proj/main@1.0.0": "all rows"}
