"""Canonical digests: equal exactly when the content is equal."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Estimate
from tasks.digest import canonical_json, digest_bytes, digest_file, digest_folder, digest_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_canonical_json_keeps_the_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


@given(values, values)
def test_equal_digests_mean_equal_content(a: object, b: object) -> None:
    assert (digest_of(a) == digest_of(b)) == (canonical_json(a) == canonical_json(b))


def test_not_a_number_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of(float("nan"))


def test_records_are_digested_by_content() -> None:
    assert digest_of(Estimate(mean=1, low=0, high=2)) == digest_of({"low": 0.0, "high": 2.0, "mean": 1.0})


@given(st.binary(max_size=5000))
def test_a_file_has_the_digest_of_its_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("f") / "x"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data)


def test_a_folder_digest_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = digest_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != before
    (tmp_path / "b").rename(tmp_path / "a")
    assert digest_folder(tmp_path) == before
