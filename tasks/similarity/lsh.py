"""Locality-sensitive hashing of MinHash signatures: which pairs of texts are worth a comparison of their true sets.

A signature is cut into b bands of r values. Two texts with Jaccard similarity s agree in one band with probability
s^r, so they become a candidate pair with 1 − (1 − s^r)^b (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
3rd ed., section 3.4.2). The more values in a band, the fewer pairs are compared in vain; the most that still find
`RECALL` of the pairs exactly at the threshold are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.similarity.minhash import U32, U64, mixed

RECALL = 0.99
BUCKET_ROWS = 48
_NEIGHBOURS = 2
_CHUNK_PAIRS = 1 << 16
_STEP, _HIGH = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
NONE = np.uint32(0)  # the band value of a row that is compared with none

Pairs = NDArray[np.int64]


class Bands(NamedTuple):
    """How a signature is cut."""

    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Probability that two texts of this similarity become a candidate pair."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def bands_for(threshold: float, permutations: int) -> Bands:
    """The most values a band can have while pairs at the threshold are found with a probability of `RECALL`.

    Raises:
        ValueError: even bands of one value find fewer.
    """
    cuts = [Bands(permutations // rows, rows) for rows in range(1, permutations + 1)]
    good = [cut for cut in cuts if cut.recall(threshold) >= RECALL]
    if not good:
        raise ValueError(f"{permutations} permutations find less than {RECALL:.0%} of the pairs at {threshold}")
    return good[-1]


def band_values(signatures: U32, cut: Bands, salts: U64) -> U32:
    """One value for each band and text, bands × texts; never `NONE`.

    Args:
        salts: one number a text; texts with different ones are never candidates.
    """
    values = np.empty((cut.bands, len(signatures)), dtype=np.uint32)
    for band in range(cut.bands):
        value = salts + np.uint64(band + 1)
        for column in range(band * cut.rows, (band + 1) * cut.rows):
            value = mixed(value * _STEP + signatures[:, column])
        values[band] = np.maximum(value >> _HIGH, 1)
    return values


class Candidates:
    """Candidate pairs of texts, each once or nearly so.

    A bucket holds the texts with one value in one band. In a bucket of up to `BUCKET_ROWS` every pair is a candidate.
    In a larger one each text is compared with the bucket's first text and with its two neighbours in the order of the
    next band, so that the work stays linear; `crowded` says how many texts stood in such a bucket. A pair is lost to
    that only if every bucket it shares is a large one: two texts that differ from the crowd in what they have in
    common meet in a small bucket too.

    Args:
        values: bands × texts as `band_values` gives them, in canonical order; used up by `pairs`.
    """

    def __init__(self, values: U32) -> None:
        self._values = values
        self._crowded = np.zeros(values.shape[1], dtype=bool)
        self.found = 0

    @property
    def crowded(self) -> int:
        return int(np.count_nonzero(self._crowded))

    def pairs(self) -> Iterator[Pairs]:
        """Arrays of pairs left < right; deterministic, and of bounded size."""
        for band in range(len(self._values)):
            waiting: list[Pairs] = []
            for pairs in self._of_band(band):
                waiting.append(pairs)
                if sum(map(len, waiting)) >= _CHUNK_PAIRS:
                    yield self._counted(waiting)
                    waiting = []
            if waiting:
                yield self._counted(waiting)

    def _counted(self, waiting: list[Pairs]) -> Pairs:
        pairs = np.concatenate(waiting)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        self.found += len(pairs)
        return pairs

    def _of_band(self, band: int) -> Iterator[Pairs]:
        values = self._values[band]
        texts = np.flatnonzero(values)
        texts = texts[np.argsort(values[texts], kind="stable")]
        starts = np.concatenate(([True], values[texts][1:] != values[texts][:-1])) if len(texts) else np.zeros(0, bool)
        bucket = np.cumsum(starts) - 1
        size = np.bincount(bucket)[bucket] if len(texts) else bucket
        small = (size > 1) & (size <= BUCKET_ROWS)
        yield from self._all_pairs(band, texts[small], bucket[small])
        large = size > BUCKET_ROWS
        if large.any():
            yield from self._star(band, texts[large], bucket[large])

    def _all_pairs(self, band: int, texts: Pairs, bucket: Pairs) -> Iterator[Pairs]:
        for distance in range(1, BUCKET_ROWS):
            together = bucket[distance:] == bucket[:-distance]
            if not together.any():
                return
            pairs = np.column_stack((texts[:-distance][together], texts[distance:][together]))
            yield pairs[~self._met_before(band, pairs)]

    def _met_before(self, band: int, pairs: Pairs) -> NDArray[np.bool_]:
        """Whether the two were compared in a small bucket of an earlier band."""
        met = np.zeros(len(pairs), dtype=bool)
        for earlier in self._values[:band]:
            left = earlier[pairs[:, 0]]
            met |= (left != NONE) & (left == earlier[pairs[:, 1]])
        return met

    def _star(self, band: int, texts: Pairs, bucket: Pairs) -> Iterator[Pairs]:
        first = np.concatenate(([True], bucket[1:] != bucket[:-1]))
        centre = texts[first][np.cumsum(first) - 1]
        yield np.column_stack((centre, texts))[~first]
        following = self._values[(band + 1) % len(self._values)][texts]
        order = np.lexsort((following, bucket))
        for distance in range(1, _NEIGHBOURS + 1):
            left, right = texts[order][:-distance], texts[order][distance:]
            together = bucket[order][distance:] == bucket[order][:-distance]
            pairs = np.sort(np.column_stack((left, right))[together], axis=1)
            yield pairs
        self._crowded[texts] = True
        self._values[band][texts] = NONE  # meeting here proves no comparison
