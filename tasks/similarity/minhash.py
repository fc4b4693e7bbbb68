"""MinHash signatures of texts: shingles hashed by numpy over many texts at once, permutations by rensa (Rust).

A shingle is a window of characters or words. Its hash is a polynomial over the window modulo 2^64, mixed with the
finaliser of MurmurHash3, so it depends neither on the process nor on the platform. Two different shingles of a pair of
10 KB texts get the same hash with a probability below 10^-10: sets of these hashes are taken for the sets themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.contracts import Record

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
SEED = 20_260_000
_BATCH_CHARACTERS = 1 << 16  # arrays of a batch stay in the processor's cache
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2, _SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)
_UNICODE = 0x110000


class Shingling(Record):
    """How a text becomes a set."""

    unit: Literal["characters", "words"] = Field("characters", description="What a window counts.")
    size: int = Field(5, ge=1, le=32, description="Length of a window in units.")


def shingle_hashes(texts: Sequence[str], shingling: Shingling) -> tuple[U64, NDArray[np.int64]]:
    """Hashes of all shingles, text after text, and where each text's begin (one more bound than texts).

    A text shorter than a window is its own only shingle; one without any unit has none. Repeated shingles repeat.
    """
    units, counts = (_characters if shingling.unit == "characters" else _words)(texts)
    units, counts = _padded(units, counts, shingling.size)
    bounds = np.concatenate(([0], np.cumsum(counts)))
    windows = len(units) - shingling.size + 1
    if windows <= 0:
        return np.zeros(0, np.uint64), np.zeros(len(texts) + 1, np.int64)
    hashes = np.zeros(windows, np.uint64)
    for k in range(shingling.size):
        hashes *= _MULTIPLIER
        hashes += units[k : k + windows]
    inside = np.ones(windows, dtype=bool)
    for k in range(1, shingling.size):  # windows that reach into the next text
        last = bounds[1:] - k
        inside[last[(last >= 0) & (last < windows)]] = False
    kept = np.maximum(counts - shingling.size + 1, 0)
    return mixed(hashes[inside]), np.concatenate(([0], np.cumsum(kept)))


def shingle_sets(texts: Sequence[str], shingling: Shingling) -> list[U64]:
    """The set of shingles of each text as sorted hashes."""
    found: list[U64] = []
    for batch in batches(texts):
        hashes, bounds = shingle_hashes(batch, shingling)
        found += [np.unique(hashes[a:b]) for a, b in pairwise(bounds)]
    return found


def jaccard(left: U64, right: U64) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets; 0 where one is empty."""
    if not len(left) or not len(right):
        return 0.0
    both = np.concatenate((left, right))
    both.sort()
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (len(left) + len(right) - common)


def signatures(texts: Sequence[str], shingling: Shingling, permutations: int) -> U32:
    """MinHash signatures, texts × permutations; two texts agree in a column with the probability of their Jaccard."""
    parts = [_signatures(batch, shingling, permutations) for batch in batches(texts)]
    return np.concatenate(parts) if parts else np.zeros((0, permutations), np.uint32)


def _signatures(texts: Sequence[str], shingling: Shingling, permutations: int) -> U32:
    from rensa import RMinHash

    hashes, bounds = shingle_hashes(texts, shingling)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, bounds.astype(np.uint64), permutations, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), permutations)


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive texts of together about 65,000 characters."""
    start = size = 0
    for end, text in enumerate(texts):
        if size and size + len(text) > _BATCH_CHARACTERS:
            yield texts[start:end]
            start, size = end, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def _characters(texts: Sequence[str]) -> tuple[U64, NDArray[np.int64]]:
    return _code_points("".join(texts)).astype(np.uint64), np.array([len(t) for t in texts], dtype=np.int64)


def _words(texts: Sequence[str]) -> tuple[U64, NDArray[np.int64]]:
    """Hash of every word (a run of letters, digits and underscores) and the number of words of each text."""
    points = _code_points("\n".join(texts))
    in_word = _word_table()[points]
    edges = np.diff(np.concatenate(([False], in_word, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    text_ends = np.cumsum(np.array([len(t) + 1 for t in texts], dtype=np.int64))
    counts = np.diff(np.concatenate(([0], np.searchsorted(starts, text_ends))))
    if not len(starts):
        return np.zeros(0, np.uint64), counts
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
    powers = np.cumprod(np.full(int(lengths.max()), _MULTIPLIER, np.uint64))
    return mixed(np.add.reduceat(points[in_word].astype(np.uint64) * powers[places], firsts)), counts


def _padded(units: U64, counts: NDArray[np.int64], size: int) -> tuple[U64, NDArray[np.int64]]:
    """Texts with fewer units than a window, filled up with zeros to one window."""
    short = (counts > 0) & (counts < size)
    if not short.any():
        return units, counts
    wanted = np.where(short, size, counts)
    shift = np.cumsum(wanted - counts) - (wanted - counts)
    filled = np.zeros(int(wanted.sum()), np.uint64)
    filled[np.arange(len(units)) + np.repeat(shift, counts)] = units
    return filled, wanted


def _code_points(text: str) -> U32:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@cache
def _word_table() -> NDArray[np.bool_]:
    """For each code point whether `\\w` matches it."""
    table = np.zeros(_UNICODE, dtype=bool)
    for run in re.finditer(r"\w+", "".join(map(chr, range(_UNICODE)))):
        table[run.start() : run.end()] = True
    return table


def mixed(hashes: U64) -> U64:
    """The finaliser of MurmurHash3 (Appleby 2011): every bit of the input changes half of the output's."""
    hashes = (hashes ^ (hashes >> _SHIFT)) * _MIX_1
    hashes = (hashes ^ (hashes >> _SHIFT)) * _MIX_2
    return hashes ^ (hashes >> _SHIFT)
