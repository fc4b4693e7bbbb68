from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.adapters.row_files import iter_rows
from tasks.adapters.store import Store
from tasks.contracts import DatasetVersion, Row
from tasks.errors import UsageError
from tasks.version.catalog import manifest_of
from tasks.version.content import ALL
from tasks.version.mix import MixtureConfig, _counts, _shares, mix
from tasks.version.verify import verify
from tests.tasks.version.versions import prompt, some_row, some_rows, versioned


def mixed(weights: dict[str, float], **options: object) -> DatasetVersion:
    parts = [{"address": address, "weight": weight} for address, weight in weights.items()]
    return mix(MixtureConfig.model_validate({"name": "mixture", "parts": parts, **options}), Store.open())


def rows_of(version: DatasetVersion) -> list[Row]:
    return list(iter_rows(Store.open().path(version.uri) / ALL))


def train_of(version: DatasetVersion) -> Counter[str]:
    """First two digits of the source → training rows."""
    return Counter(row.row_id[:2] for row in rows_of(version) if row.split == "train")


def two_parts() -> tuple[str, str]:
    one = versioned(some_rows(100), name="a").address
    two = versioned(some_rows(100, first=1000, source="cd"), name="b").address
    return one, two


def test_as_much_as_there_is_without_repetition(home: Path) -> None:
    one, two = two_parts()
    made = mixed({one: 3, two: 1})
    assert made.address == "ds://proj/mixture@1.0.0"
    assert train_of(made) == {"ab": 80, "cd": 26}  # 80 / 0.75 = 106 rows and two thirds
    assert made.test_rows == 40
    manifest = manifest_of(made.address, Store.open())
    assert manifest.parents == {
        one: "80 of 80 training rows, 20 held out (75 % of the mixture)",
        two: "26 of 80 training rows, 20 held out (25 % of the mixture)",
    }
    assert verify(made.address, Store.open()) == []


def test_rows_seed_and_order(home: Path) -> None:
    one, two = two_parts()
    made = mixed({one: 1, two: 1}, rows=40)
    assert train_of(made) == {"ab": 20, "cd": 20}
    again = mixed({one: 1, two: 1}, rows=40)
    assert (again.digest, again.new) == (made.digest, False)
    assert mixed({two: 1, one: 1}, rows=40).digest == made.digest
    assert mixed({one: 1, two: 1}, rows=40, seed=5).digest != made.digest
    ids = [row.row_id for row in rows_of(made)]
    assert ids == sorted(ids)


def test_more_rows_than_there_are(home: Path) -> None:
    one, two = two_parts()
    with pytest.raises(UsageError, match="90 rows to train on") as error:
        mixed({one: 9, two: 0.5}, rows=90)
    assert "ask for 84 rows" in error.value.remedy


def test_what_a_part_holds_out_is_not_trained_on(home: Path) -> None:
    one = versioned([some_row(1, prompt(7), split="test"), *some_rows(30, first=10)], name="a").address
    two = versioned([some_row(1, prompt(7), "another answer", source="cd"), *some_rows(30, 100, source="cd")], name="b")
    made = mixed({one: 1, two.address: 1})
    (row,) = [row for row in rows_of(made) if row.row_id == "cd" * 8 + ":000001"]
    assert (row.outcome, row.split, row.yields_to) == ("merged", None, "ab" * 8 + ":000001")
    assert made.reasons == {"leak": 1}


def test_nearly_the_same_prompt_as_a_held_out_one(home: Path) -> None:
    long = " ".join(prompt(n) for n in range(4))
    one = versioned([some_row(1, long, split="test"), *some_rows(30, first=10)], name="a").address
    two = versioned(
        [some_row(1, long + " more", "no", source="cd"), *some_rows(30, 100, source="cd")], name="b"
    ).address
    assert mixed({one: 1, two: 1}).reasons == {"leak": 1}


def test_what_an_earlier_version_held_out_is_held_out(home: Path) -> None:
    versioned([some_row(1, prompt(7), split="test"), *some_rows(10, first=10)], project="other")
    one = versioned([some_row(1, prompt(7)), *some_rows(30, first=10)], project="other", name="a").address
    two = versioned(some_rows(30, 100, source="cd"), project="other", name="b").address
    first = versioned(some_rows(30, 200, source="ef"), name="c").address
    made = mixed({first: 1, one: 1, two: 1})
    assert made.address.startswith("ds://proj/")
    assert next(row for row in rows_of(made) if row.row_id == "ab" * 8 + ":000001").split == "test"


def test_groups_stay_together(home: Path) -> None:
    customer = {"metadata": {"customer": "c"}}
    one = versioned(
        [*some_rows(30), some_row(90, prompt(90), split="test", **customer)], name="a", group_by="customer"
    ).address
    two = versioned(
        [*some_rows(30, 100, source="cd"), some_row(190, prompt(190), source="cd", **customer)], name="b"
    ).address
    made = mixed({one: 1, two: 1})
    assert next(row for row in rows_of(made) if row.row_id == "cd" * 8 + ":000190").split == "test"


def test_one_record_of_two_parts_is_one_row(home: Path) -> None:
    rows = some_rows(30)
    one = versioned(rows, name="a").address
    two = versioned([*rows[:10], *some_rows(30, 100, source="cd")], name="b").address
    made = mixed({one: 1, two: 1})
    ids = Counter(row.row_id for row in rows_of(made))
    assert max(ids.values()) == 1


def test_equal_rows_of_two_parts_are_merged(home: Path) -> None:
    one = versioned([*some_rows(30), some_row(90, "the same")], name="a").address
    two = versioned([*some_rows(30, 100, source="cd"), some_row(190, "The  same", source="cd")], name="b").address
    made = mixed({one: 25, two: 24})  # every row
    merged = [row for row in rows_of(made) if row.outcome == "merged"]
    assert [(row.row_id, row.yields_to) for row in merged] == [("cd" * 8 + ":000190", "ab" * 8 + ":000090")]


def test_parts_of_different_tokenizers(home: Path) -> None:
    one, _ = two_parts()
    folder = Store.open().path(versioned(some_rows(5), name="c").uri)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"tokenizer": "t"', '"tokenizer": "u"'))
    with pytest.raises(UsageError, match="different tokenizers"):
        mixed({one: 1, "ds://proj/c@1.0.0": 1})


@pytest.mark.parametrize(
    "parts", [[("ds://p/a", 1)], [("ds://p/a", 1), ("ds://p/a", 2)], [("ds://p/a", 1), ("ds://p/b", 0)]]
)
def test_impossible_mixtures(parts: list[tuple[str, float]]) -> None:
    with pytest.raises(ValidationError):
        MixtureConfig.model_validate({"name": "m", "parts": [{"address": a, "weight": w} for a, w in parts]})


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0.1, 9)), min_size=2, max_size=5))
def test_counts_fit_and_keep_the_shares(parts: list[tuple[int, float]]) -> None:
    config = MixtureConfig.model_validate(
        {"name": "m", "parts": [{"address": f"ds://p/{i}", "weight": w} for i, (_, w) in enumerate(parts)]}
    )
    shares, available = _shares(config), [have for have, _ in parts]
    counts = _counts(available, shares, None)
    assert all(count <= have for count, have in zip(counts, available, strict=True))
    total = sum(counts)
    assert all(abs(count - total * share) <= len(parts) for count, share in zip(counts, shares, strict=True))
