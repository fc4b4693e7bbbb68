"""Common beginnings and batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.inference.batching import MIN_SHARED_TOKENS, longest_first, padded, shared_prefix

PREFIX = list(range(MIN_SHARED_TOKENS))


def test_a_common_beginning_is_found() -> None:
    assert shared_prefix([[*PREFIX, 1, 2], [*PREFIX, 2], [*PREFIX, 1, 3]]) == MIN_SHARED_TOKENS


def test_one_token_of_each_stays_outside() -> None:
    assert shared_prefix([[*PREFIX, 7], [*PREFIX, 7]]) == MIN_SHARED_TOKENS


def test_a_short_beginning_and_a_single_row_do_not_pay() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 4]]) == 0
    assert shared_prefix([[*PREFIX, 1]]) == 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), max_size=9), st.integers(1, 4))
def test_every_row_is_in_one_batch_and_the_longest_come_first(rows: list[list[int]], size: int) -> None:
    batches = list(longest_first(rows, size))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    lengths = [len(rows[row]) for batch in batches for row in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(batch) <= size for batch in batches)


def test_padding_on_either_side() -> None:
    ids, mask = padded([[1, 2], [3]], 9, left=True)
    assert ids.tolist() == [[1, 2], [9, 3]]
    assert mask.tolist() == [[1, 1], [0, 1]]
    ids, mask = padded([[1, 2], [3]], 9, left=False)
    assert ids.tolist() == [[1, 2], [3, 9]]
    assert mask.tolist() == [[1, 1], [1, 0]]
