from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from tasks.adapters import ledger
from tasks.adapters.row_files import read_rows
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Row
from tasks.digest import digest_file, digest_of
from tasks.errors import DataRefused, UsageError
from tasks.version import catalog
from tasks.version.config import SplitConfig
from tasks.version.stage import make_version
from tests.tasks.data_rows import make_row, validated

ROWS = [make_row(i, f"subject {i}: {'abcdefghij'[i % 10] * 30}", "yn"[i % 2]) for i in range(60)]


def versioned(rows: list[Row], policy: str = "p", tokenizer: str = "t", **split: object) -> DatasetVersion:
    store = Store.open()
    return make_version(validated(rows, store), "proj", SplitConfig.model_validate(split), policy, tokenizer, store)


def distinct(count: int, first: int = 0) -> list[Row]:
    return [make_row(first + i, digest_of(first + i)) for i in range(count)]


def test_first_version_and_its_files(home: Path) -> None:
    made = versioned(distinct(50))
    assert (made.address, made.new) == ("ds://proj/main@1.0.0", True)
    folder = Store.open().path(made.uri)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {"train.jsonl", "test.jsonl", "rows.jsonl", "profile.json", "card.md"}
    assert all(digest_file(folder / n) == d for n, d in manifest["files"].items())
    train, test = read_rows(folder / "train.jsonl"), read_rows(folder / "test.jsonl")
    assert (len(train), len(test)) == (made.train_rows, made.test_rows)
    assert {r.split for r in train} == {"train"}
    assert {r.split for r in test} == {"test"}
    assert len(read_rows(folder / "rows.jsonl")) == 50
    assert ledger.held_out("proj", [e for r in test for e in _entities(r)]) == {e for r in test for e in _entities(r)}
    assert made.tokenizer_digest == "t"


def _entities(row: Row) -> tuple[str, ...]:
    from tasks.version.split import entities

    return entities(row, None)


def test_an_identical_run_finds_its_version(home: Path) -> None:
    first, second = versioned(distinct(50)), versioned(distinct(50))
    assert not second.new
    assert second == first.model_copy(update={"new": False})
    assert len(list((home / "store" / "stages" / "version").iterdir())) == 1


def test_numbers_say_what_changed(home: Path) -> None:
    rows = distinct(50)
    assert versioned(rows).version == "1.0.0"
    assert versioned(distinct(51)).version == "1.1.0"
    assert versioned(rows).version == "1.0.0"
    assert versioned(distinct(51), policy="other").version == "2.0.0"
    assert versioned(distinct(51), policy="other", key="k").version == "3.0.0"
    renamed = [r.model_copy(update={"metadata": {"agent": "x"}}) for r in distinct(51)]
    assert versioned(renamed, policy="other", key="k").version == "3.0.1"
    assert versioned(rows, name="second").address == "ds://proj/second@1.0.0"


def test_identity_does_not_depend_on_order_or_paths(home: Path) -> None:
    first = versioned(distinct(50))
    moved = [
        r.model_copy(update={"origin": r.origin.model_copy(update={"source_uri": "y"})}) for r in distinct(50)[::-1]
    ]
    assert versioned(moved).digest == first.digest


def test_what_was_held_out_once_is_never_trained_on(home: Path) -> None:
    rows = distinct(60)
    first = versioned(rows, test_share=0.5)
    held = {r.row_id for r in read_rows(Store.open().path(first.uri) / "test.jsonl")}
    second = versioned(rows, test_share=0.1)
    train = {r.row_id for r in read_rows(Store.open().path(second.uri) / "train.jsonl")}
    assert not held & train
    assert "held out by an earlier version" in second.warnings[0]
    again = versioned(rows, test_share=0.1)
    assert (again.version, again.new) == (second.version, False)


def test_leaks_are_merged_and_counted(home: Path) -> None:
    rows = [
        *distinct(20),
        make_row(90, "where is my bike please", declared_split="test"),
        make_row(91, "Where is my bike please!", "n"),
    ]
    made = versioned(rows)
    assert made.reasons == {"leak": 1}
    assert made.counts.model_dump() == {"rows_in": 22, "kept": 21, "merged": 1, "quarantined": 0, "redacted": 0}
    assert not versioned(rows).new
    assert versioned(rows, leak_threshold=0.99).reasons == {}


def test_permuted_answers_are_another_dataset(home: Path) -> None:
    rows = [make_row(i, digest_of(i), str(i)) for i in range(50)]
    plain, permuted = versioned(rows), versioned(rows, permute_answers_seed=1)
    assert plain.digest != permuted.digest
    folders = [Store.open().path(v.uri) / "test.jsonl" for v in (plain, permuted)]
    assert folders[0].read_text() == folders[1].read_text()


def test_empty_splits_are_refused_and_leave_no_version(home: Path) -> None:
    with pytest.raises(DataRefused, match="no row is held out"):
        versioned([make_row(0, "a")], test_share=0.0001)
    assert catalog.list_versions("proj") == []


def test_killed_between_store_and_database(home: Path) -> None:
    made = versioned(distinct(50))
    with ledger.engine().begin() as connection:
        connection.execute(ledger.dataset_versions.delete())
        connection.execute(ledger.holdout.delete())
    again = versioned(distinct(50))
    assert again == made
    assert len(catalog.list_versions("proj")) == 1


def _child(queue: multiprocessing.Queue[tuple[str, bool]]) -> None:
    made = versioned(distinct(50))
    queue.put((made.address, made.new))


def test_two_versioners_at_once_make_one_version(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[tuple[str, bool]] = context.Queue()
    children = [context.Process(target=_child, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert sorted(results) == [("ds://proj/main@1.0.0", False), ("ds://proj/main@1.0.0", True)]


def test_the_profile_and_the_card_hold_no_text_of_rows(home: Path) -> None:
    rows = [make_row(i, f"secretword{i} common", "label") for i in range(40)]
    folder = Store.open().path(versioned(rows, leak_threshold=1.0).uri)
    profile = json.loads((folder / "profile.json").read_text())
    assert profile["answers"] == {"": {"label": profile["rows"]}}
    assert "secretword" not in (folder / "card.md").read_text() + json.dumps(profile)
    assert "common" not in json.dumps(profile)


def test_catalog(home: Path, tmp_path: Path) -> None:
    store = Store.open()
    first, second = versioned(distinct(50)), versioned(distinct(51))
    assert [e.version for e in catalog.list_versions()] == ["1.0.0", "1.1.0"]
    assert catalog.find("ds://proj/main").version == catalog.find("ds://proj/main@latest").version == "1.1.0"
    shown, card = catalog.show(first.address, store)
    assert shown == first.model_copy(update={"new": False})
    assert card.startswith("# ds://proj/main")
    difference = catalog.diff(first.address, second.address, store)
    assert (len(difference.added), difference.removed, difference.moved) == (1, (), ())
    assert catalog.verify(first.address, store) == []
    files = catalog.export(first.address, tmp_path / "out", store)
    assert {f.name for f in files} >= {"train.jsonl", "manifest.json"}
    with pytest.raises(UsageError, match="empty folder"):
        catalog.export(first.address, tmp_path / "out", store)
    back = catalog.rollback(first.address, store)
    assert (back.version, back.digest) == ("1.2.0", first.digest)
    with pytest.raises(UsageError, match="already"):
        catalog.rollback(first.address, store)


@pytest.mark.parametrize("address", ["main@1.0.0", "ds://proj/main@9.9.9", "ds://proj/main@x"])
def test_wrong_addresses(home: Path, address: str) -> None:
    with pytest.raises(UsageError) as error:
        catalog.find(address)
    assert error.value.where == address


def test_verify_names_what_was_changed(home: Path) -> None:
    made = versioned(distinct(50))
    folder = Store.open().path(made.uri)
    (folder / "train.jsonl").write_text("")
    (folder / "card.md").unlink()
    assert set(catalog.verify(made.address, Store.open())) == {"train.jsonl", "card.md"}


def test_a_version_that_trains_on_what_is_held_out_now_is_not_brought_back(home: Path) -> None:
    first = versioned(distinct(60), test_share=0.1)
    versioned(distinct(60), test_share=0.6)
    with pytest.raises(UsageError, match="trains on rows"):
        catalog.rollback(first.address, Store.open())


def test_next_number() -> None:
    assert ledger.next_number(None, "d", "p") == (1, 0, 0)
