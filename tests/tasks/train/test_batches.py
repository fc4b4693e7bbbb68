"""A micro-batch as one sequence."""

from __future__ import annotations

from tasks.tokens import Encoded
from tasks.train.batches import is_packed, packed
from tasks.train.data import IGNORED, collate


def test_rows_lie_one_after_another_and_positions_start_again() -> None:
    batch = packed([Encoded([5, 6, 7], [False, False, True]), Encoded([8, 9], [True, True])])
    assert is_packed(batch)
    assert batch["input_ids"].tolist() == [[8, 9, 5, 6, 7]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2]]
    assert batch["lengths"].tolist() == [2, 3]


def test_the_first_token_of_a_row_is_never_learned() -> None:
    """The token before it belongs to another row."""
    batch = packed([Encoded([5, 6], [True, True]), Encoded([8, 9, 7], [True, False, True])])
    assert batch["labels"].tolist() == [[IGNORED, 6, IGNORED, IGNORED, 7]]


def test_a_padded_batch_is_not_packed() -> None:
    assert not is_packed(collate([Encoded([5, 6], [False, True])], pad=0))
