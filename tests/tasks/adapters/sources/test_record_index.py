from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.adapters.sources.record_index import Written, write_records
from tasks.digest import digest_file
from tasks.errors import DataRefused

SALT = b"salt"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "records.jsonl"


def written(records: list[object], target: Path, key: str = "id") -> Written:
    return write_records(records, target, key, SALT, "test")  # type: ignore[arg-type]


@given(bodies=st.lists(json_values, min_size=1, max_size=8), seed=st.randoms())
def test_the_bytes_do_not_depend_on_the_order(bodies: list[object], seed, target: Path) -> None:  # type: ignore[no-untyped-def]
    records: list[object] = [{"id": number, "body": body} for number, body in enumerate(bodies)]
    first = written(records, target)
    assert first.digest == digest_file(target)
    assert first.size == target.stat().st_size
    lines = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert sorted(lines, key=lambda r: r["id"]) == records
    seed.shuffle(records)
    assert written(records, target) == first


def test_half_a_surrogate_pair_survives(target: Path) -> None:
    written([{"id": 1, "text": "\ud800"}], target)
    assert json.loads(target.read_text("utf-8")) == {"id": 1, "text": "\ud800"}


def test_a_record_that_comes_twice_is_kept_once(target: Path) -> None:
    found = written([{"id": 1, "a": 2}, {"a": 2, "id": 1}], target)
    assert (found.records, found.repeated) == (1, 1)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"id": 1, "a": 1}, {"id": 1, "a": 2}], "two different records"),
        ([{"a": "secret value"}], "has no `id`"),
        ([{"id": 1, "a": float("nan")}], "no JSON"),
    ],
)
def test_records_that_contradict_the_key_are_refused(records: list[object], words: str, target: Path) -> None:
    with pytest.raises(DataRefused, match=words) as error:
        written(records, target)
    assert "secret value" not in str(error.value)


def test_a_broken_line_stays_what_it_was_behind_the_records(target: Path) -> None:
    written([b'{"cut', {"id": "z"}, b"\xff\n"], target)
    lines = target.read_bytes().splitlines()
    assert lines[0] == b'{"id":"z"}'
    assert sorted(lines[1:]) == sorted([b'{"cut', "\ufffd".encode()])


def test_keys_are_hashed_with_the_salt(target: Path) -> None:
    records = [{"id": "anna@example.com"}]
    one = write_records(records, target, "id", b"one", "test").index
    other = write_records(records, target, "id", b"other", "test").index
    assert one
    assert other
    assert one.entries[0][0] != other.entries[0][0]
