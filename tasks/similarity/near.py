"""Pairs of texts whose character shingles overlap: exact Jaccard similarity, not an estimate.

Two sets with Jaccard similarity ≥ t share at least one element among the rarest |A| − ⌈t·|A|⌉ + 1 of each (prefix
filter: Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007). A sparse product over these few gives the
candidates, whose similarity is then computed from the full sets. Nothing is missed, and the rare shingles keep the
product sparse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_BLOCK_ROWS = 1024
_BLOCK_PAIRS = 50_000
_ROUNDING = 1e-9


class Pair(NamedTuple):
    """Texts a[left] and b[right] with their similarity in 0..1."""

    left: int
    right: int
    similarity: float


def shingles(text: str, size: int) -> set[str]:
    """All substrings of `size` characters; a shorter text is its own only shingle, an empty one has none."""
    if len(text) <= size:
        return {text} if text else set()
    return {text[i : i + size] for i in range(len(text) - size + 1)}


def near_pairs_between(left: Sequence[str], right: Sequence[str], threshold: float, size: int) -> list[Pair]:
    """Pairs between two lists whose similarity is at least the threshold, ordered."""
    full, prefix = _incidence([*left, *right], threshold, size)
    cut = len(left)
    return sorted(_pairs(full[:cut], prefix[:cut], full[cut:], prefix[cut:], threshold))


def _incidence(texts: Sequence[str], threshold: float, size: int) -> tuple[Any, Any]:
    """Sparse text × shingle matrices of zeros and ones: of all shingles, and of each text's rarest ones."""
    import numpy as np
    from scipy.sparse import csr_array

    sets = [shingles(text, size) for text in texts]
    frequency: dict[str, int] = {}
    for found in sets:
        for shingle in found:
            frequency[shingle] = frequency.get(shingle, 0) + 1
    rank = {s: i for i, s in enumerate(sorted(frequency, key=lambda s: (frequency[s], s)))}
    rows = [sorted(rank[s] for s in found) for found in sets]
    prefixes = [row[: len(row) - math.ceil(threshold * len(row) - _ROUNDING) + 1] for row in rows]

    def matrix(lists: list[list[int]]) -> Any:
        bounds = np.cumsum([0, *map(len, lists)])
        columns = np.fromiter((c for one in lists for c in one), dtype=np.int32, count=int(bounds[-1]))
        ones = np.ones(len(columns), dtype=np.int32)
        return csr_array((ones, columns, bounds), shape=(len(lists), max(1, len(rank))))

    return matrix(rows), matrix(prefixes)


def _pairs(left: Any, left_prefix: Any, right: Any, right_prefix: Any, threshold: float) -> Iterator[Pair]:
    import numpy as np

    left_sizes, right_sizes = np.diff(left.indptr), np.diff(right.indptr)
    transposed = right_prefix.T.tocsr()
    for start in range(0, left.shape[0], _BLOCK_ROWS):
        candidates = (left_prefix[start : start + _BLOCK_ROWS] @ transposed).tocoo()
        rows, columns = candidates.row + start, candidates.col
        for first in range(0, len(rows), _BLOCK_PAIRS):
            a, b = rows[first : first + _BLOCK_PAIRS], columns[first : first + _BLOCK_PAIRS]
            small, large = np.minimum(left_sizes[a], right_sizes[b]), np.maximum(left_sizes[a], right_sizes[b])
            fits = small >= threshold * large - _ROUNDING
            a, b = a[fits], b[fits]
            common = np.asarray(left[a].multiply(right[b]).sum(axis=1)).ravel()
            similarity = common / (left_sizes[a] + right_sizes[b] - common)
            near = similarity >= threshold - _ROUNDING
            yield from (
                Pair(int(i), int(j), float(s)) for i, j, s in zip(a[near], b[near], similarity[near], strict=True)
            )
