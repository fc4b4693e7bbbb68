"""Which rows are computed together: longest first, and a common beginning only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MIN_SHARED_TOKENS = 24  # a shorter common beginning costs more to handle than to compute again


def shared_prefix(sequences: Sequence[list[int]]) -> int:
    """Number of leading tokens that all sequences share; 0 where it does not pay.

    At least one token of each sequence stays outside, so that there is something to compute.
    """
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)
    longest = min(map(len, sequences)) - 1
    length = 0
    while length < longest and first[length] == last[length]:
        length += 1
    return length if length >= MIN_SHARED_TOKENS else 0


def longest_first(sequences: Sequence[Sequence[int]], batch_rows: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, the longest first: memory is known to suffice after one batch."""
    order = sorted(range(len(sequences)), key=lambda row: (-len(sequences[row]), row))
    for start in range(0, len(order), batch_rows):
        yield order[start : start + batch_rows]


def padded(rows: Sequence[Sequence[int]], fill: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids in one rectangle and a mask (1: a real token), padded on one side."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), fill)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask
