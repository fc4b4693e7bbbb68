"""What a longer text is compared by: hashes of its word triples that find candidates, and a sample of its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.similarity.leak_features import Features
from tasks.similarity.segments import gather, mixed, rank_in_run, smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SKETCHED_FROM = 13  # so that a text of 16 words meets one with up to a sixth fewer
_TRIPLES, _SAMPLE = 16, 192


def triples(found: Features) -> tuple[NDArray[Any], NDArray[Any]]:
    """(text, hash) of the smallest hashes of word triples of each longer text."""
    import numpy as np

    words, row = found.words, np.repeat(np.arange(len(found.same)), found.lengths)
    if len(words) < 3:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    row = np.where(row[:-2] == row[2:], row[:-2], -1)
    inside = (row >= 0) & (found.lengths[row] >= _SKETCHED_FROM)
    key = mixed(mixed(mixed(words[:-2]) + words[1:-1]) + words[2:])
    return smallest(row[inside], key[inside], _TRIPLES)


def samples(found: Features) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each longer text its words as a set (the second of two equal words counts as another one), or a sample."""
    import numpy as np

    row = np.repeat(np.arange(len(found.same)), found.lengths)
    longer = found.lengths[row] >= _SKETCHED_FROM
    row, words = row[longer], found.words[longer]
    order = np.lexsort((words, row))
    row, words = row[order], words[order]
    run = np.cumsum(np.concatenate([[0], (row[1:] != row[:-1]) | (words[1:] != words[:-1])])) if len(row) else row
    token = mixed(words + rank_in_run(run).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    row, token = smallest(row, token, _SAMPLE)
    return np.searchsorted(row, np.arange(len(found.same) + 1)), token.astype(np.uint32)


def shares(
    left: tuple[NDArray[Any], NDArray[Any]], row: NDArray[Any], right: tuple[NDArray[Any], NDArray[Any]],
    held: NDArray[Any],
) -> NDArray[Any]:  # fmt: skip
    """Share of the words of the longer text that both hold, for each pair; on the part that both samples cover."""
    import numpy as np

    one_pair, one = gather(*left, row)
    two_pair, two = gather(*right, held)
    limit = np.minimum(_covered(*left, row), _covered(*right, held))
    keep_one, keep_two = one <= limit[one_pair], two <= limit[two_pair]
    one_pair, one, two_pair, two = one_pair[keep_one], one[keep_one], two_pair[keep_two], two[keep_two]
    both = np.intersect1d(one_pair << 32 | one, two_pair << 32 | two, assume_unique=True) >> 32
    pairs = len(row)
    size = np.maximum(np.bincount(one_pair, minlength=pairs), np.bincount(two_pair, minlength=pairs))
    return np.bincount(both, minlength=pairs) / np.maximum(size, 1)


def _covered(bounds: NDArray[Any], values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Up to which hash a text's sample holds all of its words."""
    import numpy as np

    count = bounds[rows + 1] - bounds[rows]
    if not len(values):
        return np.full(len(rows), 2**32)
    return np.where(count < _SAMPLE, 2**32, values[np.maximum(bounds[rows + 1] - 1, 0)].astype(np.int64))
